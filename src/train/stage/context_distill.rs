//! `context_distill`: answers given under a pre-prompt, written down without it, so that the model
//! learns to answer so unasked. Llama 2, section 4.2.4: an answer is kept only where the reward
//! model scores it higher than the one given without the pre-prompt.
//!
//! Both are scored as answers to the bare prompt, which counts as one of safety. Chosen by llamake:
//! the pre-prompt stands before the last turn of the user, a blank between them. Knows a model and
//! a judge; does not know how either computes.

use std::path::PathBuf;

use super::samples::{Answering, Sampler, rows_of, scores};
use crate::train::data::chat::Template;
use crate::train::data::mixture::Mix;
use crate::train::data::rows::{Chat, Message, Prompt, Writer};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::ModelPath;
use crate::train::progress::{Context, Failure, Metrics};

/// What is asked of the model for a prompt, and its row.
type TurnsOf<'a> = &'a dyn Fn(usize, &Prompt) -> Result<Vec<Message>, Failure>;

/// The parameters of `context_distill`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextDistill {
    pub model: PathBuf,
    pub prompts: Mix<PathBuf>,
    pub preprompt: String,
    pub keep_if: ModelPath,
    pub template: Template,
    pub answering: Answering,
}

/// Answers every prompt twice and writes the dialogues with better answers at port `out`.
pub fn run(params: &ContextDistill, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let prompts: Vec<Prompt> = rows_of(&params.prompts)?;
    let tokenizer = Tokenizer::load(&params.model)?;
    let sampler = Sampler::open(&params.model, tokenizer, &params.template, context)?;
    let encode = |turns: TurnsOf<'_>| {
        let encode = |(row, prompt)| sampler.prompt(row, &turns(row, prompt)?);
        (1..).zip(&prompts).map(encode).collect::<Result<Vec<_>, Failure>>()
    };
    let bare = encode(&|_, prompt| Ok(prompt.prompt.clone()))?;
    let told = encode(&|row, prompt| under(&params.preprompt, row, &prompt.prompt))?;
    let max_answer = params.answering.max_answer;
    let judge = sampler.judge(&params.keep_if, &bare, max_answer, context)?;
    let plain = sampler.answer("answers-without", &bare, params.answering, context)?;
    let distilled = sampler.answer("answers-under", &told, params.answering, context)?;

    let mut texts = Vec::with_capacity(2 * prompts.len());
    let mut can_be_kept = Vec::with_capacity(prompts.len());
    for (at, prompt) in prompts.iter().enumerate() {
        for made in [&plain[at], &distilled[at]] {
            let example = sampler.learnable(at + 1, &prompt.prompt, made);
            can_be_kept.push(example.is_some());
            texts.push(sampler.judged(&bare[at], made, example, true));
        }
    }
    let verdicts = scores(&judge, &texts, context)?;
    let score = |at: usize| f64::from(verdicts[at].combined);
    let better = |at: usize| can_be_kept[2 * at + 1] && score(2 * at + 1) > score(2 * at);

    let mut file = Writer::create(&context.out.join("out"))?;
    let kept: Vec<usize> = (0..prompts.len()).filter(|at| better(*at)).collect();
    for &at in &kept {
        let mut messages = prompts[at].prompt.clone();
        messages.push(Message::new("assistant", sampler.text(&distilled[at])));
        file.write(&Chat::new(messages))?;
    }
    file.finish()?;
    let unfit = (0..prompts.len()).filter(|at| !can_be_kept[2 * at + 1]).count();
    let mean = |which: usize| {
        let scores = (0..prompts.len()).map(|at| score(2 * at + which));
        scores.sum::<f64>() / prompts.len() as f64
    };
    let metric = |name: &str, value: f64| (name.to_string(), value);
    Ok(vec![
        metric("kept", kept.len() as f64),
        metric("of", prompts.len() as f64),
        metric("no row to learn from", unfit as f64),
        metric("reward under the pre-prompt", mean(1)),
        metric("reward without it", mean(0)),
    ])
}

/// The turns with the pre-prompt before the last one of the user.
fn under(preprompt: &str, row: usize, turns: &[Message]) -> Result<Vec<Message>, Failure> {
    let mut turns = turns.to_vec();
    let Some(last) = turns.iter_mut().rev().find(|turn| turn.role == "user") else {
        return Err(Failure::input(format!("row {row} has no turn of the user")));
    };
    last.content = format!("{preprompt} {}", last.content);
    Ok(turns)
}
