//! Preferences and prompts in every shape, and what is said of rows that hold none.

use super::{read, refused, rows, said};
use crate::train::file;

/// A preference in short: its prompt, then both answers and the rating.
fn pairs(name: &str, bytes: &str, fields: &str) -> Vec<String> {
    let made = rows(name, bytes, "read_preferences", fields);
    let prompts = said(&made, "prompt");
    let answers = made.lines().map(|row| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        format!(" > {} > {} > {}", row["chosen"], row["rejected"], row["rating"])
    });
    prompts.into_iter().zip(answers).map(|(prompt, answers)| prompt + &answers).collect()
}

#[test]
fn preferences_come_in_many_shapes() {
    let plain = "user: Hi > \"Yo\" > \"No\" > null";
    let longer = "system: s / user: Hi / assistant: Ho / user: Hu > \"Yo\" > \"No\" > null";
    let turns = "{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \
                 \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Ho\"}, {\"role\": \"user\", \
                 \"content\": \"Hu\"}";
    let (yo, no) = (
        "{\"role\": \"assistant\", \"content\": \"Yo\"}",
        "{\"role\": \"assistant\", \"content\": \"No\"}",
    );
    for (shape, row, expected) in [
        (
            "preference {}",
            "{\"prompt\": \"Hi\", \"chosen\": \"Yo\", \"rejected\": \"No\"}".to_string(),
            plain,
        ),
        (
            "preference {}",
            format!("{{\"prompt\": [{turns}], \"chosen\": [{yo}], \"rejected\": [{no}]}}"),
            longer,
        ),
        (
            "preference {}",
            format!("{{\"chosen\": [{turns}, {yo}], \"rejected\": [{turns}, {no}]}}"),
            longer,
        ),
        (
            "preference {}",
            format!(
                "{{\"prompt\": [{turns}], \"chosen\": [{turns}, {yo}], \"rejected\": [{turns}, \
                 {no}]}}"
            ),
            longer,
        ),
        (
            "preference { prompt: none, rating: \"r\" }",
            format!("{{\"chosen\": [{turns}, {yo}], \"rejected\": [{turns}, {no}], \"r\": null}}"),
            longer,
        ),
        (
            "hh {}",
            "{\"chosen\": \"\\n\\nHuman: Hi\\n\\nAssistant: Yo\", \"rejected\": \"\\n\\nHuman: \
             Hi\\n\\nAssistant:No \"}"
                .into(),
            plain,
        ),
        (
            "alpaca_preference {}",
            "{\"instruction\": \"Hi\", \"input\": \"\", \"chosen\": \"Yo\", \"rejected\": \"No\"}"
                .into(),
            plain,
        ),
        (
            "sharegpt_preference {}",
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}], \"chosen\": \
             {\"from\": \"gpt\", \"value\": \"Yo\"}, \"rejected\": {\"from\": \"gpt\", \"value\": \
             \"No\"}}"
                .into(),
            plain,
        ),
    ] {
        assert_eq!(pairs("a.jsonl", &row, &format!("shape: shapes.{shape}")), [expected]);
    }
}

#[test]
fn ratings_may_be_texts() {
    assert_eq!(
        pairs(
            "a.csv",
            "q,chosen,rejected,stars\nHi,Yo,No,4\nHi,Yo,No, 1\n",
            "shape: shapes.preference { prompt: \"q\", rating: \"stars\" }",
        ),
        ["user: Hi > \"Yo\" > \"No\" > 4", "user: Hi > \"Yo\" > \"No\" > 1"]
    );
}

fn plain(chosen: &str, rejected: &str) -> String {
    serde_json::json!({ "prompt": "Hi", "chosen": chosen, "rejected": rejected }).to_string()
}

fn transcripts(chosen: &str, rejected: &str) -> String {
    serde_json::json!({ "chosen": chosen, "rejected": rejected }).to_string()
}

/// What is said of a row, without its place and the way to leave it out.
fn fault(row: &str, shape: &str) -> String {
    let told = refused("a.jsonl", row, "read_preferences", &format!("shape: shapes.{shape}"));
    let told = told.strip_suffix("; `faulty: \"leave-out\"` leaves such rows out").unwrap();
    told.strip_prefix("`a.jsonl` line 1").unwrap().trim_start_matches([':', ' ']).into()
}

#[test]
fn faulty_preferences_are_named() {
    let yo = "\n\nHuman: Hi\n\nAssistant: Yo";
    for (shape, row, expected) in [
        (
            "preference {}",
            plain("Yo", "Yo "),
            "the two answers are equal | remove the row: it prefers nothing",
        ),
        (
            "preference {}",
            plain("Yo", "\n"),
            "the answer in column `rejected` is empty | remove the row",
        ),
        (
            "hh {}",
            transcripts("Hi", yo),
            "column `chosen` begins with none of the marks of a turn | a transcript begins with \
             two line ends and `Human:` or `Assistant:`",
        ),
        (
            "hh {}",
            transcripts(yo, "\n\nHuman: Ho\n\nAssistant: No"),
            "the two dialogues do not begin alike | they may differ in their last turn alone",
        ),
        (
            "hh {}",
            transcripts(yo, "\n\nHuman: Hi\n\nHuman: Ho"),
            "a dialogue does not end with the assistant | mend the row",
        ),
        (
            "hh {}",
            transcripts("\n\nAssistant: Yo", "\n\nAssistant: No"),
            "the prompt does not end with a turn of the user | mend the row",
        ),
        (
            "hh {}",
            transcripts(
                "\n\nHuman: Hi\n\nHuman: Ho\n\nAssistant: Yo",
                "\n\nHuman: Hi\n\nHuman: Ho\n\nAssistant: No",
            ),
            "turn 2 is the user's and the assistant's is due | mend the row",
        ),
        (
            "hh {}",
            transcripts("\n\nHuman: \n\nAssistant: Yo", "\n\nHuman: \n\nAssistant: No"),
            "a turn of the user is empty | mend the row",
        ),
        (
            "preference { rating: \"r\" }",
            "{\"prompt\": \"Hi\", \"chosen\": \"Yo\", \"rejected\": \"No\", \"r\": 5}".into(),
            "column `r` holds `5`, not a rating | a rating is 1, 2, 3 or 4; 4 says that the \
             chosen answer is much better",
        ),
        (
            "preference {}",
            "{\"prompt\": null, \"chosen\": \"Yo\", \"rejected\": \"No\"}".into(),
            "has no prompt, and its answers are no dialogues | mend the row",
        ),
        (
            "preference {}",
            "{\"prompt\": \"Hi\", \"chosen\": [{\"role\": \"user\", \"content\": \"Yo\"}], \
             \"rejected\": \"No\"}"
                .into(),
            "column `chosen` is not one turn of the assistant | mend the row",
        ),
    ] {
        assert_eq!(fault(&row, shape), expected);
    }
}

#[test]
fn prompts_are_texts_messages_or_turns() {
    let text = "{\"prompt\": \"Hi\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"Ho\"}]}\n";
    let made = rows("a.jsonl", text, "read_prompts", "shape: shapes.prompt {}");
    assert_eq!(said(&made, "prompt"), ["user: Hi", "user: Ho"]);
    let shape = "shape: shapes.prompt { prompt: \"q\", system: \"s\" }";
    let made = rows("a.csv", "q,s\nHi,Be kind.\nHo,\n", "read_prompts", shape);
    assert_eq!(said(&made, "prompt"), ["system: Be kind. / user: Hi", "user: Ho"]);
    let folder = tempfile::tempdir().unwrap();
    let turns = "{\"turns\": [\"Hi\", \"Ho\", \"Hu\"]}\n{\"turns\": [\"He\"]}\n";
    let path = file(folder.path(), "a.jsonl", turns);
    let made = read(&path, "read_prompts", "shape: shapes.turns {}").unwrap();
    assert_eq!(said(&made.rows, "prompt"), ["user: Hi", "user: He"]);
    assert_eq!(made.log, ["2 later turns of the user are left: they need an answer to the first"]);
}

#[test]
fn faulty_prompts_are_named() {
    for (shape, row, expected) in [
        (
            "prompt {}",
            "{\"prompt\": [{\"role\": \"assistant\", \"content\": \"Hi\"}]}",
            "the prompt does not end with a turn of the user",
        ),
        ("prompt {}", "{\"prompt\": \" \"}", "a turn of the user is empty"),
        ("prompt {}", "{\"prompt\": 3}", "column `prompt` holds a number, not a text"),
        ("turns {}", "{\"turns\": []}", "the prompt does not end with a turn of the user"),
        ("turns {}", "{\"turns\": [\"Hi\", 3]}", "turn 2 is a number, not a text"),
    ] {
        let told = refused("a.jsonl", row, "read_prompts", &format!("shape: shapes.{shape}"));
        let told = told.replace("line 1 turn", "line 1: turn");
        let leave = " | mend the row; `faulty: \"leave-out\"` leaves such rows out";
        assert_eq!(told, format!("`a.jsonl` line 1: {expected}{leave}"));
    }
}
