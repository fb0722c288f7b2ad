//! The user's files: `.txt`, `.jsonl`, `.json` and `.csv`, each also with `.gz` or `.zst`, and
//! `.parquet`. They become records of named columns, or lines. Knows formats; does not know which
//! column means what.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::lines::{BOM, LARGEST_ROW_BYTES, Lines, not_utf8, unreadable};
use super::parquet;
use super::parts::Parts;
use super::quotes::Quotes;
use super::rows::malformed;
use crate::train::progress::Failure;

/// A row of a table: columns by name, in the file's order.
pub type Record = Map<String, Value>;

/// Takes each record with its place, such as `` `a.csv` line 3 ``.
pub type Sink<'a> = dyn FnMut(&str, Record) -> Result<(), Failure> + 'a;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    JsonLines,
    Json,
    Csv,
    Parquet,
}

impl Format {
    /// The format that a file's name tells.
    pub fn of(path: &Path) -> Result<Format, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
        match plain.unwrap_or(&name).rsplit_once('.').map(|(_, end)| end) {
            Some("parquet") if plain.is_some() => Err(Failure::input(format!(
                "`{}` is compressed twice: a Parquet file is so within",
                path.display()
            ))
            .remedy("unpack it and name it `.parquet`")),
            Some("parquet") => Ok(Format::Parquet),
            Some("txt") => Ok(Format::Text),
            Some("jsonl") => Ok(Format::JsonLines),
            Some("json") => Ok(Format::Json),
            Some("csv") => Ok(Format::Csv),
            _ => Err(Failure::input(format!(
                "`{}` is in no format that can be read: its name tells none",
                path.display()
            ))
            .remedy(
                "name it `.txt`, `.jsonl`, `.json` or `.csv`, with `.gz` or `.zst` if compressed, \
                 or `.parquet`",
            )),
        }
    }
}

/// The files named, those of a named folder included, in order.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(Failure::io(path))?;
        let inside: Result<Vec<PathBuf>, _> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut inside = inside.map_err(Failure::io(path))?;
        inside.sort();
        files.extend(expand(&inside)?);
    }
    Ok(files)
}

/// The bytes of a file, decompressed where its name ends in `.gz` or `.zst`.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    let file = File::open(path).map_err(Failure::io(path))?;
    let size = file.metadata().map_err(Failure::io(path))?.len();
    let plain = BufReader::with_capacity(1 << 16, file);
    let end = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let inflated: Box<dyn Read> = match end.as_str() {
        "gz" => Box::new(MultiGzDecoder::new(plain)),
        "zst" => Box::new(zstd::Decoder::with_buffer(plain).map_err(Failure::io(path))?),
        _ => return Ok(Box::new(plain)),
    };
    let bounded = Bounded { inner: inflated, left: most_inflated(size) };
    Ok(Box::new(BufReader::with_capacity(1 << 16, bounded)))
}

/// Text shrinks to a tenth, seldom to a fiftieth; what claims two hundred is a bomb.
pub fn most_inflated(compressed: u64) -> u64 {
    (64 << 20) + compressed.saturating_mul(200)
}

/// What is said of a bomb.
pub const INFLATES: &str = "it inflates to more than 200 times its size";

/// A reader that refuses to give more than it should.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.left =
            self.left.checked_sub(read as u64).ok_or_else(|| std::io::Error::other(INFLATES))?;
        Ok(read)
    }
}

/// The lines of a file.
pub fn lines(path: &Path) -> Result<Lines, Failure> {
    Ok(Lines::new(path.display().to_string(), open(path)?))
}

/// The texts of a file that a mark parts.
pub fn parts(path: &Path, mark: &str) -> Result<Parts, Failure> {
    Ok(Parts::new(path.display().to_string(), open(path)?, mark))
}

/// A whole file as text, of the size of a row at most.
pub fn whole_text(path: &Path) -> Result<String, Failure> {
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    let read = open(path)?.take(LARGEST_ROW_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&file, &error))?;
    if bytes.len() as u64 > LARGEST_ROW_BYTES {
        return Err(Failure::input(format!("`{file}` as one document is longer than 64 MiB"))
            .remedy(
                "set `documents: \"paragraphs\"` or `documents: \"lines\"`, or a `separator`",
            ));
    }
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        not_utf8(&format!("`{file}` line {line}"), before.len() - start)
    })
}

/// Gives each record of a table to `sink`. A format that keeps columns apart gives nothing in
/// those that are `unread`, besides their names.
pub fn records(path: &Path, unread: &[String], sink: &mut Sink<'_>) -> Result<(), Failure> {
    match Format::of(path)? {
        Format::Text => Err(Failure::input(format!("`{}` has no columns", path.display()))
            .remedy("read it with `read_text`")),
        Format::JsonLines => json_lines(lines(path)?, sink),
        Format::Json => json(path, sink),
        Format::Csv => csv(path, Table::Headed, sink),
        Format::Parquet => parquet::records(path, unread, sink),
    }
}

fn json_lines(mut lines: Lines, sink: &mut Sink<'_>) -> Result<(), Failure> {
    loop {
        let parsed = match lines.next_line()? {
            None => return Ok(()),
            Some(line) if line.trim().is_empty() => continue,
            Some(line) => serde_json::from_str(line),
        };
        let place = lines.place();
        let value: Value = parsed.map_err(|error| malformed(&place, &error))?;
        sink(&place, record(&place, value)?)?;
    }
}

/// An array of objects; a file that begins with an object instead has one on each line.
fn json(path: &Path, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let file = path.display().to_string();
    let mut reader = open(path)?;
    let start = reader.fill_buf().map_err(|error| unreadable(&file, &error))?;
    let start = start.strip_prefix(BOM).unwrap_or(start);
    if start.trim_ascii_start().first() == Some(&b'{') {
        return json_lines(Lines::new(file, reader), sink);
    }
    if reader.fill_buf().is_ok_and(|start| start.starts_with(BOM)) {
        reader.consume(BOM.len());
    }
    let mut rows = ArrayRows { file: &file, row: 0, sink, failure: None };
    let mut parser = serde_json::Deserializer::from_reader(reader);
    let parsed = parser.deserialize_seq(&mut rows).and_then(|()| parser.end());
    match (rows.failure, parsed) {
        (Some(failure), _) => Err(failure),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => {
            let place = format!("`{file}` line {}", error.line().max(1));
            Err(malformed(&place, &error).remedy("a `.json` file holds one array of objects"))
        }
    }
}

/// Hands the elements of an array on, one at a time.
struct ArrayRows<'a, 's> {
    file: &'a str,
    row: usize,
    sink: &'a mut Sink<'s>,
    failure: Option<Failure>,
}

impl<'de> Visitor<'de> for &mut ArrayRows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element::<Value>()? {
            self.row += 1;
            let place = format!("`{}` row {}", self.file, self.row);
            let taken = record(&place, value).and_then(|record| (self.sink)(&place, record));
            if let Err(failure) = taken {
                self.failure = Some(failure);
                return Err(serde::de::Error::custom("a row was refused"));
            }
        }
        Ok(())
    }
}

fn record(place: &str, value: Value) -> Result<Record, Failure> {
    match value {
        Value::Object(record) => Ok(record),
        other => Err(Failure::input(format!(
            "{place} is {}, not an object with named columns",
            name_of(&other)
        ))),
    }
}

/// What a value is, in words.
pub fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The rows of a `.json` file that is one object, from a list in it.
pub fn rows_within(path: &Path, list: &str, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let text = whole_text(path)?;
    let file = path.display();
    let whole: Value = serde_json::from_str(&text)
        .map_err(|error| malformed(&format!("`{file}` line {}", error.line().max(1)), &error))?;
    let whole = record(&format!("`{file}`"), whole)?;
    let found = whole.get(list).and_then(Value::as_array).ok_or_else(|| {
        let names = super::columns::quoted(whole.keys());
        Failure::input(format!("`{file}` has no list `{list}`; it has {names}"))
            .remedy("name the list that holds the rows in `rows`")
    })?;
    for (at, row) in found.iter().enumerate() {
        let place = format!("`{file}` row {} of `{list}`", at + 1);
        sink(&place, record(&place, row.clone())?)?;
    }
    Ok(())
}

/// What the first line of a table is.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// The names of its columns.
    Headed,
    /// A row like the others; the columns are called so.
    Without(&'a [String]),
}

/// The rows of a `.csv` file.
pub fn csv(path: &Path, table: Table<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let file = path.display().to_string();
    let mut reader = open(path)?;
    if reader.fill_buf().is_ok_and(|start| start.starts_with(BOM)) {
        reader.consume(BOM.len());
    }
    let is_headed = matches!(table, Table::Headed);
    let mut rows =
        csv::ReaderBuilder::new().has_headers(is_headed).from_reader(Quotes::new(reader));
    let columns = match table {
        Table::Without(columns) => columns.to_vec(),
        Table::Headed => {
            let header = rows.byte_headers().map_err(|error| bad_csv(&file, &error))?.clone();
            csv_fields(&file, 1, &header)?.into_iter().map(str::to_string).collect()
        }
    };
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].contains(column) {
            let message = format!("`{file}` line 1 names the column `{column}` twice");
            return Err(Failure::input(message).remedy("rename one of the two"));
        }
    }
    let mut fields = csv::ByteRecord::new();
    while rows.read_byte_record(&mut fields).map_err(|error| bad_csv(&file, &error))? {
        let line = fields.position().map_or(0, csv::Position::line);
        let values = csv_fields(&file, line, &fields)?;
        if values.len() != columns.len() {
            let (found, named) = (values.len(), columns.len());
            return Err(Failure::input(format!(
                "`{file}` line {line} has {found} fields, and {named} columns are named"
            )));
        }
        let values = values.into_iter().map(|value| Value::String(value.into()));
        let record = columns.iter().map(|column| column.to_string()).zip(values).collect();
        sink(&format!("`{file}` line {line}"), record)?;
    }
    Ok(())
}

fn csv_fields<'r>(
    file: &str,
    line: u64,
    record: &'r csv::ByteRecord,
) -> Result<Vec<&'r str>, Failure> {
    let text = |field: &'r [u8]| {
        std::str::from_utf8(field)
            .map_err(|error| not_utf8(&format!("`{file}` line {line}"), error.valid_up_to()))
    };
    record.iter().map(text).collect()
}

fn bad_csv(file: &str, error: &csv::Error) -> Failure {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => Failure::input(format!(
            "`{file}` line {} has {len} fields and the first line names {expected_len} columns",
            pos.as_ref().map_or(0, csv::Position::line),
        )),
        csv::ErrorKind::Io(error) => unreadable(file, error),
        _ => Failure::input(format!("`{file}` cannot be read: {error}")),
    }
}
