//! Compares text with a file; `UPDATE=1` in the environment writes the file instead. Does not know
//! what the text is.

use std::path::Path;

/// Fails with the first line that differs, unless the file is to be rewritten.
pub fn check(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(path, actual).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let expected = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes it", path.display()));
    if let Some(report) = difference(&expected, actual) {
        panic!("{} differs; UPDATE=1 rewrites it\n{report}\n\n{actual}", path.display());
    }
}

/// The first line that differs, from both sides.
fn difference(expected: &str, actual: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let mut expected_lines = expected.lines();
    let mut actual_lines = actual.lines();
    for number in 1.. {
        let (before, now) = (expected_lines.next(), actual_lines.next());
        if before != now {
            let show = |line: Option<&str>| line.map_or("the end".to_string(), str::to_string);
            return Some(format!("line {number}\n  was {}\n  now {}", show(before), show(now)));
        }
        if before.is_none() {
            break;
        }
    }
    Some("the same lines, with other line ends".to_string())
}
