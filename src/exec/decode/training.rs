//! The parameters of stages that train. Knows fields; does not know steps.

use anyhow::{Result, bail};

use super::model::{architecture_of, template_of};
use crate::exec::inputs::Fields;
use crate::lang::value::{Quantity, Unit};
use crate::train::data::pack::Packing;
use crate::train::data::vocabulary::Manner;
use crate::train::model::activations::Keep;
use crate::train::optim::{AdamW, Bits, Schedule, schedule::WarmUp};
use crate::train::stage::train_tokenizer::TrainTokenizer;
use crate::train::stage::{BatchSize, Length, Numerics, Pretrain, Sft, Training};

pub fn pretrain_of(fields: &Fields<'_>) -> Result<Pretrain> {
    Ok(Pretrain {
        model: fields.within("model", |_, fields| architecture_of(fields))?,
        tokenizer: fields.artifact("tokenizer")?,
        data: fields.mix("data")?,
        context: fields.size("context")?,
        batch: batch_of(fields.quantity("batch")?)?,
        training: moving_training_of(fields)?,
    })
}

pub fn sft_of(fields: &Fields<'_>) -> Result<Sft> {
    Ok(Sft {
        init: fields.artifact("init")?,
        data: fields.mix("data")?,
        template: fields.within("template", |_, fields| template_of(fields))?,
        context: fields.size("context")?,
        batch: batch_of(fields.quantity("batch")?)?,
        packing: match fields.text("packing")?.as_str() {
            "isolated" => Packing::Isolated,
            "wrapped" => Packing::Wrapped,
            "off" => Packing::Off,
            other => bail!("`{other}` is no way to pack"),
        },
        training: moving_training_of(fields)?,
    })
}

/// A batch in tokens or sequences.
pub fn batch_of(quantity: Quantity) -> Result<BatchSize> {
    let whole = quantity.as_whole().and_then(|count| u64::try_from(count).ok());
    match (quantity.unit, whole) {
        (Unit::Tokens, Some(tokens)) => Ok(BatchSize::Tokens(tokens)),
        (Unit::Sequences, Some(sequences)) => Ok(BatchSize::Sequences(sequences)),
        _ => bail!("{quantity:?} is no batch"),
    }
}

/// A length in tokens, steps or epochs.
pub fn length_of(quantity: Quantity) -> Result<Length> {
    let whole = quantity.as_whole().and_then(|count| u64::try_from(count).ok());
    match (quantity.unit, whole) {
        (Unit::Tokens, Some(tokens)) => Ok(Length::Tokens(tokens)),
        (Unit::Steps, Some(steps)) => Ok(Length::Steps(steps)),
        (Unit::Epochs, _) => Ok(Length::Epochs { millionths: quantity.millionths.try_into()? }),
        _ => bail!("{quantity:?} is no length"),
    }
}

/// Of a kind whose weights can move on the way back.
fn moving_training_of(fields: &Fields<'_>) -> Result<Training> {
    let in_backward = fields.younger_flag("optimizer_in_backward")?;
    Ok(Training { in_backward, ..training_of(fields)? })
}

pub fn training_of(fields: &Fields<'_>) -> Result<Training> {
    // A promise is proved before the run, which nothing of it can change.
    fields.take("fits")?;
    Ok(Training {
        lr: fields.number("lr")?,
        length: length_of(fields.quantity("length")?)?,
        schedule: fields.within("schedule", schedule_of)?,
        optimizer: fields.within("optimizer", adamw_of)?,
        clip: fields.optional("clip", Fields::number)?,
        numerics: match fields.text("numerics")?.as_str() {
            "exact-f32" => Numerics::ExactF32,
            "bf16" => Numerics::Bf16,
            other => bail!("`{other}` is no class of arithmetic"),
        },
        micro_batch: fields.size("micro_batch")?,
        keep: match fields.flag("gradient_checkpointing")? {
            true => Keep::Residuals,
            false => Keep::Activations,
        },
        in_backward: false,
        seed: fields.seed("seed")?,
    })
}

fn schedule_of(record: &str, fields: &Fields<'_>) -> Result<Schedule> {
    let quantity = fields.quantity("warmup")?;
    let warmup = match quantity.unit {
        Unit::Percent => WarmUp::Percent { millionths: quantity.millionths.try_into()? },
        _ => WarmUp::Steps(quantity.as_whole().unwrap_or(0).try_into()?),
    };
    match record {
        "cosine" => Ok(Schedule::Cosine { warmup, last: fields.number("final")? }),
        "constant" => Ok(Schedule::Constant { warmup }),
        other => bail!("`{other}` is no schedule"),
    }
}

fn adamw_of(record: &str, fields: &Fields<'_>) -> Result<AdamW> {
    let (bits, page_budget) = match record {
        "adamw" => (Bits::Full, None),
        "adamw8" => (Bits::Eight, fields.optional("page_budget", Fields::count)?),
        "paged_adamw" => (Bits::Full, Some(fields.count("page_budget")?)),
        other => bail!("`{other}` is no optimizer"),
    };
    Ok(AdamW {
        bits,
        page_budget,
        beta1: fields.number("beta1")?,
        beta2: fields.number("beta2")?,
        eps: fields.number("eps")?,
        weight_decay: fields.number("weight_decay")?,
    })
}

pub fn train_tokenizer_of(fields: &Fields<'_>) -> Result<TrainTokenizer> {
    Ok(TrainTokenizer {
        text: fields.mix("text")?,
        dialogues: fields.optional("dialogues", Fields::mix)?,
        template: fields.optional("template", |fields, name| {
            fields.within(name, |_, fields| template_of(fields))
        })?,
        vocab: fields.count("vocab")?,
        manner: match fields.text("manner")?.as_str() {
            "sentencepiece" => Manner::SentencePiece,
            "byte-level" => Manner::ByteLevel,
            other => bail!("`{other}` is no manner of tokenizing"),
        },
        split_digits: fields.flag("split_digits")?,
        byte_fallback: fields.flag("byte_fallback")?,
        bos: fields.text("bos")?,
        eos: fields.text("eos")?,
        unknown: fields.text("unknown")?,
    })
}
