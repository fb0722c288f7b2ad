//! What can be checked of a Parquet file without unpacking it: the footer, and that the column
//! chunks lie in the file and do not share its bytes. Knows offsets and sizes; reads no values.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;

use super::thrift::Walk;

/// The mark at both ends of a file.
const MARK: &[u8] = b"PAR1";

/// The mark, and before it the length of the footer.
const TAIL_BYTES: u64 = 8;

/// Footers of thousands of row groups stay below.
const LARGEST_FOOTER_BYTES: u64 = 32 << 20;

/// The crate reads the schema by recursion; so deep a schema is nobody's.
const MOST_GROUPS: usize = 500;

/// Fails where the footer is cut, lies about its size, or describes a schema too deep.
pub fn check_footer(file: &mut File, length: u64) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    let mut tail = [0; TAIL_BYTES as usize];
    if length < TAIL_BYTES + MARK.len() as u64 {
        return Err("it is no Parquet file: it is too short".into());
    }
    file.seek(SeekFrom::Start(length - TAIL_BYTES)).map_err(io)?;
    file.read_exact(&mut tail).map_err(io)?;
    let (size, mark) = tail.split_at(4);
    if mark == b"PARE" {
        return Err("it is encrypted".into());
    }
    if mark != MARK {
        return Err("it is no Parquet file, or is cut off: its end is missing".into());
    }
    let size = u64::from(u32::from_le_bytes(size.try_into().expect("four bytes")));
    if size > length - TAIL_BYTES - MARK.len() as u64 {
        return Err(format!("its footer claims {size} bytes and the file has {length}"));
    }
    if size > LARGEST_FOOTER_BYTES {
        return Err("its footer is larger than 32 MiB".into());
    }
    let mut groups = 0;
    file.seek(SeekFrom::Start(length - TAIL_BYTES - size)).map_err(io)?;
    let mut walk = Walk::new(BufReader::new(file.take(size)));
    let walked = walk.structure(&mut Vec::new(), &mut |path, whole| {
        // The children of an element of the schema.
        groups += usize::from(path == [2, 0, 5] && whole > 0);
    });
    walked.map_err(|error| format!("its footer is broken: {error}"))?;
    match groups > MOST_GROUPS {
        true => Err(format!("its schema has {groups} groups of fields; {MOST_GROUPS} are read")),
        false => Ok(()),
    }
}

/// Fails where column chunks reach outside the file, or claim more bytes together than it has.
pub fn check_chunks(metadata: &ParquetMetaData, length: u64) -> Result<(), String> {
    let mut claimed = 0u64;
    let columns = metadata.file_metadata().schema_descr().num_columns();
    for (number, group) in (1..).zip(metadata.row_groups()) {
        if group.num_columns() != columns {
            return Err(format!("row group {number} does not have the columns of the schema"));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let place = (u64::try_from(start), u64::try_from(column.compressed_size()));
            let end = match place {
                (Ok(start), Ok(size)) => start.checked_add(size),
                _ => None,
            };
            if end.is_none_or(|end| end > length) {
                let name = column.column_path().string();
                return Err(format!("column `{name}` of row group {number} lies outside the file"));
            }
            claimed = claimed.saturating_add(column.compressed_size() as u64);
        }
    }
    match claimed > length {
        true => Err("its columns claim more bytes than the file has".into()),
        false => Ok(()),
    }
}
