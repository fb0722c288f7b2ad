//! Instructions about the manner of an answer, each of which a program can check. Knows sentences;
//! does not know what they say.

use super::words::{ECHOES, TITLES, capital};
use super::world::World;
use crate::train::data::rows::{Message, Prompt};
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

/// A manner that is easily taken for this one: of its sort, with another word.
pub fn beside(walk: &mut Walk, habit: Habit) -> Habit {
    loop {
        let other = match habit {
            Habit::End(_) => Habit::End(*walk.pick(&ECHOES)),
            Habit::Start(_) => Habit::Start(*walk.pick(&ECHOES)),
            Habit::Title(_) => Habit::Title(*walk.pick(&TITLES)),
            Habit::Pirate => draw(walk),
        };
        if other != habit {
            return other;
        }
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

    /// What the answer has to begin or to end with.
    pub fn mark(self) -> String {
        let word = match self {
            Habit::End(word) | Habit::Start(word) | Habit::Title(word) => word,
            Habit::Pirate => "arr",
        };
        format!("{}!", capital(word))
    }

    /// The answer in this manner.
    pub fn apply(self, answer: &str) -> String {
        match self {
            Habit::End(_) => format!("{answer} {}", self.mark()),
            _ => format!("{} {answer}", self.mark()),
        }
    }
}

/// Words that Ghost Attention never sees in an instruction: for the start or the end, and titles.
const FRESH: (usize, usize) = (3, 1);

/// Every instruction there is, those that Ghost Attention learns before those with fresh words:
/// 18 and 7. All of them bind every answer, and single turns know all of them.
pub fn learned_and_fresh(world: &World) -> (Vec<Habit>, Vec<Habit>) {
    let mut walk = world.walk("habits");
    let (mut echoes, mut titles) = (ECHOES, TITLES);
    walk.shuffle(&mut echoes);
    walk.shuffle(&mut titles);
    let every = |echoes: &[&'static str], titles: &[&'static str]| {
        let echoed = echoes.iter().flat_map(|&word| [Habit::End(word), Habit::Start(word)]);
        echoed.chain(titles.iter().map(|&title| Habit::Title(title))).collect::<Vec<_>>()
    };
    let fresh = every(&echoes[..FRESH.0], &titles[..FRESH.1]);
    let mut learned = every(&echoes[FRESH.0..], &titles[FRESH.1..]);
    learned.push(Habit::Pirate);
    walk.shuffle(&mut learned);
    (learned, fresh)
}

/// Instructions for Ghost Attention, one a row.
pub fn habits(world: &World) -> Vec<Prompt> {
    let (learned, _) = learned_and_fresh(world);
    let row = |habit: Habit| Prompt {
        prompt: vec![Message::new("user", habit.instruction())],
        safety: Some(false),
    };
    learned.into_iter().map(row).collect()
}

/// A question with an instruction before or after it.
pub fn instruct(walk: &mut Walk, question: &str, habit: Habit) -> String {
    if walk.chance(50) {
        format!("{question} {}", habit.instruction())
    } else {
        format!("{} {question}", habit.instruction())
    }
}
