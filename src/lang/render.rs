//! Values as text that a recipe would accept. Does not know layout.

use std::fmt::{Display, Formatter, Result};

use super::value::{Quantity, SINGLE_PORT, Unit, Value};

/// `2 epochs`, `5%`, `24GiB`, `90s`.
impl Display for Quantity {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let amount = Amount(self.millionths);
        match self.unit {
            Unit::Percent => write!(out, "{amount}%"),
            Unit::Duration => write!(out, "{amount}s"),
            Unit::Bytes => {
                let (size, suffix) = bytes_suffix(self.millionths);
                write!(out, "{}{suffix}", Amount(self.millionths / size))
            }
            unit => {
                let name = unit.type_name().to_lowercase();
                let one = self.millionths == 1_000_000;
                write!(out, "{amount} {}", if one { name.trim_end_matches('s') } else { &name })
            }
        }
    }
}

/// The largest suffix that leaves a whole number, else the smallest one.
fn bytes_suffix(millionths: i128) -> (i128, &'static str) {
    const SUFFIXES: &[(i128, &str)] = &[
        (1 << 40, "TiB"),
        (1_000_000_000_000, "TB"),
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
    ];
    let whole = |(size, _): &&(i128, &str)| millionths % (size * 1_000_000) == 0;
    SUFFIXES.iter().find(whole).copied().unwrap_or((1_000, "kB"))
}

/// Millionths as a decimal without needless zeros.
struct Amount(i128);

impl Display for Amount {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        write!(out, "{whole}")?;
        if part != 0 {
            let digits = format!("{part:06}");
            write!(out, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

/// The shorter of `0.00001` and `1e-5`; always read back as the same float.
pub fn float_text(number: f64) -> String {
    let plain = format!("{number:?}");
    let short = format!("{number:e}");
    let point = plain.trim_end_matches(".0").len();
    if short.len() < point.min(plain.len()) { short } else { plain }
}

/// The value as a recipe would write it; an artifact by the number of its stage.
impl Display for Value {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Value::None => out.write_str("none"),
            Value::Bool(flag) => write!(out, "{flag}"),
            Value::Int(number) => write!(out, "{number}"),
            Value::Float(number) => out.write_str(&float_text(*number)),
            Value::Text(text) => write_text(out, text),
            Value::Path(path) => write_text(out, &path.written),
            Value::Quantity(quantity) => write!(out, "{quantity}"),
            Value::List(items) => {
                out.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(out, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                out.write_str("]")
            }
            Value::Record { name, fields } => {
                if let Some(name) = name {
                    write!(out, "{name} ")?;
                }
                out.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(out, "{} {name}: {value}", if at == 0 { "" } else { "," })?;
                }
                out.write_str(if fields.is_empty() { "}" } else { " }" })
            }
            Value::Share { percent, of } => write!(out, "{percent} of {of}"),
            Value::Artifact(artifact) => match artifact.port.as_str() {
                SINGLE_PORT => write!(out, "stage {}", artifact.stage.0),
                port => write!(out, "stage {}.{port}", artifact.stage.0),
            },
        }
    }
}

fn write_text(out: &mut Formatter<'_>, text: &str) -> Result {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    write!(out, "\"{}\"", escaped.replace('\n', "\\n").replace('\t', "\\t"))
}

#[cfg(test)]
mod tests {
    use super::float_text;
    use crate::lang::value::{Quantity, Unit};

    #[test]
    fn numbers_are_short_and_exact() {
        assert_eq!(float_text(1e-5), "1e-5");
        assert_eq!(float_text(0.15), "0.15");
        assert_eq!(float_text(1.0), "1.0");
        let half = Quantity { unit: Unit::Epochs, millionths: 1_500_000 };
        assert_eq!(half.to_string(), "1.5 epochs");
        assert_eq!(Quantity::whole(Unit::Tokens, 1).to_string(), "1 token");
        assert_eq!(Quantity::whole(Unit::Bytes, 24 << 30).to_string(), "24GiB");
        assert_eq!(Quantity::whole(Unit::Bytes, 1500).to_string(), "1.5kB");
        assert_eq!(Quantity::whole(Unit::Percent, 5).to_string(), "5%");
    }
}
