//! The standard library, embedded. Knows its files and the paths that errors show for them; does
//! not know what they declare.

use super::source::{Source, Sources};

/// The path of the module whose imports are in scope everywhere.
pub const PRELUDE: &str = "std/prelude.recipe";

const FILES: &[(&str, &str)] = &[
    ("std/adapted.recipe", include_str!("../../stdlib/adapted.recipe")),
    ("std/adapters.recipe", include_str!("../../stdlib/adapters.recipe")),
    ("std/align.recipe", include_str!("../../stdlib/align.recipe")),
    ("std/code.recipe", include_str!("../../stdlib/code.recipe")),
    ("std/contamination.recipe", include_str!("../../stdlib/contamination.recipe")),
    ("std/data.recipe", include_str!("../../stdlib/data.recipe")),
    ("std/eval.recipe", include_str!("../../stdlib/eval.recipe")),
    ("std/exams.recipe", include_str!("../../stdlib/exams.recipe")),
    ("std/hub.recipe", include_str!("../../stdlib/hub.recipe")),
    ("std/llama2.recipe", include_str!("../../stdlib/llama2.recipe")),
    ("std/model.recipe", include_str!("../../stdlib/model.recipe")),
    ("std/papers.recipe", include_str!("../../stdlib/papers.recipe")),
    (PRELUDE, include_str!("../../stdlib/prelude.recipe")),
    ("std/questions.recipe", include_str!("../../stdlib/questions.recipe")),
    ("std/samples.recipe", include_str!("../../stdlib/samples.recipe")),
    ("std/shapes.recipe", include_str!("../../stdlib/shapes.recipe")),
    ("std/smallworld.recipe", include_str!("../../stdlib/smallworld.recipe")),
    ("std/tasks.recipe", include_str!("../../stdlib/tasks.recipe")),
    ("std/train.recipe", include_str!("../../stdlib/train.recipe")),
    ("std/truthfulqa.recipe", include_str!("../../stdlib/truthfulqa.recipe")),
];

/// Adds every file of the library that is not there yet.
pub fn add_to(sources: &mut Sources) {
    for (path, text) in FILES {
        if sources.find(path).is_none() {
            sources.add(Source::new(*path, *text));
        }
    }
}

/// The path and text of every file of the library.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied()
}
