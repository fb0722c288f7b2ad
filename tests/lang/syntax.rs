//! Reading recipes: one case for each error id, mistakes side by side, and what must not break.

use crate::snapshot;
use llamake::cli::draw::draw;
use llamake::lang::ast::{DeclKind, ExprKind, ItemKind, TextPart, TypeKind};
use llamake::lang::diagnostic::Diagnostic;
use llamake::lang::errors::syntax;
use llamake::lang::source::{FileId, Source, Sources};
use llamake::lang::{parse, parse_expression};
use std::path::{Path, PathBuf};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lang/cases")
}

fn drawn(path: &str, text: &str, faults: &[Diagnostic]) -> String {
    let mut sources = Sources::default();
    sources.add(Source::new(path, text));
    draw(&sources, faults, false)
}

fn ids(text: &str) -> Vec<&'static str> {
    parse(FileId(0), text).1.iter().map(|fault| fault.id).collect()
}

#[test]
fn a_field_may_be_called_of() {
    assert!(ids("let a = rouge {\n    ..b\n    of: \"L\"\n}\n").is_empty());
    assert!(ids("let a = rouge { ..b, of: 5% of c }\n").is_empty());
    assert_eq!(ids("let a = 5% of\n"), ["unexpected-token"]);
}

#[test]
fn every_error_id_has_a_case_that_draws_it() {
    for id in syntax::ALL {
        let path = cases().join(format!("{id}.recipe"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, faults) = parse(FileId(0), &text);
        assert!(!faults.is_empty(), "{id} has no fault");
        assert!(faults.iter().all(|fault| fault.id == *id), "{id} has other faults: {faults:?}");
        let picture = drawn(&format!("{id}.recipe"), &text, &faults);
        snapshot::check(&path.with_extension("out"), &picture);
    }
}

#[test]
fn a_lone_message_reads_as_the_house_wants() {
    let messages = syntax::ALL.iter().flat_map(|id| {
        let text = std::fs::read_to_string(cases().join(format!("{id}.recipe"))).unwrap();
        parse(FileId(0), &text).1
    });
    for fault in messages {
        assert!(!fault.message.ends_with('.'), "{}", fault.message);
        assert!(!fault.message.starts_with(char::is_uppercase), "{}", fault.message);
        assert!(!fault.labels.is_empty(), "{} has no label", fault.message);
    }
}

#[test]
fn ten_mistakes_give_ten_errors_in_order() {
    let text = r#"
let brace = { x: 1
stage call = sft(init: base)
let unit = 64 exampels
let suffix = 12x
let quote = "abc
let escape = "a\d"
let match = 3
let value =
let sign = 1 # one
let fields = { lr = 1e-3 }
stage sound = sft { init: base }
"#;
    let expected = [
        "unclosed",
        "parentheses",
        "unknown-unit",
        "bad-number",
        "bad-string",
        "bad-string",
        "reserved-word",
        "unexpected-token",
        "strange-character",
        "unexpected-token",
    ];
    assert_eq!(ids(text), expected);
    let (file, _) = parse(FileId(0), text);
    let last = &file.items.last().expect("items").kind;
    assert!(matches!(last, ItemKind::Stage(stage) if stage.name.text == "sound"));
}

#[test]
fn a_faulty_entry_spoils_only_itself() {
    let text = "let a = { x: , y: 2, z: [1, *, 3], w: 4\n    v }\nlet b = { q: 1 r: 2 }\n";
    assert_eq!(ids(text), ["unexpected-token"; 3]);
    let (file, _) = parse(FileId(0), text);
    let ItemKind::Let(binding) = &file.items[0].kind else { panic!("a let") };
    let ExprKind::Record(args) = &binding.value.kind else { panic!("a record") };
    assert_eq!(args.entries.len(), 5);
}

#[test]
fn an_unclosed_brace_is_reported_once_and_spoils_one_item() {
    assert_eq!(ids("let a = { b: [ { c: (1\nlet d = 2\n"), ["unclosed"]);
    assert_eq!(ids("let a = { b: [1, 2 }\nlet d = 2\n"), ["unclosed"]);
    assert_eq!(ids("let a = { b: 1 ] }\n"), ["unclosed"]);
    assert_eq!(ids("fn f { a: Int } -> Int {\n    let b = 1\n    b\nlet d = 2\n"), ["unclosed"]);
}

#[test]
fn keywords_may_name_fields_but_not_values() {
    assert_eq!(ids("let a = {\n    output: 1\n    use: 2\n    require: 3\n}\n"), [""; 0]);
    assert_eq!(ids("record r {\n    require: Int\n    type: Int\n}\n"), [""; 0]);
    assert_eq!(ids("stage output = f { a }\n"), ["reserved-word"]);
    assert_eq!(ids("let a = x.output\n"), [""; 0]);
}

#[test]
fn a_word_on_the_next_line_is_no_unit_and_a_body_may_stand_on_one_line() {
    assert_eq!(ids("let a = {\n    b: 2\n    steps_done\n}\n"), [""; 0]);
    assert_eq!(ids("fn f { a: Int } -> Int { let b = 2 b }\n"), [""; 0]);
    assert_eq!(ids("fn f { a: Int } -> Int { stage n = g { a } n }\n"), [""; 0]);
}

#[test]
fn ranges_have_every_form() {
    let text = "type A = Int(1..) | Int(>0) | Int(0..=1) | Int(0..1) | Int(>0..<9) | Int(..=3)\n";
    assert_eq!(ids(text), [""; 0]);
    assert_eq!(ids("type A = Int()\n"), ["unexpected-token"]);
    assert_eq!(ids("type A = Int(..)\n"), ["unexpected-token"]);
}

#[test]
fn signatures_keep_docs_spreads_and_requirements() {
    let text = r#"/// one
fn f<K> {
    /// two
    a: Model<K>
    ..b
    require a <= b.c
} -> Int
"#;
    let (file, faults) = parse(FileId(0), text);
    assert_eq!(faults, []);
    assert_eq!(file.items[0].doc, ["one"]);
    let ItemKind::Fn(function) = &file.items[0].kind else { panic!("a function") };
    let [field, spread, require] = &function.fields.decls[..] else { panic!("three") };
    assert_eq!(field.doc, ["two"]);
    assert!(matches!(spread.kind, DeclKind::Spread(_)));
    assert!(matches!(require.kind, DeclKind::Require { .. }));
    assert!(matches!(function.result.kind, TypeKind::Name { .. }));
}

fn text_of(source: &str) -> String {
    let (expr, faults) = parse_expression(FileId(0), source);
    assert_eq!(faults, [], "{source}");
    let ExprKind::Text(text) = expr.kind else { panic!("{source} is a string") };
    let part = |part: &TextPart| match part {
        TextPart::Literal(text) => text.clone(),
        TextPart::Path(path) => format!("<{}>", path.text()),
    };
    text.parts.iter().map(part).collect()
}

#[test]
fn strings_mean_what_they_say() {
    let cases = [
        (r#""""#, ""),
        (r#""a\"b\\c\nd\te""#, "a\"b\\c\nd\te"),
        (r#""${a} and ${b.c}, $5, {{x}}""#, "<a> and <b.c>, $5, {{x}}"),
        ("\"\"\"\n    a\n      b\n\n    c\n    \"\"\"", "a\n  b\n\nc"),
        ("\"\"\"\r\n  a\r\n  b\r\n  \"\"\"", "a\nb"),
        ("\"\"\"\n  say \"hi\", ${who}\n  \"\"\"", "say \"hi\", <who>"),
        ("\"\"\"\n\"\"\"", ""),
    ];
    for (source, meaning) in cases {
        assert_eq!(text_of(source), meaning, "{source}");
    }
}

#[test]
fn an_expression_is_the_whole_text() {
    assert_eq!(parse_expression(FileId(0), "[1, 2k, 5e-4]").1, []);
    assert_eq!(parse_expression(FileId(0), "1 }").1.len(), 1);
    assert_eq!(parse_expression(FileId(0), "").1.len(), 1);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_no_faults() {
    let text = "\u{feff}//! doc\r\nuse std/a\r\n\r\nlet b = {\r\n    c: 1\r\n    d\r\n}\r\n";
    let (file, faults) = parse(FileId(0), text);
    assert_eq!(faults, []);
    assert_eq!((file.doc.as_slice(), file.items.len()), (["doc".to_string()].as_slice(), 2));
}

#[test]
fn depth_is_an_error_not_a_crash() {
    let pieces = ["[", "(", "{ a: ", "f { a: ", "f(a: ", "1 + ", "2 * ", "x[k: ", "a."];
    for piece in pieces {
        let text = format!("let a = {}1\nlet b = 2\n", piece.repeat(20_000));
        let (file, faults) = parse(FileId(0), &text);
        assert!(!faults.is_empty() && faults.len() < 5, "{piece}: {} faults", faults.len());
        assert!(matches!(file.items.last().map(|item| &item.kind), Some(ItemKind::Let(_))));
    }
    for piece in ["[", "Map<", "{ a: ", "Int | "] {
        let text = format!("type A = {}Int\n", piece.repeat(20_000));
        let deep = piece != "Int | ";
        assert_eq!(parse(FileId(0), &text).1.is_empty(), !deep, "{piece}");
    }
}
