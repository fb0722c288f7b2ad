//! Stands for the reader of Parquet files in a program built without it. Knows nothing of the
//! format.

use std::path::Path;

use super::files::Sink;
use crate::train::progress::Failure;

/// Says that these files cannot be read here.
pub fn records(path: &Path, _unread: &[String], _sink: &mut Sink<'_>) -> Result<(), Failure> {
    let message = format!("`{}` is a Parquet file and this program reads none", path.display());
    Err(Failure::input(message).remedy("build llamake with `--features parquet`"))
}
