//! Checked module → Plan: the actions that the targets need, in an order in which they can run.
//! Knows stages and the artifacts between them; does not know digests, files or what a kind means.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;

use super::action::{Action, ActionId};
use super::digest::Digest;
use super::executor::{Executor, Failure, Keyed};
use super::key::{ActionKey, Contents, action_key};
use super::literal::erased_artifact;
use super::sources::visit;
use super::target::{self, Asked};
use crate::lang::errors::nearest::nearest;
use crate::lang::source::Place;
use crate::lang::value::{Module, Stage, StageId, Value};

/// A stage as people know it, and the action that does its work: identical stages share one.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    pub name: String,
    pub action: ActionId,
    pub place: Place,
}

/// A result that was asked for: all ports of a stage, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub stage: String,
    pub action: ActionId,
    pub port: Option<String>,
}

/// Work to be done. `actions[i].id` is `i`, node `i` of `graph` is action `i`, and every action
/// stands after those it needs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Edges go from what is made to what uses it.
    pub graph: DiGraph<ActionId, ()>,
    pub stages: Vec<PlannedStage>,
    pub wanted: Vec<Wanted>,
    /// Every stage of the module, asked for or not.
    pub known_stages: BTreeSet<String>,
    /// Digests of the files the module was made of, by path; the recipe itself comes first.
    pub files: Vec<(String, Digest)>,
    /// Where the artifacts of each action's parameters come from, by the stage they carry.
    origins: BTreeMap<StageId, ActionId>,
}

impl Plan {
    /// The action of an id.
    pub fn action(&self, id: ActionId) -> &Action {
        &self.actions[id.0 as usize]
    }

    /// The actions whose results an action uses, in order.
    pub fn needs(&self, id: ActionId) -> Vec<ActionId> {
        self.neighbours(id, Direction::Incoming)
    }

    /// The actions that use an action's results, in order.
    pub fn used_by(&self, id: ActionId) -> Vec<ActionId> {
        self.neighbours(id, Direction::Outgoing)
    }

    /// The action that makes the artifacts of a stage.
    pub fn origin(&self, stage: StageId) -> ActionId {
        self.origins[&stage]
    }

    /// The action of a stage by the name people type.
    pub fn find(&self, stage: &str) -> Option<ActionId> {
        self.stages.iter().find(|planned| planned.name == stage).map(|planned| planned.action)
    }

    fn neighbours(&self, id: ActionId, direction: Direction) -> Vec<ActionId> {
        let node = NodeIndex::new(id.0 as usize);
        let mut found: Vec<ActionId> =
            self.graph.neighbors_directed(node, direction).map(|node| self.graph[node]).collect();
        found.sort();
        found
    }
}

/// Plans what `targets` need: names of stages, outputs or `stage.port`; without any, the outputs
/// of the recipe; without those, every stage. Linear in the module, and without recursion.
pub fn plan(
    module: &Module,
    targets: &[String],
    executor: &dyn Executor,
) -> Result<Plan, Vec<Failure>> {
    let graph = stage_graph(module);
    let order = order(module, &graph).map_err(|failure| vec![failure])?;
    let asked = asked(module, targets)?;
    let needed = needed(&graph, asked.iter().map(|(stage, _)| *stage));
    let mut builder = Builder::new(module);
    let mut failures = Vec::new();
    for at in order.into_iter().filter(|at| needed[*at]) {
        let stage = &module.stages[at];
        match executor.version(&stage.kind) {
            Some(version) => builder.add(stage, version),
            None => failures.push(unknown_kind(stage)),
        }
    }
    match failures.is_empty() {
        true => Ok(builder.finish(asked)),
        false => Err(failures),
    }
}

fn unknown_kind(stage: &Stage) -> Failure {
    let Stage { name, kind, place, .. } = stage;
    Failure::new(format!("stage `{name}` at {place} is of kind `{kind}`, which cannot be run here"))
        .remedy("build it with a llamake that has this kind")
}

/// Edges from each stage to those that use its artifacts; nodes are positions in the module.
fn stage_graph(module: &Module) -> DiGraph<usize, ()> {
    let positions: BTreeMap<StageId, usize> =
        module.stages.iter().enumerate().map(|(at, stage)| (stage.id, at)).collect();
    let mut graph = DiGraph::with_capacity(module.stages.len(), module.stages.len());
    for at in 0..module.stages.len() {
        graph.add_node(at);
    }
    for (at, stage) in module.stages.iter().enumerate() {
        for input in inputs(&stage.params) {
            let from = positions.get(&input);
            assert!(from.is_some(), "`{}` uses a stage that is not in the module", stage.name);
            let from = NodeIndex::new(from.copied().unwrap_or(at));
            graph.add_edge(from, NodeIndex::new(at), ());
        }
    }
    graph
}

/// The stages whose artifacts stand in parameters, sorted, once each.
fn inputs(params: &BTreeMap<String, Value>) -> Vec<StageId> {
    let mut found = Vec::new();
    for value in params.values() {
        visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                found.push(artifact.stage);
            }
        });
    }
    found.sort();
    found.dedup();
    found
}

/// Kahn's order, the earliest in the recipe first among those that could come next.
fn order(module: &Module, graph: &DiGraph<usize, ()>) -> Result<Vec<usize>, Failure> {
    let count = |node| graph.neighbors_directed(node, Direction::Incoming).count();
    let mut missing: Vec<usize> = graph.node_indices().map(count).collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..missing.len()).filter(|at| missing[*at] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for next in graph.neighbors(NodeIndex::new(at)) {
            missing[next.index()] -= 1;
            if missing[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    if order.len() == missing.len() { Ok(order) } else { Err(cycle(module, graph)) }
}

fn cycle(module: &Module, graph: &DiGraph<usize, ()>) -> Failure {
    let looped = |part: &Vec<NodeIndex>| {
        part.len() > 1 || part.iter().any(|node| graph.contains_edge(*node, *node))
    };
    let mut members = kosaraju_scc(graph).into_iter().find(looped).unwrap_or_default();
    members.sort();
    let names: Vec<String> =
        members.iter().map(|node| format!("`{}`", module.stages[graph[*node]].name)).collect();
    Failure::new(format!("stages need each other in a circle: {}", names.join(", ")))
        .remedy("let one of them take its input from elsewhere")
}

/// The results that targets mean: names of stages, of uses of functions or sweeps, of outputs.
pub fn asked(module: &Module, targets: &[String]) -> Result<Vec<Asked>, Vec<Failure>> {
    if targets.is_empty() && module.outputs.is_empty() {
        return Ok((0..module.stages.len()).map(|at| (at, None)).collect());
    }
    if targets.is_empty() {
        let positions: BTreeMap<StageId, usize> =
            module.stages.iter().enumerate().map(|(at, stage)| (stage.id, at)).collect();
        let outputs = module.outputs.iter();
        return Ok(outputs.map(|one| (positions[&one.stage], one.port.clone())).collect());
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for target in targets {
        let results = target::find(module, target);
        if results.is_empty() {
            failures.push(unknown_target(module, target));
        }
        found.extend(results);
    }
    if failures.is_empty() { Ok(found) } else { Err(failures) }
}

/// A name that is no stage of the recipe.
pub fn unknown_target(module: &Module, target: &str) -> Failure {
    let message = format!("the recipe has no stage `{target}`");
    let all = module.stages.iter().map(|stage| stage.name.as_str());
    if let Some(meant) = nearest(target, all) {
        return Failure::new(message).remedy(format!("did you mean `{meant}`?"));
    }
    let mut names: Vec<String> =
        module.stages.iter().map(|stage| format!("`{}`", stage.name)).collect();
    if names.len() > 12 {
        let more = names.len() - 12;
        names.truncate(12);
        names.push(format!("{more} more"));
    }
    Failure::new(message).remedy(format!("its stages are {}", names.join(", ")))
}

/// Which stages the asked ones stand on, themselves included.
fn needed(graph: &DiGraph<usize, ()>, asked: impl Iterator<Item = usize>) -> Vec<bool> {
    let reversed = petgraph::visit::Reversed(graph);
    let mut walk = Dfs::empty(reversed);
    let mut needed = vec![false; graph.node_count()];
    for at in asked {
        walk.move_to(NodeIndex::new(at));
        while let Some(node) = walk.next(reversed) {
            needed[node.index()] = true;
        }
    }
    needed
}

/// Adds stages in order, each after those it needs, and lets identical ones share an action.
struct Builder<'a> {
    module: &'a Module,
    plan: Plan,
    twins: BTreeMap<ActionKey, ActionId>,
}

impl<'a> Builder<'a> {
    fn new(module: &'a Module) -> Builder<'a> {
        let digest =
            |(path, text): &(String, String)| (path.clone(), Digest::of_bytes(text.as_bytes()));
        let plan = Plan {
            known_stages: module.stages.iter().map(|stage| stage.name.clone()).collect(),
            files: module.files.iter().map(digest).collect(),
            ..Plan::default()
        };
        Builder { module, plan, twins: BTreeMap::new() }
    }

    fn add(&mut self, stage: &Stage, version: u32) {
        let action = self.action(stage, version);
        let twin = self.twin_key(&action);
        let next = action.id;
        let id = *self.twins.entry(twin).or_insert(next);
        if id == next {
            let node = self.plan.graph.add_node(id);
            let mut needs: Vec<ActionId> =
                action.inputs.keys().map(|input| self.plan.origins[input]).collect();
            needs.sort();
            needs.dedup();
            for need in needs {
                self.plan.graph.add_edge(NodeIndex::new(need.0 as usize), node, ());
            }
            self.plan.actions.push(action);
        }
        self.plan.origins.insert(stage.id, id);
        let (name, place) = (stage.name.clone(), stage.place.clone());
        self.plan.stages.push(PlannedStage { name, action: id, place });
    }

    fn action(&self, stage: &Stage, version: u32) -> Action {
        let input =
            |stage: &StageId| (*stage, self.plan.action(self.plan.origins[stage]).name.clone());
        let mut ports: Vec<String> = stage.ports.iter().map(|(port, _)| port.clone()).collect();
        ports.sort();
        Action {
            id: ActionId(self.plan.actions.len() as u32),
            name: stage.name.clone(),
            kind: stage.kind.clone(),
            version,
            params: stage.params.iter().map(|(name, value)| (name.clone(), erase(value))).collect(),
            inputs: inputs(&stage.params).iter().map(input).collect(),
            ports,
            place: stage.place.clone(),
            places: stage.places.clone(),
        }
    }

    /// The key an action would have if inputs were what their names say: equal for equal work.
    fn twin_key(&self, action: &Action) -> ActionKey {
        let mut contents = Contents::default();
        let mut see = |value: &Value| match value {
            Value::Artifact(artifact) => {
                let origin = self.plan.origins[&artifact.stage].0;
                let name = format!("{origin} {}", artifact.port);
                let place = (artifact.stage, artifact.port.clone());
                contents.artifacts.insert(place, Digest::of_bytes(name.as_bytes()));
            }
            Value::Path(path) => {
                let name = format!("{} {} {}", path.folder.len(), path.folder, path.written);
                let place = (path.folder.clone(), path.written.clone());
                contents.paths.insert(place, Digest::of_bytes(name.as_bytes()));
            }
            _ => {}
        };
        action.params.values().for_each(|value| visit(value, &mut see));
        action_key(action, Keyed::default(), &contents)
    }

    fn finish(mut self, asked: Vec<Asked>) -> Plan {
        let mut seen = BTreeSet::new();
        for (at, port) in asked {
            let stage = &self.module.stages[at];
            let action = self.plan.origins[&stage.id];
            let wanted = Wanted { stage: stage.name.clone(), action, port };
            if seen.insert((at, wanted.port.clone())) {
                self.plan.wanted.push(wanted);
            }
        }
        self.plan
    }
}

/// A parameter as work may see it: artifacts without types and facts.
fn erase(value: &Value) -> Value {
    match value {
        Value::Artifact(artifact) => {
            Value::Artifact(erased_artifact(artifact.stage, &artifact.port))
        }
        Value::List(items) => Value::List(items.iter().map(erase).collect()),
        Value::Record { name, fields } => Value::Record {
            name: name.clone(),
            fields: fields.iter().map(|(name, field)| (name.clone(), erase(field))).collect(),
        },
        Value::Share { percent, of } => Value::Share { percent: *percent, of: Box::new(erase(of)) },
        plain => plain.clone(),
    }
}
