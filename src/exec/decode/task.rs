//! The parameters of a task that a recipe declares. Knows fields; does not know prompts.

use anyhow::{Result, bail};

use crate::eval::metric::bleu::{Bleu, Smoothing};
use crate::eval::metric::chrf::Chrf;
use crate::eval::metric::extract::{self, Extract};
use crate::eval::metric::measure::{Measure, Rouge, Units};
use crate::eval::metric::tokens::Tokens;
use crate::eval::task::asked::{Asked, Score};
use crate::eval::task::choice::{Choices, OneOf};
use crate::eval::task::posing::{Choose, Examples, Posing};
use crate::eval::task::written::{Mark, Written};
use crate::exec::decode::programs::programs_of;
use crate::exec::inputs::Fields;
use crate::lang::value::Value;
use crate::train::progress::Failure;

pub fn asked_of(fields: &Fields<'_>) -> Result<Asked> {
    Ok(Asked {
        name: fields.text("name")?,
        data: fields.artifact("data")?,
        posing: posing_of(fields)?,
        score: fields.within("score", score_of)?,
        version: fields.count("version")?,
        source: fields.text("source")?,
    })
}

fn posing_of(fields: &Fields<'_>) -> Result<Posing> {
    Ok(Posing {
        before: fields.text("before")?,
        prompt: fields.text("prompt")?,
        answer: fields.optional("answer", Fields::text)?,
        between: fields.text("between")?,
        apart: fields.text("apart")?,
        shots: fields.size("shots")?,
        examples: match fields.peek("examples") {
            Some(Value::List(_)) => Examples::Texts(fields.texts("examples")?),
            Some(Value::Artifact(_)) => Examples::Rows(fields.artifact("examples")?),
            _ => match fields.take("examples")? {
                Value::None => Examples::None,
                other => bail!("`examples` cannot be read from {other:?}"),
            },
        },
        choose: match fields.text("choose")?.as_str() {
            "first" => Choose::First,
            "drawn" => Choose::Drawn,
            "harness" => Choose::Harness,
            other => bail!("`{other}` is no way to choose examples"),
        },
        alike: fields.optional("alike", Fields::text)?,
        example: fields.optional("example", Fields::text)?,
        groups: fields.texts("groups")?,
        chat: fields.flag("chat")?,
    })
}

fn score_of(record: &str, fields: &Fields<'_>) -> Result<Score> {
    Ok(match record {
        "one_of" | "any_of" => Score::Choice(OneOf {
            choices: match fields.peek("choices") {
                Some(Value::List(_)) => Choices::Written(fields.texts("choices")?),
                _ => Choices::Listed(fields.text("choices")?),
            },
            gold: fields.optional("gold", Fields::text)?,
            several: record == "any_of",
        }),
        "programs" => Score::Programs(programs_of(fields)?),
        "written" => Score::Written(Written {
            stop: fields.texts("stop")?,
            max_answer: fields.size("max_answer")?,
            temperature: fields.number("temperature")?,
            samples: fields.size("samples")?,
            accept: fields.optional("accept", Fields::text)?,
            wrong: fields.optional("wrong", Fields::text)?,
            marks: fields.each("marks", mark_of)?,
        }),
        other => bail!("`{other}` is no way to score a task"),
    })
}

fn mark_of(record: &str, fields: &Fields<'_>) -> Result<Mark> {
    Ok(match record {
        "exact_match" => Mark::ExactMatch,
        "last_number" => Mark::LastNumber,
        "extract" => Mark::Extract(extract_of(fields)?),
        "bleu" => Mark::Like(Measure::Bleu(bleu_of(fields)?)),
        "chrf" => Mark::Like(Measure::Chrf(Chrf {
            words: fields.flag("words")?,
            lowercase: fields.flag("lowercase")?,
        })),
        "rouge" => Mark::Like(Measure::Rouge(rouge_of(fields)?)),
        other => bail!("`{other}` is no way to read an answer"),
    })
}

fn bleu_of(fields: &Fields<'_>) -> Result<Bleu> {
    Ok(Bleu {
        tokens: match fields.text("tokens")?.as_str() {
            "13a" => Tokens::Thirteen,
            "intl" => Tokens::International,
            "char" => Tokens::Characters,
            "none" => Tokens::None,
            other => bail!("`{other}` is no way to cut a text"),
        },
        lowercase: fields.flag("lowercase")?,
        smoothing: fields.within("smoothing", |record, fields| {
            Ok(match record {
                "exponential" => Smoothing::Exponential,
                "floor" => Smoothing::Floor(fields.number("value")?),
                "add_k" => Smoothing::AddK(fields.number("value")?),
                "unsmoothed" => Smoothing::None,
                other => bail!("`{other}` is no smoothing"),
            })
        })?,
        effective_order: fields.flag("effective_order")?,
    })
}

fn rouge_of(fields: &Fields<'_>) -> Result<Rouge> {
    Ok(Rouge {
        of: match fields.text("of")?.as_str() {
            "1" => Units::Words(1),
            "2" => Units::Words(2),
            "L" => Units::Text,
            "Lsum" => Units::Sentences,
            other => bail!("`{other}` is nothing that ROUGE counts"),
        },
        stemmed: fields.flag("stemmed")?,
        sentences: fields.optional("sentences", Fields::text)?,
        name: fields.optional("name", Fields::text)?,
    })
}

fn extract_of(fields: &Fields<'_>) -> Result<Extract> {
    let written = extract::Written {
        name: fields.optional("name", Fields::text)?,
        pattern: fields.optional("pattern", Fields::text)?,
        last: match fields.text("pick")?.as_str() {
            "first" => false,
            "last" => true,
            other => bail!("`{other}` is no way to pick one of several"),
        },
        ignore: fields.texts("ignore")?,
        ignore_case: fields.flag("ignore_case")?,
        ignore_punctuation: fields.flag("ignore_punctuation")?,
    };
    Extract::new(written).map_err(|failure| match failure {
        Failure::Input { message, .. } => anyhow::anyhow!(message),
        other => anyhow::anyhow!("{other:?}"),
    })
}
