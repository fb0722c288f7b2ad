//! Names of results as people type them: `chat`, `parts.train`, `round1/ppo`, `tuned[rank: 8]`,
//! with or without blanks, axes in any order or left out. Knows paths; does not know what they
//! make.

use std::collections::BTreeMap;

use crate::lang::value::{Module, StageId};

/// A stage by its position in the module, and one of its ports or all.
pub type Asked = (usize, Option<String>);

/// Every result that a target means; none where there is no such thing.
pub fn find(module: &Module, target: &str) -> Vec<Asked> {
    let positions: BTreeMap<StageId, usize> =
        module.stages.iter().enumerate().map(|(at, stage)| (stage.id, at)).collect();
    if let Some(at) = module.stages.iter().position(|stage| stage.name == target) {
        return vec![(at, None)];
    }
    let named: Vec<Asked> = module
        .named
        .iter()
        .chain(&module.outputs)
        .filter(|output| output.name == target)
        .map(|output| (positions[&output.stage], output.port.clone()))
        .collect();
    match named.is_empty() {
        true => by_address(module, &positions, target),
        false => named,
    }
}

fn by_address(module: &Module, positions: &BTreeMap<StageId, usize>, target: &str) -> Vec<Asked> {
    let asked = address(target);
    let mut found = Vec::new();
    for (at, stage) in module.stages.iter().enumerate() {
        let own = address(&stage.name);
        if covers(&asked, &own) {
            found.push((at, None));
        }
        for (port, _) in &stage.ports {
            let mut own = own.clone();
            if let Some(last) = own.last_mut() {
                last.port(port);
            }
            if covers(&asked, &own) {
                found.push((at, Some(port.clone())));
            }
        }
    }
    let named = module.named.iter().filter(|output| covers(&asked, &address(&output.name)));
    found.extend(named.map(|output| (positions[&output.stage], output.port.clone())));
    found
}

/// One name of a path, the points it picks, and what stands behind them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Part {
    name: String,
    picks: BTreeMap<String, String>,
    rest: String,
}

impl Part {
    fn port(&mut self, port: &str) {
        let end = if self.picks.is_empty() { &mut self.name } else { &mut self.rest };
        end.push('.');
        end.push_str(port);
    }
}

/// Whether an address means a name: every axis it names agrees.
fn covers(asked: &[Part], own: &[Part]) -> bool {
    let part = |(asked, own): (&Part, &Part)| {
        let mut picks = asked.picks.iter();
        asked.name == own.name
            && asked.rest == own.rest
            && picks.all(|(axis, value)| own.picks.get(axis) == Some(value))
            && (!asked.picks.is_empty() || own.picks.is_empty())
    };
    asked.len() == own.len() && asked.iter().zip(own).all(part)
}

/// Reads an address; blanks count inside quotes alone, and quotes are left out.
fn address(text: &str) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    let mut axis: Option<(String, Option<String>)> = None;
    let (mut quoted, mut escaped) = (false, false);
    for char in text.chars() {
        let last = parts.last_mut().expect("there is a part from the start");
        match (char, &mut axis) {
            ('"', Some(_)) if !escaped => quoted = !quoted,
            (' ', _) if !quoted => {}
            ('/', None) => parts.push(Part::default()),
            ('[', None) => axis = Some((String::new(), None)),
            (',' | ']', Some((name, value))) if !quoted => {
                last.picks.insert(std::mem::take(name), value.take().unwrap_or_default());
                axis = (char == ',').then(Default::default);
            }
            (':', Some((_, value @ None))) if !quoted => *value = Some(String::new()),
            (char, Some((_, Some(value)))) => value.push(char),
            (char, Some((name, None))) => name.push(char),
            (char, None) if last.picks.is_empty() => last.name.push(char),
            (char, None) => last.rest.push(char),
        }
        escaped = char == '\\' && !escaped;
    }
    parts
}

/// The parts of a path for places on disk: `/` inside a point parts nothing.
pub fn folders(path: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, char) in path.char_indices() {
        match char {
            '"' if !escaped => quoted = !quoted,
            '/' if !quoted => {
                parts.push(&path[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    parts.push(&path[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::{address, covers, folders};

    #[test]
    fn blanks_and_order_do_not_count() {
        let own = address("round/tuned[rank: 8, lr: 2e-4, mode: \"a b\"]");
        assert!(covers(&address("round/tuned[lr:2e-4,rank:8]"), &own));
        assert!(covers(&address("round/tuned[mode: \"a b\"]"), &own));
        assert!(!covers(&address("round/tuned[rank: 4]"), &own));
        assert!(!covers(&address("round/tuned"), &own));
        assert!(!covers(&address("tuned[rank: 8]"), &own));
        assert!(covers(&address("x[k:8].train"), &address("x[k: 8].train")));
    }

    #[test]
    fn a_slash_in_a_point_parts_nothing() {
        assert_eq!(folders("a/x[k: \"b/c\"]/d"), ["a", "x[k: \"b/c\"]", "d"]);
    }
}
