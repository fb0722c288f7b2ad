//! Files that claim more than they hold, or hold more than they should.

use super::{gz, refused, zst};

#[test]
fn archives_are_bounded_and_checked() {
    let lines = "documents: \"lines\"";
    for (name, bomb) in
        [("a.txt.gz", gz(vec![b'\n'; 80 << 20])), ("a.txt.zst", zst(vec![b'\n'; 80 << 20]))]
    {
        let expected =
            format!("`{name}` cannot be read: it inflates to more than 200 times its size");
        assert_eq!(refused(name, &bomb, "read_text", lines), expected);
    }
    for (name, whole) in
        [("a.txt.gz", gz("one\n".repeat(1000))), ("a.txt.zst", zst("one\n".repeat(1000)))]
    {
        for cut in [0, 3, whole.len() - 1] {
            let told = refused(name, &whole[..cut], "read_text", "");
            assert!(told.starts_with(&format!("`{name}` cannot be read: ")), "{cut}: {told}");
        }
    }
}

#[test]
fn a_frame_of_a_huge_window_is_refused() {
    // A header of Zstandard whose window is 3.75 TiB.
    let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xFF, 0x01, 0x00, 0x00];
    let told = refused("a.txt.zst", frame, "read_text", "");
    assert!(told.starts_with("`a.txt.zst` cannot be read: "), "{told}");
}

#[test]
fn rows_are_bounded() {
    let row = vec![b'a'; 100 << 20];
    assert_eq!(
        refused("a.jsonl", &row, "read_text", "column: \"text\""),
        "`a.jsonl` line 1 is longer than 64 MiB | break it into rows of less"
    );
    assert_eq!(
        refused("a.txt", &row, "read_text", ""),
        "`a.txt` as one document is longer than 64 MiB | set `documents: \"paragraphs\"` or \
         `documents: \"lines\"`, or a `separator`"
    );
    assert_eq!(
        refused("a.txt", &row, "read_text", "separator: \"|\""),
        "`a.txt` document 1 is longer than 64 MiB | set `separator` to the mark that parts the \
         documents of this file"
    );
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{{\"prompt\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let told = refused("a.jsonl", deep, "read_chat", "shape: shapes.oasst {}");
    assert_eq!(
        told,
        "`a.jsonl` line 1 is not a row that can be read: recursion limit exceeded at column 138"
    );
}
