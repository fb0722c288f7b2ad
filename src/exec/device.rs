//! Whether what is trained fits the memory of a device, or what was promised of it, and under which
//! settings it would. Knows needs that can be turned, and the ledger's answer to each; not which
//! device there is.

use super::ledger::{line_of, whole};
use super::needs::{Needs, Shapes};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Module, Stage};
use crate::train::model::activations::Keep;
use crate::train::model::lora::LoraSettings;
use crate::train::model::projection::Which;
use crate::train::optim::Bits;
use crate::train::stage::Numerics;
use crate::train::stage::ledger::{Learnt, MemoryLedger, Width};

/// One error for each training stage that needs more than `limit` bytes.
pub fn too_large(sources: &Sources, module: &Module, limit: u64) -> Vec<Diagnostic> {
    let shapes = Shapes::of(module);
    let device = format!("and the device has {}", size(limit));
    let of_stage = |stage| {
        let needs = Needs::of(&shapes, stage)?;
        unfit(sources, stage, &needs, limit, &device)
    };
    module.stages.iter().filter_map(of_stage).collect()
}

/// A stage that needs more than its `fits` promises.
pub fn broken_promise(sources: &Sources, shapes: &Shapes<'_>, stage: &Stage) -> Option<Diagnostic> {
    let limit = whole(stage.params.get("fits")?)?;
    let Some(needs) = Needs::of(shapes, stage) else {
        let message = format!("what `{}` needs is not known before it runs", stage.name);
        let place = line_of(sources, stage, "fits")?;
        let fault = Diagnostic::error("unproved-promise", message);
        return Some(fault.label(place, "so this cannot be proved"));
    };
    let promise = format!("of the {} it promises", size(limit));
    let promised = line_of(sources, stage, "fits")?;
    Some(unfit(sources, stage, &needs, limit, &promise)?.label(promised, "the promise"))
}

fn unfit(
    sources: &Sources,
    stage: &Stage,
    needs: &Needs,
    limit: u64,
    beside: &str,
) -> Option<Diagnostic> {
    let ledger = needs.memory();
    if ledger.total() <= limit {
        return None;
    }
    let message = format!("`{}` needs {} {beside}", stage.name, size(ledger.total()));
    let (part, bytes) = largest(&ledger);
    let place = line_of(sources, stage, cause(stage, part))?;
    let diagnostic = Diagnostic::error("does-not-fit", message)
        .label(place, format!("{part}: {}", size(bytes)))
        .note(parts(&ledger));
    let found = settings(needs, limit);
    if found.is_empty() {
        return Some(diagnostic.note("no setting of the stage makes it fit"));
    }
    let hint = found.iter().find(|one| one.is_free).map(|one| one.text.clone());
    let told = found.iter().map(|one| format!("it fits with {}: {}", one.text, size(one.total)));
    Some(told.fold(diagnostic, Diagnostic::note).hint(hint))
}

/// The part that takes most, and its bytes.
fn largest(ledger: &MemoryLedger) -> (&'static str, u64) {
    let parts = ledger.parts();
    parts.into_iter().max_by_key(|(_, bytes)| *bytes).expect("a ledger has parts")
}

/// The parameter that a part of the ledger follows from, of those that the recipe states itself.
fn cause(stage: &Stage, part: &str) -> &'static str {
    let causes: &[&str] = match part {
        "activations" | "workspace" => &["context", "micro_batch"],
        "adapter" => &["rank"],
        "models beside" => &["judge"],
        "sampling" => &["batch"],
        _ => &["model", "init", "policy", "base"],
    };
    let stated = |name: &&&str| {
        let place = stage.places.get(**name);
        place.is_some_and(|place| !place.path.starts_with("std/"))
    };
    // A name that no stage has stands for the stage itself.
    causes.iter().find(stated).unwrap_or(&"")
}

/// Every part of a ledger that is not nothing.
pub fn parts(ledger: &MemoryLedger) -> String {
    let (unit, one) = unit_of(ledger.total());
    let parts = ledger.parts();
    let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
    let parts = parts.map(|(name, bytes)| format!("{name} {:.1}", *bytes as f64 / one));
    format!("{} {unit}", parts.collect::<Vec<_>>().join(" · "))
}

/// One thing that can be turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Recompute,
    FewerRows,
    /// Moments beyond what there is room for in a file.
    Pages,
    EightBits,
    ShorterTexts,
    /// A frozen base in NF4.
    Quantise,
    /// An adapter instead of all weights.
    Adapter,
}

/// Turns that are tried together, the cheapest first. One is told where it fits, and no part of it
/// alone does.
const TRIED: &[&[Turn]] = &[
    &[Turn::Recompute],
    &[Turn::FewerRows],
    &[Turn::Recompute, Turn::FewerRows],
    &[Turn::Pages],
    &[Turn::EightBits],
    &[Turn::ShorterTexts],
    &[Turn::Recompute, Turn::FewerRows, Turn::Pages],
    &[Turn::Recompute, Turn::FewerRows, Turn::EightBits],
    &[Turn::Recompute, Turn::FewerRows, Turn::ShorterTexts],
    &[Turn::Recompute, Turn::FewerRows, Turn::Pages, Turn::ShorterTexts],
    &[Turn::Quantise],
    &[Turn::Recompute, Turn::FewerRows, Turn::Quantise],
    &[Turn::Recompute, Turn::FewerRows, Turn::Quantise, Turn::Pages, Turn::ShorterTexts],
    &[Turn::Adapter],
    &[Turn::Recompute, Turn::FewerRows, Turn::Adapter],
    &[Turn::Adapter, Turn::Quantise],
    &[Turn::Recompute, Turn::FewerRows, Turn::Adapter, Turn::Quantise],
];

/// Settings under which a stage fits, and what it needs then.
struct Setting {
    text: String,
    /// Whether they change no bit of the result, nor its key, so that they can be pasted.
    is_free: bool,
    total: u64,
}

/// Whether a turn changes no bit: in the class `bf16` sums go over all rows of a `micro_batch`.
fn is_free(turn: Turn, numerics: Numerics) -> bool {
    match turn {
        Turn::Recompute => true,
        Turn::FewerRows => numerics == Numerics::ExactF32,
        _ => false,
    }
}

fn settings(needs: &Needs, limit: u64) -> Vec<Setting> {
    let mut told: Vec<&[Turn]> = Vec::new();
    let mut found = Vec::new();
    for turns in TRIED {
        let is_more = told.iter().any(|told| told.iter().all(|turn| turns.contains(turn)));
        if let (false, Some((text, total))) = (is_more, turned(needs, turns, limit)) {
            told.push(turns);
            let is_free = turns.iter().all(|turn| is_free(*turn, needs.numerics));
            found.push(Setting { text, is_free, total });
        }
    }
    found
}

/// The needs under some turns in the words of a recipe and their total, if all can be turned and
/// together they fit. The ledger itself says so.
fn turned(needs: &Needs, turns: &[Turn], limit: u64) -> Option<(String, u64)> {
    let mut turned = needs.clone();
    if !turns.iter().all(|turn| turn.turn(&mut turned)) {
        return None;
    }
    let fits = |needs: &Needs| needs.memory().total() <= limit;
    while !fits(&turned) && turns.contains(&Turn::FewerRows) && turned.micro_batch > 1 {
        turned.micro_batch /= 2;
    }
    let shortest = needs.context.div_ceil(8);
    while !fits(&turned) && turns.contains(&Turn::ShorterTexts) && turned.context > shortest {
        turned.context /= 2;
    }
    let room = limit.checked_sub(turned.memory().total())?;
    if turns.contains(&Turn::Pages) {
        turned.kept.budget = Some(room >> 20 << 20);
    }
    let words = turns.iter().filter_map(|turn| turn.words(needs, &turned));
    Some((words.collect::<Vec<_>>().join(", "), turned.memory().total()))
}

impl Turn {
    /// Turns what has no degrees; gives whether it could be turned.
    fn turn(self, needs: &mut Needs) -> bool {
        match (self, &mut needs.learnt) {
            (Turn::Recompute, _) => {
                std::mem::replace(&mut needs.keep, Keep::Residuals) == Keep::Activations
            }
            (Turn::FewerRows, _) => needs.micro_batch > 1,
            (Turn::Pages, _) => needs.kept.budget.replace(0) != Some(0),
            (Turn::EightBits, _) => {
                std::mem::replace(&mut needs.kept.bits, Bits::Eight) == Bits::Full
            }
            (Turn::ShorterTexts, _) => needs.shortens && needs.context > 1,
            (Turn::Quantise, Learnt::Adapter { base, .. }) if base.encoding.group() == 1 => {
                base.nf4.replace(true).is_none()
            }
            (Turn::Adapter, learnt @ Learnt::All) if needs.adapted.is_some() => {
                *learnt = Learnt::Adapter { settings: every_projection(), base: Width::F32 };
                true
            }
            (Turn::Quantise | Turn::Adapter, _) => false,
        }
    }

    /// How it was turned, in the words of a recipe.
    fn words(self, before: &Needs, after: &Needs) -> Option<String> {
        match self {
            Turn::Recompute => Some("gradient_checkpointing: true".into()),
            Turn::FewerRows => (after.micro_batch < before.micro_batch).then(|| {
                let plural = if after.micro_batch == 1 { "" } else { "s" };
                format!("micro_batch: {} sequence{plural}", after.micro_batch)
            }),
            Turn::Pages => {
                let name = if after.kept.bits == Bits::Eight { "adamw8" } else { "paged_adamw" };
                let budget = after.kept.budget.unwrap_or(0) >> 20;
                Some(format!("optimizer: {name} {{ page_budget: {budget}MiB }}"))
            }
            Turn::EightBits => Some("optimizer: adamw8 {}".into()),
            Turn::ShorterTexts => (after.context < before.context)
                .then(|| format!("context: {} tokens", after.context)),
            Turn::Quantise => Some("a base from `quantize`".into()),
            Turn::Adapter => {
                before.adapted.map(|kind| format!("`{kind}` of rank {RANK} on all projections"))
            }
        }
    }
}

/// The rank of the adapters of QLoRA's paper.
const RANK: usize = 64;

fn every_projection() -> LoraSettings {
    let (alpha, dropout, targets) = (RANK as f64, 0.0, Which::ALL.to_vec());
    LoraSettings { rank: RANK, alpha, dropout, targets, rslora: false, dora: false }
}

/// In the largest unit of which there is one, or nearly, with one decimal.
pub fn size(bytes: u64) -> String {
    let (unit, one) = unit_of(bytes);
    format!("{:.1} {unit}", bytes as f64 / one)
}

/// That unit, and its bytes.
fn unit_of(bytes: u64) -> (&'static str, f64) {
    let units = [("GiB", f64::from(1 << 30)), ("MiB", f64::from(1 << 20))];
    let fits = |(_, one): &(&str, f64)| bytes as f64 >= 0.95 * one;
    units.into_iter().find(fits).unwrap_or(("KiB", 1024.0))
}
