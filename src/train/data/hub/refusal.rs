//! What a hub's refusal means for whoever wrote the recipe. Knows statuses and the hub's words for
//! them; never tells a token.

use super::settings::Hub;
use super::wanted::{RepoKind, Wanted};
use crate::train::data::http::client::{Refusal, Unanswered};
use crate::train::progress::Failure;

/// A question without an answer, as a failure with what to do about it.
pub fn explained(unanswered: Unanswered, hub: &Hub, wanted: &Wanted<'_>) -> Failure {
    match unanswered {
        Unanswered::Failed(failure) => failure,
        Unanswered::Unreachable(what) => {
            Failure::input(format!("the hub at `{}` cannot be reached: {what}", hub.endpoint))
                .remedy("build again when it can be; what has arrived is kept")
        }
        Unanswered::Refused(refusal) => refused(&refusal, hub, wanted),
    }
}

fn refused(refusal: &Refusal, hub: &Hub, wanted: &Wanted<'_>) -> Failure {
    let Wanted { kind, repo, revision, .. } = wanted;
    let what = kind.word();
    match (refusal.status, refusal.code.as_deref()) {
        (_, Some("GatedRepo")) => gated(refusal, hub, wanted),
        (_, Some("RevisionNotFound")) => {
            Failure::input(format!("the {what} `{repo}` has no revision `{revision}`"))
                .remedy(format!("its branches and tags are at {}", page(hub, wanted)))
        }
        (_, Some("EntryNotFound")) => Failure::input(format!("`{}` does not exist", refusal.url)),
        (401, None) if refusal.with_secret => {
            Failure::input(format!("the hub does not accept a token: {}", shown(refusal, hub)))
                .remedy("set `HF_TOKEN` to a token that is valid, or take it away")
        }
        (401 | 403, None | Some("RepoNotFound")) | (404, Some("RepoNotFound")) => {
            hidden(refusal, hub, wanted)
        }
        (404, None) => Failure::input(format!(
            "the hub at `{}` has no {what} `{repo}` with a revision `{revision}`",
            hub.endpoint
        ))
        .remedy("look for a slip of the pen in `repo` or `revision`"),
        (status, _) => {
            Failure::input(format!("the hub answers with status {status} for `{}`", refusal.url))
        }
    }
}

/// Whether a token was shown, and which one.
fn shown(refusal: &Refusal, hub: &Hub) -> String {
    match &hub.token {
        Some(token) if refusal.with_secret => format!("the token in {} was sent", token.from),
        _ => "no token was sent".into(),
    }
}

fn gated(refusal: &Refusal, hub: &Hub, wanted: &Wanted<'_>) -> Failure {
    let shown = shown(refusal, hub);
    let then = match refusal.with_secret {
        true => "with the account of that token",
        false => "and set `HF_TOKEN` to a token of the account that did",
    };
    Failure::input(format!("`{}` is open only to who accepted its terms; {shown}", wanted.repo))
        .remedy(format!("accept them at {} {then}", page(hub, wanted)))
}

/// The hub does not tell a repository that is private from one that does not exist.
fn hidden(refusal: &Refusal, hub: &Hub, wanted: &Wanted<'_>) -> Failure {
    let what = wanted.kind.word();
    let remedy = match refusal.with_secret {
        true => {
            "look for a slip of the pen in `repo`; if it is private, set `HF_TOKEN` to a token \
                 that may read it"
        }
        false => "look for a slip of the pen in `repo`; if it is private, set `HF_TOKEN`",
    };
    Failure::input(format!(
        "there is no {what} `{}` at `{}`, or it is private; {}",
        wanted.repo,
        hub.endpoint,
        shown(refusal, hub)
    ))
    .remedy(remedy)
}

/// The page of a repository that people read.
fn page(hub: &Hub, wanted: &Wanted<'_>) -> String {
    let kind = if wanted.kind == RepoKind::Model { "" } else { "datasets/" };
    format!("{}/{kind}{}", hub.endpoint, wanted.repo)
}
