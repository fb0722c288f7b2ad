//! Words without their endings: M. F. Porter, "An algorithm for suffix stripping", 1980, with the
//! changes of NLTK's stemmer, which rouge-score uses: a list of words that keep a form of their
//! own, `ies` and `ied` after one letter, `y` only after a consonant, and the endings `bli`,
//! `alli`, `fulli` and `logi`. Knows lower-case ASCII words.

/// Words that the rules would spoil.
const KEPT: [(&str, &str); 16] = [
    ("canning", "canning"),
    ("cannings", "canning"),
    ("dying", "die"),
    ("exceed", "exceed"),
    ("howe", "howe"),
    ("inning", "inning"),
    ("innings", "inning"),
    ("lying", "lie"),
    ("news", "news"),
    ("outing", "outing"),
    ("outings", "outing"),
    ("proceed", "proceed"),
    ("skies", "sky"),
    ("sky", "sky"),
    ("succeed", "succeed"),
    ("tying", "tie"),
];

/// An ending and what takes its place. The first that a word has decides.
type Rule = (&'static str, &'static str);

const STEP_2: [Rule; 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [Rule; 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// What is left of a word.
pub fn stem(word: &str) -> String {
    if let Some((_, kept)) = KEPT.iter().find(|(kept, _)| *kept == word) {
        return kept.to_string();
    }
    let mut word = word.to_string();
    if word.len() > 2 {
        plural(&mut word);
        past(&mut word);
        final_y(&mut word);
        compound(&mut word);
        replace(&mut word, &STEP_3, 0);
        last_ending(&mut word);
        final_e(&mut word);
        final_l(&mut word);
    }
    word
}

/// By letter: whether it is a consonant. A `y` is one at the beginning and after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last().is_none_or(|before| !before),
            _ => true,
        });
    }
    flags
}

/// How often a consonant follows a vowel: m in `[C](VC){m}[V]`.
fn measure(word: &str) -> usize {
    consonants(word).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// Whether a word ends consonant, vowel, consonant, the last not `w`, `x` or `y`; or is a vowel and
/// a consonant.
fn ends_short(word: &str) -> bool {
    match consonants(word).as_slice() {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

fn ends_double_consonant(word: &str) -> bool {
    let letters = word.as_bytes();
    let twice = letters.len() > 1 && letters[letters.len() - 1] == letters[letters.len() - 2];
    twice && consonants(word).last() == Some(&true)
}

/// Exchanges an ending of a word that has it.
fn exchange(word: &mut String, (ending, by): Rule) {
    word.truncate(word.len() - ending.len());
    word.push_str(by);
}

/// Exchanges the first ending that the word has, if what is before it measures more.
fn replace(word: &mut String, rules: &[Rule], more_than: usize) {
    let rule = rules.iter().find(|(ending, _)| word.ends_with(ending));
    if let Some(rule) = rule.filter(|(ending, _)| measure(before(word, ending)) > more_than) {
        exchange(word, *rule);
    }
}

fn before<'w>(word: &'w str, ending: &str) -> &'w str {
    &word[..word.len() - ending.len()]
}

/// Step 1a.
fn plural(word: &mut String) {
    let ies = if word.len() == 4 { "ie" } else { "i" };
    let rules = [("sses", "ss"), ("ies", ies), ("ss", "ss"), ("s", "")];
    if let Some(rule) = rules.iter().find(|(ending, _)| word.ends_with(ending)) {
        exchange(word, *rule);
    }
}

/// Step 1b.
fn past(word: &mut String) {
    if word.ends_with("ied") {
        let by = if word.len() == 4 { "ie" } else { "i" };
        return exchange(word, ("ied", by));
    }
    if word.ends_with("eed") {
        return replace(word, &[("eed", "ee")], 0);
    }
    let holds_vowel = |ending: &&&str| consonants(before(word, ending)).contains(&false);
    let endings = ["ed", "ing"];
    let mut found = endings.iter().filter(|ending| word.ends_with(**ending));
    if let Some(ending) = found.find(holds_vowel) {
        exchange(word, (ending, ""));
        restore(word);
    }
}

/// After step 1b has taken an ending: `hopp` becomes `hop`, `fil` becomes `file`.
fn restore(word: &mut String) {
    let cut = ["at", "bl", "iz"].iter().any(|end| word.ends_with(end));
    if !cut && ends_double_consonant(word) {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if cut || (measure(word) == 1 && ends_short(word)) {
        word.push('e');
    }
}

/// Step 1c.
fn final_y(word: &mut String) {
    if word.ends_with('y') {
        let stem = consonants(before(word, "y"));
        if stem.len() > 1 && stem.last() == Some(&true) {
            exchange(word, ("y", "i"));
        }
    }
}

/// Step 2.
fn compound(word: &mut String) {
    while word.ends_with("alli") && measure(before(word, "alli")) > 0 {
        exchange(word, ("alli", "al"));
    }
    // Here the `l` counts as what is before the ending.
    if word.ends_with("logi") && measure(before(word, "ogi")) > 0 {
        exchange(word, ("logi", "log"));
    }
    replace(word, &STEP_2, 0);
}

/// Step 4.
fn last_ending(word: &mut String) {
    let Some(ending) = STEP_4.iter().find(|ending| word.ends_with(**ending)) else { return };
    let stem = before(word, ending);
    let fits = *ending != "ion" || stem.ends_with(['s', 't']);
    if fits && measure(stem) > 1 {
        exchange(word, (ending, ""));
    }
}

/// Step 5a.
fn final_e(word: &mut String) {
    if word.ends_with('e') {
        let stem = before(word, "e");
        let measure = measure(stem);
        if measure > 1 || (measure == 1 && !ends_short(stem)) {
            word.pop();
        }
    }
}

/// Step 5b.
fn final_l(word: &mut String) {
    if word.ends_with("ll") && measure(before(word, "l")) > 1 {
        word.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Reference: nltk 3.10.4, PorterStemmer().
    #[test]
    fn words_lose_their_endings() {
        let cases = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("ties", "tie"),
            ("died", "die"),
            ("agreed", "agre"),
            ("feed", "feed"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("conflated", "conflat"),
            ("sky", "sky"),
            ("enjoy", "enjoy"),
            ("happy", "happi"),
            ("rationally", "ration"),
            ("conditionally", "condit"),
            ("geology", "geolog"),
            ("logi", "logi"),
            ("hopefully", "hope"),
            ("sensibilities", "sensibl"),
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("controlling", "control"),
            ("1990s", "1990"),
            ("yyyy", "yyyi"),
            ("aed", "a"),
            ("ing", "ing"),
        ];
        for (word, expected) in cases {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
