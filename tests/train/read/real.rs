//! Public data as it is given out, each file by the shape that fits it. The counts are those of
//! `README.md` beside the data; faulty rows were counted by hand.

use super::{Read, read, said};
use crate::train::{shared_data, told};

/// Reads a file of the shared data, unless it is not there.
fn real(folder: &str, name: &str, kind: &str, fields: &str) -> Option<Read> {
    let folder = shared_data(folder)?;
    match read(&folder.join(name), kind, fields) {
        Ok(read) => Some(read),
        Err(failure) => panic!("{name}: {}", told(failure, &folder)),
    }
}

/// Checks the rows, and those left out, of each file of a folder; none may be forgotten.
fn check(folder: &str, files: &[(&str, &str, &str, usize, usize)]) {
    let Some(path) = shared_data(folder) else { return };
    for entry in std::fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(files.iter().any(|(known, ..)| *known == name), "{name} is not read");
    }
    for (name, kind, fields, rows, left_out) in files {
        let read = real(folder, name, kind, fields).unwrap();
        assert_eq!(read.rows.lines().count(), *rows, "{name}");
        assert_eq!(read.metrics["rows"], *rows as f64, "{name}");
        let counted = read.metrics.get("left_out").copied().unwrap_or(0.0);
        assert_eq!(counted, *left_out as f64, "{name}");
    }
}

#[test]
fn real_text_is_read() {
    let c4 = "column: \"text\", ignore: [\"url\", \"date\"]";
    check(
        "text",
        &[
            ("tinyshakespeare.txt", "read_text", "", 1, 0),
            ("wikitext2_valid.txt", "read_text", "", 1, 0),
            ("rust_book.jsonl", "read_text", "column: \"text\", ignore: [\"path\"]", 64, 0),
            ("c4_demo.jsonl", "read_text", "column: \"text\"", 200, 0),
            ("wiki_demo.txt", "read_text", "documents: \"lines\"", 20, 0),
            ("the-verdict.txt", "read_text", "", 1, 0),
            ("tinystories_sample.txt", "read_text", "separator: \"<|endoftext|>\"", 5, 0),
            ("botchan.txt", "read_text", "", 1, 0),
            ("c4-sample.01.json.gz", "read_text", c4, 10, 0),
            ("c4-sample.02.json.gz", "read_text", c4, 10, 0),
        ],
    );
}

#[test]
fn real_instructions_are_read() {
    let seeds = "shape: shapes.self_instruct {}, ignore: [\"id\", \"name\", \"is_classification\"]";
    let asked = "shape: shapes.self_instruct {}, ignore: [\"id\", \"motivation_app\"]";
    let tree = "shape: shapes.oasst {}, ignore: [\"message_tree_id\", \"tree_state\"]";
    let bench = "shape: shapes.turns {}, ignore: [\"question_id\", \"category\", \"reference\"]";
    check(
        "instructions",
        &[
            ("self_instruct_seed_tasks.jsonl", "read_chat", seeds, 125, 0),
            ("user_oriented_instructions.jsonl", "read_chat", asked, 170, 0),
            ("llms_from_scratch_instruction.json", "read_chat", "shape: shapes.alpaca {}", 850, 0),
            (
                "gpteacher_codegen.json",
                "read_chat",
                "shape: shapes.alpaca { output: \"response\" }",
                1000,
                0,
            ),
            ("oasst_en_100_tree.jsonl", "read_chat", tree, 70, 0),
            (
                "sharegpt_dummy_conversation.json",
                "read_chat",
                "shape: shapes.sharegpt {}, ignore: [\"id\"]",
                350,
                0,
            ),
            ("mt_bench_question.jsonl", "read_prompts", bench, 50, 0),
        ],
    );
}

#[test]
fn real_preferences_are_read() {
    check(
        "preferences",
        &[
            (
                "hh_rlhf_harmless_base_test.jsonl.gz",
                "read_preferences",
                "shape: shapes.hh {}, faulty: \"leave-out\"",
                1691,
                9,
            ),
            (
                "dpo_en_demo.json",
                "read_preferences",
                "shape: shapes.sharegpt_preference {}",
                200,
                0,
            ),
            (
                "llms_from_scratch_preference.json",
                "read_preferences",
                "shape: shapes.alpaca_preference {}, ignore: [\"output\"], faulty: \"leave-out\"",
                844,
                6,
            ),
        ],
    );
}

#[test]
fn a_real_forest_has_many_paths() {
    let ignore = "ignore: [\"message_tree_id\", \"tree_state\"]";
    let shape = "shape: shapes.oasst { paths: \"all\" }";
    let name = "oasst_en_100_tree.jsonl";
    let Some(all) = real("instructions", name, "read_chat", &format!("{shape}, {ignore}")) else {
        return;
    };
    // Answers that no later answer follows, and turns of the best path of each tree, counted by a
    // script of its own.
    assert_eq!(all.metrics["rows"], ALL_PATHS);
    let best = format!("shape: shapes.oasst {{}}, {ignore}");
    let best = real("instructions", name, "read_chat", &best).unwrap();
    assert_eq!(best.metrics["turns"], BEST_TURNS);
    let all = said(&all.rows, "messages");
    let is_there = |best: &String| all.iter().any(|path| path.starts_with(best));
    assert!(said(&best.rows, "messages").iter().all(is_there));
}

const ALL_PATHS: f64 = 374.0;
const BEST_TURNS: f64 = 196.0;

#[test]
fn a_real_fault_is_named() {
    let Some(folder) = shared_data("preferences") else { return };
    let path = folder.join("hh_rlhf_harmless_base_test.jsonl.gz");
    let failure = read(&path, "read_preferences", "shape: shapes.hh {}").unwrap_err();
    assert_eq!(
        told(failure, &folder),
        "`hh_rlhf_harmless_base_test.jsonl.gz` line 87: the answer in column `chosen` is empty | \
         remove the row; `faulty: \"leave-out\"` leaves such rows out"
    );
}
