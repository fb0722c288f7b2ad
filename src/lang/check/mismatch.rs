//! A misfit as an error: which sentence, where, and with which hint. Does not decide what fits.

use super::fit::{Fault, Misfit};
use super::known::{Data, Known};
use super::lower::Kinds;
use super::state::Checker;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::source::Span;
use crate::lang::types::Type;
use crate::lang::value::{StageId, Unit};

/// The place a value is meant for.
#[derive(Clone, Copy)]
pub(super) struct Slot<'s> {
    /// The stage kind or record whose field this is; none for a `param` or `let`.
    pub owner: Option<&'s str>,
    pub name: &'s str,
    /// The value as it stands in the recipe.
    pub at: Span,
    /// Where the type is declared.
    pub declared: Span,
}

impl Slot<'_> {
    /// `batch` of `sft`
    fn text(&self) -> String {
        match self.owner {
            Some(owner) => format!("`{}` of `{owner}`", self.name),
            None => format!("`{}`", self.name),
        }
    }
}

impl Checker<'_> {
    /// The value as the type takes it; where it does not fit, that is said and it becomes unknown.
    pub(super) fn accept(
        &mut self,
        known: &Known,
        ty: &Type,
        kinds: &mut Kinds,
        slot: Slot<'_>,
    ) -> Known {
        match self.fit(known, ty, kinds) {
            Ok(fitted) => fitted,
            Err(misfit) => {
                let fault = self.misfit(misfit, kinds, slot);
                self.refuse(known.span, fault)
            }
        }
    }

    fn misfit(&self, misfit: Misfit, kinds: &Kinds, slot: Slot<'_>) -> Diagnostic {
        let span = misfit.piece.span;
        let inside = slot.at.file == span.file && slot.at.start <= span.start;
        let at = if inside && span.end <= slot.at.end { span } else { slot.at };
        let fault = self.sentence(&misfit, kinds, slot, at);
        if at == span { fault } else { fault.label(span, "this is the value") }
    }

    fn sentence(&self, misfit: &Misfit, kinds: &Kinds, slot: Slot<'_>, at: Span) -> Diagnostic {
        let due = misfit.expected.with_kinds(&|name| kinds.get(name).cloned()).without_ranges();
        let found = misfit.piece.data.type_of();
        let written = self.sources().text(misfit.piece.span);
        let paste = |value: String| match slot.owner {
            Some(_) if misfit.piece.span == slot.at => format!("{}: {value}", slot.name),
            _ => value,
        };
        match &misfit.fault {
            Fault::NotWhole => {
                let whole = written.strip_suffix(".0").map(|whole| paste(whole.to_string()));
                say::not_whole(at, slot.name, &found).hint(whole)
            }
            Fault::NotPercent => {
                let percent = as_percent(&misfit.piece.data).map(paste);
                say::not_percent(at, slot.name, &found).hint(percent)
            }
            Fault::MissingUnit => say::missing_unit(at, slot.name, written, &due, &found),
            Fault::WrongUnit => say::wrong_unit(at, &slot.text(), &counts(&due), &due, &found),
            Fault::NotAChoice => {
                let text = match &misfit.piece.data {
                    Data::Text { text, .. } => text.to_string(),
                    _ => String::new(),
                };
                let choices = due.members().into_iter().filter_map(|member| match member {
                    Type::Choice(choice) => Some(choice.as_str()),
                    _ => None,
                });
                let near = nearest(&text, choices).map(|near| paste(format!("\"{near}\"")));
                say::not_a_choice(at, slot.name, &text, &due).hint(near)
            }
            Fault::OutOfRange(range) => {
                let place = self.sources().place(slot.declared);
                say::out_of_range(at, slot.name, range, &place)
            }
            Fault::SharesNotWhole(sum) => say::shares_not_whole(at, *sum),
            Fault::MissingField(field) => say::missing_fields(at, "this record", &[field.as_str()])
                .expected(due.to_string(), found.to_string()),
            Fault::UnknownField(field) => say::closed_record(at, &slot.text(), field)
                .expected(due.to_string(), found.to_string()),
            Fault::NotAChatModel => {
                let made = self.made_by(&misfit.piece.data);
                let owner = slot.owner.unwrap_or(slot.name);
                say::not_a_chat_model(at, written, owner, &made, &due, &found)
            }
            Fault::WrongArtifact => {
                let what = match (&misfit.piece.data, &misfit.piece.data.type_of()) {
                    (Data::Record(_), _) => "makes several things".to_string(),
                    (Data::Results(stage, _), _) => {
                        format!("makes several things, {}", self.stage_place(*stage))
                    }
                    (Data::Artifact { stage, .. }, ty) => {
                        format!("is {}, {}", in_words(ty), self.stage_place(*stage))
                    }
                    _ => String::new(),
                };
                let label = format!("`{written}` {what}");
                say::wrong_artifact(at, &slot.text(), &wanted(&due), label, &due, &found)
            }
            Fault::SweepForOne => {
                let points = match &misfit.piece.data {
                    Data::Sweep(sweep) => sweep.texts(),
                    _ => Vec::new(),
                };
                let wanted = wanted(&due).replacen("a ", "one ", 1).replacen("an ", "one ", 1);
                say::sweep_for_one(at, &slot.text(), &wanted, written, &points, &due, &found)
            }
            Fault::WrongType => say::wrong_type(at, &slot.text(), &due, &found),
        }
    }

    /// `recipes/chat.recipe:18`, where a stage is declared.
    fn stage_place(&self, stage: StageId) -> String {
        let made = &self.stages[stage.0 as usize];
        self.sources().place(made.place).to_string()
    }

    /// made by `pretrain`, recipes/chat.recipe:9
    fn made_by(&self, data: &Data) -> String {
        let Data::Artifact { stage, .. } = data else { return String::new() };
        match &self.stages[stage.0 as usize].work {
            Some(work) => {
                format!("made by `{}`, {}", work.signature.name, self.stage_place(*stage))
            }
            None => format!("declared at {}", self.stage_place(*stage)),
        }
    }
}

/// The units of a type, in words: `tokens, steps or epochs`.
fn counts(due: &Type) -> String {
    let units = due.members().into_iter().filter_map(|member| match member {
        Type::Quantity(unit, _) => Some(unit.type_name().to_lowercase()),
        _ => None,
    });
    one_of(units.collect())
}

/// What a field takes, in words: `a model`, `data or files`.
fn wanted(due: &Type) -> String {
    let mut words: Vec<String> = Vec::new();
    for member in due.members() {
        let word = match member {
            Type::Model(_) => "a model".to_string(),
            other => in_words(other),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    one_of(words)
}

fn one_of(words: Vec<String>) -> String {
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [firsts @ .., last] => format!("{} or {last}", firsts.join(", ")),
    }
}

fn in_words(ty: &Type) -> String {
    match ty {
        Type::Tokenizer => "a tokenizer".to_string(),
        Type::Data(_) => "data".to_string(),
        Type::Model(kind) => format!("a {} model", kind.to_string().to_lowercase()),
        Type::Reward => "a reward model".to_string(),
        Type::Adapter => "an adapter".to_string(),
        Type::Report => "a report".to_string(),
        Type::Overlap => "an overlap".to_string(),
        Type::Files => "files".to_string(),
        Type::List(_) => "a list".to_string(),
        Type::None => "none".to_string(),
        other => format!("`{other}`"),
    }
}

/// `0.1` → `10%`, `5` → `5%`: what a plain number most likely means. Exact, or nothing.
fn as_percent(data: &Data) -> Option<String> {
    match data {
        Data::Int(number) => Some(format!("{number}%")),
        Data::Float(number) if (0.0..=1.0).contains(number) => {
            let percent = crate::lang::eval::number::decimal_of(*number)?.times_ten_to(2);
            let millionths = percent.millionths()?;
            Some(crate::lang::value::Quantity { unit: Unit::Percent, millionths }.to_string())
        }
        _ => None,
    }
}
