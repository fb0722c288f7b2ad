//! What is shown while a build runs: bars on a terminal, plain lines without one, JSON
//! for programs.
//! Knows events; does not know what causes them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::terminal::{clock, figure, note, out};
use crate::build::action::{Action, ActionId};
use crate::build::executor::Progress;
use crate::build::report::{ActionReport, BuildState, Event, Events};
use crate::exec::ledger::bytes_text;

/// More fresh stages than this are counted, not listed.
const MOST_FRESH_LINES: usize = 24;

/// One line for a stage that reached its end; `None` where there is nothing to say. `reason` is why
/// it ran, where that was not told when it began.
fn finished_line(
    action: &Action,
    report: &ActionReport,
    list_fresh: bool,
    reason: Option<String>,
) -> Option<String> {
    let name = &action.name;
    match report.state {
        BuildState::Fresh => list_fresh.then(|| format!("fresh   {name}")),
        BuildState::Built => {
            let (time, bytes) = (clock(report.seconds), bytes_text(report.bytes));
            let told = headline(&report.metrics).into_iter().chain(reason).collect::<Vec<_>>();
            let line = format!("built   {name:<14} {time:>6} {bytes:>9}   {}", told.join(", "));
            Some(line.trim_end().to_string())
        }
        BuildState::Failed => Some(format!("failed  {name}")),
        BuildState::Stopped => Some(format!("stopped {name:<14} {:>6}", clock(report.seconds))),
        BuildState::Skipped => Some(format!("skipped {name}")),
        _ => None,
    }
}

/// What a running stage wants to be seen.
fn notice_line(action: &Action, line: &str) -> String {
    format!("        {:<14} {line}", action.name)
}

/// The first figure of a result, such as `loss 1.873`.
fn headline(metrics: &[(String, f64)]) -> Option<String> {
    let (name, value) = metrics.first().filter(|(name, _)| name == "loss")?;
    Some(format!("{name} {}", figure(*value)))
}

/// `loss 1.873 · lr 0.001`, in the order they came.
fn figures(progress: &Progress) -> String {
    let shown = progress.metrics.iter().take(2);
    let shown = shown.map(|(name, value)| format!("{name} {}", figure(*value)));
    shown.collect::<Vec<_>>().join(" · ")
}

/// Lines only, for logs and pipes: a line when a stage starts, now and then while it runs, and
/// when it ends.
pub struct Plain {
    list_fresh: bool,
    said: RefCell<BTreeMap<ActionId, Instant>>,
}

/// How often a running stage speaks without a terminal.
const SILENCE: Duration = Duration::from_secs(15);

impl Plain {
    pub fn new(stages: usize) -> Plain {
        Plain { list_fresh: stages <= MOST_FRESH_LINES, said: RefCell::default() }
    }
}

impl Events for Plain {
    fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Started { action, reason, .. } => {
                self.said.borrow_mut().insert(action.id, Instant::now());
                note(&format!("run     {:<14} {reason}", action.name));
            }
            Event::Progress { action, progress } => {
                let mut said = self.said.borrow_mut();
                let last = said.entry(action.id).or_insert_with(Instant::now);
                if last.elapsed() >= SILENCE {
                    *last = Instant::now();
                    let Progress { done, total, unit, .. } = progress;
                    let figures = figures(progress);
                    note(&format!("        {:<14} {done}/{total} {unit}  {figures}", action.name));
                }
            }
            Event::Waiting { action } => {
                note(&format!("wait    {:<14} another build makes it", action.name));
            }
            Event::Finished { action, report } => {
                if let Some(line) = finished_line(action, report, self.list_fresh, None) {
                    note(&line);
                }
            }
            Event::Log { action, line, notice: true } => note(&notice_line(action, line)),
            Event::Log { .. } | Event::Done { .. } => {}
        }
    }
}

/// A bar for each running stage, with what is left of it and its live figures.
pub struct Live {
    list_fresh: bool,
    all: MultiProgress,
    bars: RefCell<BTreeMap<ActionId, ProgressBar>>,
}

const UNDER_WAY: &str = "{prefix:<14} {wide_bar:.cyan/blue} {pos}/{len} eta {eta} {msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

impl Live {
    pub fn new(stages: usize) -> Live {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        Live { list_fresh: stages <= MOST_FRESH_LINES, all, bars: RefCell::default() }
    }

    /// Shows the text alone until the stage says how much there is to do.
    fn start(&self, action: &Action, text: String) {
        let bar = self.all.add(ProgressBar::no_length().with_style(style("{prefix:<14} {msg}")));
        bar.set_prefix(action.name.clone());
        bar.set_message(text);
        self.bars.borrow_mut().insert(action.id, bar);
    }
}

impl Events for Live {
    fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Started { action, reason, .. } => self.start(action, reason.to_string()),
            Event::Waiting { action } => self.start(action, "another build makes it".into()),
            Event::Progress { action, progress } => {
                if let Some(bar) = self.bars.borrow().get(&action.id) {
                    if bar.length().is_none() {
                        bar.set_style(style(UNDER_WAY));
                    }
                    bar.set_length(progress.total);
                    bar.set_position(progress.done);
                    bar.set_message(figures(progress));
                }
            }
            Event::Finished { action, report } => {
                if let Some(bar) = self.bars.borrow_mut().remove(&action.id) {
                    bar.finish_and_clear();
                }
                let reason = report.reason.as_ref().map(ToString::to_string);
                if let Some(line) = finished_line(action, report, self.list_fresh, reason) {
                    drop(self.all.println(line));
                }
            }
            Event::Log { action, line, notice: true } => {
                drop(self.all.println(notice_line(action, line)));
            }
            Event::Log { .. } | Event::Done { .. } => {}
        }
    }
}

/// The same events but for the last, for a command that has more to say before it.
pub struct ButTheLast(pub Box<dyn Events>);

impl Events for ButTheLast {
    fn hear(&self, event: &Event<'_>) {
        if !matches!(event, Event::Done { .. }) {
            self.0.hear(event);
        }
    }
}

/// One object a line on standard output.
pub struct Json;

impl Json {
    /// The last line, after which nothing is said.
    pub fn done(&self, built: usize, fresh: usize, failed: usize) {
        self.say("done", None, json!({ "built": built, "fresh": fresh, "failed": failed }));
    }

    /// What a comparison found of a stage.
    pub fn verdict(&self, stage: &str, more: Value) {
        self.say("verdict", Some(stage), more);
    }

    fn say(&self, event: &str, stage: Option<&str>, more: Value) {
        let mut object = Map::new();
        object.insert("event".into(), event.into());
        if let Some(stage) = stage {
            object.insert("stage".into(), stage.into());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if event != "done" {
            object.insert("time".into(), json!(now.as_millis() as f64 / 1000.0));
        }
        if let Value::Object(more) = more {
            object.extend(more);
        }
        out(&format!("{}\n", Value::Object(object)));
    }
}

fn metrics_json(metrics: &[(String, f64)]) -> Value {
    metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into()
}

impl Events for Json {
    fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Started { action, reason, threads } => {
                let more = json!({ "reason": reason.to_string(), "threads": threads });
                self.say("started", Some(&action.name), more);
            }
            Event::Progress { action, progress } => {
                let Progress { done, total, unit, metrics } = progress;
                let metrics = metrics_json(metrics);
                let more =
                    json!({ "done": done, "total": total, "unit": unit, "metrics": metrics });
                self.say("progress", Some(&action.name), more);
            }
            Event::Log { action, line, notice } => {
                let event = if *notice { "notice" } else { "log" };
                self.say(event, Some(&action.name), json!({ "line": line }));
            }
            Event::Waiting { action } => self.say("waiting", Some(&action.name), Value::Null),
            Event::Finished { action, report } => {
                let more = json!({
                    "key": report.key.map(|key| key.to_string()),
                    "reason": report.reason.as_ref().map(ToString::to_string),
                    "seconds": report.seconds,
                    "bytes": report.bytes,
                    "metrics": metrics_json(&report.metrics),
                    "failure": report.failure.as_ref().map(|failure| failure.message.clone()),
                });
                self.say(report.state.word(), Some(&action.name), more);
            }
            Event::Done { built, fresh, failed } => self.done(*built, *fresh, *failed),
        }
    }
}
