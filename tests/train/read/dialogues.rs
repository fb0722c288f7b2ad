//! Dialogues in every shape, and what is said of rows that hold none.

use super::{read, refused, rows, said};
use crate::train::{file, told};

fn dialogues(row: &str, shape: &str) -> Vec<String> {
    said(&rows("a.jsonl", row, "read_chat", &format!("shape: {shape}")), "messages")
}

#[test]
fn dialogues_come_in_many_shapes() {
    for (shape, row, expected) in [
        (
            "shapes.alpaca {}",
            "{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\"}",
            vec!["user: Add\n1 2 / assistant: 3"],
        ),
        (
            "shapes.alpaca {}",
            "{\"instruction\": \"Hi\", \"input\": \"\", \"output\": \"Hello\"}",
            vec!["user: Hi / assistant: Hello"],
        ),
        (
            "shapes.alpaca { system: \"s\" }",
            "{\"instruction\": \"Ho\", \"output\": \"Hey\", \"s\": \"Be kind.\"}",
            vec!["system: Be kind. / user: Ho / assistant: Hey"],
        ),
        (
            "shapes.messages {}",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, \
             {\"role\": \"assistant\", \"content\": \"Hello\"}]}",
            vec!["user: Hi / assistant: Hello"],
        ),
        (
            "shapes.sharegpt {}",
            "{\"conversations\": [{\"from\": \"system\", \"value\": \"Be kind.\"}, \
             {\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hello\"}]}",
            vec!["system: Be kind. / user: Hi / assistant: Hello"],
        ),
        (
            "shapes.prompt_completion {}",
            "{\"prompt\": \"Hi\", \"completion\": \"Hello\"}",
            vec!["user: Hi / assistant: Hello"],
        ),
        (
            "shapes.prompt_completion {}",
            "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi\"}], \
             \"completion\": [{\"role\": \"assistant\", \"content\": \"Hello\"}]}",
            vec!["user: Hi / assistant: Hello"],
        ),
        (
            "shapes.self_instruct {}",
            "{\"instruction\": \"Add\", \"instances\": [{\"input\": \"1 2\", \"output\": \"3\"}, \
             {\"input\": \"\", \"output\": \"?\"}]}",
            vec!["user: Add\n1 2 / assistant: 3", "user: Add / assistant: ?"],
        ),
    ] {
        assert_eq!(dialogues(row, shape), expected, "{shape}");
    }
    let made = rows(
        "a.csv",
        "q,a,s,id\nWho?,Ada.,Be kind.,1\n",
        "read_chat",
        "shape: shapes.prompt_completion { prompt: \"q\", completion: \"a\", system: \"s\" }, \
         ignore: [\"id\"]",
    );
    assert_eq!(said(&made, "messages"), ["system: Be kind. / user: Who? / assistant: Ada."]);
}

#[test]
fn a_tree_is_one_path_or_all() {
    let tree = r#"{"prompt": {"role": "prompter", "text": "1", "lang": "en", "replies": [
        {"role": "assistant", "text": "1a", "rank": 1, "replies": []},
        {"role": "assistant", "text": "1b", "rank": 0, "replies": [
            {"role": "prompter", "text": "2", "replies": [
                {"role": "assistant", "text": "2a"},
                {"role": "assistant", "text": "2b", "rank": 3, "replies": null}]},
            {"role": "prompter", "text": "3", "replies": []}]},
        {"role": "assistant", "text": "1c", "replies": [
            {"role": "prompter", "text": "4"}, {"role": "prompter", "text": "5"}]},
        {"role": "assistant", "text": "1d", "rank": 0, "deleted": true, "replies": []}]}}"#;
    let tree = tree.replace('\n', "");
    let best = ["user: 1 / assistant: 1b / user: 2 / assistant: 2b"];
    assert_eq!(dialogues(&tree, "shapes.oasst {}"), best);
    assert_eq!(
        dialogues(&tree, "shapes.oasst { paths: \"all\" }"),
        [
            "user: 1 / assistant: 1a",
            "user: 1 / assistant: 1b / user: 2 / assistant: 2a",
            "user: 1 / assistant: 1b / user: 2 / assistant: 2b",
            "user: 1 / assistant: 1c",
        ]
    );
}

const LEAVE: &str = "; `faulty: \"leave-out\"` leaves such rows out";

#[test]
fn faulty_dialogues_are_named() {
    for (shape, row, expected) in [
        (
            "messages {}",
            "{\"messages\": [{\"role\": \"tool\", \"content\": \"Hi\"}]}",
            "`a.jsonl` line 1 turn 1 has the role `tool` | roles are `system`, `user` and \
             `assistant`, or `human` and `gpt`",
        ),
        (
            "messages {}",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}",
            "`a.jsonl` line 1 has no answer of the assistant | remove the row: there is nothing \
             in it to learn",
        ),
        (
            "messages {}",
            "{\"messages\": [\"Hi\"]}",
            "`a.jsonl` line 1 turn 1 is a text, not a turn | mend the row",
        ),
        (
            "messages {}",
            "{\"messages\": \"Hi\"}",
            "`a.jsonl` line 1: column `messages` holds a text, not a list | mend the row",
        ),
        (
            "alpaca {}",
            "{\"instruction\": \"Hi\", \"output\": \" \"}",
            "`a.jsonl` line 1: an answer is empty | remove the row: it would teach the model to \
             say nothing",
        ),
        (
            "alpaca {}",
            "{\"instruction\": \"Hi\", \"output\": null}",
            "`a.jsonl` line 1: column `output` holds nothing, not a text | mend the row",
        ),
        (
            "self_instruct {}",
            "{\"instruction\": \"Hi\", \"instances\": []}",
            "`a.jsonl` line 1: column `instances` is empty | mend the row",
        ),
        (
            "oasst {}",
            "{\"prompt\": {\"role\": \"prompter\", \"text\": \"Hi\"}}",
            "`a.jsonl` line 1: no message of the tree is an answer | remove the row: there is \
             nothing in it to learn",
        ),
        (
            "oasst {}",
            "{\"prompt\": {\"role\": \"prompter\", \"text\": \"Hi\", \"replies\": [3]}}",
            "`a.jsonl` line 1: a number stands where a message should | mend the row",
        ),
    ] {
        let told = refused("a.jsonl", row, "read_chat", &format!("shape: shapes.{shape}"));
        assert_eq!(told, format!("{expected}{LEAVE}"));
    }
}

#[test]
fn faulty_rows_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let fields = "shape: shapes.alpaca {}, faulty: \"leave-out\"";
    let bytes = "instruction,output\nHi,Hello\nHo,\nHu,\n";
    let made = read(&file(folder.path(), "a.csv", bytes), "read_chat", fields).unwrap();
    assert_eq!(said(&made.rows, "messages"), ["user: Hi / assistant: Hello"]);
    assert_eq!(made.metrics["left_out"], 2.0);
    let place = folder.path().display();
    assert_eq!(
        made.log,
        [
            format!("left out: `{place}/a.csv` line 3: an answer is empty"),
            format!("left out: `{place}/a.csv` line 4: an answer is empty"),
            "2 faulty rows are left out; the log names each".into(),
        ]
    );
    let path = file(folder.path(), "a.csv", "instruction,output\nHi,\n");
    assert_eq!(
        told(read(&path, "read_chat", fields).unwrap_err(), folder.path()),
        "no row is left: 1 are faulty, the first: `a.csv` line 2: an answer is empty | state the \
         shape that the rows have"
    );
    // A wrong recipe is no fault of a row.
    let told = refused("a.csv", "instruction,answer\nHi,Hello\n", "read_chat", fields);
    assert!(told.starts_with("`a.csv` line 2 has no column `output`"), "{told}");
}

const FITS: &[(&str, &str, &str, &str)] = &[
    (
        "read_chat",
        "alpaca {}",
        "{\"instruction\": \"Hi\", \"input\": \"\", \"response\": \"Hello\"}",
        "has no column `output`; its columns are `instruction`, `input`, `response` | \
         `shape: shapes.alpaca { output: \"response\" }` would fit",
    ),
    (
        "read_chat",
        "messages {}",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}]}",
        "has no column `messages`; its columns are `conversations` | `shape: \
         shapes.sharegpt {}` would fit",
    ),
    (
        "read_chat",
        "sharegpt {}",
        "{\"log\": [{\"role\": \"user\", \"content\": \"Hi\"}]}",
        "has no column `conversations`; its columns are `log` | `shape: shapes.messages { \
         messages: \"log\" }` would fit",
    ),
    (
        "read_chat",
        "messages {}",
        "{\"question\": \"Hi\", \"answer\": \"Hello\"}",
        "has no column `messages`; its columns are `question`, `answer` | `shape: \
         shapes.prompt_completion { prompt: \"question\", completion: \"answer\" }` would fit",
    ),
    (
        "read_chat",
        "alpaca {}",
        "{\"prompt\": {\"text\": \"Hi\", \"replies\": []}}",
        "has no column `instruction`; its columns are `prompt` | `shape: shapes.oasst {}` \
         would fit",
    ),
    (
        "read_chat",
        "alpaca {}",
        "{\"instruction\": \"Hi\", \"instances\": []}",
        "has no column `output`; its columns are `instruction`, `instances` | `shape: \
         shapes.self_instruct {}` would fit",
    ),
    (
        "read_chat",
        "alpaca {}",
        "{\"a\": 1}",
        "has no column `instruction`; its columns are `a` | set the fields of `shape` to the \
         names of your columns",
    ),
    (
        "read_chat",
        "messages {}",
        "{\"chosen\": \"\\n\\nHuman: Hi\", \"rejected\": \"\\n\\nHuman: Hi\"}",
        "has no column `messages`; its columns are `chosen`, `rejected` | read it with \
         `read_preferences` and `shape: shapes.hh {}`",
    ),
    (
        "read_chat",
        "alpaca {}",
        "{\"instruction\": \"Hi\", \"output\": \"Yo\", \"chosen\": \"Yo\", \"rejected\": \"\"}",
        "has a column `chosen` that is not used | add it to `ignore: [\"chosen\"]`, or read it \
         with `read_preferences` and `shape: shapes.alpaca_preference {}`",
    ),
    (
        "read_chat",
        "sharegpt {}",
        "{\"turns\": [\"Hi\", \"Ho\"]}",
        "has no column `conversations`; its columns are `turns` | read it with `read_prompts` \
         and `shape: shapes.turns {}`",
    ),
    (
        "read_preferences",
        "preference {}",
        "{\"question\": \"Hi\", \"chosen\": \"Yo\", \"rejected\": \"No\"}",
        "has no column `prompt`; its columns are `question`, `chosen`, `rejected` | `shape: \
         shapes.preference { prompt: \"question\" }` would fit",
    ),
    (
        "read_preferences",
        "hh {}",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}], \"chosen\": \
         {\"from\": \"gpt\", \"value\": \"Yo\"}, \"rejected\": {\"from\": \"gpt\", \"value\": \
         \"No\"}}",
        "has a column `conversations` that is not used | add it to `ignore: \
         [\"conversations\"]`, or `shape: shapes.sharegpt_preference {}` would fit",
    ),
    (
        "read_preferences",
        "hh {}",
        "{\"instruction\": \"Hi\", \"output\": \"Ho\"}",
        "has no column `chosen`; its columns are `instruction`, `output` | read it with \
         `read_chat` and `shape: shapes.alpaca {}`",
    ),
    (
        "read_prompts",
        "prompt {}",
        "{\"question\": \"Hi\"}",
        "has no column `prompt`; its columns are `question` | `shape: shapes.prompt { prompt: \
         \"question\" }` would fit",
    ),
    (
        "read_prompts",
        "prompt {}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}",
        "has no column `prompt`; its columns are `messages` | read it with `read_chat` and \
         `shape: shapes.messages {}`",
    ),
];

#[test]
fn a_shape_that_would_fit_is_named() {
    for (kind, shape, row, expected) in FITS {
        let told = refused("a.jsonl", row, kind, &format!("shape: shapes.{shape}"));
        assert_eq!(told, format!("`a.jsonl` line 1 {expected}"));
    }
}

#[test]
fn fields_of_turns_are_named_or_ignored() {
    for (turn, expected) in [
        (
            "{\"from\": \"user\", \"content\": \"Hi\"}",
            "has no `role`; its fields are `from`, `content` | name them in `shape`: \"from\" \
             holds the role and \"content\" the text",
        ),
        ("{\"a\": 1}", "has no `role`; its fields are `a` | name the fields of a turn in `shape`"),
        (
            "{\"role\": \"user\", \"content\": \"Hi\", \"mood\": 1}",
            "has a column `mood` that is not used | add it to `ignore: [\"mood\"]`",
        ),
    ] {
        let row = format!("{{\"messages\": [{turn}]}}");
        let told = refused("a.jsonl", row, "read_chat", "shape: shapes.messages {}");
        assert_eq!(told, format!("`a.jsonl` line 1 turn 1 {expected}"));
    }
}
