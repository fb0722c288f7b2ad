//! The dispatch: which stage kinds there are, how each is decoded from plain values, and which
//! function does its work. Knows no digests and no schedules.

use std::ffi::OsStr;

use anyhow::{Result, bail};

use super::inputs::Fields;
use crate::build::executor::{Job, Keyed};
use crate::eval;
use crate::eval::run::Task;
use crate::eval::task::answers::{Answers, Score};
use crate::eval::task::perplexity::Perplexity;
use crate::lang::value::{Quantity, Unit};
use crate::train::data::chat::Template;
use crate::train::data::pack::Packing;
use crate::train::data::vocabulary::Manner;
use crate::train::model::ModelConfig;
use crate::train::model::activations::Keep;
use crate::train::optim::{AdamW, Schedule, schedule::WarmUp};
use crate::train::progress::{Context, Failure, Metrics};
use crate::train::stage::command::{self, Command};
use crate::train::stage::read_benchmark::{self, ReadBenchmark};
use crate::train::stage::read_chat::{self, ChatShape, ReadChat};
use crate::train::stage::read_text::{self, Documents, ReadText};
use crate::train::stage::smallworld::{self, Smallworld};
use crate::train::stage::split::{self, HeldOut, Split};
use crate::train::stage::train_tokenizer::{self, TrainTokenizer};
use crate::train::stage::{BatchSize, Generate, Length, Numerics, Pretrain, Sft, Training};
use crate::train::stage::{generate, pretrain, sft};

/// A stage kind: its name in the library, and its semantic version, which is bumped whenever the
/// bits of its results change.
pub struct Kind {
    pub name: &'static str,
    pub version: u32,
    /// What decides on those bits.
    pub keyed: Keyed,
}

const fn kind(name: &'static str, version: u32) -> Kind {
    Kind { name, version, keyed: Keyed { outside: &[], input_names: false } }
}

/// A kind that trains: how many rows are computed at once, and what is computed twice, does not
/// change a bit.
const fn trains(name: &'static str, version: u32) -> Kind {
    Kind {
        name,
        version,
        keyed: Keyed { outside: &["gradient_checkpointing", "micro_batch"], input_names: false },
    }
}

/// Every stage kind that can be run here.
pub const KINDS: &[Kind] = &[
    kind("command", 1),
    Kind { name: "eval", version: 1, keyed: Keyed { outside: &[], input_names: true } },
    kind("generate", 2),
    trains("pretrain", 1),
    kind("read_benchmark", 1),
    kind("read_chat", 1),
    kind("read_text", 1),
    trains("sft", 1),
    kind("smallworld.generate", 1),
    kind("split", 1),
    kind("train_tokenizer", 1),
];

/// The parameters of one action, decoded.
#[derive(Debug)]
pub enum Work {
    Command(Command),
    Eval(eval::run::Params),
    Generate(Generate),
    Pretrain(Pretrain),
    ReadBenchmark(ReadBenchmark),
    ReadChat(ReadChat),
    ReadText(ReadText),
    Sft(Sft),
    Smallworld(Smallworld),
    Split(Split),
    TrainTokenizer(TrainTokenizer),
}

impl Work {
    /// Reads every parameter of the job's action, once, and refuses leftovers.
    pub fn decode(job: &Job<'_>) -> Result<Work> {
        let fields = Fields::of(job);
        let work = match job.action.kind.as_str() {
            "command" => Work::Command(command_of(&fields)?),
            "eval" => Work::Eval(eval_of(&fields)?),
            "generate" => Work::Generate(generate_of(&fields)?),
            "pretrain" => Work::Pretrain(pretrain_of(&fields)?),
            "read_benchmark" => Work::ReadBenchmark(read_benchmark_of(&fields)?),
            "read_chat" => Work::ReadChat(read_chat_of(&fields)?),
            "read_text" => Work::ReadText(read_text_of(&fields)?),
            "sft" => Work::Sft(sft_of(&fields)?),
            "smallworld.generate" => Work::Smallworld(smallworld_of(&fields)?),
            "split" => Work::Split(split_of(&fields)?),
            "train_tokenizer" => Work::TrainTokenizer(train_tokenizer_of(&fields)?),
            other => bail!("there is no stage kind `{other}`"),
        };
        fields.finish()?;
        Ok(work)
    }

    /// Does the work. `search_path` is the `PATH` that external programs see.
    pub fn run(&self, search_path: &OsStr, context: &mut Context<'_>) -> Result<Metrics, Failure> {
        match self {
            Work::Command(params) => command::run(params, search_path, context),
            Work::Eval(params) => eval::run::run(params, context),
            Work::Generate(params) => generate::run(params, context),
            Work::Pretrain(params) => pretrain::run(params, context),
            Work::ReadBenchmark(params) => read_benchmark::run(params, context),
            Work::ReadChat(params) => read_chat::run(params, context),
            Work::ReadText(params) => read_text::run(params, context),
            Work::Sft(params) => sft::run(params, context),
            Work::Smallworld(params) => smallworld::run(params, context),
            Work::Split(params) => split::run(params, context),
            Work::TrainTokenizer(params) => train_tokenizer::run(params, context),
        }
    }
}

fn size(fields: &Fields<'_>, name: &str) -> Result<usize> {
    Ok(usize::try_from(fields.count(name)?)?)
}

fn command_of(fields: &Fields<'_>) -> Result<Command> {
    Ok(Command {
        argv: fields.texts("argv")?,
        inputs: fields.paths_by_name("inputs")?.into_iter().collect(),
        environment: fields.texts_by_name("environment")?.into_iter().collect(),
        outputs: fields.texts("outputs")?,
    })
}

fn eval_of(fields: &Fields<'_>) -> Result<eval::run::Params> {
    Ok(eval::run::Params {
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

fn generate_of(fields: &Fields<'_>) -> Result<Generate> {
    Ok(Generate {
        model: fields.artifact("model")?,
        prompts: fields.artifact("prompts")?,
        samples: size(fields, "samples")?,
        max_answer: size(fields, "max_answer")?,
        temperature: fields.number("temperature")?,
        top_k: fields.optional("top_k", size)?,
        top_p: fields.optional("top_p", Fields::number)?,
        seed: fields.seed("seed")?,
    })
}

fn pretrain_of(fields: &Fields<'_>) -> Result<Pretrain> {
    Ok(Pretrain {
        model: fields.within("model", |_, fields| architecture_of(fields))?,
        tokenizer: fields.artifact("tokenizer")?,
        data: fields.mix("data")?,
        context: size(fields, "context")?,
        batch: batch_of(fields.quantity("batch")?)?,
        training: training_of(fields)?,
    })
}

/// The shape of a model, from the record `llama2.architecture`.
pub fn architecture_of(fields: &Fields<'_>) -> Result<ModelConfig> {
    Ok(ModelConfig {
        dim: size(fields, "dim")?,
        layers: size(fields, "layers")?,
        heads: size(fields, "heads")?,
        kv_heads: size(fields, "kv_heads")?,
        ffn: size(fields, "ffn")?,
        vocab: size(fields, "vocab")?,
        context: size(fields, "context")?,
        norm_eps: fields.number("norm_eps")?,
        rope: fields.number("rope")?,
        rope_scaling: None,
        tied: false,
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

fn training_of(fields: &Fields<'_>) -> Result<Training> {
    Ok(Training {
        lr: fields.number("lr")?,
        length: length_of(fields.quantity("length")?)?,
        schedule: fields.within("schedule", schedule_of)?,
        optimizer: fields.within("optimizer", |_, fields| adamw_of(fields))?,
        clip: fields.optional("clip", Fields::number)?,
        numerics: match fields.text("numerics")?.as_str() {
            "exact-f32" => Numerics::ExactF32,
            other => bail!("`{other}` is no class of arithmetic"),
        },
        micro_batch: size(fields, "micro_batch")?,
        keep: match fields.flag("gradient_checkpointing")? {
            true => Keep::Residuals,
            false => Keep::Activations,
        },
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

fn adamw_of(fields: &Fields<'_>) -> Result<AdamW> {
    Ok(AdamW {
        beta1: fields.number("beta1")?,
        beta2: fields.number("beta2")?,
        eps: fields.number("eps")?,
        weight_decay: fields.number("weight_decay")?,
    })
}

fn read_benchmark_of(fields: &Fields<'_>) -> Result<ReadBenchmark> {
    Ok(ReadBenchmark {
        files: fields.files("files")?,
        columns: fields.texts("columns")?,
        ignore: fields.texts("ignore")?,
    })
}

fn read_chat_of(fields: &Fields<'_>) -> Result<ReadChat> {
    Ok(ReadChat {
        files: fields.files("files")?,
        shape: fields.within("shape", shape_of)?,
        ignore: fields.texts("ignore")?,
    })
}

fn shape_of(record: &str, fields: &Fields<'_>) -> Result<ChatShape> {
    match record {
        "messages" => Ok(ChatShape::Messages {
            messages: fields.text("messages")?,
            role: fields.text("role")?,
            content: fields.text("content")?,
        }),
        "alpaca" => Ok(ChatShape::Alpaca {
            instruction: fields.text("instruction")?,
            input: fields.optional("input", Fields::text)?,
            output: fields.text("output")?,
            system: fields.optional("system", Fields::text)?,
        }),
        "prompt_completion" => Ok(ChatShape::PromptCompletion {
            prompt: fields.text("prompt")?,
            completion: fields.text("completion")?,
            system: fields.optional("system", Fields::text)?,
        }),
        other => bail!("`{other}` is no shape of dialogues"),
    }
}

fn read_text_of(fields: &Fields<'_>) -> Result<ReadText> {
    Ok(ReadText {
        files: fields.files("files")?,
        documents: match fields.text("documents")?.as_str() {
            "file" => Documents::File,
            "paragraphs" => Documents::Paragraphs,
            "lines" => Documents::Lines,
            other => bail!("`{other}` is no way to cut documents"),
        },
        column: fields.optional("column", Fields::text)?,
        ignore: fields.texts("ignore")?,
    })
}

fn sft_of(fields: &Fields<'_>) -> Result<Sft> {
    Ok(Sft {
        init: fields.artifact("init")?,
        data: fields.mix("data")?,
        template: fields.within("template", |_, fields| template_of(fields))?,
        context: size(fields, "context")?,
        batch: batch_of(fields.quantity("batch")?)?,
        packing: match fields.text("packing")?.as_str() {
            "isolated" => Packing::Isolated,
            "wrapped" => Packing::Wrapped,
            "off" => Packing::Off,
            other => bail!("`{other}` is no way to pack"),
        },
        training: training_of(fields)?,
    })
}

fn template_of(fields: &Fields<'_>) -> Result<Template> {
    Ok(Template {
        name: fields.text("name")?,
        jinja: fields.text("jinja")?,
        bos: fields.text("bos")?,
        eos: fields.text("eos")?,
        forbidden: fields.texts("forbidden")?,
    })
}

fn smallworld_of(fields: &Fields<'_>) -> Result<Smallworld> {
    Ok(Smallworld {
        seed: fields.seed("seed")?,
        documents: size(fields, "documents")?,
        problems: size(fields, "problems")?,
        talks: size(fields, "talks")?,
        pairs: size(fields, "pairs")?,
    })
}

fn split_of(fields: &Fields<'_>) -> Result<Split> {
    let quantity = fields.quantity("held_out")?;
    let held_out = match quantity.unit {
        Unit::Percent => HeldOut::Percent(quantity.as_f64()),
        _ => HeldOut::Rows(quantity.as_whole().unwrap_or(0).try_into()?),
    };
    Ok(Split { data: fields.artifact("data")?, held_out, seed: fields.seed("seed")? })
}

fn train_tokenizer_of(fields: &Fields<'_>) -> Result<TrainTokenizer> {
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
