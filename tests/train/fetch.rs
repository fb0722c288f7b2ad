//! `fetch`: files of the web, pinned by a digest.

use std::path::PathBuf;
use std::time::Duration;

use llamake::train::progress::{Attempt, Context, Failure};
use llamake::train::stage::fetch::{self, Fetch};

use super::hub::limits;
use super::{Silent, told};
use crate::fake_hub::{FakeHub, Fault, digest};

const BYTES: &[u8] = b"a book of some length, to be cut in the middle";

struct Run {
    server: FakeHub,
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Run {
        let server = FakeHub::new();
        server.commit("models/some/book", "main", &[("book.txt", BYTES)]);
        Run { server, folder: tempfile::tempdir().unwrap() }
    }

    fn params(&self) -> Fetch {
        let url = format!("{}/some/book/resolve/main/book.txt", self.server.endpoint);
        Fetch { url, sha256: Some(sha256()), blake3: None, name: None }
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("attempt/download.part")
    }

    fn result(&self, params: &Fetch) -> (tempfile::TempDir, Result<(), Failure>) {
        let out = tempfile::tempdir().unwrap();
        let mut progress = Silent::default();
        let mut ctx = Context::new(1, out.path().into(), &mut progress);
        let folder = self.folder.path().join("attempt");
        ctx.attempt = Some(Attempt { folder, every: Duration::ZERO });
        ctx.hub.limits = limits();
        let result = fetch::run(params, &mut ctx).map(|_| ());
        (out, result)
    }

    fn made(&self, params: &Fetch) -> Vec<(String, Vec<u8>)> {
        let (out, result) = self.result(params);
        result.unwrap();
        let file = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        };
        std::fs::read_dir(out.path().join("out")).unwrap().map(file).collect()
    }

    fn refused(&self, params: &Fetch) -> String {
        let told = told(self.result(params).1.unwrap_err(), self.folder.path());
        told.replace(&self.server.endpoint, "SERVER")
    }
}

fn sha256() -> String {
    // Files called large are named by their sha256.
    digest("large", BYTES)
}

#[test]
fn a_pinned_file_is_fetched_under_its_name() {
    let run = Run::new();
    let book = |name: &str| vec![(name.to_string(), BYTES.to_vec())];
    assert_eq!(run.made(&run.params()), book("book.txt"));
    assert!(!run.part().exists());
    let blake3 = Some(blake3::hash(BYTES).to_hex().to_string().to_uppercase());
    let params = Fetch { sha256: None, blake3, name: Some("other".into()), ..run.params() };
    assert_eq!(run.made(&params), book("other"));
    let mut aside = run.params();
    aside.url += "?x=/y#z";
    assert_eq!(run.made(&aside), book("book.txt"));
}

#[test]
fn what_has_arrived_is_kept_for_the_next_time() {
    let run = Run::new();
    for _ in 0..3 {
        run.server.fault("book.txt", Fault::Cut(5));
    }
    let told = run.refused(&run.params());
    assert!(told.starts_with("`SERVER/some/book/resolve/main/book.txt` cannot be"), "{told}");
    assert!(told.ends_with("| build again when it can be reached; what has arrived is kept"));
    assert_eq!(std::fs::read(run.part()).unwrap(), &BYTES[..15]);
    run.server.asked();
    assert_eq!(run.made(&run.params())[0].1, BYTES);
    let asked = run.server.asked();
    assert_eq!(asked[0].headers["range"], "bytes=15-");
    assert_eq!(asked[0].sent, BYTES.len() - 15);
}

#[test]
fn other_bytes_are_named_and_no_digest_is_told_to_be_pinned() {
    let run = Run::new();
    std::fs::write(run.folder.path().join("neighbour"), "x").unwrap();
    let params = Fetch { sha256: Some("0".repeat(64)), ..run.params() };
    assert_eq!(
        run.refused(&params),
        format!(
            "`SERVER/some/book/resolve/main/book.txt` holds other bytes: sha256 {} is wanted, {} \
             is what came",
            "0".repeat(64),
            sha256()
        )
    );
    assert!(!run.part().exists() && run.folder.path().join("neighbour").exists());
    let params = Fetch { sha256: None, ..run.params() };
    assert_eq!(
        run.refused(&params),
        format!(
            "no digest pins `SERVER/some/book/resolve/main/book.txt` | pin what it holds today: \
             `sha256: \"{}\"`",
            sha256()
        )
    );
}

#[test]
fn what_cannot_be_fetched_is_refused_before_it_is_asked_for() {
    let run = Run::new();
    let check = |change: &dyn Fn(&mut Fetch), expected: &str| {
        let mut params = run.params();
        change(&mut params);
        let told = run.refused(&params);
        assert!(told.contains(expected), "{told}");
    };
    check(&|fetch| fetch.url = "file:///etc/passwd".into(), "`file` is neither http nor https");
    check(&|fetch| fetch.url = "/etc/passwd".into(), "no name of a file");
    check(&|fetch| fetch.url = "http://me:pw@x/y".into(), "a user or a password");
    check(&|fetch| fetch.url = "http://x/".into(), "ends in no name of a file");
    for name in ["", "..", "a/b", "/etc/x", "a\0"] {
        check(&|fetch| fetch.name = Some(name.into()), "which names no file");
    }
    check(&|fetch| fetch.blake3 = fetch.sha256.clone(), "both `sha256` and `blake3` are set");
    check(&|fetch| fetch.sha256 = Some("12".into()), "`12` is no sha256 digest");
    assert!(run.server.asked().is_empty());
    check(&|fetch| fetch.url += "x", "answers with status 404");
    run.server.fault("book.txt", Fault::Endless);
    let told = run.refused(&run.params());
    assert!(told.ends_with("sends more than 1048576 bytes without saying how many"), "{told}");
    run.server.fault("book.txt", Fault::Redirect("file:///etc/passwd".into()));
    assert!(run.refused(&run.params()).contains("points to where nobody may follow"));
}
