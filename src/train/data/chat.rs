//! Dialogues as a template writes them, and which of their tokens are learned: what follows the
//! prompt of each answer, up to and with its `eos`. The template is Jinja, as Hugging Face
//! tokenizers carry it. Contents are kept apart from the template's own text, so that no user can
//! write a special token or a tag. Knows text and tokens; does not know rows of batches.

use std::ops::Range;

use super::jinja::{Jinja, Scene, is_blank};
use super::pack::Example;
use super::rows::{Chat, Learn, Message};
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
    jinja: Jinja,
}

/// A rendered dialogue: its text, and where in it the contents of turns stand.
#[derive(Clone)]
struct Rendering {
    text: String,
    /// The turn and its place, in order of place.
    contents: Vec<(usize, Range<usize>)>,
    /// Whether `contents` are only places that no special token reaches across, for the template
    /// changed what turns say.
    changed: bool,
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
        let jinja = Jinja::new(&template.jinja).map_err(|reason| {
            Failure::input(format!("template `{}` is broken: {reason}", template.name))
        })?;
        Ok(ChatFormat { template: template.clone(), jinja })
    }

    /// The dialogue in the stretches between special tokens, as a vocabulary should count it.
    pub fn stretches(&self, row: usize, messages: &[Message]) -> Result<Vec<String>, Failure> {
        let framing = self.framing();
        let rendering = self.render(row, messages, false, &framing)?;
        let specials = rendering.specials(&framing);
        Ok(rendering.between(&specials).into_iter().map(|at| rendering.text[at].into()).collect())
    }

    /// The dialogue as plain text, special tokens written out.
    pub fn text(&self, row: usize, messages: &[Message]) -> Result<String, Failure> {
        Ok(self.render(row, messages, false, &self.framing())?.text)
    }

    /// The dialogue as plain text, up to where an answer is to follow.
    pub fn prompt_text(&self, row: usize, messages: &[Message]) -> Result<String, Failure> {
        Ok(self.render(row, messages, true, &self.framing())?.text)
    }

    /// Turns that wait for an answer, as the model sees them.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        row: usize,
        messages: &[Message],
    ) -> Result<Vec<u32>, Failure> {
        self.check_tokenizer(tokenizer)?;
        self.check_added(row, messages, tokenizer)?;
        let rendering = self.render(row, messages, true, tokenizer.specials())?;
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
        self.check_added(row, messages, tokenizer)?;
        let rendering = self.render(row, messages, false, tokenizer.specials())?;
        if rendering.changed {
            return Err(self.fault(row, "it changes what a turn says"));
        }
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

    /// A prompt with one more answer, the only one to learn from. The answer may be empty: then the
    /// model ended at once.
    pub fn reply(
        &self,
        tokenizer: &Tokenizer,
        row: usize,
        prompt: &[Message],
        answer: &str,
    ) -> Result<Example, Failure> {
        if answer.trim().is_empty() {
            let mut tokens = self.prompt(tokenizer, row, prompt)?;
            let mut learned = vec![false; tokens.len()];
            tokens.push(tokenizer.eos().id);
            learned.push(true);
            return Ok(Example { tokens, learned, row });
        }
        let mut messages = prompt.to_vec();
        messages.push(Message::new("assistant", answer));
        self.learned(tokenizer, row, &Chat { messages, learn: Some(Learn::Last) })
    }

    /// A dialogue of which those answers are learned that it says itself.
    pub fn learned(
        &self,
        tokenizer: &Tokenizer,
        row: usize,
        chat: &Chat,
    ) -> Result<Example, Failure> {
        let mut example = self.example(tokenizer, row, &chat.messages)?;
        if chat.learn == Some(Learn::Last) {
            // Each answer ends with the only `eos` that is learned of it.
            let eos = tokenizer.eos().id;
            let ends = (0..example.tokens.len()).rev();
            let mut ends = ends.filter(|&at| example.learned[at] && example.tokens[at] == eos);
            let earlier = ends.nth(1).map_or(0, |end| end + 1);
            example.learned[..earlier].fill(false);
        }
        Ok(example)
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
                let prompt = self.write(row, &messages[..at], true)?;
                if !rendering.text.starts_with(&prompt) {
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
                Ok(prompt.len()..content.end + eos + self.template.eos.len())
            })
            .collect::<Result<_, Failure>>()?;
        if answers.is_empty() {
            return Err(Failure::input(format!("row {row} has no answer of the assistant"))
                .remedy("remove the row: there is nothing in it to learn"));
        }
        Ok(answers)
    }

    /// The special tokens that the template itself names.
    fn framing(&self) -> Vec<Special> {
        let special = |text: &String| Special { text: text.clone(), ..Special::default() };
        [&self.template.bos, &self.template.eos].map(special).to_vec()
    }

    /// The text, and where in it the template's own special tokens can stand.
    fn render(
        &self,
        row: usize,
        turns: &[Message],
        prompt: bool,
        specials: &[Special],
    ) -> Result<Rendering, Failure> {
        self.check_contents(row, turns)?;
        let text = self.write(row, turns, prompt)?;
        let with = |content: &dyn Fn(usize, &str) -> String| -> Vec<Message> {
            let turns = turns.iter().enumerate();
            turns.map(|(at, turn)| Message::new(&turn.role, content(at, &turn.content))).collect()
        };
        let veiled = self.write(row, &with(&veil), prompt);
        let veiled = veiled.ok().and_then(|veiled| Rendering::unveil(&veiled, turns));
        let rendering = match &veiled {
            Some(veiled) if veiled.text == text => return Ok(veiled.clone()),
            // The template looked into contents, or changed them.
            Some(_) => {
                let mark = free_mark(&text);
                let fenced = with(&|_, content| fence(content, specials, mark));
                Some(Rendering::unfence(&self.write(row, &fenced, prompt)?, mark))
            }
            None => None,
        };
        let ids = |rendering: &Rendering| -> Vec<u32> {
            rendering.specials(specials).into_iter().map(|(id, _)| id).collect()
        };
        let own = |rendering: &Rendering| {
            rendering.text == text && veiled.as_ref().is_some_and(|own| ids(own) == ids(rendering))
        };
        rendering.filter(own).ok_or_else(|| {
            let fault = "it changes what a turn says, which might become a special token";
            self.fault(row, fault)
        })
    }

    fn check_contents(&self, row: usize, turns: &[Message]) -> Result<(), Failure> {
        for turn in turns {
            let found = self.template.forbidden.iter().find(|tag| turn.content.contains(*tag));
            if let Some(tag) = found {
                return Err(self.kept(row, turn, tag));
            }
            if turn.role == "assistant" && turn.content.trim().is_empty() {
                return Err(Failure::input(format!("row {row}: an answer is empty"))
                    .remedy("remove the row: it would teach the model to say nothing"));
            }
        }
        Ok(())
    }

    /// Tokens beside the merges are not special, so that text may hold them; but those that the
    /// template writes are its own in the mouth of anyone but the model.
    fn check_added(
        &self,
        row: usize,
        turns: &[Message],
        tokenizer: &Tokenizer,
    ) -> Result<(), Failure> {
        let own = |tag: &&String| self.template.jinja.contains(tag.as_str());
        for tag in tokenizer.added().iter().filter(own) {
            let holds = |turn: &&Message| turn.role != "assistant" && turn.content.contains(tag);
            if let Some(turn) = turns.iter().find(holds) {
                return Err(self.kept(row, turn, tag));
            }
        }
        Ok(())
    }

    fn kept(&self, row: usize, turn: &Message, tag: &str) -> Failure {
        let (role, template) = (&turn.role, &self.template.name);
        Failure::input(format!(
            "row {row}: a turn of the {role} contains `{tag}`, which template `{template}` keeps \
             for itself"
        ))
        .remedy("remove the row, or the tag from it")
    }

    fn write(&self, row: usize, messages: &[Message], prompt: bool) -> Result<String, Failure> {
        let scene = Scene { bos: &self.template.bos, eos: &self.template.eos, prompt };
        self.jinja.write(messages, scene).map_err(|reason| {
            let name = &self.template.name;
            Failure::input(format!("row {row} does not fit template `{name}`: {reason}"))
        })
    }

    fn fault(&self, row: usize, what: &str) -> Failure {
        let name = &self.template.name;
        Failure::input(format!("template `{name}` cannot be learned from at row {row}: {what}"))
            .remedy("use a template that writes each turn as it is, and `eos` after each answer")
    }
}

/// The content's number in its place; the blanks around it stay, for templates trim them.
fn veil(at: usize, content: &str) -> String {
    let (before, said, after) = around(content);
    if said.is_empty() {
        return content.into();
    }
    format!("{before}{OPEN}{at}{CLOSE}{after}")
}

/// The blanks before what is said, what is said, and the blanks after it.
fn around(content: &str) -> (&str, &str, &str) {
    let from_start = content.trim_start_matches(is_blank);
    let said = from_start.trim_end_matches(is_blank);
    let (before, after) = (content.len() - from_start.len(), from_start.len() - said.len());
    (&content[..before], said, &content[content.len() - after..])
}

/// A character that does not occur in the text, of those that Unicode keeps free.
fn free_mark(text: &str) -> char {
    let free = ('\u{FDD0}'..='\u{FDEF}').find(|mark| !text.contains(*mark));
    free.unwrap_or('\u{FFFF}')
}

/// The content with a mark inside whatever spells a special token.
fn fence(content: &str, specials: &[Special], mark: char) -> String {
    let mut fenced = String::with_capacity(content.len());
    for (at, c) in content.char_indices() {
        fenced.push(c);
        if specials.iter().any(|special| content[at..].starts_with(&special.text)) {
            fenced.push(mark);
        }
    }
    fenced
}

impl Rendering {
    /// Puts the contents back; `None` where the template tore a number apart.
    fn unveil(veiled: &str, turns: &[Message]) -> Option<Rendering> {
        let mut rendering = Rendering { text: String::new(), contents: vec![], changed: false };
        let mut parts = veiled.split(OPEN);
        rendering.text.push_str(parts.next()?);
        for part in parts {
            let (number, after) = part.split_once(CLOSE)?;
            let turn: usize = number.parse().ok()?;
            let start = rendering.text.len();
            rendering.text.push_str(around(&turns.get(turn)?.content).1);
            rendering.contents.push((turn, start..rendering.text.len()));
            rendering.text.push_str(after);
        }
        Some(rendering)
    }

    /// Takes the marks away; no special token reaches across one.
    fn unfence(fenced: &str, mark: char) -> Rendering {
        let mut rendering = Rendering { text: String::new(), contents: vec![], changed: true };
        for (part, stretch) in fenced.split(mark).enumerate() {
            if part > 0 {
                let at = rendering.text.len();
                rendering.contents.push((part, at..at));
            }
            rendering.text.push_str(stretch);
        }
        rendering
    }

    /// Special tokens in the template's own text.
    fn specials(&self, specials: &[Special]) -> Vec<Placed> {
        let ends = self.contents.iter().map(|(_, at)| at.start).chain([self.text.len()]);
        let starts = [0].into_iter().chain(self.contents.iter().map(|(_, at)| at.end));
        let found = starts.zip(ends).flat_map(|(start, end)| {
            let places = find_specials(specials, &self.text[start..end]).into_iter();
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
    let specials = rendering.specials(tokenizer.specials());
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
