//! Whether what is trained fits the memory of a device, and under which settings it would. Knows
//! the recipe's values and the ledger; not which device there is.

use super::ledger::{Needs, line_of, shape};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Module, Stage};
use crate::train::model::ModelConfig;
use crate::train::model::activations::Keep;
use crate::train::optim::Bits;
use crate::train::stage::ledger::{Learnt, MemoryLedger, Width, memory};

/// One error for each training stage that needs more than `limit` bytes.
pub fn too_large(sources: &Sources, module: &Module, limit: u64) -> Vec<Diagnostic> {
    let of_stage = |stage| {
        let (config, needs) = (shape(module, stage)?, Needs::of(&stage.params)?);
        let ledger = needs.memory(&config);
        (ledger.total() > limit).then(|| told(sources, stage, &config, needs, limit)).flatten()
    };
    module.stages.iter().filter_map(of_stage).collect()
}

fn told(
    sources: &Sources,
    stage: &Stage,
    config: &ModelConfig,
    needs: Needs,
    limit: u64,
) -> Option<Diagnostic> {
    let ledger = needs.memory(config);
    let (total, device, name) = (gib(ledger.total()), gib(limit), &stage.name);
    let message = format!("`{name}` needs {total} GiB, and the device has {device} GiB");
    let learnt = ledger.total() - ledger.activations;
    let (parameter, what) = match ledger.activations > learnt {
        true => ("context", format!("activations: {} GiB", gib(ledger.activations))),
        false => ("init", format!("all but the activations: {} GiB", gib(learnt))),
    };
    let diagnostic = Diagnostic::error("does-not-fit", message)
        .label(line_of(sources, stage, parameter)?, what)
        .note(parts(&ledger));
    let diagnostic = match settings(config, needs, limit) {
        Some(Settings { free, costly }) if costly.is_empty() => diagnostic.hint(Some(free)),
        Some(Settings { free, costly }) => {
            let all: Vec<String> = [free, costly].into_iter().filter(|it| !it.is_empty()).collect();
            diagnostic.note(format!("it fits with {}", all.join(", ")))
        }
        None => diagnostic.note("no setting of the stage makes it fit"),
    };
    Some(diagnostic.note(frozen(config, needs)))
}

/// Every part of a ledger that is not nothing.
fn parts(ledger: &MemoryLedger) -> String {
    let parts = [
        ("weights", ledger.weights),
        ("adapters", ledger.adapters),
        ("gradients", ledger.gradients),
        ("moments", ledger.optimizer),
        ("activations", ledger.activations),
        ("workspace", ledger.workspace),
    ];
    let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
    let parts = parts.map(|(name, bytes)| format!("{name} {}", gib(*bytes)));
    format!("{} GiB", parts.collect::<Vec<_>>().join(" · "))
}

/// What the same rows need where the weights are frozen.
fn frozen(config: &ModelConfig, needs: Needs) -> String {
    let of = |base| {
        let rows = [needs.micro_batch, needs.context];
        let learnt = Learnt::Adapters { rank: 64, base };
        gib(memory(config, learnt, rows, needs.keep, needs.kept).total())
    };
    let (wide, narrow) = (of(Width::Bf16), of(Width::Nf4 { double: true }));
    format!(
        "adapters of rank 64 would need {wide} GiB over weights in 16 bits, {narrow} GiB over NF4"
    )
}

/// Settings under which a stage fits: those that change no bit of its result, ready to be pasted,
/// and others.
struct Settings {
    free: String,
    costly: String,
}

/// The first of ever stronger settings that fit: fewer activations kept, fewer rows at once,
/// moments in a file, shorter rows.
fn settings(config: &ModelConfig, needs: Needs, limit: u64) -> Option<Settings> {
    let mut free = Vec::new();
    if needs.keep == Keep::Activations {
        free.push("gradient_checkpointing: true".to_string());
    }
    let mut needs = Needs { keep: Keep::Residuals, ..needs };
    let fits = |needs: &Needs| needs.memory(config).total() <= limit;
    let before = needs.micro_batch;
    while !fits(&needs) && needs.micro_batch > 1 {
        needs.micro_batch /= 2;
    }
    if needs.micro_batch < before {
        let plural = if needs.micro_batch == 1 { "" } else { "s" };
        free.push(format!("micro_batch: {} sequence{plural}", needs.micro_batch));
    }
    let (free, mut costly) = (free.join(", "), Vec::new());
    if fits(&needs) {
        return Some(Settings { free, costly: String::new() });
    }
    let context = needs.context;
    needs.kept.budget = Some(0);
    while !fits(&needs) && needs.context > context.div_ceil(8) {
        needs.context /= 2;
    }
    if !fits(&needs) {
        return None;
    }
    let room = (limit - needs.memory(config).total()) >> 20;
    let record = if needs.kept.bits == Bits::Eight { "adamw8" } else { "paged_adamw" };
    costly.push(format!("optimizer: {record} {{ page_budget: {room}MiB }}"));
    if needs.context < context {
        costly.push(format!("context: {} tokens", needs.context));
    }
    Some(Settings { free, costly: costly.join(", ") })
}

/// GiB with one decimal, rounded to the nearest.
fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}
