//! `prompts_of`: the prompts of preferences, each once, for stages that answer them anew. Knows
//! rows; does not know models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::train::data::rows::{Message, Preference, Prompt, Reader, Writer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `prompts_of`; each data set has the name of the stage that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptsOf {
    pub data: Vec<(String, PathBuf)>,
    /// Those of `data` in which an answer can do harm.
    pub safety: Vec<(String, PathBuf)>,
}

/// Writes the prompts at port `out`, in the order in which they first occur. A prompt is one of
/// safety if any of its rows is, or the set that it comes from.
pub fn run(params: &PromptsOf, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let PromptsOf { data, safety } = params;
    if let Some((name, _)) = safety.iter().find(|set| !data.contains(set)) {
        return Err(Failure::input(format!("`safety` names `{name}`, which is not among `data`"))
            .remedy(format!("add `{name}` to `data`")));
    }
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut rows = 0;
    for (set, of_set) in (1..).zip(data) {
        for row in Reader::<Preference>::open(&of_set.1)? {
            if context.progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            let Preference { prompt, safety: tagged, .. } = row?;
            rows += 1;
            let harmful = tagged == Some(true) || safety.contains(of_set);
            let place = *places.entry(text_of(&prompt)).or_insert(prompts.len());
            if place == prompts.len() {
                prompts.push(Prompt { prompt, safety: Some(false) });
            }
            if harmful {
                prompts[place].safety = Some(true);
            }
        }
        context.progress.at(set, data.len() as u64, "data sets", &[]);
    }
    let mut file = Writer::create(&context.out.join("out"))?;
    prompts.iter().try_for_each(|prompt| file.write(prompt))?;
    let harmful = prompts.iter().filter(|prompt| prompt.safety == Some(true)).count();
    let metric = |name: &str, value: usize| (name.to_string(), value as f64);
    Ok(vec![metric("prompts", file.finish()?), metric("safety", harmful), metric("rows", rows)])
}

/// By which prompts are told apart.
fn text_of(prompt: &[Message]) -> String {
    serde_json::to_string(prompt).expect("turns are plain text")
}
