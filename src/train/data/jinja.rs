//! Jinja as Hugging Face's `transformers` sets it up for chat templates: which blanks vanish,
//! `raise_exception`, `tojson`, loop controls, Python's methods of strings, marks of generation. A
//! template from anywhere ends: it has so much work and memory and no more. Knows no tokens.
//!
//! There is no `strftime_now`: what a stage makes may not depend on the day.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, context};

use super::rows::Message;

/// A template that was understood.
pub struct Jinja {
    environment: Environment<'static>,
}

/// What a template sees besides the turns.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    pub bos: &'s str,
    pub eos: &'s str,
    /// Whether an answer is to follow.
    pub prompt: bool,
}

/// One unit is an instruction, or 64 bytes of text: half a gigabyte, some seconds.
const WORK: u64 = 8_000_000;

impl Jinja {
    /// Fails with the reason where the text is no template.
    pub fn new(template: &str) -> Result<Jinja, String> {
        let mut environment = environment();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual syntax"));
        let plain = without_generation_marks(template);
        environment.add_template_owned("chat", plain).map_err(|error| error.to_string())?;
        Ok(Jinja { environment })
    }

    /// The text of turns; fails with the reason.
    pub fn write(&self, messages: &[Message], scene: Scene<'_>) -> Result<String, String> {
        let template = self.environment.get_template("chat").expect("it was added");
        let turn = |turn: &Message| {
            context! { role => turn.role.as_str(), content => turn.content.as_str() }
        };
        let values = context! {
            messages => messages.iter().map(turn).collect::<Vec<Value>>(),
            tools => (),
            documents => (),
            bos_token => scene.bos,
            eos_token => scene.eos,
            add_generation_prompt => scene.prompt,
        };
        template.render(values).map_err(|error| reason(&error))
    }
}

/// What every template may use, with so much work and no more. Python's methods and blanks.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(WORK));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", |text: &str, characters: Option<&str>| match characters {
        Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
        None => text.trim_matches(is_blank).to_owned(),
    });
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
}

/// What a template was refused for.
pub fn reason(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => "it does more work than a template is given".into(),
        ErrorKind::UnknownFunction if detail.contains("strftime_now") => {
            "it writes the day's date by `strftime_now`, so that no result could be made again"
                .into()
        }
        _ if detail.is_empty() => error.to_string(),
        _ => detail.into(),
    }
}

/// What Python counts as blank: it has four separators more than Unicode's own property.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

/// Python's methods, with its own notion of blanks.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), name, arguments) {
        (Some(text), "strip", []) => Ok(text.trim_matches(is_blank).into()),
        (Some(text), "lstrip", []) => Ok(text.trim_start_matches(is_blank).into()),
        (Some(text), "rstrip", []) => Ok(text.trim_end_matches(is_blank).into()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// As Python's `json.dumps`, which unlike Jinja's own filter leaves `<` as it is.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let style = JsonStyle {
        indent,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        separators: match options.get::<Option<Vec<String>>>("separators")?.as_deref() {
            Some([between, after]) => (between.clone(), after.clone()),
            _ if indent.is_some() => (",".into(), ": ".into()),
            _ => (", ".into(), ": ".into()),
        },
    };
    options.assert_all_used()?;
    if indent.is_some_and(|indent| indent > 64) {
        return Err(Error::new(ErrorKind::InvalidOperation, "an indent over 64 is absurd"));
    }
    let mut text = String::new();
    style.write(value, 0, &mut text)?;
    Ok(text)
}

struct JsonStyle {
    indent: Option<usize>,
    ascii: bool,
    sorted: bool,
    separators: (String, String),
}

/// Nothing that a template is given lies deeper.
const DEEPEST_JSON: usize = 64;

/// The size of the largest row.
const LARGEST_JSON: usize = 64 << 20;

impl JsonStyle {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
        if depth > DEEPEST_JSON || text.len() > LARGEST_JSON {
            return refused("it is too much for JSON: nested too deep, or too long");
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&value.to_string()),
            ValueKind::String => self.quote(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(['[', ']'], items.len(), depth, text, |at, text| {
                    self.write(&items[at], depth + 1, text)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.list(['{', '}'], keys.len(), depth, text, |at, text| {
                    self.quote(&keys[at].to_string(), text);
                    text.push_str(&self.separators.1);
                    self.write(&value.get_item(&keys[at])?, depth + 1, text)
                })?;
            }
            _ => return refused("it cannot be written as JSON"),
        }
        Ok(())
    }

    fn list(
        &self,
        [open, close]: [char; 2],
        items: usize,
        depth: usize,
        text: &mut String,
        mut write: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, text: &mut String| {
            if let Some(indent) = self.indent.filter(|_| items > 0) {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        text.push(open);
        for at in 0..items {
            if at > 0 {
                text.push_str(&self.separators.0);
            }
            line(depth + 1, text);
            write(at, text)?;
        }
        line(depth, text);
        text.push(close);
        Ok(())
    }

    fn quote(&self, said: &str, text: &mut String) {
        let quoted = serde_json::to_string(said).expect("a string");
        if !self.ascii {
            return text.push_str(&quoted);
        }
        for c in quoted.chars() {
            match c.is_ascii() {
                true => text.push(c),
                false => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
            }
        }
    }
}

/// Hugging Face templates mark answers with `{% generation %}`, which is no Jinja and not needed.
/// An `if` in its place takes the same blanks away.
pub fn without_generation_marks(template: &str) -> String {
    let mut plain = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        plain.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let word = tag[..end].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let instead = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        plain.push_str(&tag[..end].replacen(word, &format!(" {instead} "), 1));
        rest = &tag[end..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_generation_become_plain_blocks() {
        for (marked, plain) in [
            ("{% generation %}a{% endgeneration %}", "{%  if true  %}a{%  endif  %}"),
            ("{%- generation -%}\n{%-endgeneration%}", "{%-  if true  -%}\n{%- endif %}"),
            ("{% if generation %}{% set x = '{%' %}", "{% if generation %}{% set x = '{%' %}"),
            ("{% generation", "{% generation"),
        ] {
            assert_eq!(without_generation_marks(marked), plain);
        }
    }
}
