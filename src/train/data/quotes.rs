//! Quotes of a CSV file (RFC 4180, section 2), looked at on the way to what reads its fields, which
//! takes a quote that is never closed for a text that goes on to the end of the file. Knows commas,
//! quotes and line ends; not what a field holds.

use std::io::{Error, ErrorKind, Read, Result};

/// A reader that refuses quotes that do not close a field.
pub struct Quotes<R> {
    inner: R,
    at: Place,
    /// Counted from 1, and the line on which the field began.
    line: u64,
    opened: u64,
}

/// Where in a field the next byte is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Plain,
    Quoted,
    /// Behind a quote that closes the field, unless another one follows.
    Closing,
}

impl<R> Quotes<R> {
    pub fn new(inner: R) -> Quotes<R> {
        Quotes { inner, at: Place::Start, line: 1, opened: 1 }
    }

    fn hear(&mut self, byte: u8) -> Result<()> {
        let ends = matches!(byte, b',' | b'\n' | b'\r');
        self.at = match (self.at, byte) {
            (Place::Start, b'"') => {
                self.opened = self.line;
                Place::Quoted
            }
            (Place::Quoted, b'"') => Place::Closing,
            (Place::Closing, b'"') | (Place::Quoted, _) => Place::Quoted,
            (Place::Closing, _) if !ends => return Err(self.broken()),
            (Place::Plain | Place::Start, _) if !ends => Place::Plain,
            _ => Place::Start,
        };
        self.line += u64::from(byte == b'\n');
        Ok(())
    }

    fn broken(&self) -> Error {
        let message = format!(
            "line {}: a quoted field goes on behind its closing quote; double the quotes in it",
            self.line
        );
        Error::new(ErrorKind::InvalidData, message)
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(into)?;
        into[..read].iter().try_for_each(|byte| self.hear(*byte))?;
        if read == 0 && !into.is_empty() && self.at == Place::Quoted {
            let message = format!("the quote that opens on line {} is never closed", self.opened);
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        let mut read = String::new();
        let error = Quotes::new(text.as_bytes()).read_to_string(&mut read).err();
        assert!(error.is_some() || read == text);
        error.map(|error| error.to_string())
    }

    #[test]
    fn quotes_that_close_are_left_alone() {
        let sound =
            ["", "a,b\n", "\"a\nb\",\"\"\n", "\"say \"\"x\"\"\"\r\n\"y\"", "a\"b,c\"\n", "\"\""];
        for text in sound {
            assert_eq!(told(text), None, "{text:?}");
        }
    }

    #[test]
    fn others_are_told_with_their_lines() {
        let open = told("text\n\"hello\nworld\n").unwrap();
        assert_eq!(open, "the quote that opens on line 2 is never closed");
        let behind = told("text\n\"a\"\n\"x\"y\n").unwrap();
        assert!(behind.starts_with("line 3: a quoted field goes on"), "{behind}");
    }
}
