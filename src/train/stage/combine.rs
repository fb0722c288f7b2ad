//! `combine`: several adapters over one base become one, each counting by its weight. Knows
//! folders; does not know how the sum is made.

use std::path::PathBuf;

use crate::train::data::chat::Template;
use crate::train::model::folder;
use crate::train::model::lora::Adapter;
use crate::train::model::{ModelPath, peft};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `combine`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    pub base: PathBuf,
    /// Each with its name in the recipe.
    pub adapters: Vec<(String, ModelPath)>,
    /// As many as there are adapters.
    pub weights: Vec<f64>,
    pub template: Template,
}

/// Writes the adapter's folder at port `out`.
pub fn run(params: &Combine, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Combine { base, adapters, weights, template } = params;
    if adapters.is_empty() || adapters.len() != weights.len() {
        let (adapters, weights) = (adapters.len(), weights.len());
        return Err(Failure::input(format!("{adapters} adapters cannot have {weights} weights"))
            .remedy("give each adapter one weight"));
    }
    let (config, _) = folder::read_config(base)?;
    let part = |((name, path), weight): (&(String, ModelPath), &f64)| {
        let of = format!("adapter `{name}`");
        let folder = path.dress();
        let adapter = peft::read(folder, &config).map_err(|failure| failure.of(&of))?;
        if adapter.settings.dora {
            let fact = format!("{of} is DoRA, and its norms do not add up as its matrices do");
            return Err(Failure::input(fact).remedy("`merge` it, or train it without `dora: true`"));
        }
        let carried = folder::read_chat_template(folder)?;
        if carried.as_ref() != Some(&template.jinja) {
            let fact =
                format!("{of} was trained with another chat template than `{}`", template.name);
            return Err(Failure::input(fact).remedy("combine adapters that share a template"));
        }
        Ok((adapter, *weight))
    };
    let parts = adapters.iter().zip(weights).map(part).collect::<Result<Vec<_>, Failure>>()?;
    let whole = Adapter::combined(&config, &parts);
    let out = context.out.join("out");
    peft::write(&out, &config, &whole)?;
    folder::write_tokenizer(&out, base, Some(&template.jinja))?;
    let numbers: usize = whole.tensors().iter().map(|tensor| tensor.len()).sum();
    let metric = |name: &str, value: usize| (name.to_string(), value as f64);
    Ok(vec![metric("rank", whole.settings.rank), metric("parameters", numbers)])
}
