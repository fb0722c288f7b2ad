//! Reading what users have: every format, every mistake named with its place.

use std::io::Write;
use std::path::{Path, PathBuf};

use llamake::train::data::rows::{Benchmark, Chat, Prompt, Text, read_rows};
use llamake::train::progress::Failure;
use llamake::train::stage::read_benchmark::{self, ReadBenchmark};
use llamake::train::stage::read_chat::{self, ChatShape, ReadChat};
use llamake::train::stage::read_text::{self, Documents, ReadText};
use llamake::train::stage::split::{self, HeldOut, Split};

use super::{file, run_stage, shared_data, told};

fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn text_of(params: &ReadText) -> Result<Vec<String>, Failure> {
    let (out, result) = run_stage(1, |ctx| read_text::run(params, ctx));
    result?;
    let rows: Vec<Text> = read_rows(&out.path().join("out")).unwrap();
    Ok(rows.into_iter().map(|row| row.text).collect())
}

fn plain(file: PathBuf) -> ReadText {
    ReadText { files: vec![file], documents: Documents::File, column: None, ignore: vec![] }
}

fn column(file: PathBuf, ignore: &[&str]) -> ReadText {
    let ignore = ignore.iter().map(|name| name.to_string()).collect();
    ReadText { column: Some("text".into()), ignore, ..plain(file) }
}

#[test]
fn every_format_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (jsonl, json, csv) = (
        "\u{FEFF}{\"text\": \"one\", \"id\": 1}\r\n\n{\"id\": 2, \"text\": \"two\\nlines\"}",
        "\u{FEFF} [{\"text\": \"one\", \"id\": 1}, {\"text\": \"two\\nlines\", \"id\": null}]\n",
        "\u{FEFF}id,text\n1,one\n2,\"two\nlines\"\n",
    );
    for (name, bytes) in [("a.jsonl", jsonl), ("a.json", json), ("a.CSV", csv), ("b.json", jsonl)] {
        let plain = file(folder.path(), name, bytes);
        let packed = file(folder.path(), &format!("{name}.gz"), gz(bytes));
        for path in [plain, packed] {
            let texts = text_of(&column(path, &["id"])).unwrap();
            assert_eq!(texts, ["one", "two\nlines"], "{name}");
        }
    }
}

#[test]
fn a_text_file_is_one_document_or_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.txt", "one\ntwo\n\n \nthree\r\nfour\n");
    let texts = |documents| text_of(&ReadText { documents, ..plain(path.clone()) }).unwrap();
    assert_eq!(texts(Documents::File), ["one\ntwo\n\n \nthree\r\nfour\n"]);
    assert_eq!(texts(Documents::Paragraphs), ["one\ntwo", "three\nfour"]);
    assert_eq!(texts(Documents::Lines), ["one", "two", "three", "four"]);
}

#[test]
fn a_folder_stands_for_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt"] {
        file(folder.path(), name, name);
    }
    assert_eq!(text_of(&plain(folder.path().into())).unwrap(), ["a.txt", "b.txt"]);
}

/// What is said of a file that cannot be read.
fn refused(
    name: &str,
    bytes: impl AsRef<[u8]>,
    params: impl FnOnce(PathBuf) -> ReadText,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), name, bytes);
    told(text_of(&params(path)).unwrap_err(), folder.path())
}

#[test]
fn mistakes_in_text_are_named() {
    let id = |path| column(path, &["id"]);
    let bare = |path| column(path, &[]);
    let check = |told: String, expected: &str| assert_eq!(told, expected);
    check(
        refused("a.jsonl", "{\"text\": \"one\"}\n{\"text\": one}\n", bare),
        "`a.jsonl` line 2 is not a row that can be read: expected value at column 10",
    );
    check(
        refused("a.json", "[{\"text\": \"one\"},\n{\"text\" \"two\"}]", bare),
        "`a.json` line 2 is not a row that can be read: expected `:` at column 9 | a `.json` file \
         holds one array of objects",
    );
    check(
        refused("a.jsonl", "{\"text\": \"one\"}\n[1]\n", bare),
        "`a.jsonl` line 2 is a list, not an object with named columns",
    );
    check(
        refused("a.jsonl", "{\"body\": \"one\", \"id\": 3}\n", id),
        "`a.jsonl` line 1 has no column `text`; its columns are `body`, `id`",
    );
    check(
        refused("a.csv", "text,url\none,two\n", bare),
        "`a.csv` line 2 has a column `url` that is not used | add it to `ignore: [\"url\"]`",
    );
    check(
        refused("a.csv", "text\none\ntwo,three\n", bare),
        "`a.csv` line 3 has 2 fields and the first line names 1 columns",
    );
    check(
        refused("a.csv", "text,text\none,two\n", bare),
        "`a.csv` line 1 names the column `text` twice | rename one of the two",
    );
    check(
        refused("a.jsonl", "{\"text\": 5}\n", bare),
        "`a.jsonl` line 1: column `text` holds a number, not a text",
    );
    check(
        refused("a.jsonl", "{\"text\": \"one\"}\n", id),
        "`ignore` names `id`, which no row has | leave `id` out; the columns are `text`",
    );
    check(
        refused("a.jsonl", "{\"text\": \"one\"}\n", plain),
        "`a.jsonl` line 1 has columns and `column` names none of them | set `column` to the one \
         that holds the text: `text`",
    );
    check(
        refused("a.txt", " \n", plain),
        "`a.txt` holds no rows | name files with at least one row",
    );
    check(
        refused("a.parquet", "PAR1", plain),
        "`a.parquet` is in no format that can be read: its name tells none | name it `.txt`, \
         `.jsonl`, `.json` or `.csv`, with `.gz` if compressed",
    );
    check(
        refused("a.txt", "one", bare),
        "`column` is set and text files have no columns | leave `column` out",
    );
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let remedy = " | convert the file, for example with `iconv -f latin1 -t utf-8`";
    for (name, bytes, place) in [
        ("a.txt", &b"one\ntw\xF6\n"[..], "line 2 is not UTF-8: byte 3 of it"),
        ("a.jsonl", b"{\"text\": \"one\"}\n\xFF\n", "line 2 is not UTF-8: byte 1 of it"),
        ("a.csv", b"text\none\ntw\xF6\n", "line 3 is not UTF-8: byte 3 of it"),
    ] {
        let params = |path| if name == "a.txt" { plain(path) } else { column(path, &[]) };
        let told = refused(name, bytes, params);
        assert_eq!(told, format!("`{name}` {place} cannot be read{remedy}"));
    }
    let lines = |path| ReadText { documents: Documents::Lines, ..plain(path) };
    let told = refused("a.txt", b"one\ntw\xF6\n", lines);
    assert!(told.starts_with("`a.txt` line 2 is not UTF-8"), "{told}");
    let told = refused("a.json", b"[{\"text\": \"tw\xF6\"}]", |path| column(path, &[]));
    assert!(told.starts_with("`a.json` line 1 is not a row that can be read"), "{told}");
}

#[test]
fn archives_are_bounded_and_checked() {
    let bomb = gz(vec![b'\n'; 80 << 20]);
    let told =
        refused("a.txt.gz", bomb, |path| ReadText { documents: Documents::Lines, ..plain(path) });
    assert_eq!(told, "`a.txt.gz` cannot be read: it inflates to more than 200 times its size");
    let torn = &gz("one\n".repeat(1000))[..20];
    let told = refused("a.txt.gz", torn, plain);
    assert!(told.starts_with("`a.txt.gz` cannot be read: "), "{told}");
    let told = refused("a.jsonl", vec![b'a'; 65 << 20], |path| column(path, &[]));
    assert_eq!(told, "`a.jsonl` line 1 is longer than 64 MiB | break it into rows of less");
}

#[test]
fn a_missing_file_is_named() {
    let failure = text_of(&plain("/no/such.txt".into())).unwrap_err();
    let Failure::Io { path, .. } = failure else { panic!("{failure:?}") };
    assert_eq!(path, Path::new("/no/such.txt"));
}

fn alpaca(output: &str) -> ChatShape {
    ChatShape::Alpaca {
        instruction: "instruction".into(),
        input: Some("input".into()),
        output: output.into(),
        system: None,
    }
}

fn chat_of(file: PathBuf, shape: ChatShape, ignore: &[&str]) -> Result<Vec<Chat>, Failure> {
    let ignore = ignore.iter().map(|name| name.to_string()).collect();
    let params = ReadChat { files: vec![file], shape, ignore };
    let (out, result) = run_stage(1, |ctx| read_chat::run(&params, ctx));
    result?;
    Ok(read_rows(&out.path().join("out")).unwrap())
}

fn said(rows: &[Chat]) -> Vec<String> {
    let row = |row: &Chat| {
        let turns = row.messages.iter().map(|turn| format!("{}: {}", turn.role, turn.content));
        turns.collect::<Vec<_>>().join(" / ")
    };
    rows.iter().map(row).collect()
}

#[test]
fn dialogues_come_in_three_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let rows = concat!(
        "{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\"}\n",
        "{\"instruction\": \"Hi\", \"input\": \"\", \"output\": \"Hello\"}\n",
        "{\"instruction\": \"Ho\", \"output\": \"Hey\"}\n",
    );
    let path = file(folder.path(), "a.jsonl", rows);
    assert_eq!(
        said(&chat_of(path, alpaca("output"), &[]).unwrap()),
        [
            "user: Add\n1 2 / assistant: 3",
            "user: Hi / assistant: Hello",
            "user: Ho / assistant: Hey"
        ]
    );
    let path = file(folder.path(), "a.csv", "q,a,s,id\nWho?,Ada.,Be kind.,1\n");
    let shape = ChatShape::PromptCompletion {
        prompt: "q".into(),
        completion: "a".into(),
        system: Some("s".into()),
    };
    assert_eq!(
        said(&chat_of(path, shape, &["id"]).unwrap()),
        ["system: Be kind. / user: Who? / assistant: Ada."]
    );
    let row = "[{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, \
               {\"from\": \"gpt\", \"value\": \"Hello\"}]}]";
    let shape = ChatShape::Messages {
        messages: "conversations".into(),
        role: "from".into(),
        content: "value".into(),
    };
    let path = file(folder.path(), "a.json", row);
    assert_eq!(said(&chat_of(path, shape, &[]).unwrap()), ["user: Hi / assistant: Hello"]);
}

#[test]
fn mistakes_in_dialogues_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let messages = ChatShape::Messages {
        messages: "messages".into(),
        role: "role".into(),
        content: "content".into(),
    };
    let check = |shape: &ChatShape, row: &str, expected: &str| {
        let path = file(folder.path(), "a.jsonl", row);
        let failure = chat_of(path, shape.clone(), &[]).unwrap_err();
        assert_eq!(told(failure, folder.path()), expected);
    };
    check(
        &alpaca("output"),
        "{\"instruction\": \"Hi\", \"input\": \"\", \"response\": \"Hello\"}",
        "`a.jsonl` line 1 has no column `output`; its columns are `instruction`, `input`, \
         `response` | `shape: alpaca { output: \"response\" }` would fit",
    );
    check(
        &messages,
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}]}",
        "`a.jsonl` line 1 has no column `messages`; its columns are `conversations` | `shape: \
         messages { messages: \"conversations\", role: \"from\", content: \"value\" }` would fit",
    );
    check(
        &messages,
        "{\"question\": \"Hi\", \"answer\": \"Hello\"}",
        "`a.jsonl` line 1 has no column `messages`; its columns are `question`, `answer` | `shape: \
         prompt_completion { prompt: \"question\", completion: \"answer\" }` would fit",
    );
    check(
        &messages,
        "{\"messages\": [{\"role\": \"tool\", \"content\": \"Hi\"}]}",
        "`a.jsonl` line 1 turn 1 has the role `tool` | roles are `system`, `user` and \
         `assistant`, or `human` and `gpt`",
    );
    check(
        &messages,
        "{\"messages\": [{\"from\": \"human\", \"content\": \"Hi\"}]}",
        "`a.jsonl` line 1 turn 1 has no `role`; its fields are `from`, `content` | name them: \
         `shape: messages { role: \"…\", content: \"…\" }`",
    );
    check(
        &messages,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"mood\": 1}]}",
        "`a.jsonl` line 1 turn 1 has a column `mood` that is not used | add it to `ignore: \
         [\"mood\"]`",
    );
    check(
        &messages,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}",
        "`a.jsonl` line 1 has no answer of the assistant | remove the row: there is nothing in it \
         to learn",
    );
    check(
        &alpaca("output"),
        "{\"instruction\": \"Hi\", \"output\": \" \"}",
        "`a.jsonl` line 1: an answer is empty | remove the row: it would teach the model to say \
         nothing",
    );
}

#[test]
fn benchmarks_keep_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path =
        file(folder.path(), "a.jsonl", "{\"id\": 1, \"answer\": [\"x\"], \"question\": \"q\"}");
    let params = ReadBenchmark {
        files: vec![path],
        columns: vec!["question".into(), "answer".into()],
        ignore: vec!["id".into()],
    };
    let (out, result) = run_stage(1, |ctx| read_benchmark::run(&params, ctx));
    result.unwrap();
    let rows: Vec<Benchmark> = read_rows(&out.path().join("out")).unwrap();
    let row = serde_json::to_string(&rows[0]).unwrap();
    assert_eq!(row, "{\"question\":\"q\",\"answer\":[\"x\"]}");
}

#[test]
fn prompts_are_turns_or_a_string() {
    let folder = tempfile::tempdir().unwrap();
    let rows = concat!(
        "{\"prompt\":\"Hi\"}\n",
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"safety\":true}\n",
    );
    let rows: Vec<Prompt> = read_rows(&file(folder.path(), "a", rows)).unwrap();
    assert_eq!(rows[0].prompt, rows[1].prompt);
    assert_eq!((rows[0].safety, rows[1].safety), (None, Some(true)));
}

fn parts(rows: usize, held_out: HeldOut, seed: u64) -> Result<[Vec<String>; 2], Failure> {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..rows).map(|at| format!("{{\"text\":\"{at}\"}}\n")).collect();
    let params = Split { data: file(folder.path(), "data", text), held_out, seed };
    let (out, result) = run_stage(1, |ctx| split::run(&params, ctx));
    result?;
    Ok(["train", "held_out"].map(|port| {
        let rows: Vec<Text> = read_rows(&out.path().join(port)).unwrap();
        rows.into_iter().map(|row| row.text).collect()
    }))
}

#[test]
fn a_split_keeps_order_and_every_row() {
    let [train, held_out] = parts(1000, HeldOut::Percent(5.0), 1).unwrap();
    assert_eq!((train.len(), held_out.len()), (950, 50));
    let numbers = |rows: &[String]| rows.iter().map(|row| row.parse().unwrap()).collect();
    let (train, held_out): (Vec<u32>, Vec<u32>) = (numbers(&train), numbers(&held_out));
    assert!(train.is_sorted() && held_out.is_sorted());
    let mut all = [train, held_out.clone()].concat();
    all.sort();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    let [_, again] = parts(1000, HeldOut::Rows(50), 1).unwrap();
    assert_eq!(numbers(&again), held_out);
    let [_, other] = parts(1000, HeldOut::Rows(50), 2).unwrap();
    assert_ne!(numbers(&other), held_out);
}

#[test]
fn a_split_without_a_part_is_refused() {
    for (rows, held_out, share) in [
        (3, HeldOut::Percent(5.0), "5% of 3 rows"),
        (3, HeldOut::Rows(3), "3 rows of 3 rows"),
        (0, HeldOut::Percent(50.0), "50% of 0 rows"),
    ] {
        let told = told(parts(rows, held_out, 0).unwrap_err(), Path::new("-"));
        assert!(told.starts_with(&format!("{share} leaves one of the two parts empty")), "{told}");
    }
}

#[test]
fn real_files_are_read() {
    let Some(folder) = shared_data("text") else { return };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (params, rows) = match name.as_str() {
            "rust_book.jsonl" => (column(path, &["path"]), 64),
            "c4_demo.jsonl" => (column(path, &[]), 200),
            _ if name.starts_with("c4-sample") => (column(path, &["url", "date"]), 10),
            _ => (plain(path), 1),
        };
        match text_of(&params) {
            Ok(texts) => assert_eq!(texts.len(), rows, "{name}"),
            Err(failure) => panic!("{name}: {}", told(failure, &folder)),
        }
    }
}

#[test]
fn real_instructions_are_read() {
    let Some(folder) = shared_data("instructions") else { return };
    let path = folder.join("llms_from_scratch_instruction.json");
    assert_eq!(chat_of(path, alpaca("output"), &[]).unwrap().len(), 850);
    let shape = ChatShape::Messages {
        messages: "conversations".into(),
        role: "from".into(),
        content: "value".into(),
    };
    let path = folder.join("sharegpt_dummy_conversation.json");
    assert_eq!(chat_of(path, shape, &["id"]).unwrap().len(), 350);
}
