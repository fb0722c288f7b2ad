//! The parameters of stages that make rows and files. Knows fields; does not know files.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::exec::inputs::Fields;
use crate::lang::value::Unit;
use crate::train::data::shapes::preference::PromptColumns;
use crate::train::data::shapes::tree::Paths;
use crate::train::data::shapes::{ChatShape, Faulty, PreferenceShape, PromptShape};
use crate::train::stage::command::Command;
use crate::train::stage::fetch::Fetch;
use crate::train::stage::read_benchmark::ReadBenchmark;
use crate::train::stage::read_chat::ReadChat;
use crate::train::stage::read_preferences::ReadPreferences;
use crate::train::stage::read_prompts::ReadPrompts;
use crate::train::stage::read_text::{Documents, ReadText};
use crate::train::stage::smallworld::Smallworld;
use crate::train::stage::split::{HeldOut, Split};

pub fn command_of(fields: &Fields<'_>) -> Result<Command> {
    Ok(Command {
        argv: fields.texts("argv")?,
        inputs: fields.paths_by_name("inputs")?.into_iter().collect(),
        environment: fields.texts_by_name("environment")?.into_iter().collect(),
        outputs: fields.texts("outputs")?,
    })
}

pub fn fetch_of(fields: &Fields<'_>) -> Result<Fetch> {
    Ok(Fetch {
        url: fields.text("url")?,
        sha256: fields.optional("sha256", Fields::text)?,
        blake3: fields.optional("blake3", Fields::text)?,
        name: fields.optional("name", Fields::text)?,
    })
}

pub fn read_benchmark_of(fields: &Fields<'_>) -> Result<ReadBenchmark> {
    benchmark_of(fields.files("files")?, fields)
}

/// The fields that say how files are read, wherever they come from.
pub fn benchmark_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadBenchmark> {
    Ok(ReadBenchmark {
        files,
        columns: fields.texts("columns")?,
        ignore: fields.texts("ignore")?,
        header: fields.flag("header")?,
        rows: fields.optional("rows", Fields::text)?,
        named: fields.optional("named", Fields::text)?,
    })
}

pub fn read_chat_of(fields: &Fields<'_>) -> Result<ReadChat> {
    chat_of(fields.files("files")?, fields)
}

/// The fields that say how files are read, wherever they come from.
pub fn chat_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadChat> {
    Ok(ReadChat {
        files,
        shape: fields.within("shape", chat_shape_of)?,
        ignore: fields.texts("ignore")?,
        faulty: faulty_of(fields)?,
    })
}

pub fn read_preferences_of(fields: &Fields<'_>) -> Result<ReadPreferences> {
    preferences_of(fields.files("files")?, fields)
}

/// The fields that say how files are read, wherever they come from.
pub fn preferences_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadPreferences> {
    Ok(ReadPreferences {
        files,
        shape: fields.within("shape", preference_shape_of)?,
        ignore: fields.texts("ignore")?,
        faulty: faulty_of(fields)?,
    })
}

pub fn read_prompts_of(fields: &Fields<'_>) -> Result<ReadPrompts> {
    prompts_of(fields.files("files")?, fields)
}

/// The fields that say how files are read, wherever they come from.
pub fn prompts_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadPrompts> {
    Ok(ReadPrompts {
        files,
        shape: fields.within("shape", prompt_shape_of)?,
        ignore: fields.texts("ignore")?,
        faulty: faulty_of(fields)?,
    })
}

fn faulty_of(fields: &Fields<'_>) -> Result<Faulty> {
    match fields.text("faulty")?.as_str() {
        "refuse" => Ok(Faulty::Refuse),
        "leave-out" => Ok(Faulty::LeaveOut),
        other => bail!("`{other}` is nothing that can be done with faulty rows"),
    }
}

fn chat_shape_of(record: &str, fields: &Fields<'_>) -> Result<ChatShape> {
    match record {
        "messages" => Ok(ChatShape::Messages {
            messages: fields.text("messages")?,
            role: fields.text("role")?,
            content: fields.text("content")?,
        }),
        "sharegpt" => Ok(ChatShape::Messages {
            messages: fields.text("conversations")?,
            role: fields.text("from")?,
            content: fields.text("value")?,
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
        "self_instruct" => Ok(ChatShape::SelfInstruct {
            instruction: fields.text("instruction")?,
            instances: fields.text("instances")?,
            input: fields.text("input")?,
            output: fields.text("output")?,
        }),
        "oasst" => Ok(ChatShape::Oasst {
            tree: fields.text("tree")?,
            paths: match fields.text("paths")?.as_str() {
                "best" => Paths::Best,
                "all" => Paths::All,
                other => bail!("`{other}` is no choice of paths"),
            },
        }),
        other => bail!("`{other}` is no shape of dialogues"),
    }
}

fn preference_shape_of(record: &str, fields: &Fields<'_>) -> Result<PreferenceShape> {
    Ok(PreferenceShape {
        prompt: match record {
            "preference" => PromptColumns::Prompt(fields.optional("prompt", Fields::text)?),
            "hh" => PromptColumns::Transcript,
            "alpaca_preference" => PromptColumns::Alpaca {
                instruction: fields.text("instruction")?,
                input: fields.optional("input", Fields::text)?,
            },
            "sharegpt_preference" => PromptColumns::Turns {
                conversations: fields.text("conversations")?,
                from: fields.text("from")?,
                value: fields.text("value")?,
            },
            other => bail!("`{other}` is no shape of preferences"),
        },
        chosen: fields.text("chosen")?,
        rejected: fields.text("rejected")?,
        rating: fields.optional("rating", Fields::text)?,
    })
}

fn prompt_shape_of(record: &str, fields: &Fields<'_>) -> Result<PromptShape> {
    match record {
        "prompt" => Ok(PromptShape::Prompt {
            prompt: fields.text("prompt")?,
            system: fields.optional("system", Fields::text)?,
        }),
        "turns" => Ok(PromptShape::Turns { turns: fields.text("turns")? }),
        other => bail!("`{other}` is no shape of prompts"),
    }
}

pub fn read_text_of(fields: &Fields<'_>) -> Result<ReadText> {
    text_of(fields.files("files")?, fields)
}

/// The fields that say how files are read, wherever they come from.
pub fn text_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadText> {
    Ok(ReadText {
        files,
        documents: match fields.text("documents")?.as_str() {
            "file" => Documents::File,
            "paragraphs" => Documents::Paragraphs,
            "lines" => Documents::Lines,
            other => bail!("`{other}` is no way to cut documents"),
        },
        separator: fields.optional("separator", Fields::text)?,
        column: fields.optional("column", Fields::text)?,
        ignore: fields.texts("ignore")?,
    })
}

pub fn smallworld_of(fields: &Fields<'_>) -> Result<Smallworld> {
    Ok(Smallworld {
        seed: fields.seed("seed")?,
        documents: fields.size("documents")?,
        problems: fields.size("problems")?,
        talks: fields.size("talks")?,
        pairs: fields.size("pairs")?,
        asks: fields.size("asks")?,
    })
}

pub fn split_of(fields: &Fields<'_>) -> Result<Split> {
    let quantity = fields.quantity("held_out")?;
    let held_out = match quantity.unit {
        Unit::Percent => HeldOut::Percent(quantity.as_f64()),
        _ => HeldOut::Rows(quantity.as_whole().unwrap_or(0).try_into()?),
    };
    Ok(Split { data: fields.artifact("data")?, held_out, seed: fields.seed("seed")? })
}
