//! `train_tokenizer`: a vocabulary from text and dialogues. Knows shares of sources; does not know
//! models.

use std::path::PathBuf;

use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::mixture::{Mix, Source};
use crate::train::data::rows::{Chat, Reader, Text};
use crate::train::data::vocabulary::{Manner, Vocabulary, WordCounts};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/train.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainTokenizer {
    pub text: Mix<PathBuf>,
    pub dialogues: Option<Mix<PathBuf>>,
    pub template: Option<Template>,
    pub vocab: u64,
    pub manner: Manner,
    pub split_digits: bool,
    pub byte_fallback: bool,
    pub bos: String,
    pub eos: String,
    pub unknown: String,
}

/// Texts counted at once, so that memory stays bounded.
const TEXTS_AT_ONCE: usize = 4096;

/// Makes the folder `out`.
pub fn run(params: &TrainTokenizer, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let vocabulary = Vocabulary {
        size: usize::try_from(params.vocab).unwrap_or(usize::MAX),
        manner: params.manner,
        split_digits: params.split_digits,
        byte_fallback: params.byte_fallback,
        bos: params.bos.clone(),
        eos: params.eos.clone(),
        unknown: params.unknown.clone(),
    };
    let format = template(params)?;
    let mut counter = Counter { vocabulary: &vocabulary, ctx, texts: 0 };
    let text = params.text.sources(|paths| counter.text(paths))?;
    let mut counts = weigh(&text);
    if let (Some(dialogues), Some(format)) = (&params.dialogues, &format) {
        let dialogues = dialogues.sources(|paths| counter.dialogues(paths, format))?;
        for (word, count) in weigh(&dialogues) {
            *counts.entry(word).or_default() += count;
        }
    }
    let texts = counter.texts;
    if counts.is_empty() {
        return Err(Failure::input("there is no text to learn a vocabulary from")
            .remedy("give at least one document that is not blank"));
    }
    ctx.progress.log(&format!("{} distinct words in {texts} texts", counts.len()));
    let tokenizer = vocabulary.train(&counts, ctx.threads)?;
    let folder = ctx.out.join("out");
    std::fs::create_dir(&folder).map_err(Failure::io(&folder))?;
    tokenizer.save(&folder)?;
    Ok(vec![("vocab".into(), tokenizer.vocab() as f64), ("texts".into(), texts as f64)])
}

/// The template for dialogues; one without the other is read by nothing.
fn template(params: &TrainTokenizer) -> Result<Option<ChatFormat>, Failure> {
    match (&params.dialogues, &params.template) {
        (None, None) => Ok(None),
        (Some(_), Some(template)) => ChatFormat::new(template).map(Some),
        (Some(_), None) => Err(Failure::input("`dialogues` are counted as `template` writes them")
            .remedy("add `template`, such as `template: llama2.chat`")),
        (None, Some(_)) => Err(Failure::input("`template` is set and there are no `dialogues`")
            .remedy("add `dialogues`, or leave `template` out")),
    }
}

/// Counts the words of files.
struct Counter<'a, 'c> {
    vocabulary: &'a Vocabulary,
    ctx: &'a mut Context<'c>,
    texts: u64,
}

impl Counter<'_, '_> {
    fn text(&mut self, paths: &[&PathBuf]) -> Result<WordCounts, Failure> {
        let mut counts = WordCounts::new();
        for path in paths {
            let rows = Reader::<Text>::open(path)?;
            self.count(rows.map(|row| Ok(vec![row?.text])), &mut counts)?;
        }
        Ok(counts)
    }

    fn dialogues(
        &mut self,
        paths: &[&PathBuf],
        format: &ChatFormat,
    ) -> Result<WordCounts, Failure> {
        let mut counts = WordCounts::new();
        for path in paths {
            let rows = Reader::<Chat>::open(path)?.enumerate();
            let stretches = rows.map(|(at, row)| format.stretches(at + 1, &row?.messages));
            self.count(stretches, &mut counts)?;
        }
        Ok(counts)
    }

    fn count(
        &mut self,
        mut texts: impl Iterator<Item = Result<Vec<String>, Failure>>,
        counts: &mut WordCounts,
    ) -> Result<(), Failure> {
        loop {
            let batch: Result<Vec<_>, Failure> = texts.by_ref().take(TEXTS_AT_ONCE).collect();
            let batch = batch?;
            if batch.is_empty() {
                return Ok(());
            }
            if self.ctx.progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            self.texts += batch.len() as u64;
            self.ctx.progress.at(self.texts, self.texts, "texts", &[]);
            let texts: Vec<String> = batch.into_iter().flatten().collect();
            for (word, count) in self.vocabulary.count_words(&texts, self.ctx.threads) {
                *counts.entry(word).or_default() += count;
            }
        }
    }
}

/// One count of all sources. Where shares are given, those of a source are scaled so that its
/// characters have its share of all; no word that occurs is lost.
fn weigh(sources: &[Source<WordCounts>]) -> WordCounts {
    let length = |counts: &WordCounts| -> f64 {
        counts.iter().map(|(word, count)| word.len() as u64 * count).sum::<u64>() as f64
    };
    let total: f64 = sources.iter().map(|source| length(&source.of)).sum();
    let mut weighed = WordCounts::new();
    for source in sources {
        let wanted = total * source.percent / 100.0;
        let weight = if sources.len() > 1 { wanted / length(&source.of).max(1.0) } else { 1.0 };
        for (word, &count) in &source.of {
            let count = ((count as f64 * weight).round() as u64).max(1);
            *weighed.entry(word.clone()).or_default() += count;
        }
    }
    weighed
}
