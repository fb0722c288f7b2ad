//! Where words end, as the programs of reference see it: Python counts the four separators of
//! files, groups, records and units as blanks, Rust does not. Knows characters only.

/// Whether Python's `str.isspace` holds.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words between blanks.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// How many pieces the runs of blanks cut a text into; one at an end leaves an empty piece beyond
/// it, which counts.
pub fn pieces(text: &str) -> usize {
    let blanks = text.chars().map(is_blank);
    let before = std::iter::once(false).chain(blanks.clone());
    1 + before.zip(blanks).filter(|(before, now)| !before && *now).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_those_of_python() {
        assert_eq!(words(" a\u{1c}b\u{a0}c\u{200b} ").collect::<Vec<_>>(), ["a", "b", "c\u{200b}"]);
        // len(re.split(r"\s+", text))
        let cases = [("", 1), ("a", 1), ("a b", 2), (" a \n b ", 4), ("\u{1f}", 2)];
        for (text, count) in cases {
            assert_eq!(pieces(text), count, "{text:?}");
        }
    }
}
