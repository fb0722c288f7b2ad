//! Trees of replies, as OpenAssistant gives them. Knows ranks and paths; does not know columns.

use serde_json::Value;

use super::turns::role;
use crate::train::data::columns::text;
use crate::train::data::files::{Record, name_of};
use crate::train::data::rows::Message;
use crate::train::progress::Failure;

/// Which dialogues of a tree are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// One: at each message the reply of the lowest rank.
    Best,
    /// Each that ends in an answer no later answer follows.
    All,
}

/// The dialogues of a tree. There is none where nobody answered.
pub fn dialogues(place: &str, root: &Value, paths: Paths) -> Result<Vec<Vec<Message>>, Failure> {
    let mut found = Vec::new();
    walk(place, root, paths, &mut Vec::new(), &mut found)?;
    if found.is_empty() {
        return Err(Failure::input(format!("{place}: no message of the tree is an answer"))
            .remedy("remove the row: there is nothing in it to learn"));
    }
    Ok(found)
}

/// Adds the dialogues that go through a message; says whether there is one. The depth is that of
/// JSON, which its parser bounds.
fn walk(
    place: &str,
    node: &Value,
    paths: Paths,
    path: &mut Vec<Message>,
    found: &mut Vec<Vec<Message>>,
) -> Result<bool, Failure> {
    let message = object(place, node)?;
    for field in ["role", "text"] {
        if !message.contains_key(field) {
            return Err(Failure::input(format!("{place}: a message of the tree has no `{field}`")));
        }
    }
    let role = role(place, text(place, message, "role")?)?;
    path.push(Message::new(role, text(place, message, "text")?));
    let mut ends_later = false;
    for reply in replies(place, message, paths)? {
        ends_later |= walk(place, reply, paths, path, found)?;
    }
    let ends_here = role == "assistant" && !ends_later;
    if ends_here {
        found.push(path.clone());
    }
    path.pop();
    Ok(ends_here || ends_later)
}

fn object<'v>(place: &str, value: &'v Value) -> Result<&'v Record, Failure> {
    value.as_object().ok_or_else(|| {
        Failure::input(format!("{place}: {} stands where a message should", name_of(value)))
    })
}

/// The replies that are followed, in the file's order.
fn replies<'v>(place: &str, message: &'v Record, paths: Paths) -> Result<Vec<&'v Value>, Failure> {
    let list = match message.get("replies") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            let what = name_of(other);
            return Err(Failure::input(format!("{place}: `replies` holds {what}, not a list")));
        }
    };
    let kept = list.iter().filter(|reply| reply.get("deleted") != Some(&Value::Bool(true)));
    Ok(match paths {
        Paths::All => kept.collect(),
        Paths::Best => kept.min_by_key(|reply| rank(reply)).into_iter().collect(),
    })
}

/// Replies without a rank come last.
fn rank(reply: &Value) -> u64 {
    reply.get("rank").and_then(Value::as_u64).unwrap_or(u64::MAX)
}
