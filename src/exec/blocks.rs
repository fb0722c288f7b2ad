//! Whether a model can be put into the blocks that a stage names, found before it is trained. Knows
//! values of the recipe and shapes; what a block holds is the trainer's to say.

use super::ledger::line_of;
use super::needs::Shapes;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Stage, Value};
use crate::train::model::encoding::Encoding;

/// The blocks that a stage writes a model in, with the parameter that says so.
fn named(stage: &Stage) -> Option<(Encoding, &'static str)> {
    let parameter = match stage.kind.as_str() {
        "export" => "dtype",
        "quantize" => "to",
        _ => return None,
    };
    let encoding = Encoding::named(text(stage, parameter)?)?;
    matches!(encoding, Encoding::Blocks(_)).then_some((encoding, parameter))
}

fn text<'s>(stage: &'s Stage, name: &str) -> Option<&'s str> {
    match stage.params.get(name)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Safetensors have no blocks of integers but those of bitsandbytes.
pub fn outside_gguf(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let (encoding, parameter) = named(stage)?;
    if stage.kind != "export" || matches!(text(stage, "to"), Some("gguf" | "peft")) {
        return None;
    }
    let (name, blocks) = (&stage.name, encoding.name());
    let message = format!("`{name}` writes {blocks}, which a Hugging Face folder cannot hold");
    Some(
        Diagnostic::error("export-dtype", message)
            .label(line_of(sources, stage, parameter)?, format!("only GGUF files have {blocks}"))
            .note("choose `to: \"gguf\"`, or `dtype: \"bf16\"`"),
    )
}

/// A row of a matrix must be whole blocks.
pub fn parted_rows(sources: &Sources, shapes: &Shapes<'_>, stage: &Stage) -> Option<Diagnostic> {
    let (encoding, parameter) = named(stage)?;
    if stage.kind == "export" && text(stage, "to") != Some("gguf") {
        return None;
    }
    let config = shapes.config(stage)?;
    let widths = [("dim", config.dim), ("ffn", config.ffn)];
    let is_parted = |encoding: Encoding| {
        widths.into_iter().find(|(_, width)| !width.is_multiple_of(encoding.group()))
    };
    let (size, width) = is_parted(encoding)?;
    let (name, blocks, group) = (&stage.name, encoding.name(), encoding.group());
    let message = format!("rows of `{name}` hold {width} numbers, and a block of {blocks} {group}");
    let remedy = match (is_parted(Encoding::Q4_0), stage.kind.as_str()) {
        (None, _) => "choose `\"q4_0\"` or `\"q8_0\"`, whose blocks hold 32",
        (_, "quantize") => "choose `to: \"nf4\"`, whose blocks run across rows",
        _ => "choose `dtype: \"bf16\"`",
    };
    Some(
        Diagnostic::error("parted-rows", message)
            .label(line_of(sources, stage, parameter)?, format!("{size} is {width}"))
            .note(remedy),
    )
}
