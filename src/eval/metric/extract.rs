//! What an answer says, taken out of the words around it, and whether it is the right one. The
//! order is that of lm-evaluation-harness: what the pattern finds; then the patterns to ignore;
//! then case; then punctuation. Does not know who answered.

use fancy_regex::Regex;

use crate::eval::prompt::{find_all, pattern, take_out};
use crate::train::data::jinja::is_blank;
use crate::train::progress::Failure;

/// What stands for an answer in which nothing was found.
pub const NOTHING: &str = "[invalid]";

/// How an answer is read and compared.
#[derive(Clone, Debug)]
pub struct Extract {
    /// What tells its figure from others.
    pub name: Option<String>,
    /// Without one the whole answer counts.
    pattern: Option<Regex>,
    /// Whether what is found last counts, not what is found first.
    last: bool,
    ignore: Vec<Regex>,
    ignore_case: bool,
    ignore_punctuation: bool,
}

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Written {
    pub name: Option<String>,
    pub pattern: Option<String>,
    pub last: bool,
    pub ignore: Vec<String>,
    pub ignore_case: bool,
    pub ignore_punctuation: bool,
}

impl Extract {
    /// Fails where a pattern is none.
    pub fn new(written: Written) -> Result<Extract, Failure> {
        let Written { name, pattern: found, last, ignore, ignore_case, ignore_punctuation } =
            written;
        let read = |text: &String| {
            pattern(text).map_err(|why| Failure::input(format!("`{text}` is no pattern: {why}")))
        };
        Ok(Extract {
            name,
            pattern: found.as_ref().map(read).transpose()?,
            last,
            ignore: ignore.iter().map(read).collect::<Result<_, _>>()?,
            ignore_case,
            ignore_punctuation,
        })
    }

    /// What an answer says.
    pub fn said(&self, answer: &str) -> Result<String, Failure> {
        let Some(pattern) = &self.pattern else {
            return Ok(answer.trim_matches(is_blank).to_string());
        };
        let found = find_all(pattern, answer)?;
        let chosen = if self.last { found.last() } else { found.first() };
        let chosen = chosen.filter(|chosen| !chosen.is_empty());
        Ok(chosen.map_or(NOTHING, |chosen| chosen.trim_matches(is_blank)).to_string())
    }

    /// Whether what was said is one of those that would be right.
    pub fn is_right(&self, said: &str, accepted: &[String]) -> Result<bool, Failure> {
        let said = self.plain(said)?;
        for right in accepted {
            if self.plain(right)? == said {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A text as it is compared.
    fn plain(&self, text: &str) -> Result<String, Failure> {
        let mut text = text.to_string();
        for pattern in &self.ignore {
            text = take_out(pattern, &text)?;
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(pattern: Option<&str>, last: bool, ignore: &[&str]) -> Extract {
        Extract::new(Written {
            name: None,
            pattern: pattern.map(str::to_string),
            last,
            ignore: ignore.iter().map(|text| text.to_string()).collect(),
            ignore_case: true,
            ignore_punctuation: ignore.len() == 1,
        })
        .unwrap()
    }

    #[test]
    fn sums_are_read_strictly_or_not() {
        let ignore = [",", r"\$", r"(?s).*#### ", r"\.$"];
        let strict = extract(Some(r"#### (\-?[0-9\.\,]+)"), false, &ignore);
        let flexible = extract(Some(r"(-?[$0-9.,]{2,})|(-?[0-9]+)"), true, &ignore);
        let gold = ["She makes 9 * 2 = 18.\n#### 1,018".to_string()];
        for (answer, said, right) in [
            ("So 1018.\n#### 1018", ["1018", "1018"], [true, true]),
            ("That is $1,018.", ["[invalid]", "$1,018."], [false, true]),
            ("It is 7", ["[invalid]", "7"], [false, false]),
        ] {
            for (extract, (said, right)) in
                [&strict, &flexible].into_iter().zip(said.iter().zip(right))
            {
                assert_eq!(extract.said(answer).unwrap(), *said, "{answer}");
                assert_eq!(extract.is_right(said, &gold).unwrap(), right, "{answer}");
            }
        }
    }

    #[test]
    fn articles_case_and_marks_do_not_count() {
        let whole = extract(None, false, &[r"\b(?:The |the |An |A |The |a |an )"]);
        let accepted = ["14 December 1972 UTC".to_string(), "the December".to_string()];
        for (answer, right) in [(" December\n", true), ("The december!", true), ("1972", false)] {
            let said = whole.said(answer).unwrap();
            assert_eq!(whole.is_right(&said, &accepted).unwrap(), right, "{answer}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_told() {
        let written = Written {
            name: None,
            pattern: Some("(".into()),
            last: false,
            ignore: Vec::new(),
            ignore_case: false,
            ignore_punctuation: false,
        };
        let Err(Failure::Input { message, .. }) = Extract::new(written) else { panic!() };
        assert!(message.starts_with("`(` is no pattern: "), "{message}");
    }
}
