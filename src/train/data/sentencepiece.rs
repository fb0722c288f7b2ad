//! SentencePiece's `tokenizer.model` (Kudo and Richardson, "SentencePiece: a simple and language
//! independent subword tokenizer", 2018): pieces with scores, and how text is prepared. Of its four
//! algorithms the byte-pair one is read, which Llama uses; the others are refused by name. A merge
//! makes a piece of two, best score first; only pieces that stand for text are ever made, so that
//! no text spells a control piece. Knows pieces; does not know where the file came from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::protobuf::{Field, Fields, Malformed, Wire};
use super::tokenizer::Tokenizer;
use crate::train::progress::Failure;

/// An entry of the vocabulary; its place in the list is its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: PieceKind,
}

/// What a piece stands for, numbered as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Text, made by merges.
    Normal,
    /// Whatever no piece covers.
    Unknown,
    /// No text at all, such as `<s>`.
    Control,
    /// Text that is always taken whole.
    UserDefined,
    /// Made and taken apart again.
    Unused,
    /// One byte, `<0xNN>`.
    Byte,
}

/// How text is prepared, and which pieces frame it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A blank is put before the text. In the file: add_dummy_prefix.
    pub dummy_prefix: bool,
    /// Blanks at the ends go, others become one. In the file: remove_extra_whitespaces.
    pub trim_blanks: bool,
    /// What no piece covers becomes bytes.
    pub byte_fallback: bool,
}

/// A `tokenizer.model`.
#[derive(Clone, Debug, PartialEq)]
pub struct SentencePiece {
    pub pieces: Vec<Piece>,
    pub rules: Rules,
    /// Control pieces that the file names, where it has them.
    pub bos: Option<String>,
    pub eos: Option<String>,
}

/// SentencePiece itself makes pieces of 16 characters unless told otherwise.
const LONGEST_PIECE_BYTES: usize = 1024;

impl PieceKind {
    /// The kind of this number.
    pub fn of(number: u64) -> Option<PieceKind> {
        Some(match number {
            1 => PieceKind::Normal,
            2 => PieceKind::Unknown,
            3 => PieceKind::Control,
            4 => PieceKind::UserDefined,
            5 => PieceKind::Unused,
            6 => PieceKind::Byte,
            _ => return None,
        })
    }
}

/// Reads a file's bytes; `file` is its name for messages.
pub fn read(file: &str, bytes: &[u8]) -> Result<SentencePiece, Failure> {
    let broken = |_: Malformed| {
        Failure::input(format!("`{file}` is no SentencePiece model, or not the whole of one"))
    };
    let mut pieces = Vec::new();
    let mut settings = Settings::default();
    for field in Fields::of(bytes) {
        match field.map_err(broken)? {
            Field { number: 1, value: Wire::Bytes(piece) } => {
                pieces.push(read_piece(piece).map_err(broken)?);
            }
            Field { number: 2, value: Wire::Bytes(spec) } => {
                settings.read_trainer(spec).map_err(broken)?;
            }
            Field { number: 3, value: Wire::Bytes(spec) } => {
                settings.read_normalizer(spec).map_err(broken)?;
            }
            Field { number: 5, value: Wire::Bytes(spec) } => {
                settings.read_denormalizer(spec).map_err(broken)?;
            }
            _ => {}
        }
    }
    if pieces.is_empty() {
        return Err(broken(Malformed));
    }
    settings.check(file)?;
    let control = |name: String| {
        let has = |piece: &Piece| piece.kind == PieceKind::Control && piece.text == name;
        pieces.iter().any(has).then_some(name)
    };
    let (bos, eos) = (control(settings.bos), control(settings.eos));
    Ok(SentencePiece { pieces, rules: settings.rules, bos, eos })
}

fn read_piece(message: &[u8]) -> Result<Piece, Malformed> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in Fields::of(message) {
        match field? {
            Field { number: 1, value: Wire::Bytes(text) } => {
                piece.text = text_of(text)?;
            }
            Field { number: 2, value: Wire::Four(score) } => {
                piece.score = f32::from_le_bytes(score);
            }
            Field { number: 3, value: Wire::Number(kind) } => {
                piece.kind = PieceKind::of(kind).ok_or(Malformed)?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

fn text_of(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed)
}

/// What the file says besides pieces. What only steers its training, such as `split_digits`, shows
/// in the pieces and is not read.
struct Settings {
    algorithm: u64,
    blank_as_suffix: bool,
    escape_blanks: bool,
    /// The name of a table by which characters are replaced.
    table: Option<String>,
    rules: Rules,
    bos: String,
    eos: String,
}

impl Default for Settings {
    /// What is not written holds by default.
    fn default() -> Settings {
        Settings {
            algorithm: 1,
            blank_as_suffix: false,
            escape_blanks: true,
            table: None,
            rules: Rules { dummy_prefix: true, trim_blanks: true, byte_fallback: false },
            bos: "<s>".into(),
            eos: "</s>".into(),
        }
    }
}

impl Settings {
    fn read_trainer(&mut self, message: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            match field? {
                Field { number: 3, value: Wire::Number(kind) } => self.algorithm = kind,
                Field { number: 24, value: Wire::Number(flag) } => self.blank_as_suffix = flag != 0,
                Field { number: 35, value: Wire::Number(flag) } => {
                    self.rules.byte_fallback = flag != 0;
                }
                Field { number: 46, value: Wire::Bytes(name) } => self.bos = text_of(name)?,
                Field { number: 47, value: Wire::Bytes(name) } => self.eos = text_of(name)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, message: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            match field? {
                Field { number: 3, value: Wire::Number(flag) } => {
                    self.rules.dummy_prefix = flag != 0;
                }
                Field { number: 4, value: Wire::Number(flag) } => {
                    self.rules.trim_blanks = flag != 0;
                }
                Field { number: 5, value: Wire::Number(flag) } => self.escape_blanks = flag != 0,
                _ => {}
            }
        }
        self.read_denormalizer(message)
    }

    fn read_denormalizer(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut name = String::from("a table of its own");
        let mut filled = false;
        for field in Fields::of(message) {
            match field? {
                Field { number: 1, value: Wire::Bytes(text) } => name = text_of(text)?,
                Field { number: 2, value: Wire::Bytes(table) } => filled = !table.is_empty(),
                _ => {}
            }
        }
        if filled {
            self.table = Some(name);
        }
        Ok(())
    }

    fn check(&self, file: &str) -> Result<(), Failure> {
        let refused = |what: &str| {
            Err(Failure::input(format!("`{file}` {what}"))
                .remedy("use the `tokenizer.json` of the same model, where there is one"))
        };
        match self.algorithm {
            2 => {}
            1 => return refused("cuts text by the unigram algorithm, and only BPE can be read"),
            3 => return refused("cuts text into words, and only BPE can be read"),
            4 => return refused("cuts text into characters, and only BPE can be read"),
            _ => return refused("cuts text by an unknown algorithm, and only BPE can be read"),
        }
        if let Some(table) = &self.table {
            return refused(&format!("replaces characters by `{table}`, which cannot be read"));
        }
        if self.blank_as_suffix || !self.escape_blanks {
            return refused("marks blanks in another way than by `▁` before a word");
        }
        Ok(())
    }
}

/// The tokenizer that encodes as SentencePiece does with these pieces.
pub fn tokenizer_of(
    pieces: &[Piece],
    rules: &Rules,
    bos: &str,
    eos: &str,
) -> Result<Tokenizer, Failure> {
    let json = json_of(pieces, rules)?;
    let unknown = pieces.iter().find(|piece| piece.kind == PieceKind::Unknown);
    Tokenizer::from_json(json, bos, eos, unknown.map(|piece| piece.text.as_str()))
}

/// The same as a `tokenizer.json`.
pub fn json_of(pieces: &[Piece], rules: &Rules) -> Result<Value, Failure> {
    check_pieces(pieces, rules)?;
    let unknown = pieces.iter().find(|piece| piece.kind == PieceKind::Unknown);
    let vocab = pieces.iter().zip(0u32..).map(|(piece, id)| (piece.text.clone(), json!(id)));
    let added = pieces.iter().zip(0u32..).filter_map(|(piece, id)| {
        let special = match piece.kind {
            PieceKind::Control | PieceKind::Unknown => true,
            PieceKind::UserDefined => false,
            _ => return None,
        };
        Some(json!({
            "id": id, "content": piece.text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": !special, "special": special,
        }))
    });
    Ok(json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer(rules),
        "decoder": decoder(rules),
        "model": {
            "type": "BPE",
            "unk_token": unknown.map(|piece| &piece.text),
            "fuse_unk": true,
            "byte_fallback": rules.byte_fallback,
            "vocab": vocab.collect::<serde_json::Map<_, _>>(),
            "merges": merges(pieces),
        },
    }))
}

fn check_pieces(pieces: &[Piece], rules: &Rules) -> Result<(), Failure> {
    let mut seen = BTreeMap::new();
    for (id, piece) in pieces.iter().enumerate() {
        let text = &piece.text;
        let refused = |what: &str| Err(Failure::input(format!("piece {id}, `{text}`, {what}")));
        if text.is_empty() || text.len() > LONGEST_PIECE_BYTES {
            return Err(Failure::input(format!(
                "piece {id} of the vocabulary has {} bytes, and 1 to {LONGEST_PIECE_BYTES} are \
                 possible",
                text.len()
            )));
        }
        if let Some(first) = seen.insert(text.as_str(), id) {
            return refused(&format!("is also piece {first}"));
        }
        if piece.score.is_nan() {
            return refused("has no number for a score");
        }
        match piece.kind {
            PieceKind::Unused => return refused("is marked unused, which cannot be read"),
            PieceKind::UserDefined if rules.dummy_prefix => {
                return refused("is always taken whole, after a blank that is put before the text");
            }
            _ => {}
        }
    }
    let unknown = pieces.iter().filter(|piece| piece.kind == PieceKind::Unknown).count();
    if unknown != 1 {
        return Err(Failure::input(format!("{unknown} pieces stand for the unknown, not one")));
    }
    for piece in pieces.iter().filter(|piece| piece.kind == PieceKind::Normal) {
        let known = |c: &char| {
            let at = seen.get(c.encode_utf8(&mut [0; 4]) as &str);
            at.is_some_and(|&at| pieces[at].kind == PieceKind::Normal)
        };
        if let Some(c) = piece.text.chars().find(|c| !known(c)) {
            let text = &piece.text;
            return Err(Failure::input(format!(
                "piece `{text}` is made of `{c}`, which is no piece of text itself"
            )));
        }
    }
    Ok(())
}

/// Every way to make a piece of two others, best score first. SentencePiece takes the leftmost of
/// equals, and so does the encoder within one merge.
fn merges(pieces: &[Piece]) -> Vec<[&str; 2]> {
    let normal = || pieces.iter().filter(|piece| piece.kind == PieceKind::Normal);
    let known: BTreeSet<&str> = normal().map(|piece| piece.text.as_str()).collect();
    let mut best: Vec<&Piece> = normal().collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merges = Vec::new();
    for piece in best {
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if known.contains(left) && known.contains(right) {
                merges.push([left, right]);
            }
        }
    }
    merges
}

fn normalizer(rules: &Rules) -> Value {
    let replace = |pattern: Value, content: &str| {
        let kind = "Replace";
        json!({ "type": kind, "pattern": pattern, "content": content })
    };
    let mut steps = Vec::new();
    if rules.trim_blanks {
        steps.push(replace(json!({ "Regex": r"\A +| +\z" }), ""));
        steps.push(replace(json!({ "Regex": " {2,}" }), " "));
    }
    if rules.dummy_prefix {
        steps.push(json!({ "type": "Prepend", "prepend": "▁" }));
    }
    steps.push(replace(json!({ "String": " " }), "▁"));
    json!({ "type": "Sequence", "normalizers": steps })
}

fn decoder(rules: &Rules) -> Value {
    let mut steps = vec![
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
    ];
    if rules.dummy_prefix {
        steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": steps })
}
