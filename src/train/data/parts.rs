//! Texts between two marks in a file, one at a time and of bounded size. Knows the mark; does not
//! know what a text means.

use std::io::BufRead;

use super::lines::{BOM, LARGEST_ROW_BYTES, not_utf8, unreadable};
use crate::train::progress::Failure;

/// The texts of one file that a mark parts.
pub struct Parts {
    file: String,
    reader: Box<dyn BufRead>,
    mark: Vec<u8>,
    /// What was read and not yet handed out, and how far it was searched for the mark.
    buffer: Vec<u8>,
    searched: usize,
    /// Bytes at the front of `buffer` that were handed out.
    done: usize,
    number: usize,
    ended: bool,
}

impl Parts {
    /// Reads from the start of `reader`; `mark` is not empty.
    pub fn new(file: impl Into<String>, reader: Box<dyn BufRead>, mark: &str) -> Parts {
        assert!(!mark.is_empty(), "a mark of nothing");
        Parts {
            file: file.into(),
            reader,
            mark: mark.as_bytes().to_vec(),
            buffer: Vec::new(),
            searched: 0,
            done: 0,
            number: 0,
            ended: false,
        }
    }

    /// The next text; `None` after the last.
    pub fn next_part(&mut self) -> Result<Option<&str>, Failure> {
        self.buffer.drain(..self.done);
        (self.searched, self.done) = (0, 0);
        let Some(length) = self.length()? else { return Ok(None) };
        self.number += 1;
        let place = || format!("`{}` document {}", self.file, self.number);
        if length as u64 > LARGEST_ROW_BYTES {
            return Err(Failure::input(format!("{} is longer than 64 MiB", place()))
                .remedy("set `separator` to the mark that parts the documents of this file"));
        }
        self.done = (length + self.mark.len()).min(self.buffer.len());
        let start = usize::from(self.number == 1 && self.buffer.starts_with(BOM)) * BOM.len();
        match std::str::from_utf8(&self.buffer[start.min(length)..length]) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(not_utf8(&place(), error.valid_up_to() + start)),
        }
    }

    /// Reads on up to a mark or the end; the length of the text before it.
    fn length(&mut self) -> Result<Option<usize>, Failure> {
        loop {
            let unseen = &self.buffer[self.searched..];
            let found = unseen.windows(self.mark.len()).position(|window| window == self.mark);
            if let Some(at) = found {
                return Ok(Some(self.searched + at));
            }
            if self.ended || self.buffer.len() as u64 > LARGEST_ROW_BYTES {
                return Ok((!self.buffer.is_empty()).then_some(self.buffer.len()));
            }
            self.searched = (self.buffer.len() + 1).saturating_sub(self.mark.len());
            let read = self.reader.fill_buf().map_err(|error| unreadable(&self.file, &error))?;
            self.ended = read.is_empty();
            self.buffer.extend_from_slice(read);
            let length = read.len();
            self.reader.consume(length);
        }
    }
}
