//! The words of the small world: who and what there is. Plain tables; nothing here is drawn.

/// Sixteen women and sixteen men, in turn: an even place is `she`, an odd one `he`.
pub const PEOPLE: [&str; 32] = [
    "Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gwen", "Hugo", "Ida", "Jon", "Kate", "Kurt",
    "Lena", "Max", "Mia", "Ned", "Nora", "Otto", "Olga", "Paul", "Rosa", "Sam", "Tess", "Tom",
    "Uma", "Vic", "Vera", "Walt", "Wanda", "Yuri", "Zoe", "Zack",
];

/// A town, the town beside it and what it is known for.
pub const TOWNS: [(&str, &str, &str); 8] = [
    ("Oakby", "Fernham", "bridge"),
    ("Millwick", "Redcliff", "market"),
    ("Dunlow", "Larkton", "castle"),
    ("Stonefell", "Westmoor", "tower"),
    ("Fernham", "Oakby", "garden"),
    ("Redcliff", "Millwick", "harbour"),
    ("Westmoor", "Stonefell", "library"),
    ("Larkton", "Dunlow", "fountain"),
];

/// A job, what it makes and the tool for it.
pub const JOBS: [(&str, &str, &str); 10] = [
    ("baker", "bread", "oven"),
    ("smith", "swords", "hammer"),
    ("tailor", "coats", "needle"),
    ("potter", "bowls", "wheel"),
    ("farmer", "wheat", "plough"),
    ("fisher", "nets", "boat"),
    ("weaver", "carpets", "loom"),
    ("carpenter", "tables", "saw"),
    ("brewer", "beer", "kettle"),
    ("printer", "books", "press"),
];

/// An animal, its sound, the number of its legs and where it sleeps.
pub const ANIMALS: [(&str, &str, &str, &str); 10] = [
    ("cat", "meow", "four", "basket"),
    ("dog", "woof", "four", "kennel"),
    ("goat", "maa", "four", "shed"),
    ("horse", "neigh", "four", "stable"),
    ("cow", "moo", "four", "barn"),
    ("duck", "quack", "two", "pond"),
    ("hen", "cluck", "two", "nest"),
    ("lamb", "baa", "four", "fold"),
    ("owl", "hoot", "two", "tree"),
    ("frog", "croak", "four", "moss"),
];

pub const COLOURS: [&str; 8] =
    ["red", "blue", "green", "yellow", "white", "black", "brown", "pink"];

pub const FOODS: [&str; 8] = ["rice", "soup", "cake", "cheese", "plums", "beans", "honey", "nuts"];

/// Things that are counted in sums and handed on in stories.
pub const THINGS: [&str; 8] =
    ["coins", "apples", "shells", "keys", "cards", "candles", "eggs", "stones"];

/// Things of which there is one in a story.
pub const TREASURES: [&str; 8] =
    ["letter", "ring", "map", "drum", "flute", "mirror", "clock", "lantern"];

/// Where a thing may be put or people may meet.
pub const PLACES: [&str; 8] = ["well", "mill", "gate", "barrel", "wall", "church", "inn", "field"];

/// Words that an instruction asks for at the start or the end of an answer.
pub const ECHOES: [&str; 10] =
    ["moon", "river", "lamp", "cloud", "bell", "rose", "snow", "gold", "star", "wind"];

/// What one may ask to be called.
pub const TITLES: [&str; 4] = ["captain", "doctor", "queen", "boss"];

/// The indefinite article that goes before a noun of this world.
pub fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The word with its first letter raised.
pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
