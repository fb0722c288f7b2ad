//! Where words end: regular expressions written out as loops over bytes. A cut depends only on what
//! follows it, so a word can be cut off a text without having seen what is before. Knows
//! characters; does not know pieces.

use std::sync::LazyLock;

use tokenizers::utils::SysRegex;

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// `▁+(?=▁)|▁?[^▁\n]+|▁|\n+`. A blank is `▁`.
    Pieces,
    /// `▁*[^▁]*`. Nothing asks for this cut; it changes nothing where no piece goes on beyond it.
    BeforeBlanks,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    ByteLevel,
}

/// A cut, after or before which digits are made words of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    pub cut: Cut,
    pub digits: bool,
}

/// What a blank becomes in a vocabulary after SentencePiece.
pub const BLANK: char = '\u{2581}';

impl Words {
    /// The end of the word that begins at `start`, which is before the end of the text.
    pub fn end(self, text: &str, start: usize) -> usize {
        match self.cut {
            Cut::Pieces => self.piece_end(text, start),
            Cut::BeforeBlanks => before_blanks(text, start),
            Cut::ByteLevel => self.level_end(text, start),
        }
    }

    fn piece_end(self, text: &str, start: usize) -> usize {
        let bytes = text.as_bytes();
        if bytes[start] == b'\n' {
            let more = bytes[start..].iter().take_while(|&&byte| byte == b'\n');
            return start + more.count();
        }
        let blanks = blanks_end(bytes, start);
        let last = last_blank(bytes, start, blanks);
        if last > start {
            return last;
        }
        let mut at = blanks;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b' ' | b'\n' => break,
                b'0'..=b'9' if self.digits => return if at == start { at + 1 } else { at },
                0..0x80 => at += 1,
                _ => {
                    let c = char_at(text, at);
                    if c == BLANK {
                        break;
                    }
                    if self.digits && c.is_numeric() {
                        return if at == start { at + c.len_utf8() } else { at };
                    }
                    at += c.len_utf8();
                }
            }
        }
        at
    }

    fn level_end(self, text: &str, start: usize) -> usize {
        let bytes = text.as_bytes();
        if let Some(length) = contraction(&bytes[start..]) {
            return start + length;
        }
        let (class, length) = self.class_at(text, start);
        match class {
            Class::End => start + length,
            Class::Blank => {
                let (next, _) = self.class_at(text, start + length);
                if bytes[start] == b' ' && !matches!(next, Class::Blank | Class::End) {
                    return self.run_end(text, start + length, next);
                }
                self.blank_end(text, start)
            }
            class => self.run_end(text, start, class),
        }
    }

    /// Blanks up to the end of the text, or all but the last, or one.
    fn blank_end(self, text: &str, start: usize) -> usize {
        let end = self.run_end(text, start, Class::Blank);
        let last = text[start..end].char_indices().next_back().map_or(start, |(at, _)| start + at);
        if self.class_at(text, end).0 == Class::End || last == start { end } else { last }
    }

    fn run_end(self, text: &str, start: usize, class: Class) -> usize {
        let mut at = start;
        loop {
            match self.class_at(text, at) {
                (found, length) if found == class => at += length,
                _ => return at,
            }
        }
    }

    /// The class of the character at a place, and its length in bytes.
    fn class_at(self, text: &str, at: usize) -> (Class, usize) {
        let Some(&byte) = text.as_bytes().get(at) else { return (Class::End, 0) };
        let (class, c) = match byte {
            0..0x80 => (ASCII[usize::from(byte)], char::from(byte)),
            _ => {
                let c = char_at(text, at);
                (CLASSES[c as usize], c)
            }
        };
        // Digits are cut off first, so what stands before one ends there.
        let cut = self.digits && c.is_numeric();
        (if cut { Class::End } else { class }, c.len_utf8())
    }
}

fn before_blanks(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = blanks_end(bytes, start);
    while at < bytes.len() && !is_blank(bytes, at) {
        at += 1;
    }
    at
}

fn is_blank(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b' ' || bytes[at] == 0xE2 && bytes[at..].starts_with("▁".as_bytes())
}

/// The end of the blanks that begin at `start`; there may be none.
fn blanks_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && is_blank(bytes, at) {
        at += if bytes[at] == b' ' { 1 } else { BLANK.len_utf8() };
    }
    at
}

/// Where the last of some blanks begins.
fn last_blank(bytes: &[u8], start: usize, end: usize) -> usize {
    match end > start {
        true if bytes[end - 1] == b' ' => end - 1,
        true => end - BLANK.len_utf8(),
        false => start,
    }
}

fn char_at(text: &str, at: usize) -> char {
    text[at..].chars().next().expect("a character begins here")
}

/// The length of `'s` and its like at the start of some bytes.
fn contraction(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// What the expression of the byte-level cut tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Blank,
    Other,
    /// The end of the text, or a digit that is cut off.
    End,
}

const ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut at = 0;
    while at < 128 {
        classes[at] = match at as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Blank,
            _ => Class::Other,
        };
        at += 1;
    }
    classes
};

/// Every character's class, by the tables of the very engine that the crate cuts with, whose
/// Unicode may be older or newer than Rust's.
static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let all: String = (0..=u32::from(char::MAX)).filter_map(char::from_u32).collect();
    let mut classes = vec![Class::Other; u32::from(char::MAX) as usize + 1];
    for (pattern, class) in
        [(r"\p{L}+", Class::Letter), (r"\p{N}+", Class::Number), (r"\s+", Class::Blank)]
    {
        let expression = SysRegex::new(pattern).expect("a class of characters");
        for (start, end) in expression.find_iter(&all) {
            all[start..end].chars().for_each(|c| classes[c as usize] = class);
        }
    }
    classes
});

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cut: Cut, digits: bool, text: &str) -> Vec<&str> {
        let (words, mut at, mut found) = (Words { cut, digits }, 0, Vec::new());
        while at < text.len() {
            let end = words.end(text, at);
            assert!(end > at, "a word of nothing in {text:?}");
            found.push(&text[at..end]);
            at = end;
        }
        found
    }

    #[test]
    fn pieces_begin_with_one_blank() {
        let pieces = |text| cut(Cut::Pieces, true, text);
        assert_eq!(pieces(" a  b▁▁c"), [" a", " ", " b", "▁", "▁c"]);
        assert_eq!(pieces(" a\n\n b 12c"), [" a", "\n\n", " b", " ", "1", "2", "c"]);
        assert_eq!(pieces("½x "), ["½", "x", " "]);
        assert_eq!(cut(Cut::Pieces, false, "a12 34"), ["a12", " 34"]);
    }

    #[test]
    fn blanks_begin_words() {
        assert_eq!(cut(Cut::BeforeBlanks, false, "  a\nb ▁c d"), ["  a\nb", " ▁c", " d"]);
    }

    #[test]
    fn byte_level_words_are_those_of_gpt_2() {
        let level = |digits, text| cut(Cut::ByteLevel, digits, text);
        assert_eq!(level(false, "I'll  go 12!"), ["I", "'ll", " ", " go", " 12", "!"]);
        assert_eq!(level(true, "go  12 "), ["go", "  ", "1", "2", " "]);
        assert_eq!(level(false, "a\n\n b\t"), ["a", "\n\n", " b", "\t"]);
        assert_eq!(level(false, "né ½ …x"), ["né", " ½", " …", "x"]);
    }
}
