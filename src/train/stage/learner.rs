//! What a stage trains: a model with all its weights in memory, or an adapter beside a base that is
//! never changed, whose weights stay in their file and have neither gradients nor moments. Hu et
//! al., "LoRA", 2021. Knows folders; does not know what is learnt.

use std::path::Path;

use super::pretrain::fit;
use super::train_loop::Training;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::Threads;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::tensor::{Stored, Tensor};
use crate::train::model::{Head, SpecialTokens, Transformer, init, peft};
use crate::train::progress::Failure;

/// A model before and while it learns.
pub struct Learner<'a> {
    pub model: Transformer,
    pub tokenizer: Tokenizer,
    special: SpecialTokens,
    /// Where it began.
    init: &'a Path,
    /// The adapter that learns instead of the model.
    beside: Option<&'a LoraSettings>,
}

impl<'a> Learner<'a> {
    /// Opens a language model that will read texts of `positions` tokens; it wears no adapter yet.
    pub fn open(
        init: &'a Path,
        beside: Option<&'a LoraSettings>,
        positions: usize,
    ) -> Result<Learner<'a>, Failure> {
        if beside.is_some_and(|settings| settings.targets.is_empty()) {
            return Err(Failure::input(
                "`targets` names no projection, so nothing would be learnt",
            )
            .remedy("name some, or choose `targets: \"all-linear\"`"));
        }
        let ModelFolder { config, special, weights } = folder::open(init)?;
        let tokenizer = Tokenizer::load(init)?;
        fit(&tokenizer, &config, positions)?;
        let weights = match beside {
            None => weights.map(|tensor| Stored::Memory(tensor.into_floats())),
            Some(_) => weights,
        };
        let model = Transformer::new(config, weights, positions);
        Ok(Learner { model, tokenizer, special, init, beside })
    }

    /// The same with a head that scores and has learnt nothing.
    pub fn scoring(self, seed: u64) -> Learner<'a> {
        let positions = self.model.positions();
        let Transformer { config, weights, .. } = self.model;
        let score_d = init::score_head(&config.scoring(), seed);
        let folder = ModelFolder { config, special: self.special, weights }.scoring(score_d);
        Learner { model: Transformer::new(folder.config, folder.weights, positions), ..self }
    }

    /// What learns now: where that is an adapter, it changes nothing yet.
    pub fn begin(&mut self, t: &Threads, training: &Training) -> &mut Transformer {
        let model = &mut self.model;
        model.adapter = self.beside.map(|settings| {
            Adapter::untrained(t, &model.config, &model.weights, settings, training.seed)
        });
        model
    }

    /// Writes the folder of what was learnt, with the tokenizer and this template.
    pub fn write(self, out: &Path, jinja: &str) -> Result<(), Failure> {
        let Learner { model, special, init, .. } = self;
        let Some(adapter) = &model.adapter else {
            let (config, weights) = model.into_parts();
            return folder::write(
                out,
                &ModelFolder { config, special, weights },
                init,
                Some(jinja),
            );
        };
        match model.config.head {
            Head::Score => {
                let score_d = model.weights.head_vd.floats();
                peft::write_scorer(out, &model.config, adapter, score_d)?;
            }
            _ => peft::write(out, &model.config, adapter)?,
        }
        folder::write_tokenizer(out, init, Some(jinja))
    }
}
