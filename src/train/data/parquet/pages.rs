//! The pages of a column chunk: their headers are checked before the crate unpacks them, and what
//! came out of them is checked before the crate decodes it. Knows sizes and counts; does not know
//! values.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;

use super::thrift::Walk;
use crate::train::data::files::{INFLATES, most_inflated};

/// Pages are mostly of 1 MiB; a writer that looks after each thousandth value makes larger ones.
const LARGEST_PAGE_BYTES: u64 = 1 << 30;

/// Values of a repeated column in one chunk, besides eight for each byte of it: a run of any length
/// takes a few bytes, and all of it may be one row.
const MOST_REPEATED: u64 = 4 << 20;

/// What the headers of a page say.
struct Header {
    length: u64,
    unpacked: u64,
    packed: u64,
}

/// Walks over the page headers of a chunk. `left` is what the file may still unpack to.
pub fn check_pages(
    file: &mut File,
    chunk: &ColumnChunkMetaData,
    left: &mut u64,
) -> std::result::Result<(), String> {
    let io = |error: std::io::Error| format!("a page is broken: {error}");
    let (mut at, mut remaining) = chunk.byte_range();
    while remaining > 0 {
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        let header = header(file, remaining).map_err(io)?;
        if header.length + header.packed > remaining {
            return Err("a page reaches out of its column".into());
        }
        if header.unpacked > LARGEST_PAGE_BYTES {
            return Err("a page is larger than 1 GiB".into());
        }
        if header.unpacked > most_inflated(header.packed) {
            return Err(INFLATES.into());
        }
        *left = left.checked_sub(header.unpacked).ok_or(INFLATES)?;
        at += header.length;
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        check_stream(file, chunk.compression(), &header)?;
        at += header.packed;
        remaining -= header.length + header.packed;
    }
    Ok(())
}

fn header(file: &mut File, remaining: u64) -> std::io::Result<Header> {
    let (mut unpacked, mut packed) = (None, None);
    let mut walk = Walk::new(BufReader::with_capacity(1 << 10, file.take(remaining)));
    walk.structure(&mut Vec::new(), &mut |path, whole| match path {
        [2] => unpacked = u64::try_from(whole).ok(),
        [3] => packed = u64::try_from(whole).ok(),
        _ => {}
    })?;
    match (unpacked, packed) {
        (Some(unpacked), Some(packed)) => Ok(Header { length: walk.met, unpacked, packed }),
        _ => Err(std::io::Error::other("its header names no size")),
    }
}

/// The crate unpacks these two to their end, whatever the header says; the others stop there.
fn check_stream(
    file: &mut File,
    compression: Compression,
    header: &Header,
) -> std::result::Result<(), String> {
    match compression {
        Compression::GZIP(_) => {
            let inner = MultiGzDecoder::new(BufReader::new(file.take(header.packed)));
            let mut bounded = inner.take(header.unpacked + 1);
            let read = std::io::copy(&mut bounded, &mut std::io::sink());
            match read {
                Ok(bytes) if bytes > header.unpacked => {
                    Err("a page is longer than its header says".into())
                }
                _ => Ok(()),
            }
        }
        Compression::BROTLI(_) => {
            Err("it is compressed with Brotli, whose size cannot be told beforehand".into())
        }
        _ => Ok(()),
    }
}

/// Pages as the crate unpacked them, each checked before it is decoded.
pub struct Checked {
    inner: Box<dyn PageReader>,
    max_rep_level: i16,
    max_def_level: i16,
    /// Values that may still come, if the column is repeated.
    left: u64,
}

impl Checked {
    /// Pages of a chunk.
    pub fn new(inner: Box<dyn PageReader>, chunk: &ColumnChunkMetaData) -> Checked {
        let descr = chunk.column_descr();
        let (max_rep_level, max_def_level) = (descr.max_rep_level(), descr.max_def_level());
        let left = MOST_REPEATED + 8 * chunk.byte_range().1;
        Checked { inner, max_rep_level, max_def_level, left }
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        let (values, encoding) = match page {
            Page::DictionaryPage { buf, num_values, .. } if *num_values as usize > buf.len() => {
                return Err(fault("a dictionary claims more values than bytes"));
            }
            Page::DictionaryPage { .. } => return Ok(()),
            Page::DataPage { num_values, encoding, .. }
            | Page::DataPageV2 { num_values, encoding, .. } => (*num_values, *encoding),
        };
        if self.max_rep_level > 0 {
            self.left = (self.left.checked_sub(u64::from(values)))
                .ok_or_else(|| fault("a list claims far more values than bytes"))?;
        }
        match encoding {
            Encoding::DELTA_BYTE_ARRAY => {
                Err(fault("its texts are encoded as DELTA_BYTE_ARRAY, which is not read"))
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY => match self.lengths(page) {
                Some(lengths) if lengths <= u64::from(values) => Ok(()),
                _ => Err(fault("a page claims more texts than values")),
            },
            _ => Ok(()),
        }
    }

    /// How many lengths of texts a page claims to begin with: the crate makes room for them.
    fn lengths(&self, page: &Page) -> Option<u64> {
        let mut values = match page {
            Page::DataPage { buf, .. } => {
                let mut rest = &buf[..];
                for level in [self.max_rep_level, self.max_def_level] {
                    if level > 0 {
                        let (size, levels) = rest.split_first_chunk::<4>()?;
                        rest = levels.get(u32::from_le_bytes(*size) as usize..)?;
                    }
                }
                rest
            }
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => buf.get(
                (*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize)?..,
            )?,
            Page::DictionaryPage { .. } => return None,
        };
        let (_block, _miniblocks) = (varint(&mut values)?, varint(&mut values)?);
        varint(&mut values)
    }
}

fn fault(text: &str) -> ParquetError {
    ParquetError::General(text.into())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut whole = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        whole |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(whole);
        }
    }
    None
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }
}

impl Iterator for Checked {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}
