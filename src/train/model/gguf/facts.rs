//! The facts that a GGUF file states about its model: a key and a typed value. Every length is held
//! against the bytes that are there before anything is made of it, and an array stays where it is
//! until it is asked for. Does not know what any key means.

use std::collections::BTreeMap;

/// What a key may be bound to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(&'a str),
    Array(Array<'a>),
}

/// Values of one type, end to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: u32,
    count: usize,
    bytes: &'a [u8],
}

/// Facts by key.
pub type Facts<'a> = BTreeMap<&'a str, Value<'a>>;

/// A fact on its way into a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    U32(u32),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

// The numbers by which a file names types.
const U8: u32 = 0;
const I8: u32 = 1;
const U16: u32 = 2;
const I16: u32 = 3;
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;
const I64: u32 = 11;
const F64: u32 = 12;

/// The bytes of a value whose size is fixed.
fn size(kind: u32) -> Option<usize> {
    match kind {
        U8 | I8 | BOOL => Some(1),
        U16 | I16 => Some(2),
        U32 | I32 | F32 => Some(4),
        U64 | I64 | F64 => Some(8),
        _ => None,
    }
}

/// Reads bytes from the front.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => {
                self.at += count;
                Ok(&self.bytes[self.at - count..self.at])
            }
            _ => Err(format!(
                "{count} bytes are announced at byte {} and {} are left",
                self.at,
                self.left()
            )),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N as u64)?.try_into().expect("as many as were asked for"))
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    /// A count of things that take at least `least` bytes each.
    pub fn count(&mut self, least: usize, what: &str) -> Result<usize, String> {
        let count = self.u64()?;
        if count > (self.left() / least) as u64 {
            let left = self.left();
            return Err(format!("{count} {what} are announced and {left} bytes are left"));
        }
        Ok(count as usize)
    }

    pub fn text(&mut self) -> Result<&'a str, String> {
        let length = self.u64()?;
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| format!("the text at byte {start} is not UTF-8"))
    }

    /// A value with its type before it.
    pub fn value(&mut self) -> Result<Value<'a>, String> {
        let kind = self.u32()?;
        if kind == ARRAY { self.array().map(Value::Array) } else { self.scalar(kind) }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value<'a>, String> {
        Ok(match kind {
            U8 => Value::Unsigned(u8::from_le_bytes(self.fixed()?).into()),
            I8 => Value::Signed(i8::from_le_bytes(self.fixed()?).into()),
            U16 => Value::Unsigned(u16::from_le_bytes(self.fixed()?).into()),
            I16 => Value::Signed(i16::from_le_bytes(self.fixed()?).into()),
            U32 => Value::Unsigned(self.u32()?.into()),
            I32 => Value::Signed(i32::from_le_bytes(self.fixed()?).into()),
            F32 => Value::F32(f32::from_le_bytes(self.fixed()?)),
            BOOL => match self.fixed()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(format!("a truth value is {other}, not 0 or 1")),
            },
            TEXT => Value::Text(self.text()?),
            U64 => Value::Unsigned(self.u64()?),
            I64 => Value::Signed(i64::from_le_bytes(self.fixed()?)),
            F64 => Value::F64(f64::from_le_bytes(self.fixed()?)),
            _ => return Err(format!("there is no type of number {kind}")),
        })
    }

    fn array(&mut self) -> Result<Array<'a>, String> {
        let kind = self.u32()?;
        let count = match (size(kind), kind) {
            (Some(size), _) => self.count(size, "values")?,
            (None, TEXT) => self.count(8, "texts")?,
            (None, ARRAY) => return Err("lists of lists are not supported".into()),
            (None, _) => return Err(format!("there is no type of number {kind}")),
        };
        let start = self.at;
        for _ in 0..count {
            self.scalar(kind)?;
        }
        Ok(Array { kind, count, bytes: &self.bytes[start..self.at] })
    }
}

impl<'a> Value<'a> {
    /// A whole number that is not negative.
    pub fn as_count(self) -> Option<u64> {
        match self {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// A float. Of an f32 the number that was meant is the shortest that rounds to it: `1e-5`, not
    /// 9.99999974e-6.
    pub fn as_number(self) -> Option<f64> {
        match self {
            Value::F32(number) => number.to_string().parse().ok(),
            Value::F64(number) => Some(number),
            _ => None,
        }
    }

    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    pub fn as_texts(self) -> Option<Vec<&'a str>> {
        self.elements()?.into_iter().map(Value::as_text).collect()
    }

    pub fn as_f32s(self) -> Option<Vec<f32>> {
        let float = |value| match value {
            Value::F32(number) => Some(number),
            _ => None,
        };
        self.elements()?.into_iter().map(float).collect()
    }

    pub fn as_counts(self) -> Option<Vec<u64>> {
        self.elements()?.into_iter().map(Value::as_count).collect()
    }

    /// The elements of an array, a few times as large as in the file.
    fn elements(self) -> Option<Vec<Value<'a>>> {
        let Value::Array(array) = self else { return None };
        let mut cursor = Cursor::new(array.bytes);
        (0..array.count).map(|_| cursor.scalar(array.kind).ok()).collect()
    }
}

/// Appends a text with its length before it.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Appends a key and its value.
pub fn write_fact(key: &str, fact: &Fact, out: &mut Vec<u8>) {
    write_text(key, out);
    let (kind, of) = match fact {
        Fact::U32(_) => (U32, None),
        Fact::F32(_) => (F32, None),
        Fact::F64(_) => (F64, None),
        Fact::Bool(_) => (BOOL, None),
        Fact::Text(_) => (TEXT, None),
        Fact::Texts(texts) => (ARRAY, Some((TEXT, texts.len()))),
        Fact::F32s(numbers) => (ARRAY, Some((F32, numbers.len()))),
        Fact::I32s(numbers) => (ARRAY, Some((I32, numbers.len()))),
    };
    out.extend(kind.to_le_bytes());
    if let Some((kind, count)) = of {
        out.extend(kind.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
    }
    match fact {
        Fact::U32(number) => out.extend(number.to_le_bytes()),
        Fact::F32(number) => out.extend(number.to_le_bytes()),
        Fact::F64(number) => out.extend(number.to_le_bytes()),
        Fact::Bool(truth) => out.push(u8::from(*truth)),
        Fact::Text(text) => write_text(text, out),
        Fact::Texts(texts) => texts.iter().for_each(|text| write_text(text, out)),
        Fact::F32s(numbers) => out.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
        Fact::I32s(numbers) => out.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
    }
}
