//! Numbers as short as they read well: `5e-4` for `0.0005`, `2M` for `2000000`; a form that saves
//! but one character leaves the number as it was written. Does not know what is counted.

use crate::lang::ast::{Number, Suffix};
use crate::lang::lexer::plural;

const THOUSANDS: [Suffix; 4] = [Suffix::Kilo, Suffix::Mega, Suffix::Giga, Suffix::Tera];

/// The canonical text of a number with its suffix and count.
pub fn canonical(number: &Number) -> String {
    let whole = number.digits.chars().all(|c| c.is_ascii_digit());
    let (digits, suffix) = match whole {
        true => shortest_whole(&number.digits, number.suffix),
        false if number.suffix.is_none() => (shortest_float(&number.digits), None),
        false => (number.digits.clone(), number.suffix),
    };
    let suffix = suffix.map_or("", Suffix::text);
    match &number.count {
        Some(count) => {
            let many = plural(&count.text).unwrap_or(&count.text);
            let one = digits == "1" && suffix.is_empty();
            let count = if one { many.trim_end_matches('s') } else { many };
            format!("{digits}{suffix} {count}")
        }
        None => format!("{digits}{suffix}"),
    }
}

/// Six zeros become a suffix, and three more the next one.
fn shortest_whole(digits: &str, suffix: Option<Suffix>) -> (String, Option<Suffix>) {
    let mut digits = match digits.trim_start_matches('0') {
        "" => return ("0".to_string(), suffix),
        digits => digits,
    };
    let mut level = match suffix {
        None if digits.ends_with("000000") => 0,
        None => return (digits.to_string(), None),
        Some(suffix) => match THOUSANDS.iter().position(|step| *step == suffix) {
            Some(at) => at + 1,
            None => return (digits.to_string(), Some(suffix)),
        },
    };
    while let Some(shorter) = digits.strip_suffix("000").filter(|_| level < THOUSANDS.len()) {
        digits = shorter;
        level += 1;
    }
    (digits.to_string(), Some(THOUSANDS[level - 1]))
}

/// Plain or with an exponent, whichever is clearly shorter; plain where they are equal.
fn shortest_float(written: &str) -> String {
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i32>() else { return written.to_string() };
    if exponent.abs() > 400 || written.len() > 40 {
        return written.to_string();
    }
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let leading = (all.len() - significant.len()) as i32;
    // The value is 0.SIGNIFICANT times ten to the power of `point`.
    let point = whole.len() as i32 - leading + exponent;
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return "0.0".to_string();
    }
    let (plain, scientific) = (plain(significant, point), scientific(significant, point));
    let exponent_written = written.contains('e');
    if plain.len() <= scientific.len() {
        plain
    } else if exponent_written || scientific.len() + 2 <= plain.len() {
        scientific
    } else {
        plain
    }
}

fn plain(significant: &str, point: i32) -> String {
    let length = significant.len() as i32;
    if point <= 0 {
        format!("0.{}{significant}", "0".repeat(point.unsigned_abs() as usize))
    } else if point >= length {
        format!("{significant}{}.0", "0".repeat((point - length) as usize))
    } else {
        let (whole, fraction) = significant.split_at(point as usize);
        format!("{whole}.{fraction}")
    }
}

fn scientific(significant: &str, point: i32) -> String {
    let (first, rest) = significant.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    format!("{first}{dot}{rest}e{}", point - 1)
}

#[cfg(test)]
mod tests {
    use super::{shortest_float, shortest_whole};
    use crate::lang::ast::Suffix;

    #[test]
    fn floats_change_form_only_where_it_pays() {
        let cases = [
            ("0.0005", "5e-4"),
            ("0.001", "0.001"),
            ("1e-3", "1e-3"),
            ("0.005", "0.005"),
            ("1.50", "1.5"),
            ("1.0", "1.0"),
            ("0.000", "0.0"),
            ("5e-1", "0.5"),
            ("1e03", "1e3"),
            ("15e-5", "1.5e-4"),
            ("12.34e1", "123.4"),
        ];
        for (written, short) in cases {
            assert_eq!(shortest_float(written), short);
            assert_eq!(shortest_float(short), short);
        }
    }

    #[test]
    fn whole_numbers_take_a_suffix_for_six_zeros() {
        let cases = [
            ("2000000", None, "2", Some(Suffix::Mega)),
            ("32000", None, "32000", None),
            ("32", Some(Suffix::Kilo), "32", Some(Suffix::Kilo)),
            ("5000", Some(Suffix::Kilo), "5", Some(Suffix::Mega)),
            ("3000000000000000", None, "3000", Some(Suffix::Tera)),
            ("000", None, "0", None),
            ("100", Some(Suffix::Percent), "100", Some(Suffix::Percent)),
        ];
        for (digits, suffix, short, shown) in cases {
            assert_eq!(shortest_whole(digits, suffix), (short.to_string(), shown));
        }
    }
}
