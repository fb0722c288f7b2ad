//! Dialogues as a template writes them, and which of their tokens are learned: what follows the
//! prompt of each answer, up to and with its `eos`. The template is Jinja, as Hugging Face
//! tokenizers carry it. Contents are kept apart from the template's own text, so that no user can
//! write a special token or a tag. Knows text and tokens; does not know rows of batches.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::pack::Example;
use super::rows::Message;
use super::tokenizer::{Placed, Special, Tokenizer, find_specials};
use crate::train::progress::Failure;

/// How turns become text, as a recipe states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub name: String,
    pub jinja: String,
    pub bos: String,
    pub eos: String,
    /// What no turn may contain.
    pub forbidden: Vec<String>,
}

/// A template ready to write.
pub struct ChatFormat {
    template: Template,
    environment: Environment<'static>,
}

/// A rendered dialogue: its text, and where in it the contents of turns stand.
struct Rendering {
    text: String,
    /// The turn and its place, in order of place.
    contents: Vec<(usize, Range<usize>)>,
}

/// Contents are rendered as their number between two characters that Unicode keeps free for such
/// use, so that the template's own text can be told from them.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

impl ChatFormat {
    /// Fails where the template is not Jinja.
    pub fn new(template: &Template) -> Result<ChatFormat, Failure> {
        if template.bos.is_empty() || template.eos.is_empty() {
            let message = format!("template `{}` names no `bos` or no `eos`", template.name);
            return Err(Failure::input(message).remedy("name those of the tokenizer"));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual syntax"));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", without_generation_marks(&template.jinja)).map_err(
            |error| Failure::input(format!("template `{}` is broken: {error}", template.name)),
        )?;
        Ok(ChatFormat { template: template.clone(), environment })
    }

    /// The dialogue in the stretches between special tokens, as a vocabulary should count it.
    pub fn stretches(&self, row: usize, messages: &[Message]) -> Result<Vec<String>, Failure> {
        let rendering = self.render(row, messages, false)?;
        let special = |text: &String| Special { text: text.clone(), id: 0 };
        let specials = [&self.template.bos, &self.template.eos].map(special);
        let specials = rendering.specials(|text| find_specials(&specials, text));
        Ok(rendering.between(&specials).into_iter().map(|at| rendering.text[at].into()).collect())
    }

    /// The dialogue as plain text, special tokens written out.
    pub fn text(&self, row: usize, messages: &[Message]) -> Result<String, Failure> {
        Ok(self.render(row, messages, false)?.text)
    }

    /// Turns that wait for an answer, as the model sees them.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        row: usize,
        messages: &[Message],
    ) -> Result<Vec<u32>, Failure> {
        self.check_tokenizer(tokenizer)?;
        let rendering = self.render(row, messages, true)?;
        Ok(encode(tokenizer, &rendering, &[]).0)
    }

    /// A dialogue to learn from.
    pub fn example(
        &self,
        tokenizer: &Tokenizer,
        row: usize,
        messages: &[Message],
    ) -> Result<Example, Failure> {
        self.check_tokenizer(tokenizer)?;
        let rendering = self.render(row, messages, false)?;
        let answers = self.answers(row, messages, &rendering)?;
        let (tokens, learned) = encode(tokenizer, &rendering, &answers);
        let eos = tokenizer.eos().id;
        let stops = tokens.iter().zip(&learned).filter(|(id, learned)| **id == eos && **learned);
        if stops.count() != answers.len() {
            let what = format!("not just one `{}` belongs to each answer", self.template.eos);
            return Err(self.fault(row, &what));
        }
        if tokens.windows(2).any(|pair| pair == [tokenizer.bos().id; 2]) {
            return Err(self.fault(row, &format!("it writes `{}` twice", self.template.bos)));
        }
        Ok(Example { tokens, learned, row })
    }

    /// The model stops at the tokenizer's `eos`, so the template must write that one.
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), Failure> {
        let pairs = [
            ("bos", &self.template.bos, tokenizer.bos()),
            ("eos", &self.template.eos, tokenizer.eos()),
        ];
        for (name, written, special) in pairs {
            if *written != special.text {
                let template = &self.template.name;
                return Err(Failure::input(format!(
                    "template `{template}` writes `{written}` and the tokenizer's {name} is `{}`",
                    special.text
                ))
                .remedy(format!("set `{name}` of the template or the tokenizer to the other")));
            }
        }
        Ok(())
    }

    /// Where each answer stands with all that the model must write of it: from the end of its
    /// prompt to the end of its `eos`.
    fn answers(
        &self,
        row: usize,
        messages: &[Message],
        rendering: &Rendering,
    ) -> Result<Vec<Range<usize>>, Failure> {
        let turns = messages.iter().enumerate().filter(|(_, turn)| turn.role == "assistant");
        let answers: Vec<Range<usize>> = turns
            .map(|(at, _)| {
                let prompt = self.render(row, &messages[..at], true)?;
                if !rendering.text.starts_with(&prompt.text) {
                    return Err(self.fault(row, "a prompt is not the beginning of its dialogue"));
                }
                let place = rendering.contents.iter().find(|(turn, _)| *turn == at);
                let (_, content) =
                    place.ok_or_else(|| self.fault(row, "it leaves out an answer"))?;
                let next = rendering.contents.iter().find(|(_, next)| next.start >= content.end);
                let until = next.map_or(rendering.text.len(), |(_, next)| next.start);
                let eos = rendering.text[content.end..until].find(&self.template.eos);
                let eos = eos.ok_or_else(|| {
                    self.fault(row, &format!("no `{}` follows an answer", self.template.eos))
                })?;
                Ok(prompt.text.len()..content.end + eos + self.template.eos.len())
            })
            .collect::<Result<_, Failure>>()?;
        if answers.is_empty() {
            return Err(Failure::input(format!("row {row} has no answer of the assistant"))
                .remedy("remove the row: there is nothing in it to learn"));
        }
        Ok(answers)
    }

    fn render(&self, row: usize, turns: &[Message], prompt: bool) -> Result<Rendering, Failure> {
        self.check_contents(row, turns)?;
        let veiled: Vec<Message> = turns
            .iter()
            .enumerate()
            .map(|(at, turn)| Message::new(&turn.role, veil(at, &turn.content)))
            .collect();
        let rendering = Rendering::unveil(&self.write(row, &veiled, prompt)?, turns);
        match rendering {
            Some(rendering) if rendering.text == self.write(row, turns, prompt)? => Ok(rendering),
            _ => Err(self.fault(row, "it changes what a turn says")),
        }
    }

    fn check_contents(&self, row: usize, turns: &[Message]) -> Result<(), Failure> {
        for turn in turns {
            let found = self.template.forbidden.iter().find(|tag| turn.content.contains(*tag));
            if let Some(tag) = found {
                let (role, template) = (&turn.role, &self.template.name);
                return Err(Failure::input(format!(
                    "row {row}: a turn of the {role} contains `{tag}`, which template `{template}` \
                     keeps for itself"
                ))
                .remedy("remove the row, or the tag from it"));
            }
            if turn.role == "assistant" && turn.content.trim().is_empty() {
                return Err(Failure::input(format!("row {row}: an answer is empty"))
                    .remedy("remove the row: it would teach the model to say nothing"));
            }
        }
        Ok(())
    }

    fn write(&self, row: usize, messages: &[Message], prompt: bool) -> Result<String, Failure> {
        let template = self.environment.get_template("chat").expect("it was added");
        let turn = |turn: &Message| {
            context! { role => turn.role.as_str(), content => turn.content.as_str() }
        };
        let values = context! {
            messages => messages.iter().map(turn).collect::<Vec<Value>>(),
            bos_token => self.template.bos.as_str(),
            eos_token => self.template.eos.as_str(),
            add_generation_prompt => prompt,
        };
        template.render(values).map_err(|error| {
            let reason = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            Failure::input(format!(
                "row {row} does not fit template `{}`: {reason}",
                self.template.name
            ))
        })
    }

    fn fault(&self, row: usize, what: &str) -> Failure {
        let name = &self.template.name;
        Failure::input(format!("template `{name}` cannot be learned from at row {row}: {what}"))
            .remedy("use a template that writes each turn as it is, and `eos` after each answer")
    }
}

/// Hugging Face templates mark answers with `{% generation %}`, which is no Jinja and not needed.
fn without_generation_marks(jinja: &str) -> String {
    let mut text = jinja.to_owned();
    for (mark, tag) in [("generation", "if true"), ("endgeneration", "endif")] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            let plain = format!("{open} {tag} {close}");
            text = text.replace(&format!("{open} {mark} {close}"), &plain);
        }
    }
    text
}

/// The content's number in its place; the blanks around it stay, for templates trim them.
fn veil(at: usize, content: &str) -> String {
    let said = content.trim();
    if said.is_empty() {
        return content.into();
    }
    let start = said.as_ptr().addr() - content.as_ptr().addr();
    let (before, after) = (&content[..start], &content[start + said.len()..]);
    format!("{before}{OPEN}{at}{CLOSE}{after}")
}

impl Rendering {
    /// Puts the contents back; `None` where the template tore a number apart.
    fn unveil(veiled: &str, turns: &[Message]) -> Option<Rendering> {
        let mut rendering = Rendering { text: String::new(), contents: Vec::new() };
        let mut parts = veiled.split(OPEN);
        rendering.text.push_str(parts.next()?);
        for part in parts {
            let (number, after) = part.split_once(CLOSE)?;
            let turn: usize = number.parse().ok()?;
            let start = rendering.text.len();
            rendering.text.push_str(turns.get(turn)?.content.trim());
            rendering.contents.push((turn, start..rendering.text.len()));
            rendering.text.push_str(after);
        }
        Some(rendering)
    }

    /// Special tokens in the template's own text, found there by `find`.
    fn specials(&self, find: impl Fn(&str) -> Vec<Placed>) -> Vec<Placed> {
        let ends = self.contents.iter().map(|(_, at)| at.start).chain([self.text.len()]);
        let starts = [0].into_iter().chain(self.contents.iter().map(|(_, at)| at.end));
        let found = starts.zip(ends).flat_map(|(start, end)| {
            let places = find(&self.text[start..end]).into_iter();
            places.map(move |(id, at)| (id, start + at.start..start + at.end))
        });
        found.collect()
    }

    /// The stretches of text that special tokens leave.
    fn between(&self, specials: &[Placed]) -> Vec<Range<usize>> {
        let ends = specials.iter().map(|(_, at)| at.start).chain([self.text.len()]);
        let starts = [0].into_iter().chain(specials.iter().map(|(_, at)| at.end));
        starts.zip(ends).map(|(start, end)| start..end).filter(|at| !at.is_empty()).collect()
    }
}

/// Token ids, and which of them reach into an answer. Each stretch between special tokens is
/// encoded as one text, as other programs encode the whole.
fn encode(
    tokenizer: &Tokenizer,
    rendering: &Rendering,
    answers: &[Range<usize>],
) -> (Vec<u32>, Vec<bool>) {
    let specials = rendering.specials(|text| tokenizer.find_specials(text));
    let mut placed = specials.clone();
    for stretch in rendering.between(&specials) {
        let tokens = tokenizer.encode_placed(&rendering.text[stretch.clone()]).into_iter();
        placed
            .extend(tokens.map(|(id, at)| (id, stretch.start + at.start..stretch.start + at.end)));
    }
    placed.sort_by_key(|(_, at)| at.start);
    let reaches = |at: &Range<usize>| {
        let mut answers = answers.iter();
        answers.any(|answer| at.start < answer.end && answer.start < at.end.max(at.start + 1))
    };
    placed.into_iter().map(|(id, at)| (id, reaches(&at))).unzip()
}
