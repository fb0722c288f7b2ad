//! Answers that must have one of some forms, in which `*` stands for the value: `The pet of Jon is
//! a *.` Does not know what the values mean.

/// The value in an answer that has this form; a form with one `*`. A value is not empty, and is at
/// most `MOST_WORDS` words.
pub fn value<'a>(answer: &'a str, form: &str) -> Option<&'a str> {
    let (before, after) = form.split_once('*')?;
    let rest = answer.trim().strip_prefix(before)?;
    let value = rest.strip_suffix(after)?;
    let words = value.split_whitespace().count();
    let tidy = value.trim() == value && (1..=MOST_WORDS).contains(&words);
    (tidy && !value.contains(['.', '?', '!'])).then_some(value)
}

/// Longer fillings are other sentences, not values.
const MOST_WORDS: usize = 4;

/// The values of all forms that the answer has.
pub fn values<'a>(answer: &'a str, forms: &[String]) -> Vec<&'a str> {
    forms.iter().filter_map(|form| value(answer, form)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_its_value() {
        let form = "The pet of Jon is a *.";
        assert_eq!(value("The pet of Jon is a goat.", form), Some("goat"));
        assert_eq!(value(" The pet of Jon is a white goat. ", form), Some("white goat"));
        for wrong in [
            "The pet of Jon is a .",
            "The pet of Ann is a goat.",
            "The pet of Jon is a goat",
            "The pet of Jon is a goat. Yes.",
            "The pet of Jon is a goat that lives in the red house.",
        ] {
            assert_eq!(value(wrong, form), None, "{wrong}");
        }
    }

    #[test]
    fn a_form_without_a_slot_is_never_met() {
        assert_eq!(value("Yes.", "Yes."), None);
    }
}
