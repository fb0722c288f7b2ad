//! A finished decoder wherever it is asked: on the processor, or on an accelerator that has a copy.
//! Knows where; every question is some other module's.

use std::sync::Arc;

use super::accelerated::{Accelerated, told};
use super::activations::Activations;
use super::batch::Batch;
use super::config::Head;
use super::endings::{Ending, Likelihood, score_endings};
use super::inference::Inference;
use super::judge::scores_at;
use super::lora::Adapter;
use super::sample::{GenerateOptions, Generated, Hear, Speaker, generate, generate_until};
use super::transformer::Transformer;
use crate::train::kernels::Threads;
use crate::train::kernels::launch::Accelerator;
use crate::train::progress::{Failure, Progress};

/// What finished decoders are asked on; it never changes an answer.
#[derive(Clone, Debug)]
pub struct Engine {
    pub threads: Arc<Threads>,
    /// What answers instead of the threads.
    pub accelerator: Option<Arc<dyn Accelerator>>,
}

impl From<Threads> for Engine {
    fn from(threads: Threads) -> Engine {
        Engine { threads: Arc::new(threads), accelerator: None }
    }
}

impl Engine {
    /// A copy of a decoder on the accelerator, if there is one.
    pub fn copy(&self, model: &Transformer) -> Result<Option<Copied>, Failure> {
        let copied = |on: &Arc<dyn Accelerator>| -> Result<Copied, Failure> {
            let machine = Accelerated::new(Arc::clone(on));
            Ok(Copied { model: model.onto(&machine).map_err(told)?, machine })
        };
        self.accelerator.as_ref().map(copied).transpose()
    }
}

/// A copy in an accelerator's memory.
#[derive(Debug)]
pub struct Copied {
    machine: Accelerated,
    model: Transformer<Accelerated>,
}

/// A decoder that is asked, and does not change.
#[derive(Debug)]
pub struct Asked {
    /// Its weights may stay in their files while an accelerator has a copy.
    pub model: Transformer,
    threads: Arc<Threads>,
    copied: Option<Copied>,
}

impl Asked {
    /// A decoder, copied to where it is asked.
    pub fn new(mut model: Transformer, engine: &Engine) -> Result<Asked, Failure> {
        model.settle(&engine.threads);
        let copied = engine.copy(&model)?;
        Ok(Asked { model, threads: Arc::clone(&engine.threads), copied })
    }

    /// From here on it is asked under this adapter, or as it is.
    pub fn wear(&mut self, adapter: Option<Adapter>) -> Result<(), Failure> {
        self.model.adapter = adapter;
        self.model.settle(&self.threads);
        if let Some(Copied { machine, model }) = &mut self.copied {
            model.wear(machine, self.model.adapter.as_ref()).map_err(told)?;
        }
        Ok(())
    }

    /// It, where it is asked.
    pub fn at(&self) -> At<'_> {
        At::of(&self.threads, &self.model, &self.copied)
    }
}

/// A decoder and what it is asked on.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    Here(&'a Threads, &'a Transformer),
    There(&'a Accelerated, &'a Transformer<Accelerated>),
}

impl<'a> At<'a> {
    /// The copy, where there is one.
    pub fn of(threads: &'a Threads, model: &'a Transformer, copied: &'a Option<Copied>) -> At<'a> {
        match copied {
            None => At::Here(threads, model),
            Some(Copied { machine, model }) => At::There(machine, model),
        }
    }

    /// Forward passes over batches.
    pub fn passes(self) -> Passes<'a> {
        match self {
            At::Here(m, model) => Passes::Here(Box::new(Pass::new(m, model))),
            At::There(m, model) => Passes::There(Box::new(Pass::new(m, model))),
        }
    }

    /// How likely the end of each text is.
    pub fn endings(
        self,
        endings: &[Ending],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Likelihood>, Failure> {
        match self {
            At::Here(m, model) => score_endings(m, model, endings, progress),
            At::There(m, model) => score_endings(m, model, endings, progress),
        }
    }

    /// Continuations of each prompt, prompt by prompt.
    pub fn generate(
        self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        match self {
            At::Here(m, model) => generate(m, model, prompts, options, progress),
            At::There(m, model) => generate(m, model, prompts, options, progress),
        }
    }

    /// The continuations that `made` lacks; each may be `over` before the ending token comes.
    pub fn generate_until(
        self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        over: &dyn Fn(&[u32]) -> bool,
        made: Vec<Option<Generated>>,
        hear: Hear<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        match self {
            At::Here(m, model) => {
                let speaker = Speaker { m, model, over };
                generate_until(&speaker, prompts, options, made, hear, progress)
            }
            At::There(m, model) => {
                let speaker = Speaker { m, model, over };
                generate_until(&speaker, prompts, options, made, hear, progress)
            }
        }
    }
}

/// Forward passes over batches in an arena that they share, and what heads say after each.
#[derive(Debug)]
pub enum Passes<'a> {
    Here(Box<Pass<'a, Threads>>),
    There(Box<Pass<'a, Accelerated>>),
}

impl Passes<'_> {
    /// Reads a batch.
    pub fn read(&mut self, batch: &Batch) {
        match self {
            Passes::Here(pass) => pass.read(batch),
            Passes::There(pass) => pass.read(batch),
        }
    }

    /// −log p of each target with logits divided by a temperature, 0 where nothing is predicted.
    pub fn losses(&mut self, batch: &Batch, temperature: f32) -> Result<Vec<f32>, Failure> {
        match self {
            Passes::Here(pass) => pass.losses(batch, temperature),
            Passes::There(pass) => pass.losses(batch, temperature),
        }
    }

    /// What the head of a reward model says at the last token of each row.
    pub fn scores(&self, batch: &Batch) -> Result<Vec<f32>, Failure> {
        match self {
            Passes::Here(pass) => pass.scores(batch),
            Passes::There(pass) => pass.scores(batch),
        }
    }

    /// What a value head says at each token, if there is one.
    pub fn values(&self, batch: &Batch) -> Result<Option<Vec<f32>>, Failure> {
        match self {
            Passes::Here(pass) => pass.values(batch),
            Passes::There(pass) => pass.values(batch),
        }
    }
}

/// The passes of one machine.
#[derive(Debug)]
pub struct Pass<'a, M: Inference> {
    m: &'a M,
    model: &'a Transformer<M>,
    a: Activations<M>,
}

impl<'a, M: Inference> Pass<'a, M> {
    fn new(m: &'a M, model: &'a Transformer<M>) -> Pass<'a, M> {
        Pass { m, model, a: Activations::inference(&model.config) }
    }

    fn read(&mut self, batch: &Batch) {
        self.model.forward(self.m, batch, &mut self.a);
    }

    fn losses(&mut self, batch: &Batch, temperature: f32) -> Result<Vec<f32>, Failure> {
        self.m.losses(self.model, batch, temperature, &mut self.a)
    }

    fn scores(&self, batch: &Batch) -> Result<Vec<f32>, Failure> {
        let ends: Vec<usize> = batch.rows.iter().map(|row| row.end).collect();
        scores_at(self.m, self.model, &ends, &self.a)
    }

    fn values(&self, batch: &Batch) -> Result<Option<Vec<f32>>, Failure> {
        let has_values = self.model.config.head == Head::LanguageAndValue;
        let values = || {
            let value_d = &self.model.weights.value_d;
            self.m.outputs(value_d, &self.a.hidden_td, [batch.len(), self.model.config.dim])
        };
        has_values.then(values).transpose()
    }
}
