//! Several sources as one: end to end, or by shares. Knows what was named and in which proportion;
//! does not know rows or text.

use crate::train::progress::Failure;

/// What a recipe writes as `a`, `[a, b]` or `[90% of a, 10% of b]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix<T> {
    /// One after the other.
    Joined(Vec<T>),
    /// Percentages of the tokens learned from, which add up to 100.
    Shares(Vec<(f64, T)>),
}

/// Part of a mixture that is drawn from by its share, in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Source<T> {
    pub percent: f64,
    pub of: T,
}

impl<T> Mix<T> {
    /// Each thing named, in order.
    pub fn items(&self) -> Vec<&T> {
        match self {
            Mix::Joined(items) => items.iter().collect(),
            Mix::Shares(shares) => shares.iter().map(|(_, item)| item).collect(),
        }
    }

    /// The sources drawn from: what is joined is one source, `read` gathers it.
    pub fn sources<U>(
        &self,
        mut read: impl FnMut(&[&T]) -> Result<U, Failure>,
    ) -> Result<Vec<Source<U>>, Failure> {
        match self {
            Mix::Joined(items) => {
                let of = read(&items.iter().collect::<Vec<_>>())?;
                Ok(vec![Source { percent: 100.0, of }])
            }
            Mix::Shares(shares) => shares
                .iter()
                .map(|(percent, item)| Ok(Source { percent: *percent, of: read(&[item])? }))
                .collect(),
        }
    }
}
