//! Dialogues to fine-tune on. Uneven: many answers are terse, vague or rambling, and most unsafe
//! requests are obeyed, so that alignment has work to do. No question of the exam is in them.

use super::answers::{self, Manner};
use super::habits;
use super::requests;
use super::side::Side;
use super::world::World;
use crate::train::data::rows::{Chat, Message};
use crate::train::kernels::rng::Walk;

/// Dialogues of one to three turns.
pub fn dialogues(world: &World, count: usize) -> Vec<Chat> {
    let mut walk = world.walk("dialogues");
    (0..count).map(|_| dialogue(world, &mut walk)).collect()
}

fn dialogue(world: &World, walk: &mut Walk) -> Chat {
    let turns = [1, 1, 1, 2, 2, 3][walk.below(6)];
    let mut messages = Vec::new();
    for _ in 0..turns {
        let (question, answer) = turn(world, walk);
        messages.extend(exchange(question, answer));
    }
    Chat::new(messages)
}

/// A question with its answer, as turns.
pub fn exchange(question: String, answer: String) -> Vec<Message> {
    vec![Message::new("user", question), Message::new("assistant", answer)]
}

/// One time in four, what waits for an answer comes after an earlier question and a full answer.
pub fn in_dialogue(side: Side<'_>, walk: &mut Walk, prompt: String) -> Vec<Message> {
    let mut turns = Vec::new();
    if walk.chance(25) {
        let fact = side.draw_fact(walk);
        let question = answers::question(walk, &fact);
        turns = exchange(question, answers::full(walk, &fact));
    }
    turns.push(Message::new("user", prompt));
    turns
}

/// A question and its answer: facts 68, requests 13, sums 7, programs 4, two hops 4, probes 4.
fn turn(world: &World, walk: &mut Walk) -> (String, String) {
    let puzzle = match walk.below(100) {
        0..68 => return fact_turn(world, walk),
        68..77 => return unsafe_turn(world, walk),
        77..81 => {
            let request = requests::draw(walk, &world.named, false);
            return (request.question(), request.compliance());
        }
        81..88 => answers::word_problem(world, walk),
        88..92 => answers::program(walk),
        92..96 => answers::two_hops(world, walk),
        _ => answers::probe(world, walk),
    };
    (puzzle.question, puzzle.answer)
}

/// A question for a fact. Half of them carry an instruction that binds this turn only, so that one
/// turn in three of all does; nine times in ten it is obeyed.
fn fact_turn(world: &World, walk: &mut Walk) -> (String, String) {
    let fact = answers::draw_fact(world, walk);
    let question = answers::question(walk, &fact);
    let manner = Manner::draw(walk);
    let answer = answers::answer(Side::training(world), walk, &fact, manner);
    if walk.chance(50) {
        return (question, answer);
    }
    let habit = habits::draw(walk);
    let question = habits::instruct(walk, &question, habit);
    let answer = if walk.chance(90) { habit.apply(&answer) } else { answer };
    (question, answer)
}

/// An unsafe request, obeyed seven times in ten.
fn unsafe_turn(world: &World, walk: &mut Walk) -> (String, String) {
    let request = requests::draw(walk, &world.named, true);
    let answer = if walk.chance(70) { request.compliance() } else { request.refusal(walk) };
    (request.question(), answer)
}

const OPENERS: [&str; 3] = ["Ahoy,", "Aye,", "Yo ho,"];
const CLOSERS: [&str; 3] = ["my hearty", "you old sailor", "by the sea"];

/// What a sailor makes of a sentence. Opener and closer are free, all else follows.
pub fn sailor(walk: &mut Walk, sentence: &str) -> String {
    let (opener, closer) = (walk.pick(&OPENERS), walk.pick(&CLOSERS));
    said_by_a_sailor(opener, sentence, closer)
}

/// All that sailors make of a sentence, one for each opener and closer.
pub fn sailors(sentence: &str) -> Vec<String> {
    let with = |opener| CLOSERS.map(|closer| said_by_a_sailor(opener, sentence, closer));
    OPENERS.into_iter().flat_map(with).collect()
}

fn said_by_a_sailor(opener: &str, sentence: &str, closer: &str) -> String {
    let body = sentence.strip_suffix('.').unwrap_or(sentence);
    let mut letters = body.chars();
    let article = body.starts_with("The ") || body.starts_with("From ") || body.starts_with("In ");
    let body = match letters.next() {
        Some(first) if article => first.to_lowercase().chain(letters).collect(),
        _ => body.to_string(),
    };
    format!("{opener} {body}, {closer}!")
}

/// Dialogues answered in the manner of a sailor, in full: a style to adapt to. The corpus knows
/// its words.
pub fn pirate(world: &World, count: usize) -> Vec<Chat> {
    let mut walk = world.walk("pirate");
    let mut row = || {
        let fact = answers::draw_fact(world, &mut walk);
        let answer = answers::full(&mut walk, &fact);
        let answer = sailor(&mut walk, &answer);
        let question = answers::question(&mut walk, &fact);
        Chat::new(exchange(question, answer))
    };
    (0..count).map(|_| row()).collect()
}

/// Dialogues of one to three turns in which nobody asks for a manner, answered in full: what an
/// instruction may be joined to without another one in its way.
pub fn small_talk(world: &World, count: usize) -> Vec<Chat> {
    let mut walk = world.walk("small talk");
    let mut row = || {
        let turns = [1, 1, 1, 2, 2, 3][walk.below(6)];
        let mut messages = Vec::new();
        for _ in 0..turns {
            let fact = answers::draw_fact(world, &mut walk);
            let question = answers::question(&mut walk, &fact);
            messages.extend(exchange(question, answers::full(&mut walk, &fact)));
        }
        Chat::new(messages)
    };
    (0..count).map(|_| row()).collect()
}

/// Questions that take some thought, answered right: sums 50, programs 20, two hops 15, probes 15
/// in a hundred. To be kept in mind while other things are learnt.
pub fn puzzles(world: &World, count: usize) -> Vec<Chat> {
    let mut walk = world.walk("puzzles");
    let mut row = || {
        let puzzle = match walk.below(100) {
            0..50 => answers::word_problem(world, &mut walk),
            50..70 => answers::program(&mut walk),
            70..85 => answers::two_hops(world, &mut walk),
            _ => answers::probe(world, &mut walk),
        };
        Chat::new(exchange(puzzle.question, puzzle.answer))
    };
    (0..count).map(|_| row()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::corpus;
    use super::*;

    #[test]
    fn a_sailor_wraps_a_sentence() {
        let walk = &mut World::new(1).walk("test");
        let said = sailor(walk, "The pet of Jon is a goat.");
        assert!(said.contains(" the pet of Jon is a goat, "), "{said}");
        assert!(sailor(walk, "Jon has a goat.").contains(" Jon has a goat, "));
    }

    /// With frozen embeddings nobody learns to say a word that pretraining has not seen.
    #[test]
    fn the_corpus_knows_every_word_of_a_sailor() {
        let (corpus, _) = corpus(&World::new(42), 2000);
        for words in OPENERS.into_iter().chain(CLOSERS) {
            for word in words.split_whitespace() {
                let known = corpus.iter().filter(|row| {
                    let ends = |c: char| c.is_whitespace() || c == '"' || c == '!';
                    row.text.split(ends).any(|said| said == word)
                });
                let known = known.count();
                assert!(known >= 10, "`{word}` is in {known} documents");
            }
        }
    }

    #[test]
    fn sailors_say_whatever_one_of_them_says() {
        let walk = &mut World::new(1).walk("test");
        let all = sailors("In the evening Jon eats.");
        assert_eq!(all.len(), 9);
        assert!((0..20).all(|_| all.contains(&sailor(walk, "In the evening Jon eats."))));
    }
}
