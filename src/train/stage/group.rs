//! GRPO's objective with all that it needs: a policy that answers each prompt several times, a
//! judge, and the policy as it began. Knows rows and steps; the formulas are in
//! `train::objective::grpo`.

use std::ops::Range;

use super::grpo::Grpo;
use super::rollout::{Asking, Prompts, rollouts};
use super::scored::{Seen, answer_log_probs, check_sampler, places, reward, spread};
use crate::train::data::chat::ChatFormat;
use crate::train::data::pack::Row;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::Threads;
use crate::train::kernels::cross_entropy::{Gradients, Losses, cross_entropy};
use crate::train::kernels::rng::Stream;
use crate::train::model::activations::Activations;
use crate::train::model::asked::{Asked, At};
use crate::train::model::judge::Judge;
use crate::train::model::{Batch, Parameters, Transformer, folder};
use crate::train::objective::grpo::{Sizes, Token, token_loss};
use crate::train::objective::{Figures, Objective};
use crate::train::progress::{Context, Failure, Metrics};

/// An answer to learn from; lists hold a number a token of the answer.
#[derive(Clone, Debug)]
struct Experience {
    row: Row,
    log_probs: Vec<f32>,
    /// By the policy as it began.
    reference: Vec<f32>,
    advantage: f32,
}

/// What a step adds up, token by token.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    loss: f64,
    entropy: f64,
    clipped: u64,
    tokens: usize,
}

/// See the head of this file.
pub struct Group<'p> {
    params: &'p Grpo,
    prompts: Prompts,
    judge: Judge,
    /// The policy as it began.
    reference: Asked,
    eos: u32,
    positions: usize,
    experience: Vec<Experience>,
    /// The answers of this step.
    step: Vec<usize>,
    sums: Sums,
    seen: Seen,
    /// The share of prompts whose answers are all worth the same, and teach nothing.
    equal: f64,
}

impl<'p> Group<'p> {
    /// Reads prompts, judge and reference.
    pub fn open(
        params: &'p Grpo,
        tokenizer: &Tokenizer,
        format: &ChatFormat,
        context: &mut Context<'_>,
    ) -> Result<Group<'p>, Failure> {
        let seed = params.training.seed;
        let prompts = Prompts::read(&params.prompts, tokenizer, format, params.batch, seed)?;
        let folder::ModelFolder { config, weights, .. } = folder::open(&params.policy)?;
        let positions = config.context;
        let reference = Transformer::new(config, weights, positions);
        let engine = context.engine();
        Ok(Group {
            params,
            prompts,
            judge: Judge::open(&params.judge, engine.clone())?,
            reference: Asked::new(reference, &engine)?,
            eos: tokenizer.eos().id,
            positions,
            experience: Vec::new(),
            step: Vec::new(),
            sums: Sums::default(),
            seen: Seen::default(),
            equal: 0.0,
        })
    }

    /// One gradient step a mini-batch.
    pub fn steps_an_iteration(&self) -> u64 {
        (self.params.batch / self.params.mini_batch) as u64
    }

    /// Means of the last iteration.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Answers the prompts of an iteration and compares the answers to each.
    fn collect(
        &mut self,
        iteration: u64,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let Grpo { samples, max_answer, temperature, loss, .. } = *self.params;
        let asking = Asking { samples, max_answer, temperature, eos: self.eos };
        let (engine, asked) = (context.engine(), self.prompts.at(iteration));
        let copy = engine.copy(model)?;
        let policy = At::of(&engine.threads, model, &copy);
        let draw = (self.params.training.seed, &*format!("rollouts/{iteration}"));
        let progress = &mut *context.progress;
        let answered = rollouts(policy, &self.judge, &asked, asking, draw, progress)?;
        let rewards: Vec<f32> = answered.iter().map(|one| reward(one) as f32).collect();
        let groups: Vec<&[f32]> = rewards.chunks(samples).collect();
        let equal = |group: &&&[f32]| group.iter().all(|reward| *reward == group[0]);
        self.equal = groups.iter().filter(equal).count() as f64 / groups.len() as f64;
        let advantages = groups.iter().flat_map(|group| loss.advantages(group));
        let rows: Vec<&Row> = answered.iter().map(|one| &one.row).collect();
        let scored = answer_log_probs(policy, &rows, temperature as f32)?;
        let reference = self.reference.at();
        let reference = answer_log_probs(reference, &rows, temperature as f32)?.log_probs;
        check_sampler(&answered, &scored.plain);
        let lists = scored.log_probs.iter().zip(&reference);
        self.seen = Seen::of(&answered, lists.map(|(own, reference)| [&own[..], reference]));
        let numbers = scored.log_probs.into_iter().zip(reference).zip(advantages);
        let of = answered.into_iter().zip(numbers);
        self.experience = of
            .map(|(one, ((log_probs, reference), advantage))| Experience {
                row: one.row,
                log_probs,
                reference,
                advantage,
            })
            .collect();
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            answers: self.step.len(),
            tokens: self.sums.tokens,
            generated: self.experience.iter().map(|one| one.log_probs.len()).sum(),
            longest: self.params.max_answer,
        }
    }
}

impl Objective for Group<'_> {
    fn rows(
        &mut self,
        step: u64,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let (iteration, part) =
            (step / self.steps_an_iteration(), (step % self.steps_an_iteration()) as usize);
        if part == 0 {
            self.collect(iteration, model, context)?;
        }
        // Answers to one prompt stay together.
        let mut order: Vec<usize> = (0..self.params.batch).collect();
        let name = format!("mini-batches/{iteration}");
        Stream::new(self.params.training.seed, &name).walk().shuffle(&mut order);
        let (size, samples) = (self.params.mini_batch, self.params.samples);
        let prompts = &order[part * size..(part + 1) * size];
        self.step = prompts.iter().flat_map(|at| at * samples..(at + 1) * samples).collect();
        Ok(self.step.iter().map(|at| self.experience[*at].row.clone()).collect())
    }

    fn sequences(&self) -> usize {
        self.params.mini_batch * self.params.samples
    }

    fn longest(&self) -> usize {
        (self.prompts.longest() + self.params.max_answer).min(self.positions)
    }

    fn begin(&mut self, rows: &[&Row]) {
        let tokens = rows.iter().map(|row| row.supervised()).sum();
        self.sums = Sums { tokens, ..Sums::default() };
    }

    fn learn(
        &mut self,
        t: &Threads,
        part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        let Grpo { beta, clip, loss, temperature, .. } = *self.params;
        let sizes = self.sizes();
        let of_part: Vec<&Experience> =
            self.step[part].iter().map(|at| &self.experience[*at]).collect();
        let places = places(batch);
        let old_t = spread(batch, &places, of_part.iter().flat_map(|one| &one.log_probs));
        let reference_t = spread(batch, &places, of_part.iter().flat_map(|one| &one.reference));
        let mut advantage_t = vec![0.0; batch.len()];
        let mut share_t = vec![0.0; batch.len()];
        for (row, one) in batch.rows.iter().zip(&of_part) {
            advantage_t[row.clone()].fill(one.advantage);
            share_t[row.clone()].fill(loss.of(one.log_probs.len(), sizes));
        }
        let loss_of = |at: usize, nll: f32| {
            let (old, reference) = (old_t[at], reference_t[at]);
            token_loss(Token { log_prob: 0.0 - nll, old, reference }, advantage_t[at], clip, beta)
        };
        let mut entropy_t = vec![0.0; batch.len()];
        let losses = Losses { nll: &mut a.nll_t, entropy: Some(&mut entropy_t) };
        // The loss falls with log p, of which `nll` is the negative.
        let weight = |at: usize, nll: f32| (0.0 - loss_of(at, nll).slope * share_t[at]) as f32;
        let (head_vd, dhead) = (model.weights.head(), gradients.head_gradient());
        let towards = Gradients { weight: &weight, dhidden: &mut a.dhidden_td, dhead };
        let targets = batch.targets_at(temperature as f32);
        cross_entropy(t, &a.hidden_td, head_vd, targets, losses, Some(towards));
        for at in &places {
            let loss = loss_of(*at, a.nll_t[*at]);
            self.sums.loss += loss.loss * share_t[*at];
            self.sums.clipped += u64::from(loss.clipped);
            self.sums.entropy += f64::from(entropy_t[*at]);
        }
    }

    fn figures(&mut self) -> Figures {
        let Sums { loss, entropy, clipped, tokens } = self.sums;
        let mean = |sum: f64| sum / tokens as f64;
        let mut figures = vec![
            ("loss", loss),
            ("entropy", mean(entropy)),
            ("clip fraction", mean(clipped as f64)),
        ];
        figures.extend(self.seen.figures());
        figures.push(("equal groups", self.equal));
        figures
    }

    fn teaches(&self) -> bool {
        self.step.iter().any(|at| self.experience[*at].advantage != 0.0)
    }

    fn unit(&self) -> (&'static str, u64) {
        ("iterations", self.steps_an_iteration())
    }

    fn memory(&mut self) -> (Vec<f64>, Vec<&mut [f32]>) {
        (self.seen.numbers().to_vec(), Vec::new())
    }

    fn recall(&mut self, numbers: Vec<f64>) {
        if let Some((seen, _)) = numbers.split_first_chunk() {
            self.seen = Seen::from_numbers(*seen);
        }
    }

    fn results(&self) -> Metrics {
        self.seen.results()
    }
}
