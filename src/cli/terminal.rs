//! Writing to the terminal: data to standard output, all else to standard error. A reader that
//! went away ends the program quietly. Knows nothing of what is written.

use std::io::{IsTerminal, Write};

/// Writes data, as it is, to standard output.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // As a shell tells of a program that SIGPIPE ended.
            std::process::exit(141);
        }
        note(&format!("standard output: {error}"));
        std::process::exit(2);
    }
}

/// Writes a line for people to standard error; if nobody listens, nothing is lost.
pub fn note(line: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// Whether a person watches standard error, so that lines may be drawn over.
pub fn is_live() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb
}

/// Whether colour is wanted on standard error.
pub fn color() -> bool {
    is_live() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A word as a shell reads it, in quotes where it needs them.
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./+,:@%=".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `0:42`, `31:05`, `2:03:04`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A figure as people read it: counts whole, the rest with four significant digits.
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value}");
    }
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 0.001 => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{value:.digits$}")
        }
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("recipes/a-1.recipe"), "recipes/a-1.recipe");
        assert_eq!(quoted("my notes/a.recipe"), "'my notes/a.recipe'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn times_and_figures() {
        assert_eq!(clock(42.4), "0:42");
        assert_eq!(clock(7384.0), "2:03:04");
        assert_eq!(figure(1.87349), "1.873");
        assert_eq!(figure(0.0123456), "0.01235");
        assert_eq!(figure(12.0), "12");
        assert_eq!(figure(3e-5), "3.00e-5");
    }
}
