//! What a model that learnt nothing could reach: one constant answer to everything, and the answer
//! of the nearest training question. Knows strings; does not know models.

use std::collections::{BTreeMap, BTreeSet};

/// A question with the answer it got in training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub question: String,
    pub answer: String,
}

/// The training answer that is right most often; of equals, the first in alphabetical order.
/// `right` says whether an answer to question `at` is right.
pub fn best_constant(
    known: &[Known],
    questions: usize,
    right: impl Fn(usize, &str) -> bool,
) -> Option<String> {
    let answers = known.iter().map(|known| known.answer.as_str()).collect::<BTreeSet<_>>();
    let score = |answer: &str| (0..questions).filter(|at| right(*at, answer)).count();
    let scored = answers.into_iter().map(|answer| (score(answer), answer));
    let best = scored.fold(None, |best: Option<(usize, &str)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    best.map(|(_, answer)| answer.to_string())
}

/// Finds the nearest training question: the weight of the words both share over the weight of all
/// words of both (a weighted Jaccard index). Of equals, the first in training.
pub struct Nearest<'a> {
    known: &'a [Known],
    holding: BTreeMap<String, Vec<usize>>,
    /// The weight of all words of each question.
    weights: Vec<f64>,
}

impl<'a> Nearest<'a> {
    pub fn new(known: &'a [Known]) -> Nearest<'a> {
        let words = known.iter().map(|known| words(&known.question)).collect::<Vec<_>>();
        let mut holding: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, words) in words.iter().enumerate() {
            for word in words {
                holding.entry(word.clone()).or_default().push(at);
            }
        }
        let mut nearest = Nearest { known, holding, weights: Vec::new() };
        nearest.weights = words.iter().map(|words| nearest.weight_of(words)).collect();
        nearest
    }

    /// The answer of the nearest question, if there is any training at all.
    pub fn answer(&self, question: &str) -> Option<&'a str> {
        let asked = words(question);
        let mut shared = vec![0.0; self.known.len()];
        for word in &asked {
            for at in self.holding.get(word).into_iter().flatten() {
                shared[*at] += self.weight(word);
            }
        }
        let total = self.weight_of(&asked);
        let likeness = |at: usize| {
            let all = total + self.weights[at] - shared[at];
            if all > 0.0 { shared[at] / all } else { 0.0 }
        };
        let likenesses = (0..self.known.len()).map(|at| (likeness(at), at));
        let best = likenesses.fold(None, |best: Option<(f64, usize)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        });
        best.map(|(_, at)| self.known[at].answer.as_str())
    }

    fn weight_of(&self, words: &BTreeSet<String>) -> f64 {
        words.iter().map(|word| self.weight(word)).sum()
    }

    /// A rare word says more: one over how many training questions hold it.
    fn weight(&self, word: &str) -> f64 {
        1.0 / self.holding.get(word).map_or(1.0, |at| at.len() as f64)
    }
}

/// Lower-case words, without punctuation.
fn words(text: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let pair = |question: &str, answer: &str| Known {
            question: question.into(),
            answer: answer.into(),
        };
        vec![
            pair("What pet does Jon have?", "a goat"),
            pair("Where does Ada live?", "in Oakby"),
            pair("What is the job of Jon?", "a smith"),
        ]
    }

    #[test]
    fn the_nearest_question_answers() {
        let known = known();
        let nearest = Nearest::new(&known);
        assert_eq!(nearest.answer("Where does Ben live?"), Some("in Oakby"));
        assert_eq!(nearest.answer("which pet has jon"), Some("a goat"));
        assert_eq!(Nearest::new(&[]).answer("anything"), None);
    }

    #[test]
    fn the_best_constant_is_right_most_often() {
        let known = known();
        let gold = ["a smith", "a smith", "a goat"];
        let best = best_constant(&known, 3, |at, answer| gold[at] == answer);
        assert_eq!(best.as_deref(), Some("a smith"));
        assert_eq!(best_constant(&[], 3, |_, _| true), None);
    }
}
