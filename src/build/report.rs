//! What a build did: told as it happens ([`Event`]) and in the end ([`RunReport`]). Knows facts;
//! does not know terminals or how they are drawn.

use std::collections::BTreeMap;

use super::action::{Action, ActionId};
use super::digest::Digest;
use super::executor::{Failure, Progress};
use super::key::ActionKey;
use super::verdict::StaleReason;
use crate::lang::value::PathValue;

/// The states of an action during a build. Those of the second half are final.
///
/// ```text
/// Blocked ──→ Ready ──→ Running ──→ Built
///    │         │  ↑        │
///    │         ↓  │        └──────→ Failed
///    │       Waiting
///    └──→ Fresh ←──┘  (found in the store, or built by another process meanwhile)
/// ```
///
/// A finished action goes back to `Ready` if its result is found corrupt by one that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildState {
    /// Some input is not finished, or it was not examined yet.
    Blocked,
    /// It has to run, and waits for cores or memory.
    Ready,
    /// Another process builds the same key.
    Waiting,
    Running,
    /// Its result was in the store.
    Fresh,
    /// It ran, and its result is in the store.
    Built,
    Failed,
    /// It was interrupted while it ran; where it keeps checkpoints, it goes on from the last.
    Stopped,
    /// It did not run: an input failed, or the build was stopped.
    Skipped,
}

impl BuildState {
    /// The word for people and JSON.
    pub fn word(self) -> &'static str {
        match self {
            BuildState::Blocked => "blocked",
            BuildState::Ready => "ready",
            BuildState::Waiting => "waiting",
            BuildState::Running => "running",
            BuildState::Fresh => "fresh",
            BuildState::Built => "built",
            BuildState::Failed => "failed",
            BuildState::Stopped => "stopped",
            BuildState::Skipped => "skipped",
        }
    }
}

/// What a path parameter stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    pub path: PathValue,
    pub digest: Digest,
    pub files: usize,
}

/// What became of one action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionReport {
    pub id: ActionId,
    pub state: BuildState,
    /// Why it had to run, unless it was fresh.
    pub reason: Option<StaleReason>,
    pub key: Option<ActionKey>,
    /// Digests of what it made or what was found, by port.
    pub outputs: BTreeMap<String, Digest>,
    pub sources: Vec<SourceReport>,
    pub seconds: f64,
    pub bytes: u64,
    pub metrics: Vec<(String, f64)>,
    pub failure: Option<Failure>,
}

impl ActionReport {
    /// An action nothing is known of yet.
    pub fn blank(id: ActionId) -> ActionReport {
        ActionReport {
            id,
            state: BuildState::Blocked,
            reason: None,
            key: None,
            outputs: BTreeMap::new(),
            sources: Vec::new(),
            seconds: 0.0,
            bytes: 0,
            metrics: Vec::new(),
            failure: None,
        }
    }
}

/// What a whole build did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// By action id.
    pub actions: Vec<ActionReport>,
    pub built: usize,
    pub fresh: usize,
    pub failed: usize,
    pub seconds: f64,
    pub interrupted: bool,
    /// Where the world departs from the lock that was to be obeyed; one sentence each.
    pub drift: Vec<String>,
    /// What went wrong besides the actions themselves, such as an output that cannot be written.
    pub troubles: Vec<Failure>,
}

impl RunReport {
    /// Whether everything that was asked for is there.
    pub fn is_success(&self) -> bool {
        let wrong = self.failed > 0 || self.interrupted;
        !wrong && self.drift.is_empty() && self.troubles.is_empty()
    }
}

/// Something that happens during a build.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    Started {
        action: &'a Action,
        reason: &'a StaleReason,
        threads: usize,
    },
    Progress {
        action: &'a Action,
        progress: &'a Progress,
    },
    Log {
        action: &'a Action,
        line: &'a str,
        /// Whether the user should see it while the action runs.
        notice: bool,
    },
    /// Another process builds it: its result will be taken.
    Waiting {
        action: &'a Action,
    },
    /// A final state was reached; the report says which.
    Finished {
        action: &'a Action,
        report: &'a ActionReport,
    },
    Done {
        built: usize,
        fresh: usize,
        failed: usize,
    },
}

/// Hears what happens, in order and from one thread.
pub trait Events {
    fn hear(&self, event: &Event<'_>);
}
