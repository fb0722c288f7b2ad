//! How surprised a model is by running text: exp of the mean negative log-likelihood of a token, of
//! a word and of a byte. Knows losses; does not know the model.

use std::path::PathBuf;

use fancy_regex::Regex;

use crate::eval::examinee::Examinee;
use crate::eval::finding::{Figure, Finding, Record, Said};
use crate::eval::metric::perplexity::Cost;
use crate::eval::prompt::too_much;
use crate::train::data::rows::Benchmark;
use crate::train::kernels::math;
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Perplexity {
    pub name: String,
    pub data: PathBuf,
    /// Done to each text before a model reads it, one after another.
    pub rewrite: Vec<Replace>,
    pub windows: Windows,
}

/// What a pattern finds in a text, and what stands there instead.
#[derive(Clone, Debug)]
pub struct Replace {
    pub pattern: Regex,
    pub by: String,
}

/// How a text is read that is longer than the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// End to end, each seeing only itself.
    Apart,
    /// Each sees the token before it, and the last as many as fit.
    Rolling,
}

impl Perplexity {
    /// Has every text read.
    pub fn examine(
        &self,
        texts: &[String],
        examinee: &Examinee,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let read = texts.iter().map(|text| self.rewritten(text));
        let read = read.collect::<Result<Vec<_>, _>>()?;
        let losses = match self.windows {
            Windows::Apart => examinee.losses(&read, threads, progress)?,
            Windows::Rolling => examinee.rolling_losses(&read, threads, progress)?,
        };
        Ok(finding(texts, read, &losses))
    }

    /// A text as a model reads it.
    pub fn rewritten(&self, text: &str) -> Result<String, Failure> {
        let step = |text: String, Replace { pattern, by }: &Replace| {
            let replaced = pattern.try_replacen(&text, 0, by);
            replaced.map(|text| text.into_owned()).map_err(|error| too_much(pattern, &error))
        };
        self.rewrite.iter().try_fold(text.to_string(), step)
    }
}

/// Texts, what was read of each, and the loss of each token of that. Words and bytes are those of
/// the texts themselves.
fn finding(texts: &[String], read: Vec<String>, losses: &[Vec<f32>]) -> Finding {
    let nats = |losses: &Vec<f32>| losses.iter().map(|loss| f64::from(*loss)).sum();
    let costs = texts.iter().zip(losses).map(|(text, losses)| Cost::of(text, nats(losses)));
    let costs = costs.collect::<Vec<_>>();
    let tokens = losses.iter().map(Vec::len).sum::<usize>();
    let whole = costs.iter().copied().fold(Cost::default(), Cost::and);
    let sized = whole.perplexity();
    let mean = whole.nats / tokens.max(1) as f64;
    let scores = vec![
        Figure::new("perplexity", f64::from(math::exp(mean as f32))).lower(),
        Figure::new("word_perplexity", sized.map(|sized| sized.word)).lower(),
        Figure::new("byte_perplexity", sized.map(|sized| sized.byte)).lower(),
        Figure::new("bits_per_byte", sized.map(|sized| sized.bits_per_byte)).lower(),
        Figure::count("tokens", tokens),
        Figure::count("documents", texts.len()),
    ];
    let record = |((text, read), cost): ((&String, String), &Cost)| Record {
        row: Benchmark::from_iter([("text".to_string(), text.as_str().into())]),
        prompt: read,
        gold: String::new(),
        said: Said::Text(*cost),
        scores: Vec::new(),
    };
    let records = texts.iter().zip(read).zip(&costs).map(record).collect();
    Finding { scores, records, ..Finding::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::prompt::pattern;

    #[test]
    fn a_fair_coin_has_perplexity_two() {
        let ln2 = std::f32::consts::LN_2;
        let finding = finding(&["ab".into()], vec!["a b".into()], &[vec![ln2, ln2]]);
        let values = finding.scores.iter().map(|figure| figure.value.unwrap());
        let expected = [2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        for (got, want) in values.zip(expected) {
            assert!((got - want).abs() < 1e-6, "got {got}, want {want}");
        }
    }

    #[test]
    fn rewriting_is_one_step_after_another() {
        let step = |of: &str, by: &str| Replace { pattern: pattern(of).unwrap(), by: by.into() };
        let task = Perplexity {
            name: "text".into(),
            data: "text".into(),
            rewrite: vec![step(" : ", ": "), step(" ; ", "; "), step(r"\(\s*(\w+)\s*\)", "($1)")],
            windows: Windows::Rolling,
        };
        assert_eq!(task.rewritten("a : ; ( b ) c").unwrap(), "a:; (b) c");
    }
}
