//! Floats on disk to the bit: each as the whole number that its bits are, since JSON knows neither
//! infinity nor NaN. For `#[serde(with = "exact")]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What holds floats, and the same with their bits in their place.
pub trait Exact: Sized {
    type Bits: Serialize + for<'de> Deserialize<'de>;
    fn to_bits(&self) -> Self::Bits;
    fn from_bits(bits: Self::Bits) -> Self;
}

impl Exact for f64 {
    type Bits = u64;
    fn to_bits(&self) -> u64 {
        f64::to_bits(*self)
    }
    fn from_bits(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}

impl Exact for (f64, f64) {
    type Bits = (u64, u64);
    fn to_bits(&self) -> (u64, u64) {
        (self.0.to_bits(), self.1.to_bits())
    }
    fn from_bits((low, high): (u64, u64)) -> (f64, f64) {
        (f64::from_bits(low), f64::from_bits(high))
    }
}

impl Exact for (String, f64) {
    type Bits = (String, u64);
    fn to_bits(&self) -> (String, u64) {
        (self.0.clone(), self.1.to_bits())
    }
    fn from_bits((name, bits): (String, u64)) -> (String, f64) {
        (name, f64::from_bits(bits))
    }
}

impl<T: Exact> Exact for Option<T> {
    type Bits = Option<T::Bits>;
    fn to_bits(&self) -> Self::Bits {
        self.as_ref().map(T::to_bits)
    }
    fn from_bits(bits: Self::Bits) -> Option<T> {
        bits.map(T::from_bits)
    }
}

impl<T: Exact> Exact for Vec<T> {
    type Bits = Vec<T::Bits>;
    fn to_bits(&self) -> Self::Bits {
        self.iter().map(T::to_bits).collect()
    }
    fn from_bits(bits: Self::Bits) -> Vec<T> {
        bits.into_iter().map(T::from_bits).collect()
    }
}

/// Writes the bits.
pub fn serialize<T: Exact, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.to_bits().serialize(to)
}

/// Reads the bits.
pub fn deserialize<'de, T: Exact, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::Bits::deserialize(from).map(T::from_bits)
}
