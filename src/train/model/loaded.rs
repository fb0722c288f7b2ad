//! A finished model opened for use: it scores rows and continues prompts. Knows token ids; text,
//! and what a score means, are the caller's.

use std::path::Path;

use super::asked::{Asked, Engine};
use super::batch::Batch;
use super::config::{ModelConfig, SpecialTokens};
use super::endings::{Ending, Likelihood};
use super::folder::{self, ModelFolder};
use super::inference::check_finite;
use super::lora::LoraSettings;
use super::peft;
use super::sample::{GenerateOptions, Generated, Hear};
use super::tensor::Stored;
use super::transformer::Transformer;
use crate::train::data::pack::{IGNORE, Row};
use crate::train::progress::{Failure, Progress};

/// Tokens that are scored at once, unless one row is longer.
pub const TOKENS_AT_ONCE: usize = 4096;

/// A model read from its folder.
#[derive(Debug)]
pub struct LoadedModel {
    pub special: SpecialTokens,
    asked: Asked,
}

impl LoadedModel {
    /// Opens a model's folder.
    pub fn load(folder: &Path, engine: impl Into<Engine>) -> Result<LoadedModel, Failure> {
        LoadedModel::of(folder::open(folder)?, engine)
    }

    /// A model that was opened.
    pub fn of(
        model: ModelFolder<Stored>,
        engine: impl Into<Engine>,
    ) -> Result<LoadedModel, Failure> {
        let ModelFolder { config, special, weights } = model;
        let positions = config.context;
        let model = Transformer::new(config, weights, positions);
        Ok(LoadedModel { special, asked: Asked::new(model, &engine.into())? })
    }

    /// From here on the model is used under this adapter, or as it is.
    pub fn wear(&mut self, adapter: Option<&Path>) -> Result<(), Failure> {
        let adapter = adapter.map(|path| peft::read(path, self.config())).transpose()?;
        self.asked.wear(adapter)
    }

    /// How the adapter that it wears was made.
    pub fn adapter(&self) -> Option<&LoraSettings> {
        self.asked.model.adapter.as_ref().map(|adapter| &adapter.settings)
    }

    /// Bytes of the weights as they are stored, an adapter left out.
    pub fn weight_bytes(&self) -> u64 {
        self.asked.model.weights.in_order().into_iter().map(|tensor| tensor.bytes() as u64).sum()
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.asked.model.config
    }

    /// −log p of each target of each row, 0 where it is ignored.
    pub fn score(
        &self,
        rows: &[Row],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        self.check_rows(rows)?;
        let mut passes = self.asked.at().passes();
        let mut scores = Vec::with_capacity(rows.len());
        while scores.len() < rows.len() {
            if progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            let part = &rows[scores.len()..];
            let part: Vec<&Row> = part.iter().collect();
            let batch = Batch::of(&part[..rows_at_once(&part)]);
            passes.read(&batch);
            let nll_t = passes.losses(&batch, 1.0)?;
            check_finite(nll_t.iter().copied())?;
            scores.extend(batch.rows.iter().map(|row| nll_t[row.clone()].to_vec()));
            progress.at(scores.len() as u64, rows.len() as u64, "rows", &[]);
        }
        Ok(scores)
    }

    /// −log p of every token of each document but its first; a document longer than the context is
    /// cut into windows, each seeing only itself.
    pub fn document_losses(
        &self,
        documents: &[Vec<u32>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let mut rows = Vec::new();
        let mut owner = Vec::new();
        for (at, tokens) in documents.iter().enumerate() {
            for row in windows(tokens, self.config().context) {
                rows.push(row);
                owner.push(at);
            }
        }
        let scores = self.score(&rows, progress)?;
        let mut losses = vec![Vec::new(); documents.len()];
        for ((at, row), scores) in owner.into_iter().zip(&rows).zip(scores) {
            let scored = row.targets.iter().zip(scores).filter(|(target, _)| **target != IGNORE);
            losses[at].extend(scored.map(|(_, loss)| loss));
        }
        Ok(losses)
    }

    /// How its matrices are stored.
    pub fn dtype(&self) -> &'static str {
        self.asked.model.dtype()
    }

    /// Fails at the first row that cannot be scored, which it names by its number.
    pub fn check_rows(&self, rows: &[Row]) -> Result<(), Failure> {
        (1..).zip(rows).try_for_each(|(number, row)| self.check(number, row))
    }

    fn check(&self, row: usize, of: &Row) -> Result<(), Failure> {
        let ModelConfig { context, vocab, .. } = *self.config();
        let length = of.tokens.len();
        if length == 0 || length > context {
            return Err(Failure::input(format!(
                "row {row} is {length} tokens long, outside 1..={context}, the model's context"
            )));
        }
        let targets = of.targets.iter().filter(|target| **target != IGNORE);
        match of.tokens.iter().chain(targets).find(|id| **id as usize >= vocab) {
            Some(id) => Err(Failure::input(format!(
                "row {row} holds token {id}, outside the model's vocabulary of {vocab}"
            ))),
            None => Ok(()),
        }
    }

    /// Continuations of each prompt, prompt by prompt.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        self.asked.at().generate(prompts, options, progress)
    }

    /// How likely the end of each text is; what texts begin with alike is read once.
    pub fn score_endings(
        &self,
        endings: &[Ending],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Likelihood>, Failure> {
        self.asked.at().endings(endings, progress)
    }

    /// The continuations that `made` lacks; each may be `over` before the ending token comes.
    pub fn generate_until(
        &self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        over: &dyn Fn(&[u32]) -> bool,
        made: Vec<Option<Generated>>,
        hear: Hear<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        self.asked.at().generate_until(prompts, options, over, made, hear, progress)
    }

    /// The continuations that `made` lacks; with them it is whole.
    pub fn generate_rest(
        &self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        made: Vec<Option<Generated>>,
        hear: Hear<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        self.generate_until(prompts, options, &|_| false, made, hear, progress)
    }
}

/// How many of these rows are scored together.
pub fn rows_at_once(rows: &[&Row]) -> usize {
    let mut tokens = 0;
    let within = rows.iter().take_while(|row| {
        tokens += row.tokens.len();
        tokens <= TOKENS_AT_ONCE
    });
    within.count().max(1)
}

/// Rows that predict every token of a document once, given those before it in its window.
fn windows(tokens: &[u32], context: usize) -> Vec<Row> {
    let inputs = &tokens[..tokens.len() - 1];
    let starts = (0..inputs.len()).step_by(context);
    let row = |start: usize| {
        let end = (start + context).min(inputs.len());
        Row {
            tokens: inputs[start..end].to_vec(),
            targets: tokens[start + 1..end + 1].to_vec(),
            segments: std::iter::once(0..end - start).collect(),
        }
    };
    starts.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_predicted_once() {
        let tokens = (0..11).collect::<Vec<u32>>();
        let rows = windows(&tokens, 4);
        let targets = rows.iter().flat_map(|row| row.targets.clone()).collect::<Vec<_>>();
        assert_eq!(targets, (1..11).collect::<Vec<u32>>());
        assert_eq!(rows.iter().map(|row| row.tokens.len()).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
