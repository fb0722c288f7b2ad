//! Which models there are, of which kind each is, and which tasks fit it. Knows folders by what
//! they hold; does not know how a task is scored.

use std::path::Path;

use crate::train::model::anywhere::is_gguf;
use crate::train::model::judge::GATE;
use crate::train::model::{Anywhere, Head, ModelPath, folder, peft};
use crate::train::progress::Failure;

/// What a model can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A language model without a chat template.
    Base,
    Chat,
    /// A reward model, or a gate of two.
    Reward,
}

/// Which kinds of model a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Language,
    Chat,
    Reward,
}

/// A model of the evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name in the recipe.
    pub name: String,
    pub path: ModelPath,
    pub kind: Kind,
}

impl Audience {
    /// Whom a kind of task is for, by the name of its record in the library.
    pub fn of_task(kind: &str) -> Option<Audience> {
        match kind {
            "answers" | "perplexity" | "task" => Some(Audience::Language),
            "kept" | "rewards" => Some(Audience::Chat),
            "pairs" => Some(Audience::Reward),
            _ => None,
        }
    }

    /// Whether a task for these can be asked of a model of this kind.
    pub fn holds(self, kind: Kind) -> bool {
        match self {
            Audience::Language => kind != Kind::Reward,
            Audience::Chat => kind == Kind::Chat,
            Audience::Reward => kind == Kind::Reward,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Audience::Language => "language models",
            Audience::Chat => "chat models",
            Audience::Reward => "reward models",
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Base => "a base model",
            Kind::Chat => "a chat model",
            Kind::Reward => "a reward model",
        }
    }

    /// What lies at this path.
    fn of(path: &ModelPath) -> Result<Kind, Failure> {
        let carries = match &path.adapter {
            Some(adapter) if peft::scores(adapter)? => return Ok(Kind::Reward),
            Some(adapter) => folder::read_chat_template(adapter)?,
            None => None,
        };
        match carries {
            Some(_) => Ok(Kind::Chat),
            None => Kind::of_base(&path.base),
        }
    }

    fn of_base(path: &Path) -> Result<Kind, Failure> {
        let is_file = is_gguf(path);
        if !is_file {
            let is_gate = path.join(GATE).is_file();
            if is_gate || folder::read_config(path)?.0.head == Head::Score {
                return Ok(Kind::Reward);
            }
        }
        let template = match is_file {
            true => Anywhere::open(path)?.chat_template,
            false => folder::read_chat_template(path)?,
        };
        Ok(if template.is_some() { Kind::Chat } else { Kind::Base })
    }
}

/// The models with their kinds.
pub fn candidates(models: &[(String, ModelPath)]) -> Result<Vec<Candidate>, Failure> {
    let candidate = |(name, path): &(String, ModelPath)| {
        let kind = Kind::of(path).map_err(|failure| failure.of(&format!("model `{name}`")))?;
        Ok(Candidate { name: name.clone(), path: path.clone(), kind })
    };
    models.iter().map(candidate).collect()
}

/// A model or a task that would not show in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The parameter of `eval` that names it.
    pub parameter: &'static str,
    pub message: String,
    pub remedy: String,
}

/// The first model that no task fits, or the first task that no model fits.
pub fn misfit(models: &[(&str, Kind)], tasks: &[(&str, Audience)]) -> Option<Misfit> {
    let is_asked = |kind: Kind| tasks.iter().any(|(_, audience)| audience.holds(kind));
    let idle = models.iter().find(|(_, kind)| !is_asked(*kind)).map(|(name, kind)| Misfit {
        parameter: "models",
        message: format!("no task fits `{name}`, which is {}", kind.name()),
        remedy: format!("add a task for it, or take `{name}` out of `models`"),
    });
    let is_sat = |audience: Audience| models.iter().any(|(_, kind)| audience.holds(*kind));
    let unasked = || {
        let (task, audience) = tasks.iter().find(|(_, audience)| !is_sat(*audience))?;
        Some(Misfit {
            parameter: "tasks",
            message: format!("task `{task}` is for {}, and no model is one", audience.name()),
            remedy: format!("add one to `models`, or take `{task}` out of `tasks`"),
        })
    };
    idle.or_else(unasked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(models: &[(&str, Kind)], tasks: &[(&str, Audience)]) -> Option<String> {
        misfit(models, tasks).map(|misfit| format!("{}: {}", misfit.parameter, misfit.message))
    }

    #[test]
    fn models_and_tasks_must_fit() {
        let task = |kind| (kind, Audience::of_task(kind).unwrap());
        let [quiz, pairs, kept] = ["answers", "pairs", "kept"].map(task);
        let (base, helpful) = (("base", Kind::Base), ("helpful", Kind::Reward));
        assert_eq!(told(&[base, helpful], &[quiz, pairs]), None);
        assert_eq!(
            told(&[base, helpful], &[quiz]).unwrap(),
            "models: no task fits `helpful`, which is a reward model"
        );
        assert_eq!(
            told(&[base], &[quiz, kept]).unwrap(),
            "tasks: task `kept` is for chat models, and no model is one"
        );
        assert_eq!(
            told(&[("chat", Kind::Chat)], &[kept, pairs]).unwrap(),
            "tasks: task `pairs` is for reward models, and no model is one"
        );
        assert_eq!(Audience::of_task("exact_match"), None);
    }
}
