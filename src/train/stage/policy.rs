//! PPO's objective with all that it needs: a policy that answers, a judge, the policy as it began,
//! and what was found out about the answers of this iteration. Knows rows and steps; the formulas
//! are in `train::objective::ppo`.

use std::ops::Range;
use std::path::PathBuf;

use super::ppo::Ppo;
use super::rollout::{Answered, Asking, Prompts, rollouts};
use super::scored::{Scored, Seen, answer_log_probs, check_sampler, mean, places, reward, spread};
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::Mix;
use crate::train::data::pack::Row;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::Threads;
use crate::train::kernels::cross_entropy::{Gradients, Losses, cross_entropy};
use crate::train::kernels::gemm::linear;
use crate::train::kernels::rng::Stream;
use crate::train::model::activations::Activations;
use crate::train::model::asked::{Asked, At};
use crate::train::model::judge::Judge;
use crate::train::model::tensor::Tensor;
use crate::train::model::{Batch, Parameters, Transformer, folder};
use crate::train::objective::ppo::{Clip, Rollout, policy_loss, value_loss, whiten};
use crate::train::objective::{Figures, Objective};
use crate::train::progress::{Context, Failure, Metrics};

/// An answer to learn from; lists hold a number a token of the answer.
#[derive(Clone, Debug)]
struct Experience {
    row: Row,
    sampled: Rollout,
    advantages: Vec<f32>,
    returns: Vec<f32>,
}

/// What a step adds up, token by token.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    policy: f64,
    value: f64,
    entropy: f64,
    clipped: u64,
    tokens: usize,
}

/// See the head of this file.
pub struct Policy<'p> {
    params: &'p Ppo,
    prompts: Prompts,
    held_out: Option<Prompts>,
    judge: Judge,
    /// The policy as it began.
    reference: Asked,
    eos: u32,
    positions: usize,
    /// Of the whole run.
    steps: u64,
    experience: Vec<Experience>,
    /// The answers of this step.
    step: Vec<usize>,
    sums: Sums,
    seen: Seen,
    /// Rewards on the held-out prompts so far, and the weights that had the best.
    history: Vec<f64>,
    best: Option<Parameters>,
}

impl<'p> Policy<'p> {
    /// Reads prompts, judge and reference.
    pub fn open(
        params: &'p Ppo,
        tokenizer: &Tokenizer,
        format: &ChatFormat,
        context: &mut Context<'_>,
    ) -> Result<Policy<'p>, Failure> {
        let read = |mix: &Mix<PathBuf>, at_a_time| {
            Prompts::read(mix, tokenizer, format, at_a_time, params.training.seed)
        };
        let prompts = read(&params.prompts, params.batch)?;
        let held_out = params.held_out.as_ref();
        let held_out =
            held_out.map(|path| read(&Mix::Joined(vec![path.clone()]), 1)).transpose()?;
        let folder::ModelFolder { config, weights, .. } = folder::open(&params.policy)?;
        let positions = config.context;
        let reference = Transformer::new(config, weights, positions);
        let engine = context.engine();
        Ok(Policy {
            params,
            prompts,
            held_out,
            judge: Judge::open(&params.judge, engine.clone())?,
            reference: Asked::new(reference, &engine)?,
            eos: tokenizer.eos().id,
            positions,
            steps: 0,
            experience: Vec::new(),
            step: Vec::new(),
            sums: Sums::default(),
            seen: Seen::default(),
            history: Vec::new(),
            best: None,
        })
    }

    /// One gradient step a mini-batch.
    pub fn steps_an_iteration(&self) -> u64 {
        (self.params.batch / self.params.mini_batch) as u64
    }

    /// Announces a run of so many steps. Where held-out prompts decide, these weights are the best
    /// so far.
    pub fn begin_run(&mut self, steps: u64, weights: &Parameters) {
        self.steps = steps;
        self.best = self.held_out.is_some().then(|| weights.clone());
    }

    /// The weights of the look with the best reward, where there are held-out prompts.
    pub fn best(self) -> Option<Parameters> {
        self.best
    }

    /// Means of the last iteration.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    fn asking(&self) -> Asking {
        let Ppo { max_answer, temperature, .. } = *self.params;
        Asking { samples: 1, max_answer, temperature, eos: self.eos }
    }

    /// Answers the prompts of an iteration and finds out what each token was worth.
    fn collect(
        &mut self,
        iteration: u64,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let (engine, seed) = (context.engine(), self.params.training.seed);
        let copy = engine.copy(model)?;
        let policy = At::of(&engine.threads, model, &copy);
        let asked = self.prompts.at(iteration);
        let draw = (seed, &*format!("rollouts/{iteration}"));
        let (asking, progress) = (self.asking(), &mut *context.progress);
        let answered = rollouts(policy, &self.judge, &asked, asking, draw, progress)?;
        let mut scores: Vec<f32> = answered.iter().map(|one| one.verdict.combined).collect();
        whiten(&mut [&mut scores]);
        let rows: Vec<&Row> = answered.iter().map(|one| &one.row).collect();
        let temperature = self.params.temperature as f32;
        let log_probs = answer_log_probs(policy, &rows, temperature)?;
        let reference = answer_log_probs(self.reference.at(), &rows, temperature)?.log_probs;
        check_sampler(&answered, &log_probs.plain);
        let Scored { log_probs, values, .. } = log_probs;
        let numbers = log_probs.into_iter().zip(reference).zip(values).zip(scores);
        let sampled: Vec<Rollout> = numbers
            .map(|(((log_probs, reference), values), score)| Rollout {
                log_probs,
                reference,
                values,
                score,
            })
            .collect();
        let lists = sampled.iter().map(|one| [&one.log_probs[..], &one.reference]);
        self.seen = Seen::of(&answered, lists);
        self.experience = self.estimate(answered, sampled);
        Ok(())
    }

    fn estimate(&self, answered: Vec<Answered>, sampled: Vec<Rollout>) -> Vec<Experience> {
        let Ppo { beta, gamma, lambda, .. } = *self.params;
        let one = |(answered, sampled): (Answered, Rollout)| {
            let estimate = sampled.estimate(beta, gamma, lambda);
            let (advantages, returns) = (estimate.advantages, estimate.returns);
            Experience { row: answered.row, sampled, advantages, returns }
        };
        let mut experience: Vec<Experience> = answered.into_iter().zip(sampled).map(one).collect();
        let mut advantages: Vec<&mut [f32]> =
            experience.iter_mut().map(|one| &mut one.advantages[..]).collect();
        whiten(&mut advantages);
        experience
    }

    /// The mean reward of an answer to each held-out prompt.
    fn held_out_reward(
        &self,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<Option<f64>, Failure> {
        let Some(held_out) = &self.held_out else { return Ok(None) };
        let (engine, asked) = (context.engine(), held_out.all());
        let copy = engine.copy(model)?;
        let policy = At::of(&engine.threads, model, &copy);
        let (draw, progress) = ((self.params.training.seed, "held-out"), &mut *context.progress);
        let answered = rollouts(policy, &self.judge, &asked, self.asking(), draw, progress)?;
        Ok(Some(mean(answered.iter().map(reward))))
    }
}

impl Objective for Policy<'_> {
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
        let mut order: Vec<usize> = (0..self.params.batch).collect();
        let name = format!("mini-batches/{iteration}");
        Stream::new(self.params.training.seed, &name).walk().shuffle(&mut order);
        let size = self.params.mini_batch;
        self.step = order[part * size..(part + 1) * size].to_vec();
        Ok(self.step.iter().map(|at| self.experience[*at].row.clone()).collect())
    }

    fn sequences(&self) -> usize {
        self.params.mini_batch
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
        let of_part: Vec<&Experience> =
            self.step[part].iter().map(|at| &self.experience[*at]).collect();
        let places = places(batch);
        let spread = |of: fn(&Experience) -> &[f32]| {
            spread(batch, &places, of_part.iter().flat_map(|one| of(one)))
        };
        let old_t = spread(|one| &one.sampled.log_probs);
        let advantage_t = spread(|one| &one.advantages);
        let clip = Clip::both(self.params.clip_ratio);
        let share = 1.0 / self.sums.tokens as f64;
        let loss_of =
            |at: usize, nll: f32| policy_loss(0.0 - nll, old_t[at], advantage_t[at], clip);
        let mut entropy_t = vec![0.0; batch.len()];
        let losses = Losses { nll: &mut a.nll_t, entropy: Some(&mut entropy_t) };
        // The loss falls with log p, of which `nll` is the negative.
        let weight = |at: usize, nll: f32| (0.0 - loss_of(at, nll).slope * share) as f32;
        let (head_vd, dhead) = (model.weights.head(), gradients.head_gradient());
        let towards = Gradients { weight: &weight, dhidden: &mut a.dhidden_td, dhead };
        let targets = batch.targets_at(self.params.temperature as f32);
        cross_entropy(t, &a.hidden_td, head_vd, targets, losses, Some(towards));
        for at in &places {
            let loss = loss_of(*at, a.nll_t[*at]);
            self.sums.policy += loss.loss;
            self.sums.clipped += u64::from(loss.clipped);
            self.sums.entropy += f64::from(entropy_t[*at]);
        }
        let old_values_t = spread(|one| &one.sampled.values);
        let returns_t = spread(|one| &one.returns);
        self.learn_values(t, &places, [&old_values_t, &returns_t], model, a, gradients);
    }

    fn figures(&mut self) -> Figures {
        let Sums { policy, value, entropy, clipped, tokens } = self.sums;
        let mean = |sum: f64| sum / tokens as f64;
        let mut figures = vec![
            ("loss", mean(policy) + self.params.value_weight * mean(value)),
            ("policy loss", mean(policy)),
            ("value loss", mean(value)),
            ("entropy", mean(entropy)),
            ("clip fraction", mean(clipped as f64)),
        ];
        figures.extend(self.seen.figures());
        figures
    }

    fn unit(&self) -> (&'static str, u64) {
        ("iterations", self.steps_an_iteration())
    }

    fn after(
        &mut self,
        done: u64,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let unit = self.steps_an_iteration() * self.params.check_every;
        // The last iteration too is looked at, or its work could not be the best.
        if !done.is_multiple_of(unit) && done != self.steps {
            return Ok(());
        }
        if let Some(reward) = self.held_out_reward(model, context)? {
            let iteration = done / self.steps_an_iteration();
            context.progress.log(&format!("iteration {iteration}: held-out reward {reward:.4}"));
            if self.history.iter().all(|before| *before < reward) {
                let best = self.best.as_mut().expect("the best is kept");
                let pairs = best.tensors_mut().into_iter().zip(model.weights.tensors());
                pairs.for_each(|(best, weight)| best.copy_from_slice(weight));
            }
            self.history.push(reward);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let best = self.history.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let since = self.history.iter().rev().take_while(|reward| **reward < best).count();
        since as u64 >= self.params.patience
    }

    fn memory(&mut self) -> (Vec<f64>, Vec<&mut [f32]>) {
        let numbers = [&self.seen.numbers()[..], &self.history].concat();
        (numbers, self.best.iter_mut().flat_map(Parameters::tensors_mut).collect())
    }

    fn recall(&mut self, numbers: Vec<f64>) {
        let Some((seen, history)) = numbers.split_first_chunk() else { return };
        self.seen = Seen::from_numbers(*seen);
        self.history = history.to_vec();
    }

    fn results(&self) -> Metrics {
        let mut results = self.seen.results();
        let best = self.history.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let looked = !self.history.is_empty();
        results.extend(looked.then(|| ("held-out reward".to_string(), best)));
        results
    }
}

impl Policy<'_> {
    /// The value head learns what was left to come; values are read where the policy loss is.
    fn learn_values(
        &mut self,
        t: &Threads,
        places: &[usize],
        [old_t, returns_t]: [&[f32]; 2],
        model: &Transformer,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        let d = model.config.dim;
        let value_d = &model.weights.value_d;
        let mut values_t = vec![0.0; a.hidden_td.len() / d];
        let shape = [values_t.len(), d, 1];
        linear(t, &a.hidden_td, value_d.elements(), &mut values_t, shape);
        let share = self.params.value_weight / self.sums.tokens as f64;
        for at in places {
            let loss =
                value_loss(values_t[*at], old_t[*at], returns_t[*at], self.params.clip_value);
            self.sums.value += loss.loss;
            let (slope, place) = ((loss.slope * share) as f32, at * d..(at + 1) * d);
            let (hidden_d, dhidden_d) = (&a.hidden_td[place.clone()], &mut a.dhidden_td[place]);
            let dvalue_d = gradients.value_d.iter_mut().zip(hidden_d);
            dvalue_d.for_each(|(dvalue, hidden)| *dvalue += slope * hidden);
            let value_d = dhidden_d.iter_mut().zip(value_d.floats());
            value_d.for_each(|(dhidden, value)| *dhidden += slope * value);
        }
    }
}
