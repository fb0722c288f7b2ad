//! What is done with a row that cannot be used. Knows reasons; does not know shapes.

use std::path::PathBuf;

use crate::train::data::columns::not_empty;
use crate::train::progress::{Failure, Metrics, Progress};

/// What a recipe says of faulty rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faulty {
    /// The first one ends the reading.
    Refuse,
    /// Each is left out and named in the log.
    LeaveOut,
}

/// Why a row is not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Its contents cannot be used; the recipe may leave it out.
    Row(Failure),
    /// The recipe does not say what the file holds, so no other row is better.
    Recipe(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Row(failure)
    }
}

/// Lets rows through, and holds the faulty ones back as the recipe says.
pub struct Sieve {
    faulty: Faulty,
    left_out: usize,
    first: Option<String>,
}

impl Sieve {
    /// Nothing was left out so far.
    pub fn new(faulty: Faulty) -> Sieve {
        Sieve { faulty, left_out: 0, first: None }
    }

    /// What a row holds; nothing where it is left out.
    pub fn take<T>(
        &mut self,
        read: Result<T, Refusal>,
        progress: &mut dyn Progress,
    ) -> Result<Option<T>, Failure> {
        match (read, self.faulty) {
            (Ok(row), _) => Ok(Some(row)),
            (Err(Refusal::Row(Failure::Input { message, remedy })), Faulty::Refuse) => {
                let mend = remedy.unwrap_or_else(|| "mend the row".into());
                Err(Failure::input(message)
                    .remedy(format!("{mend}; `faulty: \"leave-out\"` leaves such rows out")))
            }
            (Err(Refusal::Row(Failure::Input { message, .. })), Faulty::LeaveOut) => {
                progress.log(&format!("left out: {message}"));
                self.left_out += 1;
                self.first.get_or_insert(message);
                Ok(None)
            }
            (Err(Refusal::Row(failure) | Refusal::Recipe(failure)), _) => Err(failure),
        }
    }

    /// After the last row: says how many were left out, if any could be, and refuses that none is
    /// left.
    pub fn finish(
        self,
        rows: usize,
        paths: &[PathBuf],
        progress: &mut dyn Progress,
    ) -> Result<Metrics, Failure> {
        let figures = match self.faulty {
            Faulty::Refuse => Metrics::new(),
            Faulty::LeaveOut => vec![("left_out".into(), self.left_out as f64)],
        };
        let Some(first) = self.first else {
            return not_empty(rows, paths).map(|()| figures);
        };
        if rows == 0 {
            let all = format!("no row is left: {} are faulty, the first: {first}", self.left_out);
            return Err(Failure::input(all).remedy("state the shape that the rows have"));
        }
        progress.notice(&format!("{} faulty rows are left out; the log names each", self.left_out));
        Ok(figures)
    }
}
