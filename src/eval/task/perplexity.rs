//! exp of the mean negative log-likelihood of a token. Knows losses; does not know the model.

use crate::eval::finding::{Figure, Scores};
use crate::train::kernels::math;

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Perplexity {
    pub name: String,
    pub data: std::path::PathBuf,
}

/// Perplexity a token, and bits a byte of the text, so that tokenizers can be compared.
pub fn scores(texts: &[String], losses: &[Vec<f32>]) -> Scores {
    let tokens: usize = losses.iter().map(Vec::len).sum();
    let nats: f64 = losses.iter().flatten().map(|loss| f64::from(*loss)).sum();
    let bytes: usize = texts.iter().map(String::len).sum();
    let mean = nats / tokens.max(1) as f64;
    vec![
        Figure::new("perplexity", f64::from(math::exp(mean as f32))).lower(),
        Figure::new("bits_per_byte", nats / std::f64::consts::LN_2 / bytes.max(1) as f64).lower(),
        Figure::count("tokens", tokens),
        Figure::count("documents", texts.len()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_coin_has_perplexity_two() {
        let ln2 = std::f32::consts::LN_2;
        let scores = scores(&["ab".into()], &[vec![ln2, ln2]]);
        assert!((scores[0].value.unwrap() - 2.0).abs() < 1e-6);
        assert!((scores[1].value.unwrap() - 1.0).abs() < 1e-6);
    }
}
