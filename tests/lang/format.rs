//! The canonical text: tiny cases, each laid out once and then unchanged.

use llamake::lang::format;

fn check(input: &str, expected: &str) {
    let once = format(input).unwrap_or_else(|faults| panic!("{input}\n{faults:?}"));
    assert_eq!(once, expected, "\n{once}\ninstead of\n{expected}");
    assert_eq!(format(&once).as_deref(), Ok(expected), "not idempotent");
}

#[test]
fn a_block_keeps_its_line_if_it_fits() {
    check("let a={x:1,y :[ 1,2 ],}", "let a = { x: 1, y: [1, 2] }\n");
    check(
        "let a = f {\nx:1, long_name: 2\n}",
        "let a = f {\n    x:         1\n    long_name: 2\n}\n",
    );
    check("let a = f { x: {\ny: 1 } }", "let a = f {\n    x: {\n        y: 1\n    }\n}\n");
    check("let a = f {\n}", "let a = f {}\n");
}

#[test]
fn a_block_that_does_not_fit_has_one_row_a_line() {
    let word = "w".repeat(90);
    check(
        &format!("let a = f {{ x: \"{word}\", yy: 1 }}"),
        &format!("let a = f {{\n    x:  \"{word}\"\n    yy: 1\n}}\n"),
    );
}

#[test]
fn values_align_between_blank_lines() {
    check(
        "let a = {\n  x: 1\n  // note\n  longer: 2\n\n\n\n  y: 3 // three\n  pun\n}",
        "let a = {\n    x:      1\n    // note\n    longer: 2\n\n    y: 3 // three\n    pun\n}\n",
    );
}

#[test]
fn single_line_items_of_a_kind_align() {
    check(
        "let a = 1\nlet long = 2\nstage s = f {}\nlet b = {\nx: 1\n}\nlet cc = 3\n",
        "let a    = 1\nlet long = 2\nstage s = f {}\nlet b = {\n    x: 1\n}\nlet cc = 3\n",
    );
    check(
        "param a: Int = 1\nparam bcd: Path\nparam e: Int\n",
        "param a:   Int = 1\nparam bcd: Path\nparam e:   Int\n",
    );
    check("let a = 1\n\nlet long = 2\n", "let a = 1\n\nlet long = 2\n");
}

#[test]
fn uses_are_sorted_line_under_line() {
    check(
        "use ./b\nuse ../a\nuse std/z as y\nuse std/c\n\nuse std/a // why\n",
        "use std/c\nuse std/z as y\nuse ./b\nuse ../a\n\nuse std/a // why\n",
    );
}

#[test]
fn comments_and_docs_stay_in_place() {
    check(
        r#"//! file
// top

/// doc
///
/// more
let a = f { // why
 x: 1, // one
 // last
}
// end"#,
        r#"//! file
// top

/// doc
///
/// more
let a = f {
    // why
    x: 1 // one
    // last
}
// end
"#,
    );
    check("let a = 1 // one\n  + 2 // two\n", "// one\nlet a = 1 + 2 // two\n");
    check("\n\n// only\n\n\n// comments\n\n", "// only\n\n// comments\n");
    check("", "");
}

#[test]
fn numbers_are_short() {
    let cases = [
        ("0.0005", "5e-4"),
        ("2_000_000 tokens", "2M tokens"),
        ("2000k", "2M"),
        ("32_000", "32000"),
        ("1 epochs", "1 epoch"),
        ("2 epoch", "2 epochs"),
        ("24GiB", "24GiB"),
        ("1.50", "1.5"),
        ("007", "7"),
        ("10% of a", "10% of a"),
    ];
    for (written, short) in cases {
        check(&format!("let a = {written}"), &format!("let a = {short}\n"));
    }
}

#[test]
fn signatures_break_where_they_must() {
    check(
        "fn f<K>{a:Model<K>,b:Int(>0..<9)?=none,}->Int",
        "fn f<K> { a: Model<K>, b: Int(>0..<9)? = none } -> Int\n",
    );
    check(
        r#"fn f {
/// doc
a: Int
..training
longer: "x" | [Int]
require a<=b
} -> {x: Int} facts {a}"#,
        r#"fn f {
    /// doc
    a:      Int
    ..training
    longer: "x" | [Int]
    require a <= b
} -> { x: Int } facts { a }
"#,
    );
    check("fn f {} -> Int { let b = 2 b }", "fn f {} -> Int { let b = 2 b }\n");
    check(
        r#"fn f {} -> Int {
 let b=2
 stage s[k in [1,2], j in l] = g { k }

 { b, s }}"#,
        r#"fn f {} -> Int {
    let b = 2
    stage s[k in [1, 2], j in l] = g { k }

    { b, s }
}
"#,
    );
}

#[test]
fn blocks_of_text_move_with_their_indent() {
    check(
        "let a = {\n  t: \"\"\"\n one\n   two\n\n \"\"\"\n}",
        "let a = {\n    t: \"\"\"\n        one\n          two\n\n        \"\"\"\n}\n",
    );
}

#[test]
fn a_text_with_faults_is_left_alone() {
    assert!(format("let a = {").is_err());
}
