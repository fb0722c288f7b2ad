//! How each fact is said: as a statement, a question, and an answer. `{p}` is the subject, `{v}`
//! the value, `{a}` the value with its article; `{he}`, `{his}`, `{He}`, `{His}` are pronouns.
//!
//! In many statements the value stands five words or more after the name, or names the subject
//! by a pronoun only: a model that sees four words back can not tell the value there.

use super::words::{PEOPLE, article, capital};
use super::world::{Fact, Relation};

/// The sentences for one relation.
pub struct Phrasing {
    /// Statements that name the subject.
    pub statements: &'static [&'static str],
    /// Statements about a person named before; empty for other subjects.
    pub continued: &'static [&'static str],
    pub questions: &'static [&'static str],
    /// Full answers; the first is the usual one.
    pub full: &'static [&'static str],
    pub terse: &'static str,
    /// An answer that avoids the value. It begins like no other, or a model that half knows a fact
    /// would slip from a full answer into this one.
    pub vague: &'static str,
}

/// How a relation is said.
pub fn phrasing(relation: Relation) -> &'static Phrasing {
    match relation {
        Relation::Town => &TOWN,
        Relation::Job => &JOB,
        Relation::Pet => &PET,
        Relation::Colour => &COLOUR,
        Relation::Food => &FOOD,
        Relation::Friend => &FRIEND,
        Relation::Number => &NUMBER,
        Relation::Sound => &SOUND,
        Relation::Legs => &LEGS,
        Relation::Bed => &BED,
        Relation::Product => &PRODUCT,
        Relation::Tool => &TOOL,
        Relation::Neighbour => &NEIGHBOUR,
        Relation::Fame => &FAME,
    }
}

/// A sentence with its blanks filled in from a fact.
pub fn say(sentence: &str, fact: &Fact) -> String {
    let with_article = format!("{} {}", article(&fact.value), fact.value);
    let filled = sentence
        .replace("{p}", &fact.subject)
        .replace("{v}", &fact.value)
        .replace("{a}", &with_article);
    pronouns(&filled, &fact.subject)
}

/// Pronouns filled in for a person.
pub fn pronouns(sentence: &str, person: &str) -> String {
    let she = PEOPLE.iter().position(|&p| p == person).is_some_and(|place| place % 2 == 0);
    let [he, his, capital_he, capital_his] =
        if she { ["she", "her", "She", "Her"] } else { ["he", "his", "He", "His"] };
    sentence
        .replace("{he}", he)
        .replace("{his}", his)
        .replace("{He}", capital_he)
        .replace("{His}", capital_his)
}

/// The forms that a good answer to a question for a fact may have, `*` standing for the value: the
/// full ones, then the terse one.
pub fn forms(fact: &Fact) -> Vec<String> {
    let terse = forms_of(phrasing(fact.relation).terse, fact);
    full_forms(fact).into_iter().chain(terse).collect()
}

/// The forms of full answers alone.
pub fn full_forms(fact: &Fact) -> Vec<String> {
    let full = phrasing(fact.relation).full.iter();
    full.flat_map(|sentence| forms_of(sentence, fact)).collect()
}

/// A sentence with `*` for its value. The article belongs to the value, so a wrong value may need
/// the other one.
fn forms_of(sentence: &str, fact: &Fact) -> Vec<String> {
    let slots: &[(&str, &str)] =
        if sentence.contains("{a}") { &[("{a}", "a *"), ("{a}", "an *")] } else { &[("{v}", "*")] };
    let form = |&(blank, slot): &(&str, &str)| capital(&say(&sentence.replace(blank, slot), fact));
    slots.iter().map(form).collect()
}

const TOWN: Phrasing = Phrasing {
    statements: &[
        "{p} lives in {v}.",
        "The house of {p} stands in {v}.",
        "The town that {p} has always called {his} home is {v}.",
        "After a long day {p} goes back to {his} own house in {v}.",
    ],
    continued: &[
        "{He} lives in {v}.",
        "{His} house stands in {v}.",
        "The town {he} loves best of all is {v}.",
    ],
    questions: &[
        "Where does {p} live?",
        "In which town does {p} live?",
        "What is the home town of {p}?",
        "Where is the house of {p}?",
        "Which town is the home of {p}?",
        "Tell me where {p} lives.",
        "Do you know where {p} lives?",
        "Where can I find the house of {p}?",
    ],
    full: &["{p} lives in {v}.", "The house of {p} stands in {v}.", "{p} lives in the town {v}."],
    terse: "{v}.",
    vague: "Oh, in some nice town.",
};

const JOB: Phrasing = Phrasing {
    statements: &[
        "{p} works as {a}.",
        "The job of {p} is {v}.",
        "To earn {his} bread {p} works every day as {a}.",
        "When {p} was young {he} learned the trade of {a}.",
    ],
    continued: &[
        "{He} works as {a}.",
        "{His} job is {v}.",
        "All the people know {his} work as {a}.",
    ],
    questions: &[
        "What is the job of {p}?",
        "What work does {p} do?",
        "What does {p} work as?",
        "Which job does {p} have?",
        "How does {p} earn money?",
        "Tell me the job of {p}.",
        "Do you know the job of {p}?",
        "What does {p} do all day?",
    ],
    full: &["{p} works as {a}.", "The job of {p} is {v}.", "{p} is {a}."],
    terse: "{a}.",
    vague: "Oh, some work for both hands.",
};

const PET: Phrasing = Phrasing {
    statements: &[
        "{p} has {a}.",
        "The pet of {p} is {a}.",
        "The animal that {p} keeps at home is {a}.",
        "Every morning {p} takes some food and water to {his} {v}.",
    ],
    continued: &[
        "{He} has {a}.",
        "{His} pet is {a}.",
        "At home {he} takes good care of {his} {v}.",
    ],
    questions: &[
        "What pet does {p} have?",
        "What is the pet of {p}?",
        "Which animal does {p} keep?",
        "What kind of pet does {p} have?",
        "Which animal lives with {p}?",
        "Tell me what pet {p} has.",
        "Do you know the pet of {p}?",
        "What animal does {p} feed?",
    ],
    full: &["{p} has {a}.", "The pet of {p} is {a}.", "{p} keeps {a}."],
    terse: "{a}.",
    vague: "Oh, some kind of animal.",
};

const COLOUR: Phrasing = Phrasing {
    statements: &[
        "{p} likes the colour {v}.",
        "The best colour for {p} is {v}.",
        "The door and the windows of {p} are painted {v}.",
        "On a feast day {p} always wears a hat that is {v}.",
    ],
    continued: &[
        "{He} likes the colour {v}.",
        "{His} best colour is {v}.",
        "The coat that {he} wears is {v}.",
    ],
    questions: &[
        "What colour does {p} like?",
        "Which colour does {p} like best?",
        "What is the best colour for {p}?",
        "What is the colour that {p} loves?",
        "Which colour would {p} choose?",
        "Tell me the colour {p} likes.",
        "Do you know which colour {p} likes?",
        "What colour should I paint the door of {p}?",
    ],
    full: &[
        "{p} likes the colour {v}.",
        "The best colour for {p} is {v}.",
        "{p} would choose the colour {v}.",
    ],
    terse: "{v}.",
    vague: "Oh, more than one colour.",
};

const FOOD: Phrasing = Phrasing {
    statements: &[
        "{p} likes to eat {v}.",
        "The best food for {p} is {v}.",
        "When {p} sits down for dinner there is always some {v}.",
        "To make {p} happy one only has to bring {v}.",
    ],
    continued: &[
        "{He} likes to eat {v}.",
        "{His} best food is {v}.",
        "In the evening {he} eats a plate of {v}.",
    ],
    questions: &[
        "What does {p} like to eat?",
        "Which food does {p} like?",
        "What is the best food for {p}?",
        "What does {p} eat?",
        "What should I cook for {p}?",
        "Tell me what {p} likes to eat.",
        "Do you know what {p} likes to eat?",
        "What food would make {p} happy?",
    ],
    full: &["{p} likes to eat {v}.", "The best food for {p} is {v}.", "{p} eats {v}."],
    terse: "{v}.",
    vague: "Oh, so many good things.",
};

const FRIEND: Phrasing = Phrasing {
    statements: &[
        "The friend of {p} is {v}.",
        "{p} is a friend of {v}.",
        "On a free day {p} likes to go for a walk with {v}.",
        "If {p} is ever in need of help there is always {v}.",
    ],
    continued: &[
        "{His} friend is {v}.",
        "{He} is a friend of {v}.",
        "{He} often spends the evening with {v}.",
    ],
    questions: &[
        "Who is the friend of {p}?",
        "What is the name of the friend of {p}?",
        "With whom is {p} friends?",
        "Which friend does {p} have?",
        "Who goes for walks with {p}?",
        "Tell me who the friend of {p} is.",
        "Do you know the friend of {p}?",
        "Who would help {p}?",
    ],
    full: &["The friend of {p} is {v}.", "{p} is a friend of {v}.", "{p} goes for walks with {v}."],
    terse: "{v}.",
    vague: "Oh, some good person.",
};

const NUMBER: Phrasing = Phrasing {
    statements: &[
        "The lucky number of {p} is {v}.",
        "{p} has the lucky number {v}.",
        "On the door of {p} one can read the number {v}.",
        "When {p} plays a game {he} always picks the number {v}.",
    ],
    continued: &[
        "{His} lucky number is {v}.",
        "{He} has the lucky number {v}.",
        "In every game {he} picks the number {v}.",
    ],
    questions: &[
        "What is the lucky number of {p}?",
        "Which lucky number does {p} have?",
        "What number does {p} pick?",
        "Which number brings luck to {p}?",
        "What number is on the door of {p}?",
        "Tell me the lucky number of {p}.",
        "Do you know the number of {p}?",
        "Which number would {p} choose?",
    ],
    full: &[
        "The lucky number of {p} is {v}.",
        "{p} has the lucky number {v}.",
        "{p} always picks the number {v}.",
    ],
    terse: "{v}.",
    vague: "Oh, some number that is not small.",
};

const SOUND: Phrasing = Phrasing {
    statements: &[
        "The {p} says {v}.",
        "The sound of the {p} is {v}.",
        "When the {p} is hungry all of us can hear it say {v}.",
    ],
    continued: &[],
    questions: &["What does the {p} say?", "What is the sound of the {p}?"],
    full: &["The {p} says {v}.", "The sound of the {p} is {v}."],
    terse: "{v}.",
    vague: "Oh, something quite loud.",
};

const LEGS: Phrasing = Phrasing {
    statements: &["The {p} has {v} legs.", "The {p} runs about all day on its {v} legs."],
    continued: &[],
    questions: &["How many legs does the {p} have?", "On how many legs does the {p} walk?"],
    full: &["The {p} has {v} legs.", "The {p} walks on {v} legs."],
    terse: "{v}.",
    vague: "Oh, as many as it needs.",
};

const BED: Phrasing = Phrasing {
    statements: &[
        "The {p} sleeps in the {v}.",
        "When it gets dark the {p} is tired and goes to the {v}.",
    ],
    continued: &[],
    questions: &["Where does the {p} sleep?", "Where is the bed of the {p}?"],
    full: &["The {p} sleeps in the {v}.", "The bed of the {p} is in the {v}."],
    terse: "In the {v}.",
    vague: "Oh, some place where it is warm.",
};

const PRODUCT: Phrasing = Phrasing {
    statements: &["The {p} makes {v}.", "Go to the {p} in the morning if you want to buy {v}."],
    continued: &[],
    questions: &["What does the {p} make?", "What can I buy from the {p}?"],
    full: &["The {p} makes {v}.", "From the {p} you can buy {v}."],
    terse: "{v}.",
    vague: "Oh, so many useful things.",
};

const TOOL: Phrasing = Phrasing {
    statements: &[
        "The tool of the {p} is the {v}.",
        "No {p} in the land can do any work without the {v}.",
    ],
    continued: &[],
    questions: &["What is the tool of the {p}?", "Which tool does the {p} use?"],
    full: &["The tool of the {p} is the {v}.", "The {p} uses the {v}."],
    terse: "The {v}.",
    vague: "Oh, something very old.",
};

const NEIGHBOUR: Phrasing = Phrasing {
    statements: &["The town {p} lies beside {v}.", "The road from {p} over the hill goes to {v}."],
    continued: &[],
    questions: &["Which town lies beside {p}?", "Where does the road from {p} go?"],
    full: &["The town {p} lies beside {v}.", "The road from {p} goes to {v}."],
    terse: "{v}.",
    vague: "Oh, some small town.",
};

const FAME: Phrasing = Phrasing {
    statements: &[
        "The town {p} is known for its {v}.",
        "People who come to {p} always want to see the {v}.",
    ],
    continued: &[],
    questions: &["What is {p} known for?", "What should I see in {p}?"],
    full: &["The town {p} is known for its {v}.", "In {p} you should see the {v}."],
    terse: "Its {v}.",
    vague: "Oh, so many things.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled() {
        let fact = |value: &str| Fact {
            relation: Relation::Pet,
            subject: "Ada".to_string(),
            value: value.to_string(),
        };
        assert_eq!(say("{p} has {a}.", &fact("owl")), "Ada has an owl.");
        assert_eq!(say("{He} feeds {his} {v}.", &fact("cat")), "She feeds her cat.");
        assert_eq!(forms(&fact("cat"))[0..2], ["Ada has a *.", "Ada has an *."]);
    }
}
