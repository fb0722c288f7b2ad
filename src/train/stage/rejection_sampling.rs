//! `rejection_sampling`: the best of several answers to each prompt. Llama 2, section 3.2.3:
//!
//! ```text
//! best(p) = argmax_k R(g_k | p)    over samples g_1 … g_K of the policy
//! ```
//!
//! The paper does not publish K and says no more of the temperature than that it must be tuned in
//! each iteration. What it learns from these rows afterwards is `sft`. Knows a policy and a judge;
//! does not know how either computes.

use std::path::PathBuf;

use super::samples::{Answering, Sampler, rows_of, scores};
use crate::train::data::chat::Template;
use crate::train::data::mixture::Mix;
use crate::train::data::rows::{Chat, Message, Prompt, Writer};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::ModelPath;
use crate::train::model::sample::Generated;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `rejection_sampling`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectionSampling {
    pub policy: PathBuf,
    pub judge: ModelPath,
    pub prompts: Mix<PathBuf>,
    pub template: Template,
    pub answering: Answering,
}

/// Answers every prompt and writes the best dialogue of each at port `out`.
pub fn run(params: &RejectionSampling, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let prompts: Vec<Prompt> = rows_of(&params.prompts)?;
    let tokenizer = Tokenizer::load(&params.policy)?;
    let sampler = Sampler::open(&params.policy, tokenizer, &params.template, context)?;
    let encode = |(row, prompt): (usize, &Prompt)| sampler.prompt(row, &prompt.prompt);
    let texts: Vec<Vec<u32>> = (1..).zip(&prompts).map(encode).collect::<Result<_, _>>()?;
    let Answering { samples, max_answer, .. } = params.answering;
    let judge = sampler.judge(&params.judge, &texts, max_answer, context)?;
    let made = sampler.answer("answers", &texts, params.answering, context)?;

    let mut judged = Vec::with_capacity(made.len());
    let mut can_be_kept = Vec::with_capacity(made.len());
    for (at, answer) in made.iter().enumerate() {
        let (prompt, text) = (&prompts[at / samples], &texts[at / samples]);
        let example = sampler.learnable(at / samples + 1, &prompt.prompt, answer);
        can_be_kept.push(example.is_some());
        judged.push(sampler.judged(text, answer, example, prompt.safety == Some(true)));
    }
    let verdicts = scores(&judge, &judged, context)?;
    let rewards: Vec<f32> = verdicts.iter().map(|verdict| verdict.combined).collect();
    if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
        let row = at / samples + 1;
        return Err(Failure::input(format!("the judge gives {} to row {row}", rewards[at]))
            .remedy("train the reward model again, with a lower `lr`"));
    }

    let mut file = Writer::create(&context.out.join("out"))?;
    let mut kept = Vec::new();
    for (prompt, of) in prompts.iter().zip((0..made.len()).step_by(samples)) {
        if let Some(best) = best(&rewards[of..of + samples], &can_be_kept[of..of + samples]) {
            let mut messages = prompt.prompt.clone();
            messages.push(Message::new("assistant", sampler.text(&made[of + best])));
            file.write(&Chat::new(messages))?;
            kept.push(f64::from(rewards[of + best]));
        }
    }
    file.finish()?;
    told(&prompts, &made, &rewards, &kept, context)
}

/// The best answer of those that can be kept; of equal ones the first.
fn best(rewards: &[f32], can_be_kept: &[bool]) -> Option<usize> {
    let mut kept = (0..rewards.len()).filter(|k| can_be_kept[*k]);
    let first = kept.next()?;
    Some(kept.fold(first, |best, k| if rewards[k] > rewards[best] { k } else { best }))
}

/// What the run was: how many rows are kept, and what more samples are worth.
fn told(
    prompts: &[Prompt],
    made: &[Generated],
    rewards: &[f32],
    kept: &[f64],
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let ended = made.iter().filter(|answer| answer.ended).count();
    if kept.is_empty() {
        let (answers, cut) = (made.len(), made.len() - ended);
        return Err(Failure::input(format!(
            "none of {answers} answers can be learned from: `max_answer` cut {cut}, and the others \
             say nothing or do not fit the template"
        ))
        .remedy("raise `max_answer`, or fine-tune the policy longer"));
    }
    let left_out = prompts.len() - kept.len();
    if left_out > 0 {
        let of = prompts.len();
        context.progress.log(&format!("{left_out} of {of} prompts have no answer to learn from"));
    }
    let metric = |name: &str, value: f64| (name.to_string(), value);
    let mut metrics = vec![
        metric("kept", kept.len() as f64),
        metric("of", prompts.len() as f64),
        metric("reward", kept.iter().sum::<f64>() / kept.len() as f64),
    ];
    for (k, [best, median]) in curve(rewards, made.len() / prompts.len()) {
        context.progress.log(&format!("of {k} answers: best {best:.4}, median {median:.4}"));
        metrics.push(metric(&format!("reward of best of {k}"), best));
    }
    metrics.extend([metric("answers", made.len() as f64), metric("ended", ended as f64)]);
    Ok(metrics)
}

/// For 1, 2, 4, … and all samples: the mean over prompts of the best and of the median reward among
/// the first so many. All answers count, kept or not. Figure 7 of the paper.
pub fn curve(rewards: &[f32], samples: usize) -> Vec<(usize, [f64; 2])> {
    let doublings = std::iter::successors(Some(1), |k: &usize| k.checked_mul(2));
    let sizes = doublings.take_while(|k| *k < samples).chain([samples]);
    let prompts = (rewards.len() / samples) as f64;
    let mean = |k: usize, of: fn(&[f32]) -> f64| {
        let firsts = rewards.chunks(samples).map(|rewards| {
            let mut first = rewards[..k].to_vec();
            first.sort_by(f32::total_cmp);
            of(&first)
        });
        firsts.sum::<f64>() / prompts
    };
    let best = |sorted: &[f32]| f64::from(sorted[sorted.len() - 1]);
    sizes.map(|k| (k, [mean(k, best), mean(k, median)])).collect()
}

/// Of an even number the mean of the two in the middle.
fn median(sorted: &[f32]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (f64::from(low) + f64::from(high)) / 2.0
}
