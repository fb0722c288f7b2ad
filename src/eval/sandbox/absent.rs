//! What stands for the process inside where there is no sandbox: a clear refusal.

use std::io::{self, Write};
use std::process::ExitCode;

use super::protocol::Report;

/// Refuses.
pub fn main() -> ExitCode {
    let report = Report::Refused("programs of a model are run on Linux only".into());
    let said = serde_json::to_string(&report).expect("a report is plain values");
    drop(writeln!(io::stderr(), "{said}"));
    ExitCode::FAILURE
}
