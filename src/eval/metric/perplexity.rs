//! How surprised a model is by running text, a word, a byte and a bit of it. The sums run over all
//! texts before they are divided, so a long text counts more than a short one. Knows losses and
//! sizes; does not know the model.

use serde::{Deserialize, Serialize};

use super::blanks::pieces;
use crate::eval::exact;
use crate::train::kernels::math;

/// What a text cost: its negative log-likelihood in nats, and its size before it was tokenised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    #[serde(with = "exact")]
    pub nats: f64,
    pub words: usize,
    pub bytes: usize,
}

/// The same loss by three measures, none of which depends on the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// exp of the nats a word.
    pub word: f64,
    /// exp of the nats a byte.
    pub byte: f64,
    pub bits_per_byte: f64,
}

impl Cost {
    /// Of a text as it was published; words are the pieces between runs of blanks.
    pub fn of(text: &str, nats: f64) -> Cost {
        Cost { nats, words: pieces(text), bytes: text.len() }
    }

    /// Both together.
    pub fn and(self, other: Cost) -> Cost {
        Cost {
            nats: self.nats + other.nats,
            words: self.words + other.words,
            bytes: self.bytes + other.bytes,
        }
    }

    /// The measures; of no bytes there are none.
    pub fn perplexity(&self) -> Option<Perplexity> {
        let (words, bytes) = (self.words as f64, self.bytes as f64);
        (self.bytes > 0).then(|| Perplexity {
            word: math::exp_f64(self.nats / words),
            byte: math::exp_f64(self.nats / bytes),
            bits_per_byte: self.nats / bytes / std::f64::consts::LN_2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_fair_coins_has_eight_bits() {
        let nats = 8.0 * std::f64::consts::LN_2;
        let both = Cost::of("ab c", 4.0 * nats).and(Cost::of("d", nats));
        assert_eq!((both.words, both.bytes), (3, 5));
        let found = both.perplexity().unwrap();
        assert!((found.bits_per_byte - 8.0).abs() < 1e-12, "{found:?}");
        assert!((found.byte - 256.0).abs() < 1e-9, "{found:?}");
        assert!((found.word - 256f64.powf(5.0 / 3.0)).abs() < 1e-6, "{found:?}");
        assert_eq!(Cost::of("", 0.0).perplexity(), None);
    }
}
