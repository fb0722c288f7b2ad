//! How the length and the batch of a training stage work out: in steps of rows, or in iterations
//! of prompts. Knows parameters of the recipe; does not know rows.

use super::decode::training::length_of;
use super::ledger::{quantity, whole};
use super::needs::{Asks, Needs};
use crate::lang::value::Stage;
use crate::train::stage::length::{BatchSize, Length};

/// A run before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// `1075 steps of 16 sequences`; where the length is in epochs, what one step is.
    pub text: String,
    /// Tokens of the whole run, where the length tells.
    pub tokens: Option<u64>,
}

/// The run of a stage with these needs.
pub fn run(stage: &Stage, needs: &Needs) -> Option<Run> {
    let length = length_of(quantity(stage.params.get("length")?)?).ok()?;
    if let Asks::Answers(_) = needs.asks {
        return iterations(stage, length);
    }
    let (rows, row_tokens) = (needs.rows, needs.texts * needs.context);
    let what = if needs.texts == 2 { "pairs" } else { "sequences" };
    let course = length.course(BatchSize::Sequences(rows), row_tokens, None).ok()?;
    Some(match course {
        None => {
            Run { text: format!("steps of {rows} {what} until the epochs are over"), tokens: None }
        }
        Some(course) => Run {
            text: format!("{} steps of {rows} {what}", course.steps),
            tokens: course.steps.checked_mul(rows)?.checked_mul(row_tokens),
        },
    })
}

/// How much work an iteration is depends on how much the policy says.
fn iterations(stage: &Stage, length: Length) -> Option<Run> {
    let number = |name: &str| whole(stage.params.get(name)?);
    let Length::Steps(iterations) = length else { return None };
    let (batch, mini_batch) = (number("batch")?, number("mini_batch")?);
    let samples = number("samples").map(|samples| format!(" with {samples} answers each"));
    let samples = samples.unwrap_or_default();
    let text = format!("{iterations} iterations of {batch} prompts{samples}, {mini_batch} a step");
    Some(Run { text, tokens: None })
}
