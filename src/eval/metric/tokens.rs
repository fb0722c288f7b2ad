//! How a text is cut before BLEU compares it: the rules of the NIST scripts mteval-v13a and
//! mteval-v14 as sacreBLEU keeps them. Knows characters; does not know scores.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::blanks::is_blank;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// mteval-v13a: for text in Western languages, which WMT uses.
    Thirteen,
    /// mteval-v14 with `--international-tokenization`: by the classes of Unicode.
    International,
    /// Every character but blanks.
    Characters,
    /// What blanks part.
    None,
}

/// Substitutions, one after the other.
type Rules<const N: usize> = LazyLock<[(Regex, &'static str); N]>;

static THIRTEEN: Rules<4> = LazyLock::new(|| {
    [
        // ASCII's punctuation but for apostrophe, comma, dash and point.
        (r"[ -&(-+:-@\[-`{-~/]", " $0 "),
        // Commas and points stay inside numbers; dashes leave the number before them.
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ]
    .map(compiled)
});

static INTERNATIONAL: Rules<3> = LazyLock::new(|| {
    [
        // Punctuation stays inside numbers.
        (r"(\P{N})(\p{P})", "$1 $2 "),
        (r"(\p{P})(\P{N})", " $1 $2"),
        (r"\p{S}", " $0 "),
    ]
    .map(compiled)
});

fn compiled((pattern, by): (&str, &'static str)) -> (Regex, &'static str) {
    (Regex::new(pattern).expect("a pattern that is written here"), by)
}

/// What mteval-v13a replaces before it cuts, in its order.
const REPLACED: [(&str, &str); 7] = [
    ("<skipped>", ""),
    ("-\n", ""),
    ("\n", " "),
    ("&quot;", "\""),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
];

impl Tokens {
    /// The text with blanks between its tokens.
    pub fn cut(self, text: &str) -> String {
        match self {
            Tokens::Thirteen => {
                let text = format!(" {} ", replaced(text));
                substituted(text, &*THIRTEEN)
            }
            Tokens::International => substituted(text.to_string(), &*INTERNATIONAL),
            Tokens::Characters => {
                let characters = text.chars().filter(|c| !is_blank(*c));
                characters.flat_map(|c| [c, ' ']).collect()
            }
            Tokens::None => text.to_string(),
        }
    }
}

fn replaced(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (what, by) in REPLACED {
        if text.contains(what) {
            text = Cow::Owned(text.replace(what, by));
        }
    }
    text
}

fn substituted(mut text: String, rules: &[(Regex, &str)]) -> String {
    for (pattern, by) in rules {
        if let Cow::Owned(changed) = pattern.replace_all(&text, *by) {
            text = changed;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::blanks::words;
    use super::*;

    fn check(tokens: Tokens, text: &str, expected: &str) {
        let cut = tokens.cut(text);
        assert_eq!(words(&cut).collect::<Vec<_>>().join(" "), expected, "{tokens:?} of {text:?}");
    }

    // Reference: the tokenizers of sacrebleu 2.6.0.
    #[test]
    fn thirteen_keeps_numbers_whole() {
        let cases = [
            ("It's 3.5% more, isn't it?", "It's 3.5 % more , isn't it ?"),
            ("1,000-2.5 a-b 5-", "1,000 - 2.5 a-b 5 -"),
            ("&quot;a&amp;lt;&quot;", "\" a < \""),
            ("..a,,b.", ". . a , , b ."),
            ("one-\ntwo\nthree <skipped>", "onetwo three"),
            ("(a)[b]{c}/d`e", "( a ) [ b ] { c } / d ` e"),
        ];
        cases.into_iter().for_each(|(text, expected)| check(Tokens::Thirteen, text, expected));
    }

    #[test]
    fn international_goes_by_classes() {
        let cases = [
            ("It's 3.5% more, isn't it?", "It ' s 3.5 % more , isn ' t it ?"),
            ("«Hé»—oui… 5€", "« Hé » — oui … 5 €"),
            ("你好，世界。1，2", "你好 ， 世界 。 1，2"),
            ("in 1999.", "in 1999."),
            ("a+b=c", "a + b = c"),
        ];
        cases.into_iter().for_each(|(text, expected)| check(Tokens::International, text, expected));
    }

    #[test]
    fn characters_are_all_but_blanks() {
        check(Tokens::Characters, "a b\u{1c}é", "a b é");
        check(Tokens::None, " a  b,\n", "a b,");
    }
}
