//! `read_benchmark`: rows that a task asks about, their named columns kept as they are, and perhaps
//! one that the name of their file tells. Knows columns; does not know tasks.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::train::data::columns::{Columns, each_file, not_empty};
use crate::train::data::files::{self, Format, Table};
use crate::train::data::rows::{Benchmark, Writer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadBenchmark {
    pub files: Vec<PathBuf>,
    pub columns: Vec<String>,
    pub ignore: Vec<String>,
    /// Whether a table of values begins with the names of its columns.
    pub header: bool,
    /// The list of an object that holds the rows.
    pub rows: Option<String>,
    /// A name with a column in braces.
    pub named: Option<String>,
}

/// Makes `out`, rows of [`Benchmark`] with the columns in the order they were named.
pub fn run(params: &ReadBenchmark, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    if params.columns.is_empty() {
        return Err(Failure::input("`columns` names no column")
            .remedy("name those that the task asks about"));
    }
    let named = params.named.as_deref().map(Named::new).transpose()?;
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let required = params.columns.iter().map(String::as_str).collect();
    let mut columns = Columns::new(required, vec![], &params.ignore);
    let unread = columns.unread();
    each_file(&params.files, ctx, |path, _| {
        let told = named.as_ref().map(|named| named.column(path)).transpose()?;
        let mut sink = |place: &str, record: files::Record| {
            columns.check(place, &record)?;
            let kept = params.columns.iter().map(|name| (name.clone(), record[name].clone()));
            out.write(&kept.chain(told.clone()).collect::<Benchmark>())
        };
        match (Format::of(path)?, &params.rows) {
            (Format::Text, _) => {
                let text = Value::String(files::whole_text(path)?);
                let record = std::iter::once(("text".to_string(), text)).collect();
                sink(&format!("`{}`", path.display()), record)
            }
            (Format::Json, Some(rows)) => files::rows_within(path, rows, &mut sink),
            (Format::Csv, _) if !params.header => {
                files::csv(path, Table::Without(&params.columns), &mut sink)
            }
            _ => files::records(path, &unread, &mut sink),
        }
    })?;
    let rows = out.finish()?;
    not_empty(rows, &params.files)?;
    columns.finish()?;
    Ok(vec![("rows".into(), rows as f64)])
}

/// How files are called: what stands between two fixed parts is the value of a column.
struct Named<'p> {
    pattern: &'p str,
    column: &'p str,
    before: &'p str,
    after: &'p str,
}

impl<'p> Named<'p> {
    fn new(pattern: &'p str) -> Result<Named<'p>, Failure> {
        let parts = pattern.split_once("{{").and_then(|(before, rest)| {
            let (column, after) = rest.split_once("}}")?;
            (!column.trim().is_empty() && !after.contains("{{")).then_some((before, column, after))
        });
        let Some((before, column, after)) = parts else {
            return Err(Failure::input(format!(
                "`named` of `{pattern}` has no one name in braces"
            ))
            .remedy("write it like `{{subject}}_test.csv`"));
        };
        Ok(Named { pattern, column: column.trim(), before, after })
    }

    fn column(&self, path: &Path) -> Result<(String, Value), Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inner = name.strip_prefix(self.before).and_then(|rest| rest.strip_suffix(self.after));
        match inner.filter(|inner| !inner.is_empty()) {
            Some(inner) => Ok((self.column.to_string(), inner.into())),
            None => Err(Failure::input(format!("`{name}` is not called like `{}`", self.pattern))
                .remedy("change `named`, or name only files that are called so")),
        }
    }
}
