//! Lines of UTF-8 text, one at a time and of bounded size. Knows where it is, for messages; does
//! not know what a line means.

use std::io::{BufRead, Read};

use crate::train::progress::Failure;

/// No row is larger, so that a file without line ends cannot take all memory.
pub const LARGEST_ROW_BYTES: u64 = 64 << 20;

/// The lines of one file.
pub struct Lines {
    /// The file as messages name it.
    pub file: String,
    reader: Box<dyn BufRead>,
    number: usize,
    /// Bytes of the lines read.
    bytes: u64,
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads from the start of `reader`.
    pub fn new(file: impl Into<String>, reader: Box<dyn BufRead>) -> Lines {
        Lines { file: file.into(), reader, number: 0, bytes: 0, buffer: Vec::new() }
    }

    /// The place of the line last read.
    pub fn place(&self) -> String {
        format!("`{}` line {}", self.file, self.number)
    }

    /// How many bytes the lines read so far have, with their ends.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line without its end; `None` after the last.
    pub fn next_line(&mut self) -> Result<Option<&str>, Failure> {
        self.buffer.clear();
        let mut bounded = self.reader.by_ref().take(LARGEST_ROW_BYTES + 2);
        let read = bounded.read_until(b'\n', &mut self.buffer);
        read.map_err(|error| unreadable(&self.file, &error))?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += self.buffer.len() as u64;
        for end in [b'\n', b'\r'] {
            if self.buffer.last() == Some(&end) {
                self.buffer.pop();
            }
        }
        if self.buffer.len() as u64 > LARGEST_ROW_BYTES {
            return Err(Failure::input(format!("{} is longer than 64 MiB", self.place()))
                .remedy("break it into rows of less"));
        }
        let start = usize::from(self.number == 1 && self.buffer.starts_with(BOM)) * BOM.len();
        match std::str::from_utf8(&self.buffer[start..]) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(not_utf8(&self.place(), error.valid_up_to() + start)),
        }
    }
}

/// The mark that some editors put at the start of a file.
pub const BOM: &[u8] = "\u{FEFF}".as_bytes();

/// Bytes that are no text.
pub fn not_utf8(place: &str, offset: usize) -> Failure {
    Failure::input(format!("{place} is not UTF-8: byte {} of it cannot be read", offset + 1))
        .remedy("convert the file, for example with `iconv -f latin1 -t utf-8`")
}

/// A file that cannot be read through: broken compression, a failing disk.
pub fn unreadable(file: &str, error: &std::io::Error) -> Failure {
    Failure::input(format!("`{file}` cannot be read: {error}"))
}
