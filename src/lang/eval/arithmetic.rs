//! Sums, products and shares. Adding works within a unit; a quantity is multiplied by a plain
//! number; nothing else. Does not know where the operands came from.

use std::rc::Rc;

use super::number::{NumberFault, checked, decimal_of};
use crate::lang::check::Checker;
use crate::lang::check::known::{Data, Known};
use crate::lang::errors::semantics as say;
use crate::lang::source::Span;
use crate::lang::types::Type;
use crate::lang::value::{Quantity, Unit};

/// Why two values have no sum or product.
enum Refusal {
    Units,
    Types,
    Number(NumberFault),
}

impl Checker<'_> {
    pub(super) fn sum(&mut self, span: Span, left: &Known, right: &Known) -> Known {
        let outcome = match (&left.data, &right.data) {
            (Data::Unknown, _) | (_, Data::Unknown) => return Known::unknown(span),
            (Data::Some(_), _) | (_, Data::Some(_)) => {
                match (left.data.type_of(), right.data.type_of()) {
                    (Type::Quantity(a, _), Type::Quantity(b, _)) if a != b => Err(Refusal::Units),
                    (a, b) => types_together(a, b, false),
                }
            }
            (Data::Int(a), Data::Int(b)) => whole(a.checked_add(*b)),
            (Data::Quantity(a), Data::Quantity(b)) if a.unit == b.unit => {
                amount(a.unit, a.millionths.checked_add(b.millionths))
            }
            (Data::Quantity(_), Data::Quantity(_)) => Err(Refusal::Units),
            (a, b) => match (float(a), float(b)) {
                (Some(a), Some(b)) => finite(a + b),
                _ => Err(Refusal::Types),
            },
        };
        self.outcome(span, "+", left, right, outcome)
    }

    pub(super) fn product(&mut self, span: Span, left: &Known, right: &Known) -> Known {
        let outcome = match (&left.data, &right.data) {
            (Data::Unknown, _) | (_, Data::Unknown) => return Known::unknown(span),
            (Data::Some(_), _) | (_, Data::Some(_)) => {
                match (left.data.type_of(), right.data.type_of()) {
                    (Type::Quantity(..), Type::Quantity(..)) => Err(Refusal::Units),
                    (a, b) => types_together(a, b, true),
                }
            }
            (Data::Int(a), Data::Int(b)) => whole(a.checked_mul(*b)),
            (Data::Quantity(_), Data::Quantity(_)) => Err(Refusal::Units),
            (Data::Quantity(quantity), plain) | (plain, Data::Quantity(quantity)) => {
                scaled(*quantity, plain)
            }
            (a, b) => match (float(a), float(b)) {
                (Some(a), Some(b)) => finite(a * b),
                _ => Err(Refusal::Types),
            },
        };
        self.outcome(span, "*", left, right, outcome)
    }

    fn outcome(
        &mut self,
        span: Span,
        sign: &str,
        left: &Known,
        right: &Known,
        outcome: Result<Data, Refusal>,
    ) -> Known {
        let (a, b) = (left.data.type_of(), right.data.type_of());
        let fault = match outcome {
            Ok(data) => return Known { data, span },
            Err(Refusal::Units) => say::mixed_units(span, sign, &a, &b),
            Err(Refusal::Types) => say::no_numbers(span, sign, &a, &b),
            Err(Refusal::Number(fault)) => number_fault(span, fault),
        };
        self.refuse(span, fault)
    }

    pub(super) fn share(&mut self, span: Span, percent: &Known, of: Known, at: Span) -> Known {
        let Data::Quantity(quantity @ Quantity { unit: Unit::Percent, .. }) = percent.data else {
            if percent.data.is_open() || of.data.is_unknown() {
                return Known::unknown(span);
            }
            return self.refuse(span, say::share_of_no_percent(at, &percent.data.type_of()));
        };
        match &of.data {
            Data::Unknown => Known::unknown(span),
            Data::Artifact { ty: Type::Data(_), .. } => {
                Known { data: Data::Share { percent: quantity, of: Rc::new(of) }, span }
            }
            other => {
                let fault = say::share_of_no_data(of.span, &other.type_of());
                self.refuse(span, fault)
            }
        }
    }
}

/// The sentence for a number that is none.
pub(super) fn number_fault(span: Span, fault: NumberFault) -> crate::lang::diagnostic::Diagnostic {
    match fault {
        NumberFault::TooLarge => say::overflow(span),
        NumberFault::TooFine => say::too_fine(span),
        NumberFault::NotWhole(unit) => say::part_of_a_whole(span, unit.type_name()),
        NumberFault::TwoUnits => say::two_units(span),
    }
}

/// The type of a sum or product of which only types are known.
fn types_together(a: Type, b: Type, product: bool) -> Result<Data, Refusal> {
    let together = match (a, b) {
        (Type::Int(_), whole @ Type::Int(_)) => whole,
        (Type::Quantity(unit, range), Type::Quantity(..)) => Type::Quantity(unit, range),
        (quantity @ Type::Quantity(..), Type::Int(_) | Type::Float(_))
        | (Type::Int(_) | Type::Float(_), quantity @ Type::Quantity(..))
            if product =>
        {
            quantity
        }
        (Type::Int(_) | Type::Float(_), Type::Int(_) | Type::Float(_)) => {
            Type::Float(Default::default())
        }
        _ => return Err(Refusal::Types),
    };
    Ok(Data::Some(together))
}

fn whole(result: Option<i64>) -> Result<Data, Refusal> {
    result.map(Data::Int).ok_or(Refusal::Number(NumberFault::TooLarge))
}

fn finite(result: f64) -> Result<Data, Refusal> {
    match result.is_finite() {
        true => Ok(Data::Float(result)),
        false => Err(Refusal::Number(NumberFault::TooLarge)),
    }
}

fn amount(unit: Unit, millionths: Option<i128>) -> Result<Data, Refusal> {
    let millionths = millionths.ok_or(Refusal::Number(NumberFault::TooLarge))?;
    checked(Quantity { unit, millionths }).map_err(Refusal::Number)
}

fn scaled(quantity: Quantity, plain: &Data) -> Result<Data, Refusal> {
    let millionths = match plain {
        Data::Int(factor) => quantity.millionths.checked_mul(i128::from(*factor)),
        Data::Float(factor) => {
            let factor = decimal_of(*factor).ok_or(Refusal::Number(NumberFault::TooLarge))?;
            let exact = factor.of(quantity.millionths);
            return amount(quantity.unit, Some(exact.ok_or(Refusal::Number(fine(quantity)))?));
        }
        _ => return Err(Refusal::Types),
    };
    amount(quantity.unit, millionths)
}

/// Why an exact product does not exist.
fn fine(quantity: Quantity) -> NumberFault {
    match quantity.unit.is_whole() {
        true => NumberFault::NotWhole(quantity.unit),
        false => NumberFault::TooFine,
    }
}

fn float(data: &Data) -> Option<f64> {
    match data {
        Data::Int(number) => Some(*number as f64),
        Data::Float(number) => Some(*number),
        _ => None,
    }
}
