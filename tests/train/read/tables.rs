//! Rows that tasks ask about, rows of our own files, and rows set aside.

use std::path::Path;

use llamake::train::data::rows::{Prompt, Text, read_rows};
use llamake::train::progress::Failure;
use llamake::train::stage::split::{self, HeldOut, Split};

use super::{refused, rows};
use crate::train::{file, run_stage, told};

#[test]
fn benchmarks_keep_their_columns() {
    let row = "{\"id\": 1, \"answer\": [\"x\"], \"question\": \"q\"}";
    let fields = "columns: [\"question\", \"answer\"], ignore: [\"id\"]";
    let made = rows("a.jsonl", row, "read_benchmark", fields);
    assert_eq!(made, "{\"question\":\"q\",\"answer\":[\"x\"]}\n");
}

#[test]
fn a_table_may_have_no_header_and_its_file_a_subject() {
    let fields = "columns: [\"q\", \"a\"], header: false, named: \"{{subject}}_test.csv\"";
    let made = rows("art_test.csv", "\"1, 2\",b\nc,d\n", "read_benchmark", fields);
    assert_eq!(
        made,
        "{\"q\":\"1, 2\",\"a\":\"b\",\"subject\":\"art\"}\n\
         {\"q\":\"c\",\"a\":\"d\",\"subject\":\"art\"}\n"
    );
    let said = refused("art_test.csv", "a,b,c\n", "read_benchmark", fields);
    assert!(said.contains("line 1 has 3 fields, and 2 columns are named"), "{said}");
    let said = refused("art.csv", "a,b\n", "read_benchmark", fields);
    assert!(said.contains("`art.csv` is not called like `{{subject}}_test.csv`"), "{said}");
}

#[test]
fn rows_may_lie_within_an_object_or_be_a_text() {
    let fields = "columns: [\"q\"], rows: \"all\"";
    let object = "{\n \"note\": 1,\n \"all\": [{\"q\": 1}, {\"q\": 2}]\n}\n";
    assert_eq!(rows("a.json", object, "read_benchmark", fields), "{\"q\":1}\n{\"q\":2}\n");
    let said = refused("a.json", "{\"note\": 1}", "read_benchmark", fields);
    assert!(said.contains("has no list `all`; it has `note`"), "{said}");
    let made = rows("a.txt", "x\n\ny\n", "read_benchmark", "columns: [\"text\"]");
    assert_eq!(made, "{\"text\":\"x\\n\\ny\\n\"}\n");
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
