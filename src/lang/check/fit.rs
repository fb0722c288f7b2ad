//! A value against a type: the value as that type takes it, or the piece that does not fit. Does
//! not know how a misfit is said.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::known::{self, Data, Known, Record};
use super::lower::Kinds;
use super::state::Checker;
use crate::lang::resolve::folder;
use crate::lang::types::{Kind, Range, Type};
use crate::lang::value::{PathValue, Quantity, Unit};

/// The innermost piece of a value that does not fit, and what was due there.
#[derive(Debug)]
pub(super) struct Misfit {
    pub fault: Fault,
    pub piece: Known,
    pub expected: Type,
    /// How far the value did fit: among the members of a union the closest one is meant.
    closeness: usize,
}

/// Why a piece does not fit; the later ones say more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    WrongType,
    WrongArtifact,
    /// All stages of a sweep where one is due.
    SweepForOne,
    NotAChatModel,
    NotPercent,
    MissingUnit,
    WrongUnit,
    NotAChoice,
    NotWhole,
    MissingField(String),
    UnknownField(String),
    OutOfRange(String),
    /// Shares with this sum, in millionths of a percent.
    SharesNotWhole(i128),
}

/// Closeness of a value that has the right shape and only the wrong size.
const RIGHT_SHAPE: usize = 1_000_000_000;

fn misfit(fault: Fault, known: &Known, expected: &Type) -> Misfit {
    let closeness = if fault >= Fault::MissingField(String::new()) { RIGHT_SHAPE } else { 0 };
    Misfit { fault, piece: known.clone(), expected: expected.clone(), closeness }
}

impl Checker<'_> {
    /// The value as a type takes it: an `Int` becomes a `Float`, a literal a path. Kinds that the
    /// type leaves open are found here.
    pub(super) fn fit(&self, known: &Known, ty: &Type, kinds: &mut Kinds) -> Result<Known, Misfit> {
        let as_data = |data| Ok(Known { data, span: known.span });
        let refuse = |fault| Err(misfit(fault, known, ty));
        match (&known.data, ty) {
            (Data::Unknown, _) | (_, Type::Unknown) => Ok(known.clone()),
            (_, Type::Union(members)) => self.fit_union(known, ty, members, kinds),
            (Data::None, Type::Optional(_)) => Ok(known.clone()),
            (_, Type::Optional(inner)) => self.fit(known, inner, kinds),
            (Data::Bool(_), Type::Bool) | (Data::Path(_), Type::Path) => Ok(known.clone()),
            (Data::Int(number), Type::Int(range)) => {
                let millionths = i128::from(*number) * 1_000_000;
                in_range(known, ty, range, range.holds_millionths(millionths))
            }
            (Data::Int(number), Type::Float(range)) => {
                in_range(known, ty, range, range.holds(*number as f64))?;
                as_data(Data::Float(*number as f64))
            }
            (Data::Float(number), Type::Float(range)) => {
                in_range(known, ty, range, range.holds(*number))
            }
            (Data::Float(_), Type::Int(_)) => refuse(Fault::NotWhole),
            (Data::Int(_) | Data::Float(_), Type::Quantity(Unit::Percent, _)) => {
                refuse(Fault::NotPercent)
            }
            (Data::Int(_) | Data::Float(_), Type::Quantity(..)) => refuse(Fault::MissingUnit),
            (Data::Quantity(Quantity { unit, millionths }), Type::Quantity(due, range)) => {
                match unit == due {
                    true => in_range(known, ty, range, range.holds_millionths(*millionths)),
                    false => refuse(Fault::WrongUnit),
                }
            }
            (Data::Text { text, .. }, Type::String) => {
                as_data(Data::Text { text: Rc::clone(text), literal: false })
            }
            (Data::Text { text, literal: true }, Type::Choice(choice)) => {
                if **text == **choice {
                    Ok(known.clone())
                } else {
                    refuse(Fault::NotAChoice)
                }
            }
            (Data::Text { text, literal: true }, Type::Path) => {
                let folder = folder(&self.sources().get(known.span.file).path).to_string();
                as_data(Data::Path(Rc::new(PathValue { written: text.to_string(), folder })))
            }
            (Data::List(list), Type::List(inner)) => {
                self.fit_list(known, &list.items, inner, kinds)
            }
            (Data::Record(record), Type::Record(name)) if record.name.as_ref() == Some(name) => {
                Ok(known.clone())
            }
            (Data::Record(record), Type::Fields(_) | Type::Map(_)) if record.name.is_none() => {
                self.fit_record(known, record, ty, kinds)
            }
            (Data::Share { percent, of }, Type::Share(kind)) => {
                let of = Rc::new(self.fit(of, &Type::Data(kind.clone()), kinds)?);
                as_data(Data::Share { percent: *percent, of })
            }
            (Data::Artifact { ty: made, .. }, due) if due.is_artifact() => {
                match artifact_fits(made, due, kinds) {
                    Ok(()) => Ok(known.clone()),
                    Err(fault) => refuse(fault),
                }
            }
            (Data::Results(..), due) if due.is_artifact() => refuse(Fault::WrongArtifact),
            (Data::Record(record), due) if due.is_artifact() && record.is_work() => {
                refuse(Fault::WrongArtifact)
            }
            (Data::Results(stage, ports), Type::Fields(_)) => {
                let made = known::results_as_record(*stage, ports, known.span);
                self.fit(&made, ty, kinds)
            }
            (Data::Sweep(sweep), Type::List(inner)) => {
                self.fit_list(known, &sweep.made(), inner, kinds)
            }
            (Data::Sweep(_), due) if due.is_artifact() => refuse(Fault::SweepForOne),
            (Data::Some(given), due) => match some_fits(given, due) {
                None => Ok(known.clone()),
                Some(fault) => refuse(fault),
            },
            _ => refuse(Fault::WrongType),
        }
    }

    fn fit_union(
        &self,
        known: &Known,
        union: &Type,
        members: &[Type],
        kinds: &mut Kinds,
    ) -> Result<Known, Misfit> {
        let mut closest: Option<Misfit> = None;
        for member in members {
            let mut found = kinds.clone();
            match self.fit(known, member, &mut found) {
                Ok(fitted) => {
                    *kinds = found;
                    return Ok(fitted);
                }
                Err(misfit) => {
                    let rank = |misfit: &Misfit| (misfit.closeness, misfit.fault.clone());
                    if closest.as_ref().is_none_or(|best| rank(&misfit) > rank(best)) {
                        closest = Some(misfit);
                    }
                }
            }
        }
        let closest = closest.expect("a union has members");
        match closest.closeness {
            0 => Err(misfit(closest.fault, known, union)),
            _ => Err(closest),
        }
    }

    fn fit_list(
        &self,
        known: &Known,
        items: &[Known],
        inner: &Type,
        kinds: &mut Kinds,
    ) -> Result<Known, Misfit> {
        let mut fitted = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let further = |mut misfit: Misfit| {
                let says_more = usize::from(misfit.fault > Fault::WrongType);
                misfit.closeness = misfit.closeness.max(2 * at + 1 + says_more);
                misfit
            };
            fitted.push(self.fit(item, inner, kinds).map_err(further)?);
        }
        if let Some(sum) = sum_of_shares(&fitted).filter(|sum| *sum != 100_000_000) {
            let expected = Type::List(Box::new(inner.clone()));
            return Err(misfit(Fault::SharesNotWhole(sum), known, &expected));
        }
        rebuilt(known, Data::list(fitted))
    }

    fn fit_record(
        &self,
        known: &Known,
        record: &Record,
        ty: &Type,
        kinds: &mut Kinds,
    ) -> Result<Known, Misfit> {
        let mut fitted = BTreeMap::new();
        match ty {
            Type::Map(inner) => {
                for (name, value) in &record.fields {
                    fitted.insert(name.clone(), self.fit(value, inner, kinds)?);
                }
            }
            Type::Fields(due) => {
                for name in record.fields.keys() {
                    if due.iter().all(|(field, _)| field != name) {
                        return Err(misfit(Fault::UnknownField(name.clone()), known, ty));
                    }
                }
                for (name, ty_of_field) in due {
                    let value = match (record.fields.get(name), ty_of_field) {
                        (Some(value), _) => self.fit(value, ty_of_field, kinds)?,
                        (None, Type::Optional(_)) => Known { data: Data::None, ..*known },
                        _ => return Err(misfit(Fault::MissingField(name.clone()), known, ty)),
                    };
                    fitted.insert(name.clone(), value);
                }
            }
            _ => return Err(misfit(Fault::WrongType, known, ty)),
        }
        rebuilt(known, Data::record(None, fitted))
    }
}

/// A list or record with its parts fitted; fitting makes nothing larger.
fn rebuilt(known: &Known, data: Result<Data, super::known::TooLarge>) -> Result<Known, Misfit> {
    Ok(data.map_or_else(|_| Known::unknown(known.span), |data| Known { data, ..*known }))
}

/// Why a value known by its type alone does not fit; its range cannot be told.
fn some_fits(given: &Type, due: &Type) -> Option<Fault> {
    match (given, due) {
        (Type::Int(_), Type::Int(_) | Type::Float(_)) => None,
        (Type::Float(_), Type::Int(_)) => Some(Fault::NotWhole),
        (Type::Int(_) | Type::Float(_), Type::Quantity(Unit::Percent, _)) => {
            Some(Fault::NotPercent)
        }
        (Type::Int(_) | Type::Float(_), Type::Quantity(..)) => Some(Fault::MissingUnit),
        (Type::Quantity(unit, _), Type::Quantity(due, _)) if unit != due => Some(Fault::WrongUnit),
        (Type::Quantity(..), Type::Quantity(..)) => None,
        (given, due) if given.without_ranges() == due.without_ranges() => None,
        _ => Some(Fault::WrongType),
    }
}

fn in_range(known: &Known, ty: &Type, range: &Range, holds: bool) -> Result<Known, Misfit> {
    match holds {
        true => Ok(known.clone()),
        false => Err(misfit(Fault::OutOfRange(range.text()), known, ty)),
    }
}

fn sum_of_shares(items: &[Known]) -> Option<i128> {
    let share = |known: &Known| match &known.data {
        Data::Share { percent, .. } => Some(percent.millionths),
        _ => None,
    };
    let shares = items.iter().map(share).collect::<Option<Vec<_>>>()?;
    if shares.is_empty() { None } else { Some(shares.iter().sum()) }
}

fn artifact_fits(made: &Type, due: &Type, kinds: &mut Kinds) -> Result<(), Fault> {
    let (made_kind, due_kind, wrong) = match (made, due) {
        (Type::Data(made), Type::Data(due)) => (made, due, Fault::WrongArtifact),
        (Type::Model(made), Type::Model(due)) => (made, due, Fault::NotAChatModel),
        _ if made == due => return Ok(()),
        _ => return Err(Fault::WrongArtifact),
    };
    let due_kind = match due_kind {
        Kind::Open(name) => match kinds.get(name) {
            Some(found) => found.clone(),
            None => {
                kinds.insert(name.clone(), made_kind.clone());
                return Ok(());
            }
        },
        fixed => fixed.clone(),
    };
    let either_unknown = *made_kind == Kind::Unknown || due_kind == Kind::Unknown;
    match (made_kind == &due_kind || either_unknown, &due_kind) {
        (true, _) => Ok(()),
        (false, Kind::Chat) => Err(wrong),
        (false, _) => Err(Fault::WrongArtifact),
    }
}
