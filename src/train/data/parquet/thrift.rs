//! Thrift's compact protocol, in which Parquet writes its footer and page headers: a walk over a
//! structure that meets every whole number. It allocates nothing. Does not know what a field means.

use std::io::{Error, Read, Result, copy, sink};

/// Structures and lists lie in each other no deeper; those of Parquet do to nine.
const DEEPEST: usize = 16;

/// A walk over bytes that may end too early or hold anything.
pub struct Walk<R> {
    reader: R,
    /// Bytes met so far.
    pub met: u64,
}

/// Takes each whole number with the numbers of the fields it lies in.
pub type Visit<'v> = &'v mut dyn FnMut(&[i16], i64);

impl<R: Read> Walk<R> {
    /// Begins with a structure.
    pub fn new(reader: R) -> Walk<R> {
        Walk { reader, met: 0 }
    }

    /// A structure, up to the byte that ends it.
    pub fn structure(&mut self, path: &mut Vec<i16>, visit: Visit<'_>) -> Result<()> {
        if path.len() >= DEEPEST {
            return Err(Error::other("it is nested too deep"));
        }
        let mut field = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            field = match head >> 4 {
                0 => self.whole()? as i16,
                step => field.wrapping_add(i16::from(step)),
            };
            path.push(field);
            // A truth value lies in its head.
            if !matches!(head & 15, 1 | 2) {
                self.value(head & 15, path, visit)?;
            }
            path.pop();
        }
    }

    fn value(&mut self, kind: u8, path: &mut Vec<i16>, visit: Visit<'_>) -> Result<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                let whole = self.whole()?;
                visit(path, whole);
                Ok(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(path, visit),
            11 => Err(Error::other("it has a map, and Parquet has none")),
            12 => self.structure(path, visit),
            13 => self.skip(16),
            other => Err(Error::other(format!("there is no type {other}"))),
        }
    }

    /// Every element is met, so a list is no longer than the bytes that hold it. A structure of
    /// Parquet takes three bytes at least; fewer are a trick to have much memory reserved.
    fn list(&mut self, path: &mut Vec<i16>, visit: Visit<'_>) -> Result<()> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        // A list in a list is a level too.
        if path.len() >= DEEPEST {
            return Err(Error::other("it is nested too deep"));
        }
        path.push(0);
        let start = self.met;
        for _ in 0..length {
            self.value(head & 15, path, visit)?;
        }
        path.pop();
        if head & 15 == 12 && (self.met - start) / 3 < length {
            return Err(Error::other("a list holds empty structures"));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.met += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64> {
        let mut whole = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            whole |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(whole);
            }
        }
        Err(Error::other("a number is too long"))
    }

    fn whole(&mut self) -> Result<i64> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = copy(&mut self.reader.by_ref().take(bytes), &mut sink())?;
        self.met += skipped;
        if skipped < bytes { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
