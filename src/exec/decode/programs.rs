//! The parameters of programs that a model writes. Knows fields; does not know what runs them.

use anyhow::Result;

use crate::eval::task::programs::Programs;
use crate::exec::inputs::Fields;

pub fn programs_of(fields: &Fields<'_>) -> Result<Programs> {
    Ok(Programs {
        program: fields.text("program")?,
        stop: fields.texts("stop")?,
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        samples: fields.size("samples")?,
        k: fields.sizes("k")?,
        timeout_seconds: fields.quantity("timeout")?.as_f64().ceil() as u64,
        allowed: fields.flag("allow_code_execution")?,
    })
}
