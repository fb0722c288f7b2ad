//! The parameters of `eval`: its tasks and how answers are scored. Knows fields; does not know
//! scores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::task::asked_of;
use crate::eval::cells::Identities;
use crate::eval::compare::{Compare, Point};
use crate::eval::expect::Expect;
use crate::eval::overlap;
use crate::eval::prompt::pattern;
use crate::eval::reference::{Published, Reference};
use crate::eval::run::{Params, Task};
use crate::eval::task::answers::{Answers, Score};
use crate::eval::task::kept::Kept;
use crate::eval::task::pairs::Pairs;
use crate::eval::task::perplexity::{Perplexity, Replace, Windows};
use crate::eval::task::rewards::Rewards;
use crate::exec::inputs::Fields;

pub fn eval_of(fields: &Fields<'_>) -> Result<Params> {
    Ok(Params {
        identities: Identities {
            models: fields.identities("models")?,
            tasks: fields.identities("tasks")?,
        },
        models: fields.models("models")?,
        tasks: tasks_of(fields)?,
        limit: fields.optional("limit", Fields::count)?,
        seed: fields.seed("seed")?,
        references: fields.each("references", |_, fields| reference_of(fields))?,
        overlap: fields.optional("overlap", Fields::artifact)?,
    })
}

pub fn expect_of(fields: &Fields<'_>) -> Result<Expect> {
    Ok(Expect {
        report: fields.named("report")?,
        model: fields.name_of_model("model")?,
        metric: fields.text("metric")?,
        at_least: fields.optional("at_least", Fields::number)?,
        at_most: fields.optional("at_most", Fields::number)?,
    })
}

pub fn compare_of(fields: &Fields<'_>) -> Result<Compare> {
    let point = |(name, folder): (String, PathBuf)| Point { axes: axes_of(&name), name, folder };
    Ok(Compare {
        reports: fields.artifacts("reports")?.into_iter().map(point).collect(),
        metric: fields.text("metric")?,
        rows: fields.optional("rows", Fields::text)?,
        columns: fields.optional("columns", Fields::text)?,
    })
}

/// The point of a sweep that a stage's name tells: `score[rank: 8, lr: 0.0001]`. A comma inside a
/// text does not part axes.
fn axes_of(name: &str) -> BTreeMap<String, String> {
    let inside = name.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
    let mut is_text = false;
    let parts = inside.unwrap_or("").split(|c| {
        is_text ^= c == '"';
        c == ',' && !is_text
    });
    let axis = |part: &str| {
        let (axis, value) = part.split_once(": ")?;
        Some((axis.trim().to_string(), value.trim_matches('"').to_string()))
    };
    parts.filter_map(axis).collect()
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

pub fn contamination_of(fields: &Fields<'_>) -> Result<overlap::run::Params> {
    Ok(overlap::run::Params {
        tasks: tasks_of(fields)?,
        training: fields.sources("training")?,
        tokenizer: fields.artifact("tokenizer")?,
        longer_than: fields.size("longer_than")?,
        fails: fields.text("contaminated")? == "fail",
    })
}

/// What is asked.
pub fn tasks_of(fields: &Fields<'_>) -> Result<Vec<Task>> {
    fields.each("tasks", task_of)
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
            rewrite: fields.each("rewrite", |_, fields| replace_of(fields))?,
            windows: match fields.text("windows")?.as_str() {
                "apart" => Windows::Apart,
                "rolling" => Windows::Rolling,
                other => bail!("`{other}` is no way to lay windows"),
            },
        }),
        "rewards" => Task::Rewards(rewards_of(fields)?),
        "task" => Task::Asked(Box::new(asked_of(fields)?)),
        other => bail!("`{other}` is no task"),
    })
}

fn replace_of(fields: &Fields<'_>) -> Result<Replace> {
    let pattern = pattern(&fields.text("pattern")?).map_err(anyhow::Error::msg)?;
    Ok(Replace { pattern, by: fields.text("by")? })
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
        "form" => Ok(Score::Form { forms: fields.text("forms")? }),
        "slot" => Ok(Score::Slot { forms: fields.text("forms")? }),
        other => bail!("`{other}` is no way to score an answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::axes_of;

    #[test]
    fn axes_are_read_from_a_name() {
        let told = |name: &str| format!("{:?}", axes_of(name));
        assert_eq!(told("scores"), "{}");
        assert_eq!(told("score[rank: 8, lr: 0.0001]"), r#"{"lr": "0.0001", "rank": "8"}"#);
        assert_eq!(told(r#"s[how: "a, b", k: 1]"#), r#"{"how": "a, b", "k": "1"}"#);
    }
}
