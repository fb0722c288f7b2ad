//! The parameters of `eval`: its tasks and how answers are scored. Knows fields; does not know
//! scores.

use anyhow::{Result, bail};

use crate::eval::run::{Params, Task};
use crate::eval::task::answers::{Answers, Score};
use crate::eval::task::perplexity::Perplexity;
use crate::exec::inputs::Fields;

pub fn eval_of(fields: &Fields<'_>) -> Result<Params> {
    Ok(Params {
        models: fields.artifacts("models")?,
        tasks: fields.each("tasks", task_of)?,
        limit: fields.optional("limit", Fields::count)?,
        seed: fields.seed("seed")?,
    })
}

fn task_of(record: &str, fields: &Fields<'_>) -> Result<Task> {
    match record {
        "perplexity" => Ok(Task::Perplexity(Perplexity {
            name: fields.text("name")?,
            data: fields.artifact("data")?,
        })),
        "answers" => Ok(Task::Answers(Answers {
            name: fields.text("name")?,
            data: fields.artifact("data")?,
            question: fields.text("question")?,
            answer: fields.text("answer")?,
            score: fields.within("score", score_of)?,
            max_answer: fields.count("max_answer")?,
            training: fields.optional("training", Fields::artifact)?,
        })),
        other => bail!("`{other}` is no task"),
    }
}

fn score_of(record: &str, fields: &Fields<'_>) -> Result<Score> {
    match record {
        "exact_match" => Ok(Score::ExactMatch),
        "last_number" => Ok(Score::LastNumber),
        "slot" => Ok(Score::Slot { forms: fields.text("forms")? }),
        other => bail!("`{other}` is no way to score an answer"),
    }
}
