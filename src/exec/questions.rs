//! What is wrong with the tasks that a recipe declares, found before anything runs: templates,
//! expressions and patterns that cannot be read, columns that the data has not, options that
//! contradict each other. Knows values of the recipe; what a template may say is the evaluation's.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::line_of;
use crate::eval::prompt::{Pen, pattern};
use crate::eval::task::programs::ANSWER;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Module, Stage, Value};
use crate::train::data::columns::quoted;

/// Everything wrong with the tasks of a stage.
pub fn faults(sources: &Sources, module: &Module, stage: &Stage) -> Vec<Diagnostic> {
    let Some(Value::List(tasks)) = stage.params.get("tasks").filter(|_| stage.kind == "eval")
    else {
        return Vec::new();
    };
    let Some(line) = line_of(sources, stage, "tasks") else { return Vec::new() };
    let told = |fault: Fault| {
        let diagnostic = Diagnostic::error("bad-task", fault.what);
        let diagnostic = diagnostic.label(line, "the task is among these");
        fault.notes.into_iter().fold(diagnostic, Diagnostic::note)
    };
    let declared = tasks.iter().filter_map(|task| Declared::of(module, task));
    let faults = declared.flat_map(|task| task.faults());
    faults.chain(tasks.iter().flat_map(rewriting)).map(told).collect()
}

/// The patterns of what is done to running text that cannot be read.
fn rewriting(task: &Value) -> Vec<Fault> {
    let Value::Record { name: Some(kind), fields } = task else { return Vec::new() };
    let name = fields.get("name").and_then(text_of).filter(|_| kind == "perplexity");
    let (Some(name), Some(Value::List(steps))) = (name, fields.get("rewrite")) else {
        return Vec::new();
    };
    let fault = |step: &Value| {
        let Value::Record { fields, .. } = step else { return None };
        let why = pattern(fields.get("pattern").and_then(text_of)?).err()?;
        let what = format!("task `{name}`: `pattern` is no pattern: {why}");
        Some(Fault { what, notes: Vec::new() })
    };
    steps.iter().filter_map(fault).collect()
}

/// One thing that is wrong.
struct Fault {
    what: String,
    notes: Vec<String>,
}

/// What a field is read as.
#[derive(Clone, Copy)]
enum Form {
    Template,
    Expression,
}

/// Which rows it is read of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Rows,
    Examples,
    Both,
}

/// A text of a task.
struct Text<'a> {
    field: &'static str,
    form: Form,
    text: &'a str,
    of: Of,
}

/// A task that the recipe declares.
struct Declared<'a> {
    name: &'a str,
    fields: &'a BTreeMap<String, Value>,
    /// The columns of its rows and of its examples, where the recipe tells them.
    columns: Option<BTreeSet<String>>,
    examples: Option<BTreeSet<String>>,
}

impl<'a> Declared<'a> {
    fn of(module: &Module, task: &'a Value) -> Option<Declared<'a>> {
        let Value::Record { name: Some(kind), fields } = task else { return None };
        let name = text_of(fields.get("name")?).filter(|_| kind == "task")?;
        let columns = columns_of(module, fields.get("data")?);
        let examples = columns_of(module, fields.get("examples")?);
        Some(Declared { name, fields, columns, examples })
    }

    fn faults(&self) -> Vec<Fault> {
        let pen = Pen::default();
        let mut faults = Vec::new();
        for text in self.texts() {
            faults.extend(self.fault_of(&pen, &text));
        }
        for (field, text) in self.patterns() {
            let fault = |why: String| self.fault(format!("`{field}` is no pattern: {why}"));
            faults.extend(pattern(text).err().map(fault));
        }
        faults.extend(self.contradictions().into_iter().map(|what| self.fault(what)));
        faults
    }

    fn fault(&self, what: String) -> Fault {
        Fault { what: format!("task `{}`: {what}", self.name), notes: Vec::new() }
    }

    /// A text that cannot be read, or that reads a column that is not there.
    fn fault_of(&self, pen: &Pen, text: &Text<'_>) -> Option<Fault> {
        let Text { field, form, text, of } = *text;
        let (what, read) = match form {
            Form::Template => ("template", pen.columns_in(text)),
            Form::Expression => ("expression", pen.columns_of(text)),
        };
        let read = match read {
            Err(why) => return Some(self.fault(format!("`{field}` is no {what}: {why}"))),
            Ok(_) if text.contains("defined") => return None,
            Ok(read) => read,
        };
        let rows = self.columns.as_ref().filter(|_| of != Of::Examples);
        let examples = self.examples.as_ref().filter(|_| of != Of::Rows && self.shots() > 0);
        let places = [(rows, "its rows"), (examples, "its examples")];
        let places = places.into_iter().filter_map(|(columns, of)| Some((columns?, of)));
        for (columns, of) in places {
            // A program has what the model wrote besides.
            let has = |name: &String| {
                columns.contains(name) || (field == "program" && name.as_str() == ANSWER)
            };
            if let Some(missing) = read.iter().find(|name| !has(name)) {
                let what = format!("`{field}` reads a column `{missing}` that {of} have not");
                let notes = vec![format!("they have {}", quoted(columns))];
                return Some(Fault { notes, ..self.fault(what) });
            }
        }
        None
    }

    fn texts(&self) -> Vec<Text<'a>> {
        // Where an example has words of its own, the others are of rows alone.
        let both = if self.text("example").is_none() { Of::Both } else { Of::Rows };
        let mut found = Vec::new();
        for (field, form, of) in [
            ("before", Form::Template, Of::Rows),
            ("prompt", Form::Template, both),
            ("answer", Form::Template, both),
            ("example", Form::Template, Of::Examples),
            ("alike", Form::Expression, Of::Both),
        ] {
            found.extend(self.text(field).map(|text| Text { field, form, text, of }));
        }
        let mut add = |field, form, of, texts: Vec<&'a str>| {
            found.extend(texts.into_iter().map(|text| Text { field, form, text, of }));
        };
        add("groups", Form::Expression, Of::Rows, list_of(self.fields.get("groups")));
        let Some(score) = self.score() else { return found };
        let one = |field: &str| score.get(field).and_then(text_of).into_iter().collect();
        add("choices", Form::Template, both, list_of(score.get("choices")));
        add("choices", Form::Expression, both, one("choices"));
        add("gold", Form::Expression, both, one("gold"));
        add("accept", Form::Expression, Of::Rows, one("accept"));
        add("wrong", Form::Expression, Of::Rows, one("wrong"));
        add("program", Form::Template, Of::Rows, one("program"));
        found
    }

    /// The patterns of every mark.
    fn patterns(&self) -> Vec<(&'static str, &'a str)> {
        let mut found = Vec::new();
        for mark in self.marks() {
            found.extend(mark.get("pattern").and_then(text_of).map(|text| ("pattern", text)));
            let ignored = list_of(mark.get("ignore")).into_iter();
            found.extend(ignored.map(|text| ("ignore", text)));
        }
        found
    }

    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (shots, examples) = (self.shots(), self.fields.get("examples"));
        let written = match examples {
            Some(Value::List(texts)) => Some(texts.len()),
            _ => None,
        };
        if shots > 0 && examples == Some(&Value::None) {
            found.push(format!("`shots` is {shots}, and `examples` names none"));
        }
        if let Some(count) = written.filter(|count| (*count as u64) < shots) {
            found.push(format!("`shots` is {shots}, and `examples` holds {count}"));
        }
        for field in ["example", "alike"] {
            if written.is_some() && self.text(field).is_some() {
                found.push(format!("`{field}` is of rows, and `examples` are written out"));
            }
        }
        if self.text("choose") == Some("harness") && self.text("alike").is_some() {
            let drawn = "`choose: \"harness\"` draws from all examples, and `alike` names some";
            found.push(drawn.into());
        }
        let Some(score) = self.score() else { return found };
        let has = |field: &str| score.get(field).is_some_and(|value| *value != Value::None);
        let is_told =
            ["gold", "accept", "program"].into_iter().any(has) || self.text("answer").is_some();
        if !is_told {
            found.push("nothing tells what would be right".into());
        }
        let names = self.marks().map(|mark| mark.get("name").and_then(text_of));
        let mut names = names.flatten().collect::<Vec<_>>();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            found.push("two marks have the same `name`".into());
        }
        if score.get("marks") == Some(&Value::List(Vec::new())) {
            found.push("`marks` is empty".into());
        }
        found
    }

    fn marks(&self) -> impl Iterator<Item = &'a BTreeMap<String, Value>> {
        let marks = match self.score().and_then(|score| score.get("marks")) {
            Some(Value::List(marks)) => &marks[..],
            _ => &[],
        };
        marks.iter().filter_map(|mark| match mark {
            Value::Record { fields, .. } => Some(fields),
            _ => None,
        })
    }

    fn score(&self) -> Option<&'a BTreeMap<String, Value>> {
        match self.fields.get("score") {
            Some(Value::Record { fields, .. }) => Some(fields),
            _ => None,
        }
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.fields.get(field).and_then(text_of)
    }

    fn shots(&self) -> u64 {
        self.fields.get("shots").and_then(super::ledger::whole).unwrap_or(0)
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn list_of(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::List(values)) => values.iter().filter_map(text_of).collect(),
        _ => Vec::new(),
    }
}

/// The columns of the rows that a value stands for, where the recipe tells them.
fn columns_of(module: &Module, value: &Value) -> Option<BTreeSet<String>> {
    let Value::Artifact(artifact) = value else { return None };
    let stage = &module.stages[artifact.stage.0 as usize];
    match stage.kind.as_str() {
        "split" => columns_of(module, stage.params.get("data")?),
        "read_benchmark" | "hub_benchmark" => {
            let named = list_of(stage.params.get("columns")).into_iter();
            let told = stage.params.get("named").and_then(text_of);
            let told = told.and_then(|named| Some(named.split_once("{{")?.1.split_once("}}")?.0));
            Some(named.chain(told.map(str::trim)).map(str::to_string).collect())
        }
        _ => None,
    }
}
