//! Damaged recipes: whatever a text becomes, it is read without a panic, its spans lie within it,
//! and where it is sound its canonical text means the same. The damage is the same in every run.

use llamake::lang::ast::{File, Item};
use llamake::lang::source::FileId;
use llamake::lang::{format, parse};
use std::path::Path;

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    "\n",
    " ",
    ":",
    "=",
    "..",
    ".",
    "|",
    "?",
    "<",
    ">",
    "->",
    "+",
    "*",
    "of ",
    "\"",
    "\"\"\"",
    "${",
    "\\",
    "// c\n",
    "/// d\n",
    "//! f\n",
    "\n\n",
    "'",
    "é",
    "let x = ",
    "\nlet y = 1\n",
    "stage s = f { a }",
    "use std/a\n",
    "2M tokens",
    "64 rows",
    "none",
    "require ",
    "in ",
    "fn ",
    "output o",
    "5%",
    "\r\n",
    "\t",
    "-",
    "1..",
    "facts ",
    "type T = ",
];

/// Numbers from a linear congruence (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

fn library() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let entries = std::fs::read_dir(&folder).expect("the library's folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let recipes = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "recipe"));
    recipes.map(|path| std::fs::read_to_string(path).expect("a recipe")).collect()
}

fn damage(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + dice.roll(4) {
        let at = dice.roll(chars.len() + 1);
        let end = (at + dice.roll(12)).min(chars.len());
        match dice.roll(4) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let copy: Vec<char> = chars[at..end].to_vec();
                let to = dice.roll(chars.len() + 1);
                chars.splice(to..to, copy);
            }
            _ => {
                let piece = PIECES[dice.roll(PIECES.len())];
                chars.splice(at..at, piece.chars());
            }
        }
    }
    chars.into_iter().collect()
}

/// The tree without places and numbers, which the canonical text may write otherwise.
fn shape(item: &Item) -> String {
    let mut rest = format!("{item:?}");
    for (open, close) in [("Span {", " }"), ("digits: ", "count")] {
        let mut kept = String::new();
        while let Some((before, after)) = rest.split_once(open) {
            kept.push_str(before);
            rest = after.split_once(close).map_or("", |(_, after)| after).to_string();
        }
        rest = kept + &rest;
    }
    for one in ["token\"", "row\"", "pair\"", "prompt\""] {
        let many = one.replace('"', "s\"");
        rest = rest.replace(&many, one);
    }
    rest.replace("epochs\"", "epoch\"").replace("steps\"", "step\"").replace("ences\"", "ence\"")
}

fn shapes(file: &File) -> (Vec<String>, Vec<String>) {
    let mut items: Vec<String> = file.items.iter().map(shape).collect();
    let mut comments: Vec<String> = file.comments.iter().map(|c| c.text.clone()).collect();
    items.sort();
    comments.sort();
    (items, comments)
}

fn check(text: &str) -> bool {
    let (file, faults) = parse(FileId(0), text);
    for label in faults.iter().flat_map(|fault| &fault.labels) {
        let (start, end) = (label.span.start as usize, label.span.end as usize);
        assert!(text.get(start..end).is_some(), "a label outside the text\n{text}");
    }
    let Ok(once) = format(text) else {
        assert!(!faults.is_empty(), "refused without a fault\n{text}");
        return false;
    };
    let (again, faults) = parse(FileId(0), &once);
    assert_eq!(faults, [], "the canonical text has faults\n{text}\n---\n{once}");
    assert_eq!(shapes(&again), shapes(&file), "the meaning changed\n{text}\n---\n{once}");
    assert_eq!(format(&once).as_ref(), Ok(&once), "not idempotent\n{text}\n---\n{once}");
    true
}

#[test]
fn damaged_recipes_are_read_and_sound_ones_keep_their_meaning() {
    let mut dice = Dice(20230718);
    let mut sound = 0;
    for text in library() {
        assert!(check(&text));
        for _ in 0..400 {
            sound += usize::from(check(&damage(&text, &mut dice)));
        }
    }
    assert!(sound > 100, "only {sound} damaged recipes were sound");
}

#[test]
fn heaps_of_tokens_are_read() {
    let mut dice = Dice(7);
    for _ in 0..2000 {
        let count = dice.roll(40);
        let text: String = (0..count).map(|_| PIECES[dice.roll(PIECES.len())]).collect();
        check(&text);
    }
}
