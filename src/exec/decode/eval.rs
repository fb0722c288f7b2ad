//! The parameters of `eval`: its tasks and how answers are scored. Knows fields; does not know
//! scores.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::task::asked_of;
use crate::eval::cells::Identities;
use crate::eval::reference::{Published, Reference};
use crate::eval::run::{Params, Task};
use crate::eval::task::answers::{Answers, Score};
use crate::eval::task::kept::Kept;
use crate::eval::task::pairs::Pairs;
use crate::eval::task::perplexity::Perplexity;
use crate::eval::task::rewards::Rewards;
use crate::exec::inputs::Fields;

pub fn eval_of(fields: &Fields<'_>) -> Result<Params> {
    Ok(Params {
        identities: Identities {
            models: fields.identities("models")?,
            tasks: fields.identities("tasks")?,
        },
        models: fields.models("models")?,
        tasks: fields.each("tasks", task_of)?,
        limit: fields.optional("limit", Fields::count)?,
        seed: fields.seed("seed")?,
        references: fields.each("references", |_, fields| reference_of(fields))?,
    })
}

fn reference_of(fields: &Fields<'_>) -> Result<Reference> {
    Ok(Reference {
        source: fields.text("source")?,
        setup: fields.text("setup")?,
        columns: fields.texts("columns")?,
        rows: fields.each("rows", |_, fields| {
            Ok(Published {
                model: fields.text("model")?,
                figures: fields.optional_numbers("figures")?,
            })
        })?,
    })
}

fn task_of(record: &str, fields: &Fields<'_>) -> Result<Task> {
    Ok(match record {
        "answers" => Task::Answers(answers_of(fields)?),
        "kept" => Task::Kept(kept_of(fields)?),
        "pairs" => {
            Task::Pairs(Pairs { name: fields.text("name")?, data: fields.artifact("data")? })
        }
        "perplexity" => Task::Perplexity(Perplexity {
            name: fields.text("name")?,
            data: fields.artifact("data")?,
        }),
        "rewards" => Task::Rewards(rewards_of(fields)?),
        "task" => Task::Asked(Box::new(asked_of(fields)?)),
        other => bail!("`{other}` is no task"),
    })
}

fn answers_of(fields: &Fields<'_>) -> Result<Answers> {
    Ok(Answers {
        name: fields.text("name")?,
        data: fields.artifact("data")?,
        question: fields.text("question")?,
        answer: fields.text("answer")?,
        score: fields.within("score", score_of)?,
        temperature: fields.number("temperature")?,
        samples: fields.size("samples")?,
        max_answer: fields.size("max_answer")?,
        training: fields.optional("training", Fields::artifact)?,
    })
}

fn kept_of(fields: &Fields<'_>) -> Result<Kept> {
    Ok(Kept {
        name: fields.text("name")?,
        data: fields.artifact("data")?,
        turns: fields.text("turns")?,
        begins: fields.text("begins")?,
        ends: fields.text("ends")?,
        at: fields.sizes("at")?.into_iter().collect::<BTreeSet<_>>(),
        max_answer: fields.size("max_answer")?,
    })
}

fn rewards_of(fields: &Fields<'_>) -> Result<Rewards> {
    Ok(Rewards {
        name: fields.text("name")?,
        prompts: fields.artifact("prompts")?,
        judge: fields.model("judge")?,
        reference: fields.optional("reference", Fields::artifact)?,
        samples: fields.size("samples")?,
        temperature: fields.number("temperature")?,
        max_answer: fields.size("max_answer")?,
    })
}

fn score_of(record: &str, fields: &Fields<'_>) -> Result<Score> {
    match record {
        "exact_match" => Ok(Score::ExactMatch),
        "last_number" => Ok(Score::LastNumber),
        "slot" => Ok(Score::Slot { forms: fields.text("forms")? }),
        other => bail!("`{other}` is no way to score an answer"),
    }
}
