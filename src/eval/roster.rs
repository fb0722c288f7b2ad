//! Which models there are, of which kind each is, and which tasks fit it. Knows folders by what
//! they hold; does not know how a task is scored.

use std::path::{Path, PathBuf};

use crate::train::model::anywhere::is_gguf;
use crate::train::model::judge::GATE;
use crate::train::model::{Anywhere, Head, folder};
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
    pub path: PathBuf,
    pub kind: Kind,
}

impl Audience {
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
    fn of(path: &Path) -> Result<Kind, Failure> {
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
pub fn candidates(models: &[(String, PathBuf)]) -> Result<Vec<Candidate>, Failure> {
    let candidate = |(name, path): &(String, PathBuf)| {
        let kind = Kind::of(path).map_err(|failure| failure.of(&format!("model `{name}`")))?;
        Ok(Candidate { name: name.clone(), path: path.clone(), kind })
    };
    models.iter().map(candidate).collect()
}

/// Refuses a model that no task fits, and a task that no model fits: neither would show in the
/// report.
pub fn check(candidates: &[Candidate], tasks: &[(&str, Audience)]) -> Result<(), Failure> {
    let idle = candidates
        .iter()
        .find(|candidate| !tasks.iter().any(|(_, audience)| audience.holds(candidate.kind)));
    if let Some(Candidate { name, kind, .. }) = idle {
        return Err(Failure::input(format!("no task fits `{name}`, which is {}", kind.name()))
            .remedy(format!("add a task for it, or take `{name}` out of `models`")));
    }
    let unasked =
        tasks.iter().find(|(_, audience)| !candidates.iter().any(|one| audience.holds(one.kind)));
    match unasked {
        Some((task, audience)) => {
            let message = format!("task `{task}` is for {}, and no model is one", audience.name());
            Err(Failure::input(message)
                .remedy(format!("add one to `models`, or take `{task}` out of `tasks`")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kinds: &[Kind], tasks: &[(&str, Audience)]) -> Option<String> {
        let candidates = kinds.iter().map(|kind| Candidate {
            name: format!("{kind:?}").to_lowercase(),
            path: PathBuf::new(),
            kind: *kind,
        });
        match check(&candidates.collect::<Vec<_>>(), tasks) {
            Ok(()) => None,
            Err(Failure::Input { message, .. }) => Some(message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn models_and_tasks_must_fit() {
        let (quiz, pairs) = (("quiz", Audience::Language), ("pairs", Audience::Reward));
        let kept = ("kept", Audience::Chat);
        assert_eq!(told(&[Kind::Base, Kind::Reward], &[quiz, pairs]), None);
        assert_eq!(
            told(&[Kind::Base, Kind::Reward], &[quiz]).unwrap(),
            "no task fits `reward`, which is a reward model"
        );
        assert_eq!(
            told(&[Kind::Base], &[quiz, kept]).unwrap(),
            "task `kept` is for chat models, and no model is one"
        );
        assert_eq!(
            told(&[Kind::Chat], &[kept, pairs]).unwrap(),
            "task `pairs` is for reward models, and no model is one"
        );
    }
}
