//! Parquet files, through the column readers of the `parquet` crate. A file's own word is taken for
//! nothing: footer and page headers are checked against the file's length before the crate sees
//! them, and every page again once it is unpacked. Knows the format; does not know what a column
//! means.

mod columns;
mod footer;
mod pages;
mod records;
mod schema;
mod thrift;

pub use records::records;
