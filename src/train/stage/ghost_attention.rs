//! `ghost_attention`: dialogues in which an instruction of the first turn is still followed in the
//! last. Llama 2, section 3.3: the instruction is joined to every turn of the user, the model
//! answers turn after turn, and the dialogue is written with the instruction in its first turn
//! alone; only its last answer is learned.
//!
//! Chosen by llamake, for the paper does not say: dialogues that are too short are continued with
//! the questions of others, whose answers do not depend on what came before; the instruction stands
//! before or after each question, as is drawn for the dialogue; turns of the system are left out.
//! Knows dialogues and a model; does not know what an instruction asks, nor whether it is followed.

use std::path::PathBuf;

use super::samples::{Answering, Sampler, rows_of};
use crate::train::data::chat::Template;
use crate::train::data::mixture::Mix;
use crate::train::data::rows::{Chat, Learn, Message, Prompt, Writer};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::rng::{Stream, Walk};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `ghost_attention`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct GhostAttention {
    pub model: PathBuf,
    pub dialogues: Mix<PathBuf>,
    pub instructions: Mix<PathBuf>,
    /// The same instructions in few words, row by row.
    pub short: Option<Mix<PathBuf>>,
    /// Dialogues begun; none: as many as there are in `dialogues`.
    pub rows: Option<usize>,
    pub min_turns: usize,
    pub max_turns: usize,
    pub template: Template,
    pub answering: Answering,
}

/// What dialogues are made from.
struct Source {
    /// Of each dialogue, what its user says.
    questions: Vec<Vec<String>>,
    instructions: Vec<String>,
    /// One for each instruction, or none at all.
    short: Vec<String>,
}

/// A dialogue in the making.
struct Ghost {
    questions: Vec<String>,
    /// What stands at every question while the model answers.
    instruction: String,
    /// What stands at the first question in the end.
    written: String,
    /// Whether it stands before the question.
    before: bool,
    answers: Vec<String>,
    fate: Fate,
}

/// Whether a dialogue is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Going,
    /// It outgrew the model's context.
    TooLong,
    /// There is nothing to learn from an answer, as where it was cut.
    Unfit,
}

/// Lets the model answer and writes the dialogues at port `out`.
pub fn run(params: &GhostAttention, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let tokenizer = Tokenizer::load(&params.model)?;
    let sampler = Sampler::open(&params.model, tokenizer, &params.template, context)?;
    let source = Source::read(params, &sampler)?;
    let rows = params.rows.unwrap_or(source.questions.len());
    let turns = params.min_turns..=params.max_turns;
    let mut ghosts: Vec<Ghost> = (0..rows)
        .map(|row| {
            let walk = Stream::new(params.answering.seed, &format!("ghost/{row}")).walk();
            source.ghost(row, turns.clone(), walk)
        })
        .collect();
    for turn in 0..params.max_turns {
        answer(&sampler, params.answering, turn, &mut ghosts, context)?;
    }
    let mut file = Writer::create(&context.out.join("out"))?;
    for (row, ghost) in (1..).zip(&mut ghosts) {
        let written = ghost.written();
        if ghost.fate == Fate::Going && sampler.fits(row, &written) {
            file.write(&written)?;
        } else if ghost.fate == Fate::Going {
            ghost.fate = Fate::Unfit;
        }
    }
    let kept = file.finish()?;
    told(kept, &ghosts)
}

fn told(kept: usize, ghosts: &[Ghost]) -> Result<Metrics, Failure> {
    let count = |fate| ghosts.iter().filter(|ghost| ghost.fate == fate).count();
    let (long, unfit) = (count(Fate::TooLong), count(Fate::Unfit));
    if kept == 0 {
        return Err(Failure::input(format!(
            "none of {} dialogues can be learned from: {long} outgrew the context, and in {unfit} \
             an answer was cut by `max_answer`, or says nothing, or does not fit the template",
            ghosts.len()
        ))
        .remedy("lower `max_turns`, raise `max_answer`, or fine-tune the model longer"));
    }
    let answers = ghosts.iter().map(|ghost| ghost.answers.len()).sum();
    let metric = |name: &str, value: usize| (name.to_string(), value as f64);
    Ok(vec![
        metric("kept", kept),
        metric("of", ghosts.len()),
        metric("too long", long),
        metric("no row to learn from", unfit),
        metric("answers", answers),
    ])
}

/// One answer more for each dialogue that goes on.
fn answer(
    sampler: &Sampler,
    how: Answering,
    turn: usize,
    ghosts: &mut [Ghost],
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let (mut asked, mut prompts) = (Vec::new(), Vec::new());
    for (at, ghost) in ghosts.iter_mut().enumerate() {
        if ghost.fate != Fate::Going || ghost.questions.len() <= turn {
            continue;
        }
        let prompt = sampler.prompt(at + 1, &ghost.asked(turn))?;
        match prompt.len() < sampler.context() {
            true => {
                asked.push(at);
                prompts.push(prompt);
            }
            false => ghost.fate = Fate::TooLong,
        }
    }
    // Dialogues of one number must not draw the same in each turn.
    let seed = Stream::new(how.seed, &format!("ghost/turn/{turn}")).walk().bits64();
    let name = format!("answers-{}", turn + 1);
    let made = sampler.answer(&name, &prompts, Answering { seed, ..how }, context)?;
    for ((at, prompt), made) in asked.into_iter().zip(&prompts).zip(made) {
        let ghost = &mut ghosts[at];
        let room = sampler.context() - prompt.len();
        match sampler.learnable(at + 1, &ghost.asked(turn), &made) {
            Some(_) => ghost.answers.push(sampler.text(&made)),
            None if !made.ended && room < how.max_answer => ghost.fate = Fate::TooLong,
            None => ghost.fate = Fate::Unfit,
        }
    }
    Ok(())
}

impl Source {
    fn read(params: &GhostAttention, sampler: &Sampler) -> Result<Source, Failure> {
        let dialogues: Vec<Chat> = rows_of(&params.dialogues)?;
        let mut questions = Vec::new();
        for (row, chat) in (1..).zip(dialogues) {
            let said = chat.messages.into_iter().filter(|turn| turn.role == "user");
            let said: Vec<Message> = said.collect();
            for turn in &said {
                let read = sampler.prompt(row, std::slice::from_ref(turn));
                read.map_err(|failure| failure.of("dialogues"))?;
            }
            if !said.is_empty() {
                questions.push(said.into_iter().map(|turn| turn.content).collect());
            }
        }
        if questions.is_empty() {
            return Err(Failure::input("no dialogue has a turn of the user"));
        }
        let instructions = texts(&params.instructions, sampler, "instructions")?;
        let short = params.short.as_ref().map(|short| texts(short, sampler, "short"));
        let short = short.transpose()?.unwrap_or_default();
        if !short.is_empty() && short.len() != instructions.len() {
            let (short, whole) = (short.len(), instructions.len());
            return Err(Failure::input(format!(
                "`short` has {short} rows and `instructions` {whole}, and each belongs to one"
            )));
        }
        Ok(Source { questions, instructions, short })
    }

    /// A dialogue that begins as the one of this number does.
    fn ghost(&self, row: usize, turns: std::ops::RangeInclusive<usize>, mut walk: Walk) -> Ghost {
        let turns = turns.start() + walk.below(turns.end() - turns.start() + 1);
        let mut questions = self.questions[row % self.questions.len()].clone();
        while questions.len() < turns {
            questions.extend(walk.pick(&self.questions).iter().cloned());
        }
        questions.truncate(turns);
        let at = walk.below(self.instructions.len());
        let (before, in_short) = (walk.chance(50), walk.chance(50));
        let instruction = self.instructions[at].clone();
        let written = match self.short.get(at) {
            Some(short) if in_short => short.clone(),
            _ => instruction.clone(),
        };
        let (answers, fate) = (Vec::new(), Fate::Going);
        Ghost { questions, instruction, written, before, answers, fate }
    }
}

/// The last turn of each prompt.
fn texts(mix: &Mix<PathBuf>, sampler: &Sampler, what: &str) -> Result<Vec<String>, Failure> {
    let text = |(row, prompt): (usize, Prompt)| {
        let read = sampler.prompt(row, &prompt.prompt);
        read.map_err(|failure| failure.of(what))?;
        let last = prompt.prompt.last();
        let last = last.ok_or_else(|| Failure::input(format!("{what}: row {row} is empty")))?;
        Ok(last.content.trim().to_string())
    };
    (1..).zip(rows_of::<Prompt>(mix)?).map(text).collect()
}

impl Ghost {
    /// The dialogue up to this turn of the user, the instruction in each.
    fn asked(&self, turn: usize) -> Vec<Message> {
        self.messages(turn, |_| Some(&self.instruction))
    }

    /// The whole dialogue, the instruction in the first turn alone.
    fn written(&self) -> Chat {
        let mut messages =
            self.messages(self.questions.len() - 1, |turn| (turn == 0).then_some(&self.written));
        messages.extend(self.answers.last().map(|answer| Message::new("assistant", answer)));
        Chat { messages, learn: Some(Learn::Last) }
    }

    fn messages<'a>(
        &self,
        turns: usize,
        instruction: impl Fn(usize) -> Option<&'a String>,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        for (turn, question) in self.questions[..=turns].iter().enumerate() {
            let asked = match instruction(turn) {
                Some(instruction) if self.before => format!("{instruction} {question}"),
                Some(instruction) => format!("{question} {instruction}"),
                None => question.clone(),
            };
            messages.push(Message::new("user", asked));
            if turn < turns
                && let Some(answer) = self.answers.get(turn)
            {
                messages.push(Message::new("assistant", answer));
            }
        }
        messages
    }
}
