//! `read_text`: running text from files. Knows columns and documents; does not know tokens.

use std::path::{Path, PathBuf};

use crate::train::data::columns::{Columns, each_file, not_empty, quoted, text};
use crate::train::data::files::{self, Format};
use crate::train::data::rows::{Text, Writer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadText {
    pub files: Vec<PathBuf>,
    pub documents: Documents,
    /// Stands between two documents of a text file.
    pub separator: Option<String>,
    pub column: Option<String>,
    pub ignore: Vec<String>,
}

/// What is a document in a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    File,
    /// Lines up to a blank one.
    Paragraphs,
    Lines,
}

/// Makes `out`, rows of [`Text`].
pub fn run(params: &ReadText, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    check(params)?;
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let column = params.column.as_deref();
    let mut columns = Columns::new(column.into_iter().collect(), vec![], &params.ignore);
    let (mut texts, mut tables) = (0, 0);
    let (mut bytes, mut blank) = (0u64, 0u64);
    let unread = columns.unread();
    each_file(&params.files, ctx, |path, _| {
        let mut write = |text: &str| {
            if text.trim().is_empty() {
                blank += 1;
                return Ok(());
            }
            bytes += text.len() as u64;
            out.write(&Text { text: text.into() })
        };
        if Format::of(path)? == Format::Text {
            texts += 1;
            return match &params.separator {
                Some(mark) => parted(path, mark, &mut write),
                None => documents(path, params.documents, &mut write),
            };
        }
        tables += 1;
        files::records(path, &unread, &mut |place, record| {
            let column = column.ok_or_else(|| {
                let names = quoted(record.keys());
                Failure::input(format!("{place} has columns and `column` names none of them"))
                    .remedy(format!("set `column` to the one that holds the text: {names}"))
            })?;
            columns.check(place, &record)?;
            write(text(place, &record, column)?)
        })
    })?;
    let rows = out.finish()?;
    not_empty(rows, &params.files)?;
    columns.finish()?;
    check_use(params, texts, tables)?;
    if blank > 0 && tables > 0 {
        ctx.progress.notice(&format!("{blank} blank rows are left out"));
    }
    Ok(vec![("rows".into(), rows as f64), ("bytes".into(), bytes as f64)])
}

/// Parameters that contradict each other.
fn check(params: &ReadText) -> Result<(), Failure> {
    match &params.separator {
        Some(mark) if mark.is_empty() => Err(Failure::input("`separator` is empty")
            .remedy("name the mark between two documents, or leave `separator` out")),
        Some(_) if params.documents != Documents::File => {
            Err(Failure::input("`separator` and `documents` both say what a document is")
                .remedy("leave one of them out"))
        }
        _ => Ok(()),
    }
}

/// A parameter that none of the files made use of.
fn check_use(params: &ReadText, texts: usize, tables: usize) -> Result<(), Failure> {
    if tables == 0 && params.column.is_some() {
        return Err(Failure::input("`column` is set and text files have no columns")
            .remedy("leave `column` out"));
    }
    if texts == 0 && params.documents != Documents::File {
        return Err(Failure::input("`documents` is set and none of the files is a `.txt`")
            .remedy("leave `documents` out: here each row is a document"));
    }
    if texts == 0 && params.separator.is_some() {
        return Err(Failure::input("`separator` is set and none of the files is a `.txt`")
            .remedy("leave `separator` out: here each row is a document"));
    }
    Ok(())
}

/// Documents between two marks, without the line ends beside them.
fn parted(
    path: &Path,
    mark: &str,
    write: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut parts = files::parts(path, mark)?;
    while let Some(document) = parts.next_part()? {
        write(document.trim_matches(['\n', '\r']))?;
    }
    Ok(())
}

fn documents(
    path: &Path,
    documents: Documents,
    write: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if documents == Documents::File {
        return write(&files::whole_text(path)?);
    }
    let mut lines = files::lines(path)?;
    let mut paragraph = String::new();
    while let Some(line) = lines.next_line()? {
        if documents == Documents::Lines {
            write(line)?;
        } else if line.trim().is_empty() {
            write(&paragraph)?;
            paragraph.clear();
        } else {
            if !paragraph.is_empty() {
                paragraph.push('\n');
            }
            paragraph.push_str(line);
        }
    }
    write(&paragraph)
}
