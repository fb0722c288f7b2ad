//! Text in every format, and each way to cut it into documents.

use std::path::{Path, PathBuf};

use llamake::train::progress::Failure;
use llamake::train::stage::read_text::{self, Documents, ReadText};

use super::{field, gz, read, refused, rows, zst};
use crate::train::{file, run_stage};

#[test]
fn every_format_reads_the_same() {
    let (jsonl, json, csv) = (
        "\u{FEFF}{\"text\": \"one\", \"id\": 1}\r\n\n{\"id\": 2, \"text\": \"two\\nlines\"}",
        "\u{FEFF} [{\"text\": \"one\", \"id\": 1}, {\"text\": \"two\\nlines\", \"id\": null}]\n",
        "\u{FEFF}id,text\n1,one\n2,\"two\nlines\"\n",
    );
    for (name, bytes) in [("a.jsonl", jsonl), ("a.json", json), ("a.CSV", csv), ("b.json", jsonl)] {
        let packed = [
            (name.to_string(), bytes.as_bytes().to_vec()),
            (format!("{name}.gz"), gz(bytes)),
            (format!("{name}.zst"), zst(bytes)),
            // Archives end to end are one archive.
            (format!("{name}.GZ"), [gz(&bytes[..9]), gz(&bytes[9..])].concat()),
            (format!("{name}.ZST"), [zst(&bytes[..9]), zst(&bytes[9..])].concat()),
        ];
        for (name, bytes) in packed {
            let made = rows(&name, bytes, "read_text", "column: \"text\", ignore: [\"id\"]");
            assert_eq!(made, "{\"text\":\"one\"}\n{\"text\":\"two\\nlines\"}\n", "{name}");
        }
    }
}

fn texts(bytes: impl AsRef<[u8]>, fields: &str) -> Vec<String> {
    field(&rows("a.txt", bytes, "read_text", fields), "text")
}

#[test]
fn a_text_file_is_one_document_or_many() {
    let text = "one\ntwo\n\n \nthree\r\nfour\n";
    assert_eq!(texts(text, ""), [text]);
    assert_eq!(texts(text, "documents: \"paragraphs\""), ["one\ntwo", "three\nfour"]);
    assert_eq!(texts(text, "documents: \"lines\""), ["one", "two", "three", "four"]);
}

#[test]
fn documents_are_parted_by_a_mark() {
    let mark = "separator: \"<|end|>\"";
    for (text, expected) in [
        ("one<|end|>two", vec!["one", "two"]),
        ("\u{FEFF}one\n<|end|>\r\ntwo\n\nthree\n<|end|>\n", vec!["one", "two\n\nthree"]),
        ("<|end|>one<|end|><|end|> two <|end", vec!["one", " two <|end"]),
        ("one", vec!["one"]),
    ] {
        assert_eq!(texts(text, mark), expected, "{text}");
    }
    // Marks across the blocks that a file is read in.
    let long = "x".repeat(65_533);
    let text = [long.as_str(), "<|end|>", &long, "<|end|>", "é"].concat();
    assert_eq!(texts(&text, mark), [&long, &long, "é"]);
    let packed = rows("a.txt.zst", zst(&text), "read_text", mark);
    assert_eq!(field(&packed, "text").len(), 3);
    assert_eq!(
        refused("a.txt", b"one<|end|>tw\xF6", "read_text", mark),
        "`a.txt` document 2 is not UTF-8: byte 3 of it cannot be read | convert the file, for \
         example with `iconv -f latin1 -t utf-8`"
    );
    assert_eq!(
        refused("a.txt", "one", "read_text", "separator: \"\""),
        "`separator` is empty | name the mark between two documents, or leave `separator` out"
    );
    assert_eq!(
        refused("a.txt", "one", "read_text", "separator: \"|\", documents: \"lines\""),
        "`separator` and `documents` both say what a document is | leave one of them out"
    );
    assert_eq!(
        refused("a.csv", "text\none\n", "read_text", "separator: \"|\", column: \"text\""),
        "`separator` is set and none of the files is a `.txt` | leave `separator` out: here each \
         row is a document"
    );
}

#[test]
fn a_folder_stands_for_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt"] {
        file(folder.path(), name, name);
    }
    let made = read(folder.path(), "read_text", "").unwrap();
    assert_eq!(field(&made.rows, "text"), ["a.txt", "b.txt"]);
}

const BARE: &str = "column: \"text\"";
const ID: &str = "column: \"text\", ignore: [\"id\"]";

const MISTAKES: &[(&str, &str, &str, &str)] = &[
    (
        "a.jsonl",
        "{\"text\": \"one\"}\n{\"text\": one}\n",
        BARE,
        "`a.jsonl` line 2 is not a row that can be read: expected value at column 10",
    ),
    (
        "a.json",
        "[{\"text\": \"one\"},\n{\"text\" \"two\"}]",
        BARE,
        "`a.json` line 2 is not a row that can be read: expected `:` at column 9 | a `.json` \
         file holds one array of objects",
    ),
    (
        "a.jsonl",
        "{\"text\": \"one\"}\n[1]\n",
        BARE,
        "`a.jsonl` line 2 is a list, not an object with named columns",
    ),
    (
        "a.jsonl",
        "{\"body\": \"one\", \"id\": 3}\n",
        ID,
        "`a.jsonl` line 1 has no column `text`; its columns are `body`, `id`",
    ),
    (
        "a.csv",
        "text,url\none,two\n",
        BARE,
        "`a.csv` line 2 has a column `url` that is not used | add it to `ignore: [\"url\"]`",
    ),
    (
        "a.csv",
        "text\none\ntwo,three\n",
        BARE,
        "`a.csv` line 3 has 2 fields and the first line names 1 columns",
    ),
    (
        "a.csv",
        "text,text\none,two\n",
        BARE,
        "`a.csv` line 1 names the column `text` twice | rename one of the two",
    ),
    (
        "a.jsonl",
        "{\"text\": 5}\n",
        BARE,
        "`a.jsonl` line 1: column `text` holds a number, not a text",
    ),
    (
        "a.jsonl",
        "{\"text\": \"one\"}\n",
        ID,
        "`ignore` names `id`, which no row has | leave `id` out; the columns are `text`",
    ),
    (
        "a.jsonl",
        "{\"text\": \"one\"}\n",
        "",
        "`a.jsonl` line 1 has columns and `column` names none of them | set `column` to the \
         one that holds the text: `text`",
    ),
    ("a.txt", " \n", "", "`a.txt` holds no rows | name files with at least one row"),
    (
        "a.xlsx",
        "PK",
        "",
        "`a.xlsx` is in no format that can be read: its name tells none | name it `.txt`, \
         `.jsonl`, `.json` or `.csv`, with `.gz` or `.zst` if compressed, or `.parquet`",
    ),
    (
        "a.parquet.gz",
        "PAR1",
        BARE,
        "`a.parquet.gz` is compressed twice: a Parquet file is so within | unpack it and name \
         it `.parquet`",
    ),
    ("a.txt", "one", BARE, "`column` is set and text files have no columns | leave `column` out"),
];

#[test]
fn mistakes_in_text_are_named() {
    for (name, bytes, fields, expected) in MISTAKES {
        assert_eq!(refused(name, bytes, "read_text", fields), *expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let remedy = " | convert the file, for example with `iconv -f latin1 -t utf-8`";
    for (name, bytes, fields, place) in [
        ("a.txt", &b"one\ntw\xF6\n"[..], "", "line 2 is not UTF-8: byte 3 of it"),
        ("b.txt", b"one\ntw\xF6\n", "documents: \"lines\"", "line 2 is not UTF-8: byte 3 of it"),
        (
            "a.jsonl",
            b"{\"text\": \"one\"}\n\xFF\n",
            "column: \"text\"",
            "line 2 is not UTF-8: byte 1 of it",
        ),
        ("a.csv", b"text\none\ntw\xF6\n", "column: \"text\"", "line 3 is not UTF-8: byte 3 of it"),
    ] {
        let told = refused(name, bytes, "read_text", fields);
        assert_eq!(told, format!("`{name}` {place} cannot be read{remedy}"));
    }
    let told = refused("a.json", b"[{\"text\": \"tw\xF6\"}]", "read_text", "column: \"text\"");
    assert!(told.starts_with("`a.json` line 1 is not a row that can be read"), "{told}");
}

#[test]
fn a_missing_file_is_named() {
    let params = ReadText {
        files: vec![PathBuf::from("/no/such.txt")],
        documents: Documents::File,
        separator: None,
        column: None,
        ignore: vec![],
    };
    let (_, result) = run_stage(1, |ctx| read_text::run(&params, ctx));
    let failure = result.unwrap_err();
    let Failure::Io { path, .. } = failure else { panic!("{failure:?}") };
    assert_eq!(path, Path::new("/no/such.txt"));
}
