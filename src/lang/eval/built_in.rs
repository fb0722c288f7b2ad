//! The pure functions that the library declares without a body. Knows their arithmetic; their
//! fields and ranges are checked before.

use std::collections::BTreeMap;

use crate::lang::check::known::{Data, Known};

/// A pure function of the library: its value, or nothing on overflow.
type Function = fn(&BTreeMap<String, Known>) -> Option<Data>;

const FUNCTIONS: &[(&str, Function)] = &[("is_rated", is_rated), ("swiglu_width", swiglu_width)];

/// The pure function of a name.
pub(in crate::lang) fn find(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

/// Whether a shape's `rating` names a column.
fn is_rated(fields: &BTreeMap<String, Known>) -> Option<Data> {
    let rating = match &fields["shape"].data {
        Data::Record(shape) => shape.fields.get("rating"),
        _ => return Some(Data::Unknown),
    };
    Some(Data::Bool(rating.is_some_and(|rating| !matches!(rating.data, Data::None))))
}

/// Two thirds of four times `dim`, rounded down, then up to a multiple.
fn swiglu_width(fields: &BTreeMap<String, Known>) -> Option<Data> {
    let (Data::Int(dim), Data::Int(multiple)) = (&fields["dim"].data, &fields["multiple"].data)
    else {
        return Some(Data::Unknown);
    };
    let width = dim.checked_mul(4)?.checked_mul(2)? / 3;
    let blocks = width.checked_add(multiple - 1)? / multiple;
    blocks.checked_mul(*multiple).map(Data::Int)
}
