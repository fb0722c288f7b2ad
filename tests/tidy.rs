//! The house style as a test: sizes, imports between rooms, banned names and calls, headers, and
//! that every recipe is in canonical form. Reads the sources as text; does not compile them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A source file: its path from the crate's root, and its lines.
struct Text {
    path: String,
    lines: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, end: &str) -> Vec<Text> {
    let mut open = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == end) {
                found.push(read(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no .{end} files under {folder}");
    found
}

fn read(path: &Path) -> Text {
    let text = std::fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    Text { path, lines: text.lines().map(str::to_string).collect() }
}

fn rust_files() -> Vec<Text> {
    let mut found = files("src", "rs");
    found.extend(files("tests", "rs"));
    found
}

fn assert_none(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// Lines that are code: not comments, and not inside the tests at the end of a file.
fn code(text: &Text) -> impl Iterator<Item = (usize, &str)> {
    let end = text.lines.iter().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
    let lines = text.lines.iter().enumerate().take(end);
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line.split(" // ").next().unwrap_or(line)))
}

#[test]
fn files_have_a_header_and_a_size() {
    let mut faults = Vec::new();
    for text in rust_files() {
        if !text.lines.first().is_some_and(|line| line.starts_with("//!")) {
            faults.push(format!("{}: no `//!` header", text.path));
        }
        if text.lines.len() > 800 {
            faults.push(format!("{}: {} lines", text.path, text.lines.len()));
        }
        let long = text.lines.iter().enumerate().filter(|(_, line)| line.chars().count() > 100);
        faults.extend(long.map(|(at, _)| format!("{}:{}: over 100 columns", text.path, at + 1)));
    }
    assert_none("a file says what it is, in at most 800 lines of 100 columns", faults);
}

/// Finds functions by their indentation, which rustfmt fixes.
fn function_lengths(text: &Text) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, line) in text.lines.iter().enumerate() {
        let body = line.trim_start();
        let words = body.split('(').next().unwrap_or("");
        let before = words.split_whitespace().take_while(|word| *word != "fn").collect::<Vec<_>>();
        let marks = ["pub", "pub(crate", "pub(super", "const", "unsafe", "async", "extern"];
        let is_function = before.len() < words.split_whitespace().count()
            && before.iter().all(|word| marks.contains(word));
        if !is_function || body.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - body.len()];
        let (close, rest) = (format!("{indent}}}"), &text.lines[at..]);
        // What a trait only declares has no body.
        let head = rest.iter().find(|line| line.starts_with(&format!("{indent})")));
        if !body.contains(')') && head.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        if let Some(length) = rest.iter().position(|line| *line == close) {
            found.push((at + 1, length + 1));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    let mut faults = Vec::new();
    for text in rust_files() {
        for (line, length) in function_lengths(&text) {
            lengths.push(length);
            if length > 70 {
                faults.push(format!("{}:{line}: {length} lines", text.path));
            }
        }
    }
    lengths.sort_unstable();
    assert_none("a function has at most 70 lines", faults);
    let median = lengths[lengths.len() / 2];
    assert!(median <= 12, "the median function has {median} lines");
}

/// Which rooms a room may use, besides itself.
fn allowed(room: &str) -> &'static [&'static str] {
    match room {
        "lang" | "train" => &[],
        "build" => &["lang"],
        "eval" => &["train"],
        "exec" => &["build", "lang", "train", "eval"],
        _ => &["build", "lang", "train", "eval", "exec", "cli"],
    }
}

const ROOMS: [&str; 6] = ["lang", "build", "train", "eval", "exec", "cli"];

#[test]
fn rooms_import_only_what_they_may() {
    let mut faults = Vec::new();
    for text in files("src", "rs") {
        let parts = text.path.split('/').collect::<Vec<_>>();
        let room = if parts.len() > 2 { parts[1] } else { "root" };
        for (line, code) in code(&text) {
            for other in ROOMS.iter().filter(|other| **other != room) {
                let named = code.contains(&format!("crate::{other}::"))
                    || code.contains(&format!("crate::{other};"));
                if named && !allowed(room).contains(other) {
                    faults.push(format!("{}:{line}: {room} uses {other}", text.path));
                }
            }
        }
    }
    assert_none("rooms import only what they may", faults);
}

/// The order of the rooms inside `train`: each uses only those before it.
const TRAIN: [&str; 6] = ["kernels", "data", "model", "objective", "optim", "stage"];

#[test]
fn train_is_layered() {
    let mut faults = Vec::new();
    for text in files("src/train", "rs") {
        let part = text.path.split('/').nth(2).unwrap_or("");
        let Some(level) = TRAIN.iter().position(|name| *name == part) else { continue };
        for (line, code) in code(&text) {
            for later in &TRAIN[level + 1..] {
                if code.contains(&format!("train::{later}::")) {
                    faults.push(format!("{}:{line}: {part} uses {later}", text.path));
                }
            }
        }
    }
    assert_none("inside train, each part uses only those before it", faults);
}

/// A word that may stand only in files whose path begins so.
const RESERVED: &[(&str, &[&str])] = &[
    ("candle_core", &["tests/"]),
    ("candle_nn", &["tests/"]),
    ("cudarc::", &["src/train/kernels/cuda/"]),
    ("println!(", &["src/cli/", "src/main.rs", "tests/"]),
    ("eprintln!(", &["src/cli/", "src/main.rs", "tests/"]),
    ("std::env::", &["src/cli/", "src/main.rs", "tests/"]),
    ("todo!(", &[]),
    ("unimplemented!(", &[]),
    ("dbg!(", &[]),
    ("HashMap", &["src/train/model/weights.rs", "tests/"]),
    ("HashSet", &["src/train/data/vocabulary.rs", "tests/"]),
];

#[test]
fn words_stand_only_where_they_may() {
    let mut faults = Vec::new();
    for text in rust_files().iter().filter(|text| text.path != "tests/tidy.rs") {
        for (line, code) in code(text) {
            for (word, places) in RESERVED {
                if code.contains(word) && !places.iter().any(|place| text.path.starts_with(place)) {
                    faults.push(format!("{}:{line}: `{word}`", text.path));
                }
            }
        }
    }
    assert_none("some words stand only where they may", faults);
}

/// Floating-point functions whose bits belong to the system's library.
const LIBM: [&str; 10] = [
    ".exp()",
    ".ln()",
    ".sin()",
    ".cos()",
    ".tanh()",
    ".powf(",
    ".powi(",
    ".log2()",
    ".exp2()",
    ".mul_add(",
];

#[test]
fn numerics_are_our_own() {
    let mut faults = Vec::new();
    for text in files("src/train", "rs") {
        if text.path.starts_with("src/train/kernels/") {
            continue;
        }
        for (line, code) in code(&text) {
            let found = LIBM.iter().filter(|call| code.contains(**call));
            faults.extend(found.map(|call| format!("{}:{line}: `{call}`", text.path)));
        }
    }
    assert_none("the trainer calls no function of libm", faults);
}

/// Approximations, orders that vary, and assembly: none has the bits of the CPU on every card.
const INEXACT: [&str; 15] = [
    "__fdividef",
    "__frcp",
    "rsqrt",
    "__expf",
    "__logf",
    "__sinf",
    "__cosf",
    "__powf",
    "__tanhf",
    "__saturatef",
    "use_fast_math",
    "atomic",
    "asm",
    " expf(",
    " logf(",
];

#[test]
fn kernels_are_exact_and_each_belongs_to_an_operation() {
    let mut faults = Vec::new();
    let mut all = files("src/train/kernels", "cu");
    all.extend(files("src/train/kernels", "cuh"));
    let rust: String = files("src/train/kernels", "rs").into_iter().flat_map(|t| t.lines).collect();
    for text in &all {
        if !text.lines.first().is_some_and(|line| line.starts_with("// ")) {
            faults.push(format!("{}: no header", text.path));
        }
        if text.lines.len() > 300 {
            faults.push(format!("{}: {} lines", text.path, text.lines.len()));
        }
        // `attention_backward.cu` belongs to `attention.rs`.
        let stem = text.path.strip_suffix(".cu");
        let operation = |stem: &str| {
            let ends = stem.match_indices('_').map(|(at, _)| at).chain([stem.len()]);
            let named = |end| root().join(&stem[..end]);
            ends.map(named).any(|path| path.with_extension("rs").exists() || path.is_dir())
        };
        if stem.is_some_and(|stem| !operation(stem)) {
            faults.push(format!("{}: no operation of this name", text.path));
        }
        for (at, line) in text.lines.iter().enumerate() {
            let line_code = line.split("//").next().unwrap();
            let found = INEXACT.iter().filter(|word| line_code.contains(**word));
            faults.extend(found.map(|word| format!("{}:{}: `{word}`", text.path, at + 1)));
            if line.chars().count() > 100 {
                faults.push(format!("{}:{}: over 100 columns", text.path, at + 1));
            }
        }
        let text = text.lines.join("\n");
        for name in text.split("__global__ void").skip(1).filter_map(kernel_name) {
            if !rust.contains(&format!("\"{name}\"")) {
                faults.push(format!("`{name}` is launched by nothing"));
            }
        }
    }
    assert_none("kernels are exact, and each belongs to an operation", faults);
}

/// The name of a kernel, after the words that begin its declaration.
fn kernel_name(declaration: &str) -> Option<&str> {
    let words = declaration.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .filter(|word| !word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit()))
        .find(|word| *word != "__launch_bounds__")
}

#[test]
fn names_say_something() {
    let banned = ["util", "utils", "helper", "helpers", "common", "misc", "manager", "handler"];
    let mut faults = Vec::new();
    for text in rust_files() {
        let stem = Path::new(&text.path).file_stem().unwrap().to_string_lossy().into_owned();
        if banned.contains(&stem.as_str()) || stem == "core" {
            faults.push(text.path.clone());
        }
        for (line, code) in code(&text) {
            let declared = ["fn ", "struct ", "enum ", "trait ", "mod "]
                .iter()
                .find_map(|word| code.trim_start().trim_start_matches("pub ").strip_prefix(word));
            let Some(name) = declared else { continue };
            let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let parts = name.to_lowercase();
            if parts.split('_').any(|part| banned.contains(&part)) || parts.ends_with("_impl") {
                faults.push(format!("{}:{line}: `{name}`", text.path));
            }
        }
    }
    assert_none("names say something", faults);
}

#[test]
fn tests_are_not_ignored_and_nothing_is_left_for_later() {
    let words = ["#[ignore", "TODO", "FIXME", "XXX", "for now"];
    let mut faults = Vec::new();
    let mut all = rust_files();
    all.extend(files("stdlib", "recipe"));
    all.extend(files("recipes", "recipe"));
    for text in all.iter().filter(|text| text.path != "tests/tidy.rs") {
        for (at, line) in text.lines.iter().enumerate() {
            let found = words.iter().filter(|word| line.contains(**word));
            faults.extend(found.map(|word| format!("{}:{}: `{word}`", text.path, at + 1)));
        }
    }
    assert_none("nothing is left for later", faults);
}

#[test]
fn recipes_are_canonical() {
    let mut all = files("stdlib", "recipe");
    all.extend(files("recipes", "recipe"));
    let mut faults = Vec::new();
    for text in all {
        let written = std::fs::read_to_string(root().join(&text.path)).unwrap();
        match llamake::lang::format(&written) {
            Ok(canonical) if canonical == written => {}
            Ok(_) => faults.push(format!("{}: `llamake fmt` would change it", text.path)),
            Err(errors) => faults.push(format!("{}: {}", text.path, errors[0].message)),
        }
        let limit = if text.path.starts_with("stdlib/") { 200 } else { 300 };
        if text.lines.len() > limit {
            faults.push(format!("{}: {} lines", text.path, text.lines.len()));
        }
    }
    assert_none("recipes are in canonical form", faults);
}

#[test]
fn modules_stand_where_their_folder_says() {
    let mut seen = BTreeMap::new();
    for text in files("src", "rs") {
        let logic = text.lines.iter().filter(|line| line.trim_start().starts_with("fn ")).count();
        if text.path.ends_with("/mod.rs") && logic > 0 {
            seen.insert(text.path.clone(), logic);
        }
    }
    assert!(seen.is_empty(), "a mod.rs is a front door, without functions of its own: {seen:?}");
}
