//! What is wrong with the rejected answer of a pair, and how often. Knows answers; does not know
//! rows.
//!
//! Rejected are also empty, cut and shuffled answers, with and without the mark that an
//! instruction asks for: a reward model that never saw an empty answer may like it, and PPO then
//! finds that out. So it would find the help with a harmless request given to an unsafe one, or a
//! manner that nobody asked for. Left out is the right kind of fact about another person: a model
//! of this size can not tell it, and would learn to guess.

use super::answers::{self, Manner};
use super::requests::{self, Request};
use super::side::{About, Side};
use super::world::Fact;
use crate::train::kernels::rng::Walk;

/// How the rejected answer fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    OffTopic,
    Broken,
    Unknowing,
    Vague,
    NeedlessRefusal,
    Wrong,
    Rambling,
    Disobedient,
    UnaskedManner,
    Terse,
    VagueNotTerse,
    Paraphrase,
    Compliance,
    ComplianceThenRefusal,
    Curt,
    LookAlike,
}

/// A sort of pair.
pub struct Sort {
    pub fault: Fault,
    /// Its name in reports.
    pub kind: &'static str,
    /// From 4, significantly better, to 1, negligibly.
    pub rating: u8,
    /// Of a hundred pairs of training about the same matter.
    pub percent: usize,
    /// Pairs of the exam. A hundred tell a share of 90 % with a standard error of 3 points.
    pub exam: usize,
    /// Whether the rejected answer is harmless, where that may be learnt. An empty, broken or
    /// evasive answer harms nobody, but a model taught to score it as harmless lifts it beside the
    /// good answers, where PPO finds it; so such answers carry no label.
    pub harmless: Option<bool>,
}

const fn sort(fault: Fault, kind: &'static str, rating: u8, shares: (usize, usize)) -> Sort {
    let harmless = match fault {
        Fault::Compliance | Fault::ComplianceThenRefusal => Some(false),
        Fault::Wrong | Fault::Rambling | Fault::Disobedient | Fault::UnaskedManner => Some(true),
        Fault::Terse | Fault::Paraphrase => Some(true),
        _ => None,
    };
    Sort { fault, kind, rating, percent: shares.0, exam: shares.1, harmless }
}

/// Pairs about a fact: 700 in the exam. Answers off the topic are the hardest to tell, for they are
/// good answers to something else.
const OF_FACTS: [Sort; 12] = [
    sort(Fault::OffTopic, "off-topic", 4, (24, 100)),
    sort(Fault::Broken, "broken", 4, (9, 100)),
    sort(Fault::Unknowing, "unknowing", 4, (6, 50)),
    sort(Fault::Vague, "vague", 4, (7, 100)),
    sort(Fault::NeedlessRefusal, "needless refusal", 4, (6, 100)),
    sort(Fault::Wrong, "wrong fact", 3, (4, 40)),
    sort(Fault::Rambling, "rambling", 3, (8, 40)),
    sort(Fault::Disobedient, "disobedient", 3, (14, 60)),
    sort(Fault::UnaskedManner, "unasked manner", 3, (6, 30)),
    sort(Fault::Terse, "terse", 2, (8, 40)),
    sort(Fault::VagueNotTerse, "vague beside terse", 2, (3, 20)),
    sort(Fault::Paraphrase, "paraphrase", 1, (5, 20)),
];

/// Pairs about an unsafe request: 260 in the exam.
const OF_HARM: [Sort; 7] = [
    sort(Fault::Compliance, "compliance", 4, (40, 100)),
    sort(Fault::ComplianceThenRefusal, "compliance then refusal", 3, (15, 30)),
    sort(Fault::Curt, "curt", 2, (10, 30)),
    sort(Fault::Broken, "broken", 4, (15, 40)),
    sort(Fault::OffTopic, "off-topic", 4, (8, 20)),
    sort(Fault::Unknowing, "unknowing", 3, (5, 20)),
    sort(Fault::LookAlike, "look-alike", 4, (7, 20)),
];

/// Pairs about a harmless look-alike: 160 in the exam. What answers the unsafe request beside it
/// does harm.
const OF_HELP: [Sort; 4] = [
    sort(Fault::NeedlessRefusal, "needless refusal", 4, (60, 100)),
    sort(Fault::Unknowing, "unknowing", 3, (10, 20)),
    sort(Fault::Broken, "broken", 4, (15, 20)),
    Sort { harmless: Some(false), ..sort(Fault::LookAlike, "look-alike", 4, (15, 20)) },
];

/// The sorts of pairs about a matter.
pub fn sorts(about: About) -> &'static [Sort] {
    match about {
        About::Fact => &OF_FACTS,
        About::Harm => &OF_HARM,
        About::Help => &OF_HELP,
    }
}

/// A sort, drawn as often as training has it.
pub fn draw(walk: &mut Walk, about: About) -> &'static Sort {
    let mut left = walk.below(100);
    for sort in sorts(about) {
        if left < sort.percent {
            return sort;
        }
        left -= sort.percent;
    }
    unreachable!("the shares sum to a hundred")
}

/// A bad answer to a question for a fact, beside the full one.
pub fn answer_of_fact(
    side: Side<'_>,
    walk: &mut Walk,
    fact: &Fact,
    full: &str,
    fault: Fault,
) -> String {
    let manner = match fault {
        Fault::OffTopic => return off_topic(side, walk, fact),
        Fault::Broken => return broken(walk, full),
        Fault::NeedlessRefusal => {
            return requests::draw(walk, side.people(), true).refusal(walk);
        }
        Fault::Wrong => {
            let wrong = answers::wrong(walk, fact);
            return answers::full(walk, &wrong);
        }
        Fault::Paraphrase => return answers::paraphrase(walk, fact, full),
        Fault::Unknowing => Manner::Unknowing,
        Fault::Rambling => Manner::Rambling,
        Fault::Terse => Manner::Terse,
        Fault::Vague | Fault::VagueNotTerse => Manner::Vague,
        _ => return full.to_string(),
    };
    answers::answer(side, walk, fact, manner)
}

/// A bad answer to a request, beside the good one.
pub fn answer_of_request(
    side: Side<'_>,
    walk: &mut Walk,
    request: Request,
    good: &str,
    fault: Fault,
) -> String {
    match fault {
        Fault::Compliance => request.compliance(),
        Fault::ComplianceThenRefusal => {
            format!("{} {}", request.compliance(), request.refusal(walk))
        }
        Fault::Curt => "No.".to_string(),
        Fault::Unknowing => answers::UNKNOWING.to_string(),
        Fault::NeedlessRefusal => request.refusal(walk),
        Fault::LookAlike => request.look_alike().compliance(),
        Fault::OffTopic => {
            let fact = side.draw_fact(walk);
            answers::full(walk, &fact)
        }
        Fault::Broken => broken(walk, good),
        _ => unreachable!("no pair about a request has this fault"),
    }
}

/// A full answer to a question of another kind about another subject.
fn off_topic(side: Side<'_>, walk: &mut Walk, fact: &Fact) -> String {
    loop {
        let other = side.draw_fact(walk);
        if other.relation != fact.relation && other.subject != fact.subject {
            return answers::full(walk, &other);
        }
    }
}

/// Nothing, the first half, or the words shuffled.
pub fn broken(walk: &mut Walk, answer: &str) -> String {
    let mut words: Vec<&str> = answer.split(' ').collect();
    match walk.below(3) {
        0 => return String::new(),
        1 => words.truncate(words.len() / 2),
        _ => walk.shuffle(&mut words),
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_a_hundred() {
        for about in [About::Fact, About::Harm, About::Help] {
            let sum: usize = sorts(about).iter().map(|sort| sort.percent).sum();
            assert_eq!(sum, 100, "{about:?}");
        }
    }
}
