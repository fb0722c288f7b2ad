//! `plan`, `why`, `status` and `graph`: what a build would do and why, without doing it.

use anyhow::{Result, bail};
use serde_json::json;

use super::exit::{fail, tell};
use super::graph::{self, Node, State};
use super::machine::executor;
use super::project::Compiled;
use super::terminal::{clock, figure, note, out};
use super::{Exit, args, check};
use crate::build::action::{Action, ActionId};
use crate::build::examine::assess;
use crate::build::literal;
use crate::build::plan::{Plan, plan as plan_of};
use crate::build::store::{StageRow, Store};
use crate::build::verdict::{StaleReason, Verdict};
use crate::exec::ledger::{self, Cost, bytes_text};
use crate::exec::needs::Shapes;
use crate::lang::value::{SINGLE_PORT, Stage, Value};

/// A plan with what would become of each action.
pub struct Assessed {
    pub compiled: Compiled,
    pub plan: Plan,
    pub store: Store,
    pub verdicts: Vec<(ActionId, Verdict)>,
}

/// Proves, plans and looks everything up; or says what is wrong.
pub fn assessed(flags: &args::Recipe, words: &[String]) -> Result<Result<Assessed, Exit>> {
    let (compiled, targets) = match check::ready(flags, words)? {
        Ok(ready) => ready,
        Err(exit) => return Ok(Err(exit)),
    };
    let executor = executor()?;
    let plan = match plan_of(&compiled.module, &targets, &executor) {
        Ok(plan) => plan,
        Err(failures) => {
            failures.iter().for_each(tell);
            return Ok(Err(Exit::Usage));
        }
    };
    let found = Store::open(&compiled.project.cache).and_then(|store| {
        let verdicts = assess(&plan, &store, &executor, &compiled.history_name())?;
        Ok((store, verdicts))
    });
    Ok(match found {
        Ok((store, verdicts)) => Ok(Assessed { compiled, plan, store, verdicts }),
        Err(failure) => Err(fail(&[failure])),
    })
}

/// A verdict in a few words.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fresh => "fresh".into(),
        Verdict::Stale(reason) => format!("will run: {reason}"),
        Verdict::Maybe(input) => format!("may run: `{input}` is to be built first"),
        Verdict::Blocked(failure) => format!("cannot run: {}", failure.message),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Fresh => "fresh",
        Verdict::Stale(_) => "stale",
        Verdict::Maybe(_) => "maybe",
        Verdict::Blocked(_) => "blocked",
    }
}

/// The stage of the module with an action's name.
fn stage_of(assessed: &Assessed, id: ActionId) -> &Stage {
    let name = &assessed.plan.action(id).name;
    let stages = &assessed.compiled.module.stages;
    stages.iter().find(|stage| stage.name == *name).expect("actions are named after stages")
}

/// The last time that a stage was really built.
fn last_built(assessed: &Assessed, stage: &str) -> Option<StageRow> {
    let recipe = assessed.compiled.history_name();
    let rows = assessed.store.records.stage_runs(&recipe, stage).ok()?;
    rows.into_iter().filter(|row| row.state == "built").max_by_key(|row| row.run)
}

/// `llamake plan`
pub fn run(args: &args::Plan) -> Result<Exit> {
    let assessed = match assessed(&args.recipe, &args.targets)? {
        Ok(assessed) => assessed,
        Err(exit) => return Ok(exit),
    };
    let shapes = Shapes::of(&assessed.compiled.module);
    let mut stale = 0;
    for (id, verdict) in &assessed.verdicts {
        stale += usize::from(*verdict != Verdict::Fresh);
        let cost = ledger::cost(&shapes, stage_of(&assessed, *id));
        let text = match args.json {
            true => format!("{}\n", as_json(&assessed, *id, verdict, cost.as_ref())),
            false => as_text(&assessed, *id, verdict, cost.as_ref()),
        };
        out(&text);
    }
    let all = assessed.verdicts.len();
    note(&format!("{} of {all} stages are fresh", all - stale));
    Ok(Exit::Done)
}

fn as_text(assessed: &Assessed, id: ActionId, verdict: &Verdict, cost: Option<&Cost>) -> String {
    let action = assessed.plan.action(id);
    let mut text = format!("{} = {}   {}\n", action.name, action.kind, words(verdict));
    for (name, value) in &action.params {
        let value = written(action, value);
        let place = action.places.get(name).map(|place| format!("   {place}")).unwrap_or_default();
        text += &format!("    {name}: {}{place}\n", shortened(&value));
    }
    text += &cost.map(cost_text).unwrap_or_default();
    if let Some(row) = last_built(assessed, &action.name) {
        let (time, bytes) = (clock(row.seconds), bytes_text(row.bytes));
        text += &format!("    last time: {time}, {bytes} on disk\n");
    }
    text + "\n"
}

/// A parameter as a recipe would write it.
fn written(action: &Action, value: &Value) -> String {
    let stage = |stage| action.input_name(stage).to_string();
    bare(&literal::write_with(value, &stage, &|path| path.written.clone()))
}

/// Results as a recipe names them: `base` for `@"base.out"`, `parts.train` for `@"parts.train"`.
fn bare(literal: &str) -> String {
    let mut parts = literal.split("@\"");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let quoted = format!("\"{part}");
        let mut read = serde_json::Deserializer::from_str(&quoted).into_iter::<String>();
        let Some(Ok(name)) = read.next() else {
            text += &quoted;
            continue;
        };
        let single = name.strip_suffix(SINGLE_PORT).and_then(|stage| stage.strip_suffix('.'));
        text += single.unwrap_or(&name);
        text += &quoted[read.byte_offset()..];
    }
    text
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn cost_text(cost: &Cost) -> String {
    let memory = &cost.memory;
    let total = match cost.total {
        Some((tokens, flops)) => {
            let tokens = figure(tokens as f64);
            format!("    work: {tokens} tokens, {flops:.2e} floating-point operations\n")
        }
        None => String::new(),
    };
    let parts = memory.parts();
    let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
    let parts = parts.map(|(name, bytes)| format!("{name} {}", bytes_text(*bytes)));
    let (parts, whole) = (parts.collect::<Vec<_>>().join(" + "), bytes_text(memory.total()));
    // How long prompts are is not known before the run.
    let most = if memory.sampling > 0 { "at most " } else { "" };
    let pages = match memory.pages {
        0 => String::new(),
        pages => format!("    pages: {} of moments on disk\n", bytes_text(pages)),
    };
    let Cost { course, parameters, learnt, .. } = cost;
    let learnt = match learnt == parameters {
        true => String::new(),
        false => format!(", {learnt} of an adapter"),
    };
    format!(
        "    course: {course}\n    parameters: {parameters}{learnt}\n{total}    memory: \
         {most}{whole} = {parts}\n{pages}"
    )
}

fn as_json(
    assessed: &Assessed,
    id: ActionId,
    verdict: &Verdict,
    cost: Option<&Cost>,
) -> serde_json::Value {
    let action = assessed.plan.action(id);
    let params =
        action.params.iter().map(|(name, value)| (name.clone(), json!(written(action, value))));
    let memory = cost.map(|cost| {
        let parts = cost.memory.parts().into_iter().chain([("pages", cost.memory.pages)]);
        parts.map(|(name, bytes)| (name.to_string(), json!(bytes)))
    });
    let last = last_built(assessed, &action.name);
    json!({
        "stage": action.name,
        "kind": action.kind,
        "state": word(verdict),
        "reason": words(verdict),
        "params": params.collect::<serde_json::Map<_, _>>(),
        "parameters": cost.map(|cost| cost.parameters),
        "learnt": cost.map(|cost| cost.learnt),
        "memory_bytes": cost.map(|cost| cost.memory.total()),
        "memory": memory.map(|parts| parts.collect::<serde_json::Map<_, _>>()),
        "course": cost.map(|cost| cost.course.clone()),
        "tokens": cost.and_then(|cost| cost.total).map(|total| total.0),
        "flops": cost.and_then(|cost| cost.total).map(|total| total.1),
        "last_seconds": last.as_ref().map(|row| row.seconds),
        "last_bytes": last.as_ref().map(|row| row.bytes),
    })
}

/// `llamake why STAGE`: every reason, and for a fresh stage the reason it last ran for.
pub fn why(args: &args::Why) -> Result<Exit> {
    let assessed = match assessed_for_one(&args.recipe, &args.stage)? {
        Ok(assessed) => assessed,
        Err(exit) => return Ok(exit),
    };
    let (assessed, stage) = assessed;
    let id = assessed.plan.find(&stage).expect("the plan is of this stage");
    let name = &assessed.plan.action(id).name;
    match &assessed.verdicts[id.0 as usize].1 {
        Verdict::Stale(StaleReason::Changed(changes)) => {
            out(&format!("{stage} will run:\n"));
            changes.iter().for_each(|change| out(&format!("  {change}\n")));
        }
        verdict => out(&format!("{stage}: {}\n", words(verdict))),
    }
    let fresh = assessed.verdicts[id.0 as usize].1 == Verdict::Fresh;
    if let (true, Some(row)) = (fresh, last_built(&assessed, name)) {
        out(&format!("  last built because: {}\n", row.reason));
    }
    Ok(Exit::Done)
}

/// A plan of one stage, named last among the words.
pub fn assessed_for_one(
    flags: &args::Recipe,
    words: &[String],
) -> Result<Result<(Assessed, String), Exit>> {
    let Some(stage) = words.last().filter(|stage| !stage.ends_with(".recipe")) else {
        bail!("name a stage")
    };
    if words.len() > 2 || (words.len() == 2 && !words[0].ends_with(".recipe")) {
        bail!("name one stage");
    }
    let assessed = match assessed(flags, words)? {
        Ok(assessed) => assessed,
        Err(exit) => return Ok(Err(exit)),
    };
    let mut stages: Vec<&str> = assessed.plan.wanted.iter().map(|one| &*one.stage).collect();
    stages.dedup();
    match stages.as_slice() {
        [one] => {
            let name = one.to_string();
            Ok(Ok((assessed, name)))
        }
        several => bail!("`{stage}` is several stages: `{}`; name one", several.join("`, `")),
    }
}

/// `llamake status`: one line a stage.
pub fn status(args: &args::Status) -> Result<Exit> {
    let words_given = args.file.iter().map(|file| file.to_string_lossy().into_owned());
    let assessed = match assessed(&args.recipe, &words_given.collect::<Vec<_>>())? {
        Ok(assessed) => assessed,
        Err(exit) => return Ok(exit),
    };
    for (id, verdict) in &assessed.verdicts {
        let action = assessed.plan.action(*id);
        let last = last_built(&assessed, &action.name);
        let (seconds, metrics) = last.map(|row| (row.seconds, row.metrics)).unwrap_or_default();
        if args.json {
            let metrics = metrics.iter().map(|(name, value)| (name.clone(), json!(value)));
            let object = json!({
                "stage": action.name, "kind": action.kind, "state": word(verdict),
                "reason": words(verdict), "seconds": seconds,
                "metrics": metrics.collect::<serde_json::Map<_, _>>(),
            });
            out(&format!("{object}\n"));
            continue;
        }
        let shown = metrics.iter().take(3);
        let shown = shown.map(|(name, value)| format!("{name} {}", figure(*value)));
        let figures = shown.collect::<Vec<_>>().join(" · ");
        let state = words(verdict);
        out(&format!(
            "{:<14} {:<20} {:>6}  {state}  {figures}\n",
            action.name,
            action.kind,
            clock(seconds)
        ));
    }
    Ok(Exit::Done)
}

/// `llamake graph`
pub fn graph(args: &args::Graph) -> Result<Exit> {
    let words = args.file.iter().map(|file| file.to_string_lossy().into_owned());
    let assessed = match assessed(&args.recipe, &words.collect::<Vec<_>>())? {
        Ok(assessed) => assessed,
        Err(exit) => return Ok(exit),
    };
    let node = |(id, verdict): &(ActionId, Verdict)| Node {
        name: assessed.plan.action(*id).name.clone(),
        kind: assessed.plan.action(*id).kind.clone(),
        state: match verdict {
            Verdict::Fresh => State::Fresh,
            Verdict::Stale(_) | Verdict::Blocked(_) => State::Stale,
            Verdict::Maybe(_) => State::Waiting,
        },
        needs: assessed.plan.needs(*id).iter().map(|need| need.0 as usize).collect(),
    };
    let nodes = assessed.verdicts.iter().map(node).collect::<Vec<_>>();
    out(&match args.format {
        args::Drawing::Dot => graph::dot(&nodes),
        args::Drawing::Mermaid => graph::mermaid(&nodes),
        args::Drawing::Svg => graph::svg(&nodes),
    });
    Ok(Exit::Done)
}
