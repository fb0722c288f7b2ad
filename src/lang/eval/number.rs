//! Literal numbers, exactly. Knows suffixes and units; does not know which unit a field wants.

use crate::lang::ast::{Number, Suffix};
use crate::lang::check::known::Data;
use crate::lang::lexer::plural;
use crate::lang::value::{Quantity, Unit};

/// `mantissa` times ten to the `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i128,
    exponent: i32,
}

/// Why a literal is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFault {
    /// Beyond what 64 bits hold.
    TooLarge,
    /// More than six decimals of a quantity.
    TooFine,
    /// Part of something that is counted whole.
    NotWhole(Unit),
    /// Both a suffix with a unit and a count: `10% tokens`.
    TwoUnits,
}

impl Decimal {
    fn parse(digits: &str) -> Option<Decimal> {
        let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let mantissa = format!("{whole}{fraction}").parse::<i128>().ok()?;
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(fraction.len() as i32)?;
        (-60..=60).contains(&exponent).then_some(Decimal { mantissa, exponent })
    }

    /// The decimal moved by some places.
    pub fn times_ten_to(self, places: i32) -> Decimal {
        Decimal { exponent: self.exponent + places, ..self }
    }

    fn times(self, factor: i128) -> Option<Decimal> {
        Some(Decimal { mantissa: self.mantissa.checked_mul(factor)?, ..self })
    }

    /// The value as a whole number, if it is one and fits.
    fn whole(self) -> Option<i128> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let power = 10_i128.checked_pow(self.exponent.unsigned_abs())?;
        match self.exponent >= 0 {
            true => self.mantissa.checked_mul(power),
            false => (self.mantissa % power == 0).then(|| self.mantissa / power),
        }
    }

    /// The value in millionths, if it has no finer part.
    pub fn millionths(self) -> Option<i128> {
        self.times_ten_to(6).whole()
    }

    /// The nearest float.
    fn float(self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::INFINITY)
    }

    /// A quantity times this, exactly.
    pub fn of(self, millionths: i128) -> Option<i128> {
        self.times(millionths)?.whole()
    }
}

/// The shortest decimal that is read back as the same float; none for infinities.
pub fn decimal_of(number: f64) -> Option<Decimal> {
    Decimal::parse(&format!("{number:e}"))
}

/// A number of a range: without a unit, both as a float and in millionths.
pub fn plain(number: &Number) -> Option<(f64, i128)> {
    let (power, None) = (power_of(number.suffix)?, number.count.as_ref()) else { return None };
    let decimal = Decimal::parse(&number.digits)?.times_ten_to(power);
    Some((decimal.float(), decimal.millionths()?))
}

/// The value of a literal: an `Int` if it is written whole, a quantity if it says what it counts.
pub(super) fn literal(number: &Number) -> Result<Data, NumberFault> {
    let decimal = Decimal::parse(&number.digits).ok_or(NumberFault::TooLarge)?;
    let Some(power) = power_of(number.suffix) else {
        if number.count.is_some() {
            return Err(NumberFault::TwoUnits);
        }
        let (unit, factor) = glued_unit(number.suffix);
        return quantity(decimal.times(factor).ok_or(NumberFault::TooLarge)?, unit);
    };
    let decimal = decimal.times_ten_to(power);
    if let Some(count) = &number.count {
        return quantity(decimal, unit_of(&count.text));
    }
    let written_whole = !number.digits.contains(['.', 'e']) || number.suffix.is_some();
    match decimal.whole() {
        Some(whole) if written_whole => {
            i64::try_from(whole).map(Data::Int).map_err(|_| NumberFault::TooLarge)
        }
        None if written_whole && decimal.exponent >= 0 => Err(NumberFault::TooLarge),
        _ if decimal.float().is_finite() => Ok(Data::Float(decimal.float())),
        _ => Err(NumberFault::TooLarge),
    }
}

fn quantity(decimal: Decimal, unit: Unit) -> Result<Data, NumberFault> {
    let millionths = match decimal.millionths() {
        Some(millionths) => millionths,
        None if decimal.exponent < -6 => return Err(NumberFault::TooFine),
        None => return Err(NumberFault::TooLarge),
    };
    checked(Quantity { unit, millionths })
}

/// A quantity, unless it is too large or part of something counted whole.
pub(super) fn checked(quantity: Quantity) -> Result<Data, NumberFault> {
    if quantity.millionths / 1_000_000 > i128::from(i64::MAX) {
        return Err(NumberFault::TooLarge);
    }
    if quantity.unit.is_whole() && quantity.as_whole().is_none() {
        return Err(NumberFault::NotWhole(quantity.unit));
    }
    Ok(Data::Quantity(quantity))
}

/// The power of ten of a suffix without a unit.
fn power_of(suffix: Option<Suffix>) -> Option<i32> {
    match suffix {
        None => Some(0),
        Some(Suffix::Kilo) => Some(3),
        Some(Suffix::Mega) => Some(6),
        Some(Suffix::Giga) => Some(9),
        Some(Suffix::Tera) => Some(12),
        Some(_) => None,
    }
}

/// The unit of a suffix that has one, and how many of it the suffix stands for.
fn glued_unit(suffix: Option<Suffix>) -> (Unit, i128) {
    match suffix {
        Some(Suffix::KB) => (Unit::Bytes, 1_000),
        Some(Suffix::MB) => (Unit::Bytes, 1_000_000),
        Some(Suffix::GB) => (Unit::Bytes, 1_000_000_000),
        Some(Suffix::TB) => (Unit::Bytes, 1_000_000_000_000),
        Some(Suffix::KiB) => (Unit::Bytes, 1 << 10),
        Some(Suffix::MiB) => (Unit::Bytes, 1 << 20),
        Some(Suffix::GiB) => (Unit::Bytes, 1 << 30),
        Some(Suffix::TiB) => (Unit::Bytes, 1 << 40),
        Some(Suffix::Seconds) => (Unit::Duration, 1),
        Some(Suffix::Minutes) => (Unit::Duration, 60),
        Some(Suffix::Hours) => (Unit::Duration, 3_600),
        Some(Suffix::Days) => (Unit::Duration, 86_400),
        _ => (Unit::Percent, 1),
    }
}

/// The unit of a count, which the lexer let through only if it is one.
fn unit_of(count: &str) -> Unit {
    match plural(count).unwrap_or(count) {
        "tokens" => Unit::Tokens,
        "steps" => Unit::Steps,
        "epochs" => Unit::Epochs,
        "sequences" => Unit::Sequences,
        "pairs" => Unit::Pairs,
        "prompts" => Unit::Prompts,
        _ => Unit::Rows,
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, decimal_of};

    #[test]
    fn decimals_are_exact() {
        assert_eq!(Decimal::parse("2.2").unwrap().times_ten_to(6).whole(), Some(2_200_000));
        assert_eq!(Decimal::parse("0.1").unwrap().millionths(), Some(100_000));
        assert_eq!(Decimal::parse("0.0000001").unwrap().millionths(), None);
        assert_eq!(Decimal::parse("1e-3").unwrap().float(), 1e-3);
        assert_eq!(decimal_of(0.3).unwrap().of(10_000_000), Some(3_000_000));
        assert_eq!(Decimal::parse("1e99999"), None);
        assert_eq!(Decimal::parse("0e50").unwrap().whole(), Some(0));
    }
}
