//! Words out of rows: templates and expressions in Jinja over a row's columns, and patterns over
//! what was answered. Blanks stay as they are written. Knows columns by name; does not know what
//! is asked, or of whom.
//!
//! A column whose name is no word is `row["Best Answer"]`. A name that the row has not is an error,
//! never an empty text.

use std::collections::BTreeSet;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::train::data::columns::quoted;
use crate::train::data::jinja;
use crate::train::data::rows::Benchmark;
use crate::train::progress::Failure;

/// The name by which a template sees its whole row.
const ROW: &str = "row";

/// Writes templates.
pub struct Pen {
    environment: Environment<'static>,
}

/// A row as templates see it.
#[derive(Clone, Debug)]
pub struct Sheet {
    values: Value,
    columns: Vec<String>,
}

impl Sheet {
    /// The columns of a row by name, and the whole of it.
    pub fn of(row: &Benchmark) -> Sheet {
        let whole = Value::from(Serde(row));
        let columns = row.keys().cloned().collect::<Vec<_>>();
        let own = row.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        let values = std::iter::once((ROW.to_string(), whole)).chain(own);
        Sheet { values: Value::from_pairs(values), columns }
    }
}

impl Default for Pen {
    fn default() -> Pen {
        let mut environment = jinja::environment();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("ended", ended);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual syntax"));
        Pen { environment }
    }
}

impl Pen {
    /// A template, filled in; fails with the reason.
    pub fn write(&self, template: &str, sheet: &Sheet) -> Result<String, String> {
        let written = self.environment.render_str(template, &sheet.values);
        written.map_err(|error| told(&error, &self.names_in(template), sheet))
    }

    /// What an expression comes to; fails with the reason.
    pub fn find(&self, expression: &str, sheet: &Sheet) -> Result<Value, String> {
        let compiled = self.environment.compile_expression(expression);
        let compiled = compiled.map_err(|error| jinja::reason(&error))?;
        let found = compiled.eval(&sheet.values);
        let found = found.and_then(|value| match value.is_undefined() {
            true => Err(Error::from(ErrorKind::UndefinedError)),
            false => Ok(value),
        });
        found.map_err(|error| told(&error, &self.names_of(expression), sheet))
    }

    /// The columns that a template reads; fails with what is wrong with it.
    pub fn columns_in(&self, template: &str) -> Result<BTreeSet<String>, String> {
        let parsed = self.environment.template_from_str(template);
        parsed.map(|_| self.names_in(template)).map_err(|error| jinja::reason(&error))
    }

    /// The columns that an expression reads; fails with what is wrong with it.
    pub fn columns_of(&self, expression: &str) -> Result<BTreeSet<String>, String> {
        let parsed = self.environment.compile_expression(expression);
        parsed.map(|_| self.names_of(expression)).map_err(|error| jinja::reason(&error))
    }

    fn names_in(&self, template: &str) -> BTreeSet<String> {
        let parsed = self.environment.template_from_str(template);
        let names = parsed.map(|parsed| parsed.undeclared_variables(false));
        self.columns(names.into_iter().flatten())
    }

    fn names_of(&self, expression: &str) -> BTreeSet<String> {
        let parsed = self.environment.compile_expression(expression);
        let names = parsed.map(|parsed| parsed.undeclared_variables(false));
        self.columns(names.into_iter().flatten())
    }

    /// Those names that only a row can have.
    fn columns(&self, names: impl Iterator<Item = String>) -> BTreeSet<String> {
        let known = self.environment.globals().map(|(name, _)| name).collect::<BTreeSet<_>>();
        names.filter(|name| name != ROW && !known.contains(name.as_str())).collect()
    }
}

/// A text with this at its end, which it may have already.
fn ended(text: String, end: &str) -> String {
    if text.ends_with(end) { text } else { text + end }
}

/// The reason in words: most often a column that is not there.
fn told(error: &Error, read: &BTreeSet<String>, sheet: &Sheet) -> String {
    match read.iter().find(|name| !sheet.columns.contains(name)) {
        Some(missing) if error.kind() == ErrorKind::UndefinedError => {
            format!("there is no column `{missing}`; it has {}", quoted(&sheet.columns))
        }
        _ => jinja::reason(error),
    }
}

/// A pattern over texts; fails with the reason.
pub fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

/// Every stretch of a text that a pattern describes: its first group that holds something, where it
/// has groups, else the whole.
pub fn find_all(pattern: &Regex, text: &str) -> Result<Vec<String>, Failure> {
    let found = pattern.captures_iter(text).map(|found| {
        let found = found.map_err(|error| too_much(pattern, &error))?;
        let mut groups = found.iter().skip(1).flatten().map(|group| group.as_str());
        Ok(match found.len() {
            1 => found[0].to_string(),
            _ => groups.find(|group| !group.is_empty()).unwrap_or("").to_string(),
        })
    });
    found.collect()
}

/// A text without the stretches that a pattern describes.
pub fn take_out(pattern: &Regex, text: &str) -> Result<String, Failure> {
    let left = pattern.try_replacen(text, 0, "");
    left.map(|left| left.into_owned()).map_err(|error| too_much(pattern, &error))
}

/// Why a pattern that may try many ways to match gave up.
pub fn too_much(pattern: &Regex, error: &fancy_regex::Error) -> Failure {
    Failure::input(format!("the pattern `{pattern}` gave up on an answer: {error}"))
        .remedy("write it so that it need not try many ways to match")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(row: &str) -> Sheet {
        Sheet::of(&serde_json::from_str(row).unwrap())
    }

    #[test]
    fn templates_read_columns() {
        let pen = Pen::default();
        let sheet = sheet(r#"{"question":" Why? ","choices":["a","b"],"Best Answer":"So."}"#);
        let write = |template: &str| pen.write(template, &sheet);
        assert_eq!(
            write("Q: {{question.strip()}}\nA. {{choices[-1]}}\n").unwrap(),
            "Q: Why?\nA. b\n"
        );
        assert_eq!(write(r#"{{row["Best Answer"]}}{# no #}"#).unwrap(), "So.");
        assert_eq!(
            write("{{answer}}").unwrap_err(),
            "there is no column `answer`; it has `question`, `choices`, `Best Answer`"
        );
        let ended = pen.find("choices | map('ended', 'b') | list", &sheet).unwrap();
        assert_eq!(ended, Value::from(vec!["ab", "b"]));
        assert!(pen.find("choices.nothing('b')", &sheet).is_err());
        assert_eq!(pen.find("choices | length", &sheet).unwrap(), Value::from(2));
        assert!(pen.find("gold", &sheet).unwrap_err().starts_with("there is no column `gold`"));
    }

    #[test]
    fn columns_are_found_without_a_row() {
        let pen = Pen::default();
        let names = pen.columns_in("{% for c in choices %}{{c}}{% endfor %}{{range(a)}}").unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "choices"]);
        assert!(pen.columns_in("{{question").is_err());
        assert!(pen.columns_of("a +").is_err());
    }

    #[test]
    fn patterns_find_as_pythons_do() {
        // Of Python's `re.findall`, and the first group of a tuple that is not empty.
        let found = |of: &str, text: &str| find_all(&pattern(of).unwrap(), text).unwrap();
        let number = r"(-?[$0-9.,]{2,})|(-?[0-9]+)";
        assert_eq!(found(number, "7 of $18.50, or -3"), ["7", "$18.50,", "-3"]);
        assert_eq!(found(r"#### (\-?[0-9\.\,]+)", "so\n#### 1,250"), ["1,250"]);
        let ahead = r"(?<=the answer is )(.*)(?=.)";
        assert_eq!(found(ahead, "So the answer is (A)."), ["(A)"]);
        let left = take_out(&pattern(r"(?s).*#### ").unwrap(), "a\n#### 5").unwrap();
        assert_eq!(left, "5");
        assert!(pattern("(").is_err());
    }
}
