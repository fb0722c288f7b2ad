//! Whole answers and numbers in them, compared with the gold one. Does not know where they came
//! from.

/// An answer as it is compared: outer blanks, case and one final stop do not count.
pub fn normalised(answer: &str) -> String {
    let answer = answer.trim();
    answer.strip_suffix('.').unwrap_or(answer).trim_end().to_lowercase()
}

/// Whether two answers are the same once normalised.
pub fn exact_match(answer: &str, gold: &str) -> bool {
    normalised(answer) == normalised(gold)
}

/// The last number in a text: digits, perhaps with a sign, thousands commas and decimals. The
/// commas are left out of the result.
pub fn last_number(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_digit)?;
    let inside = |at: usize| {
        let mark = matches!(bytes[at], b'.' | b',');
        bytes[at].is_ascii_digit() || (mark && at > 0 && bytes[at - 1].is_ascii_digit())
    };
    let mut start = last;
    while start > 0 && inside(start - 1) {
        start -= 1;
    }
    let signed = start > 0 && bytes[start - 1] == b'-';
    let before = start.checked_sub(2).map(|at| bytes[at]);
    let sign = signed && before.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let digits = text[start..=last].replace(',', "");
    Some(if sign { format!("-{digits}") } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_blanks_and_a_stop_do_not_count() {
        assert!(exact_match(" A Goat. ", "a goat"));
        assert!(!exact_match("a goat!", "a goat"));
        assert!(!exact_match("a goat..", "a goat"));
    }

    #[test]
    fn the_last_number_is_found() {
        let cases = [
            ("9 + 4 = 13. Sam has 13 coins.", Some("13")),
            ("it is -5", Some("-5")),
            ("10-5", Some("5")),
            ("1,234.5 in all", Some("1234.5")),
            ("so 7.", Some("7")),
            ("none", None),
            ("é3é", Some("3")),
        ];
        for (text, number) in cases {
            assert_eq!(last_number(text).as_deref(), number, "{text}");
        }
    }
}
