//! Values as text that a person can read and a program reads back without loss: what a lockfile
//! holds and what `why` prints. Knows the shapes of values; does not know recipes' own grammar.
//!
//! `none` `true` `12` `2e-5` `"text"` `path("data/a.txt")` `90%` `2000 tokens` `[1, 2]`
//! `cosine { warmup: 3% }` `10% of @"world.corpus"`; names that are no plain words are quoted.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::lang::types::Type;
use crate::lang::value::{Artifact, PathValue, Quantity, StageId, Unit, Value};

/// Words of the units, and their only spellings here.
const UNITS: [(Unit, &str); 10] = [
    (Unit::Tokens, "tokens"),
    (Unit::Steps, "steps"),
    (Unit::Epochs, "epochs"),
    (Unit::Sequences, "sequences"),
    (Unit::Pairs, "pairs"),
    (Unit::Prompts, "prompts"),
    (Unit::Rows, "rows"),
    (Unit::Bytes, "bytes"),
    (Unit::Duration, "seconds"),
    (Unit::Percent, "%"),
];

/// Values nested deeper than this are refused when read, so that no text can exhaust the stack.
const DEPTH: usize = 128;

/// The word of a unit.
pub fn unit_word(unit: Unit) -> &'static str {
    let found = UNITS.iter().find(|(one, _)| *one == unit);
    found.expect("every unit has a word").1
}

/// A value as text; artifacts are named by the number of their stage.
pub fn write(value: &Value) -> String {
    write_with(value, &|stage| stage.0.to_string(), &|path| path.written.clone())
}

/// A value as text, with artifacts and paths named as asked.
pub fn write_with(
    value: &Value,
    stage_name: &dyn Fn(StageId) -> String,
    path_name: &dyn Fn(&PathValue) -> String,
) -> String {
    let mut writer = Writer { text: String::new(), stage_name, path_name };
    writer.value(value);
    writer.text
}

struct Writer<'a> {
    text: String,
    stage_name: &'a dyn Fn(StageId) -> String,
    path_name: &'a dyn Fn(&PathValue) -> String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.text.push_str("none"),
            Value::Bool(bool) => self.show(bool),
            Value::Int(int) => self.show(int),
            Value::Float(float) => {
                write!(self.text, "{float:?}").expect("a string takes all text");
            }
            Value::Text(text) => self.quoted(text),
            Value::Path(path) => {
                self.text.push_str("path(");
                self.quoted(&(self.path_name)(path));
                self.text.push(')');
            }
            Value::Quantity(quantity) => self.quantity(*quantity),
            Value::List(items) => self.list(items),
            Value::Record { name, fields } => self.record(name.as_deref(), fields),
            Value::Share { percent, of } => {
                self.quantity(*percent);
                self.text.push_str(" of ");
                self.value(of);
            }
            Value::Artifact(artifact) => {
                self.text.push('@');
                self.quoted(&format!("{}.{}", (self.stage_name)(artifact.stage), artifact.port));
            }
        }
    }

    fn show(&mut self, value: &dyn std::fmt::Display) {
        write!(self.text, "{value}").expect("a string takes all text");
    }

    fn quoted(&mut self, text: &str) {
        let json = serde_json::Value::String(text.to_string());
        self.show(&json);
    }

    fn quantity(&mut self, quantity: Quantity) {
        let (sign, size) = match quantity.millionths {
            negative @ ..0 => ("-", negative.unsigned_abs()),
            other => ("", other.unsigned_abs()),
        };
        self.show(&format_args!("{sign}{}", size / 1_000_000));
        if size % 1_000_000 != 0 {
            let digits = format!("{:06}", size % 1_000_000);
            self.show(&format_args!(".{}", digits.trim_end_matches('0')));
        }
        match quantity.unit {
            Unit::Percent => self.text.push('%'),
            unit => self.show(&format_args!(" {}", unit_word(unit))),
        }
    }

    fn list(&mut self, items: &[Value]) {
        self.text.push('[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.text.push_str(", ");
            }
            self.value(item);
        }
        self.text.push(']');
    }

    fn record(&mut self, name: Option<&str>, fields: &BTreeMap<String, Value>) {
        if let Some(name) = name {
            self.name(name);
            self.text.push(' ');
        }
        self.text.push('{');
        for (at, (name, value)) in fields.iter().enumerate() {
            self.text.push_str(if at > 0 { ", " } else { " " });
            self.name(name);
            self.text.push_str(": ");
            self.value(value);
        }
        self.text.push_str(if fields.is_empty() { "}" } else { " }" });
    }

    /// A field's or record's name; one that could be taken for something else is quoted.
    fn name(&mut self, name: &str) {
        let plain =
            is_word(name) && !["none", "true", "false", "path", "inf", "NaN"].contains(&name);
        if plain { self.text.push_str(name) } else { self.quoted(name) }
    }
}

fn is_word(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

/// Reads what [`write_with`] wrote. `stage_id` finds a stage by name; paths are relative to
/// `folder`. The error is a sentence about the text.
pub fn read(
    text: &str,
    stage_id: &dyn Fn(&str) -> Option<StageId>,
    folder: &str,
) -> Result<Value, String> {
    let mut reader = Reader { text, stage_id, folder, depth: 0 };
    let value = reader.value()?;
    reader.blank();
    match reader.text {
        "" => Ok(value),
        rest => Err(format!("`{}` follows a complete value", first_word(rest))),
    }
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|char| !char.is_whitespace()).take(20).collect()
}

struct Reader<'a> {
    text: &'a str,
    stage_id: &'a dyn Fn(&str) -> Option<StageId>,
    folder: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value, String> {
        self.blank();
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("values are nested more than {DEPTH} deep"));
        }
        let value = match self.text.chars().next() {
            None => return Err("a value is missing".to_string()),
            Some('[') => self.list(),
            Some('{') => self.record(None),
            Some('@') => self.artifact(),
            Some('"') => self.text_or_record(),
            Some('-' | '0'..='9') => self.number(),
            Some(_) => self.word(),
        }?;
        self.depth -= 1;
        Ok(value)
    }

    fn blank(&mut self) {
        self.text = self.text.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blank();
        let rest = self.text.strip_prefix(token);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) {
            return Ok(());
        }
        match self.text {
            "" => Err(format!("`{token}` is missing at the end")),
            rest => Err(format!("expected `{token}` before `{}`", first_word(rest))),
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value()?);
        }
        Ok(Value::List(items))
    }

    fn record(&mut self, name: Option<String>) -> Result<Value, String> {
        self.expect("{")?;
        let mut fields = BTreeMap::new();
        while !self.eat("}") {
            if !fields.is_empty() {
                self.expect(",")?;
            }
            let field = self.name()?;
            self.expect(":")?;
            let value = self.value()?;
            if fields.insert(field.clone(), value).is_some() {
                return Err(format!("field `{field}` stands twice"));
            }
        }
        Ok(Value::Record { name, fields })
    }

    fn name(&mut self) -> Result<String, String> {
        self.blank();
        if self.text.starts_with('"') { self.quoted() } else { Ok(self.bare().to_string()) }
    }

    /// The letters, digits, `_` and `.` that come next.
    fn bare(&mut self) -> &'a str {
        let inside = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '.';
        let end = self.text.find(|char| !inside(char)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        word
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.blank();
        let mut stream = serde_json::Deserializer::from_str(self.text).into_iter::<String>();
        match stream.next() {
            Some(Ok(text)) => {
                self.text = &self.text[stream.byte_offset()..];
                Ok(text)
            }
            _ => Err(format!("expected a quoted text before `{}`", first_word(self.text))),
        }
    }

    fn text_or_record(&mut self) -> Result<Value, String> {
        let text = self.quoted()?;
        self.blank();
        if self.text.starts_with('{') { self.record(Some(text)) } else { Ok(Value::Text(text)) }
    }

    fn artifact(&mut self) -> Result<Value, String> {
        self.expect("@")?;
        let name = self.quoted()?;
        let (stage, port) =
            name.rsplit_once('.').ok_or_else(|| format!("`{name}` names no port of a stage"))?;
        let stage =
            (self.stage_id)(stage).ok_or_else(|| format!("there is no stage `{stage}` here"))?;
        Ok(Value::Artifact(erased_artifact(stage, port)))
    }

    fn word(&mut self) -> Result<Value, String> {
        match self.bare() {
            "" => Err(format!("`{}` begins no value", first_word(self.text))),
            "none" => Ok(Value::None),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "inf" => Ok(Value::Float(f64::INFINITY)),
            "NaN" => Ok(Value::Float(f64::NAN)),
            "path" => self.path(),
            name => {
                self.blank();
                match self.text.starts_with('{') {
                    true => self.record(Some(name.to_string())),
                    false => Err(format!("`{name}` is no value")),
                }
            }
        }
    }

    fn path(&mut self) -> Result<Value, String> {
        self.expect("(")?;
        let written = self.quoted()?;
        self.expect(")")?;
        Ok(Value::Path(PathValue { written, folder: self.folder.to_string() }))
    }

    fn number(&mut self) -> Result<Value, String> {
        let digits = self.digits();
        if digits == "-" && self.text.starts_with("inf") {
            self.text = &self.text[3..];
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        if self.text.starts_with('%') {
            self.text = &self.text[1..];
            return self.percent_or_share(quantity(digits, Unit::Percent)?);
        }
        let before = self.text;
        self.blank();
        let word = self.bare();
        if let Some((unit, _)) = UNITS.iter().find(|(_, name)| *name == word) {
            return Ok(Value::Quantity(quantity(digits, *unit)?));
        }
        self.text = before;
        plain_number(digits)
    }

    fn digits(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let inside = |at: usize| {
            let signed = at == 0 || matches!(bytes[at - 1], b'e' | b'E');
            let byte = bytes[at];
            byte.is_ascii_digit() || b".eE".contains(&byte) || (signed && b"+-".contains(&byte))
        };
        let end = (0..bytes.len()).find(|at| !inside(*at)).unwrap_or(bytes.len());
        let (digits, rest) = self.text.split_at(end);
        self.text = rest;
        digits
    }

    fn percent_or_share(&mut self, percent: Quantity) -> Result<Value, String> {
        let before = self.text;
        self.blank();
        if self.bare() == "of" {
            let of = Box::new(self.value()?);
            return Ok(Value::Share { percent, of });
        }
        self.text = before;
        Ok(Value::Quantity(percent))
    }
}

fn plain_number(digits: &str) -> Result<Value, String> {
    let wrong = || format!("`{digits}` is no number");
    if digits.contains(['.', 'e', 'E']) {
        return digits.parse().map(Value::Float).map_err(|_| wrong());
    }
    digits.parse().map(Value::Int).map_err(|_| wrong())
}

fn quantity(digits: &str, unit: Unit) -> Result<Quantity, String> {
    let wrong = || format!("`{digits}` is no amount with at most six decimals");
    let (sign, size) = match digits.strip_prefix('-') {
        Some(size) => (-1, size),
        None => (1, digits),
    };
    let (whole, part) = size.split_once('.').unwrap_or((size, ""));
    let decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !decimal(whole) || !decimal(part) {
        return Err(wrong());
    }
    let millionths: i128 = format!("{whole}{part:0<6}").parse().map_err(|_| wrong())?;
    Ok(Quantity { unit, millionths: sign * millionths })
}

/// An artifact known only by where it comes from. Types and facts are spent once a recipe is
/// checked: nothing that is not in the key reaches the work.
pub fn erased_artifact(stage: StageId, port: &str) -> Artifact {
    Artifact { stage, port: port.to_string(), ty: Type::Unknown }
}
