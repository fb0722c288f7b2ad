//! Interpolated Witten–Bell n-grams over tokens (Witten and Bell, "The zero-frequency problem",
//! 1991, method C): what counting alone reaches. Knows token ids; does not know text or models.

use std::collections::HashMap;

/// Counts of the n-grams up to an order.
pub struct NGrams {
    order: usize,
    vocab: usize,
    /// For each context: how many tokens followed it, and how many different ones.
    contexts: HashMap<u64, (u64, u64)>,
    grams: HashMap<u64, u64>,
}

/// A short run of tokens as one number; a leading one tells lengths apart.
fn packed(tokens: &[u32]) -> u64 {
    tokens.iter().fold(1, |sum, token| sum << 12 | u64::from(*token))
}

impl NGrams {
    pub fn new(order: usize, vocab: usize) -> NGrams {
        assert!(order <= 5 && vocab <= 1 << 12, "five tokens of twelve bits fit into a number");
        NGrams { order, vocab, contexts: HashMap::new(), grams: HashMap::new() }
    }

    /// Counts every token of a sequence after each context up to the order.
    pub fn count(&mut self, tokens: &[u32]) {
        for end in 1..=tokens.len() {
            for length in 1..=self.order.min(end) {
                let gram = &tokens[end - length..end];
                let times = self.grams.entry(packed(gram)).or_default();
                *times += 1;
                let context = self.contexts.entry(packed(&gram[..length - 1])).or_default();
                context.0 += 1;
                context.1 += u64::from(*times == 1);
            }
        }
    }

    /// The probability of the last token after those before it:
    /// p(w | h) = (c(hw) + t(h) · p(w | h′)) / (c(h) + t(h)), down to 1 / vocab.
    pub fn probability(&self, tokens: &[u32]) -> f64 {
        let mut p = 1.0 / self.vocab as f64;
        for length in 1..=self.order.min(tokens.len()) {
            let gram = &tokens[tokens.len() - length..];
            let Some((followed, kinds)) = self.contexts.get(&packed(&gram[..length - 1])) else {
                break;
            };
            let times = self.grams.get(&packed(gram)).copied().unwrap_or(0);
            p = (times as f64 + *kinds as f64 * p) / (followed + kinds) as f64;
        }
        p
    }

    /// Perplexity of documents; the first token of each is given.
    pub fn perplexity(&self, documents: &[Vec<u32>]) -> f64 {
        let ends = documents.iter().flat_map(|text| (2..=text.len()).map(|end| &text[..end]));
        let nats = ends.map(|text| -self.probability(text).ln()).collect::<Vec<_>>();
        (nats.iter().sum::<f64>() / nats.len() as f64).exp()
    }
}

#[test]
fn probabilities_sum_to_one() {
    let mut grams = NGrams::new(3, 5);
    grams.count(&[0, 1, 2, 0, 1, 3, 0, 1, 2]);
    for history in [&[][..], &[0], &[0, 1], &[4, 4], &[2, 0, 1]] {
        let after = |token| grams.probability(&[history, &[token]].concat());
        let sum: f64 = (0..5).map(after).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{history:?} sums to {sum}");
    }
}

#[test]
fn a_worked_example_agrees() {
    let mut grams = NGrams::new(2, 4);
    grams.count(&[0, 1, 0, 2]);
    // p(1) = (1 + 3/4) / (4 + 3); after 0 came 1 and 2: p(1 | 0) = (1 + 2 · p(1)) / (2 + 2).
    let unigram = 1.75 / 7.0;
    assert!((grams.probability(&[1]) - unigram).abs() < 1e-12);
    assert!((grams.probability(&[0, 1]) - (1.0 + 2.0 * unigram) / 4.0).abs() < 1e-12);
    // After 3 nothing came, so what is known of 1 alone counts.
    assert!((grams.probability(&[3, 1]) - unigram).abs() < 1e-12);
    let expected = 1.0 / grams.probability(&[0, 1]);
    assert!((grams.perplexity(&[vec![0, 1]]) - expected).abs() < 1e-9);
}
