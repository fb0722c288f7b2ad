//! Instructions about the manner of an answer, each of which a program can check. Knows sentences;
//! does not know what they say.

use super::words::{ECHOES, TITLES, capital};
use crate::train::kernels::rng::Walk;

/// A manner that a user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    End(&'static str),
    Start(&'static str),
    Pirate,
    Title(&'static str),
}

/// One of the four sorts, then one of its words.
pub fn draw(walk: &mut Walk) -> Habit {
    match walk.below(4) {
        0 => Habit::End(*walk.pick(&ECHOES)),
        1 => Habit::Start(*walk.pick(&ECHOES)),
        2 => Habit::Title(*walk.pick(&TITLES)),
        _ => Habit::Pirate,
    }
}

impl Habit {
    /// What the user says to ask for it.
    pub fn instruction(self) -> String {
        match self {
            Habit::End(word) => format!("End your answer with the word {word}."),
            Habit::Start(word) => format!("Start your answer with the word {word}."),
            Habit::Pirate => "Talk like a pirate.".to_string(),
            Habit::Title(title) => format!("Call me {title}."),
        }
    }

    /// The answer in this manner.
    pub fn apply(self, answer: &str) -> String {
        match self {
            Habit::End(word) => format!("{answer} {}!", capital(word)),
            Habit::Start(word) => format!("{}! {answer}", capital(word)),
            Habit::Pirate => format!("Arr! {answer}"),
            Habit::Title(title) => format!("{}! {answer}", capital(title)),
        }
    }
}

/// A question with an instruction before or after it.
pub fn instruct(walk: &mut Walk, question: &str, habit: Habit) -> String {
    if walk.chance(50) {
        format!("{question} {}", habit.instruction())
    } else {
        format!("{} {question}", habit.instruction())
    }
}
