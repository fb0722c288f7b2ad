//! The rows of a Parquet file as records, in order. Knows row groups and columns; does not know
//! what a column means.

use std::cell::Cell as Shared;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use parquet::column::reader::get_column_reader;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::columns::{Column, column, unreadable};
use super::footer::{check_chunks, check_footer};
use super::pages::{Checked, check_pages};
use super::schema::{Cells, Node, fields};
use crate::train::data::files::{INFLATES, Record, Sink, most_inflated};
use crate::train::data::lines::LARGEST_ROW_BYTES;
use crate::train::progress::Failure;

/// Gives each row to `sink`, with nothing in the columns that are `unread`.
pub fn records(path: &Path, unread: &[String], sink: &mut Sink<'_>) -> Result<(), Failure> {
    let file = path.display().to_string();
    let broken = |reason: String| Failure::input(format!("`{file}` cannot be read: {reason}"));
    let mut table = Table::open(path, unread).map_err(Failure::io(path))?.map_err(broken)?;
    table.check_types(&file)?;
    let mut row = 0u64;
    for group in 0..table.reader.num_row_groups() {
        let mut columns = guarded(|| table.columns(group)).map_err(broken)?;
        let rows = table.reader.metadata().row_group(group).num_rows();
        for _ in 0..rows {
            row += 1;
            let place = format!("`{file}` row {row}");
            let record = guarded(|| table.record(&mut columns));
            let record = record.map_err(|reason| Failure::input(format!("{place}: {reason}")))?;
            sink(&place, record)?;
        }
    }
    Ok(())
}

/// An open file.
struct Table {
    file: File,
    reader: SerializedFileReader<File>,
    fields: Vec<Node>,
    /// Bytes that pages may still unpack to, and texts may still have.
    pages_left: u64,
    texts_left: u64,
}

impl Table {
    fn open(path: &Path, unread: &[String]) -> std::io::Result<Result<Table, String>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let other = file.try_clone()?;
        Ok(guarded(move || Table::checked(file, other, length, unread)))
    }

    fn checked(
        mut file: File,
        other: File,
        length: u64,
        unread: &[String],
    ) -> Result<Table, String> {
        check_footer(&mut file, length)?;
        let reader = SerializedFileReader::new(other).map_err(|error| error.to_string())?;
        check_chunks(reader.metadata(), length)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let fields = fields(schema.root_schema(), unread)?;
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|other| other.name == field.name) {
                return Err(format!("it names the column `{}` twice", field.name));
            }
        }
        let left = most_inflated(length);
        Ok(Table { file, reader, fields, pages_left: left, texts_left: left })
    }

    /// Fails where a column that is read holds what no JSON file could.
    fn check_types(&self, file: &str) -> Result<(), Failure> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        for field in self.fields.iter().filter(|field| field.is_read()) {
            let bad = field.leaves.clone().find_map(|leaf| unreadable(&schema.column(leaf)));
            if let Some(what) = bad {
                let name = &field.name;
                return Err(Failure::input(format!(
                    "`{file}`: column `{name}` holds {what}, which have no one form in JSON"
                ))
                .remedy(format!("add it to `ignore`, or write `{name}` as text")));
            }
        }
        Ok(())
    }

    /// The columns of a row group that are read, each page of them looked at.
    fn columns(&mut self, group: usize) -> Result<Vec<Option<Column>>, String> {
        let group = self.reader.get_row_group(group).map_err(|error| error.to_string())?;
        let mut columns = Vec::new();
        for field in &self.fields {
            for leaf in field.leaves.clone() {
                if !field.is_read() {
                    columns.push(None);
                    continue;
                }
                let chunk = group.metadata().column(leaf);
                let name = chunk.column_path().string();
                let in_column = |reason: String| format!("column `{name}`: {reason}");
                check_pages(&mut self.file, chunk, &mut self.pages_left).map_err(in_column)?;
                let pages = group.get_column_page_reader(leaf).map_err(|e| e.to_string())?;
                let pages = Box::new(Checked::new(pages, chunk));
                let reader = get_column_reader(chunk.column_descr_ptr(), pages);
                columns.push(Some(column(reader, chunk.column_descr())));
            }
        }
        Ok(columns)
    }

    /// The next record.
    fn record(&mut self, columns: &mut [Option<Column>]) -> Result<Record, String> {
        let mut bytes = 0;
        let mut cells = Cells::new();
        for column in columns {
            let Some(column) = column else {
                cells.push(Default::default());
                continue;
            };
            let (record, text) = column()?;
            bytes += text;
            cells.push(record.into());
        }
        if bytes > LARGEST_ROW_BYTES {
            return Err("it is longer than 64 MiB".into());
        }
        self.texts_left = self.texts_left.checked_sub(bytes).ok_or(INFLATES)?;
        let take = |field: &Node| Ok((field.name.clone(), field.take(&mut cells)?));
        let record = self.fields.iter().map(take).collect::<Result<Record, String>>()?;
        match cells.iter().all(|cells| cells.is_empty()) {
            true => Ok(record),
            false => Err("a column has values left over".into()),
        }
    }
}

thread_local! {
    /// True while code of the crate runs that may panic on a broken file.
    static GUARDED: Shared<bool> = const { Shared::new(false) };
}

/// Turns a panic of the crate into a reason and keeps it from being printed: the crate asserts some
/// of what a broken file breaks.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                loud(panic);
            }
        }));
    });
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(false);
    result.unwrap_or_else(|_| Err("its contents contradict each other".into()))
}
