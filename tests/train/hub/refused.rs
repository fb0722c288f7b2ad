//! What the hub refuses, and what is refused of a hub.

use super::{DATA, Place, ROWS, TOKEN, all, at, files, tree};
use crate::fake_hub::Fault;

#[test]
fn closed_doors_are_explained_without_a_token_being_told() {
    let private = |token: Option<&str>| {
        let place = Place::with(&[("a.jsonl", ROWS)]);
        place.server.change(DATA, |repo| repo.private = true);
        token.into_iter().fold(place, |place, token| place.with_token(token))
    };
    assert_eq!(
        private(None).refused(&all()),
        "there is no dataset `some/text` at `HUB`, or it is private; no token was sent | look for \
         a slip of the pen in `repo`; if it is private, set `HF_TOKEN`"
    );
    assert_eq!(
        private(Some("hf_wrong")).refused(&all()),
        "there is no dataset `some/text` at `HUB`, or it is private; the token in `HF_TOKEN` was \
         sent | look for a slip of the pen in `repo`; if it is private, set `HF_TOKEN` to a token \
         that may read it"
    );
    assert_eq!(private(Some(TOKEN)).read(&all()).texts(), ["one", "two"]);
    assert_eq!(
        Place::with(&[]).with_token("hf_invalid").refused(&all()),
        "the hub does not accept a token: the token in `HF_TOKEN` was sent | set `HF_TOKEN` to a \
         token that is valid, or take it away"
    );
    assert_eq!(
        private(Some("hf_two words")).refused(&all()),
        "the token in `HF_TOKEN` is no token | it has to be one word, such as `hf_…`"
    );

    let gated = |place: Place| {
        place.server.change(DATA, |repo| repo.gated = true);
        place.refused(&all())
    };
    assert_eq!(
        gated(Place::with(&[])),
        "`some/text` is open only to who accepted its terms; no token was sent | accept them at \
         HUB/datasets/some/text and set `HF_TOKEN` to a token of the account that did"
    );
    assert_eq!(
        gated(Place::with(&[]).with_token("hf_wrong")),
        "`some/text` is open only to who accepted its terms; the token in `HF_TOKEN` was sent | \
         accept them at HUB/datasets/some/text with the account of that token"
    );
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let place = Place::with(&[
        ("README.md", b""),
        ("data/train-00000.jsonl", ROWS),
        ("data/train-00001.jsonl", ROWS),
        ("data/test.jsonl", ROWS),
    ]);
    let told = place.refused(&at("mian", all()));
    assert_eq!(
        told,
        "the dataset `some/text` has no revision `mian` | its branches and tags are at \
         HUB/datasets/some/text"
    );
    assert_eq!(
        place.refused(&files(&["data/tset.jsonl"])),
        "`some/text` at `main` has no file `data/tset.jsonl` | nearest to it are \
         `data/test.jsonl`, `data/train-00000.jsonl`, `data/train-00001.jsonl`, `README.md`"
    );
    let mut within = all();
    within.from.folder = Some("date".into());
    assert_eq!(
        place.refused(&within),
        "`some/text` at `main` has no folder `date` | its folders are `data`"
    );
    assert_eq!(
        place.refused(&all()),
        "`some/text` at `main` holds more than one set of files: `data/test.jsonl`, \
         `data/train-*.jsonl` (2 files) | name those you mean, for example `files: \
         [\"data/test.jsonl\"]`"
    );
    assert_eq!(place.read(&files(&["data/train-*.jsonl"])).texts().len(), 4);
    within.from.folder = Some("data/".into());
    within.from.files = vec!["test.jsonl".into()];
    assert_eq!(place.read(&within).texts(), ["one", "two"]);
    let mut texts = all();
    texts.read.column = None;
    assert_eq!(
        place.refused(&texts),
        "`some/text` at `main` has no files that this stage can read | what it has is `README.md`, \
         `data/test.jsonl`, `data/train-00000.jsonl`, `data/train-00001.jsonl`"
    );
}

#[test]
fn names_that_are_none_are_refused_before_anyone_is_asked() {
    let place = Place::with(&[]);
    for repo in ["", "a/b/c", "../x", "a/..", "a b", "a/", "https://x/y", "a\\b", "é"] {
        let mut params = all();
        params.from.repo = repo.into();
        let told = place.refused(&params);
        assert!(told.starts_with(&format!("`{repo}` is no name of a repository")), "{told}");
    }
    for revision in ["", "../../main", "/etc", "a/../b", "a\0b"] {
        assert!(place.refused(&at(revision, all())).contains("is no revision"));
    }
    assert!(place.refused(&files(&["[a"])).starts_with("`[a` in `files` is no glob"));
    assert!(place.asked().iter().all(|line| line.contains("some/text")));
}

#[test]
fn names_of_a_hub_never_lead_out_of_the_cache() {
    for name in ["../../../../evil.jsonl", "/tmp/evil.jsonl", "a/../../evil.jsonl", "a//b.jsonl"] {
        let place = Place::with(&[(name, ROWS)]);
        let told = place.refused(&all());
        assert!(told.starts_with("the hub lists a file "), "{told}");
        let made = tree(place.cache.path());
        assert!(made.iter().all(|path| !path.contains("evil.jsonl")), "{made:?}");
        let above = std::fs::read_dir(place.cache.path()).unwrap().count();
        assert!(above <= 1, "{made:?}");
    }
    // Nor does what it calls a digest or a commit.
    let place = Place::with(&[("a.jsonl", ROWS)]);
    place.server.change(DATA, |repo| repo.unlisted = true);
    place.server.fault("a.jsonl", Fault::Status(200, "ETag: \"../../evil\""));
    let told = place.refused(&all());
    assert!(told.contains("does not say what the file hashes to"), "{told}");
    place.server.commit(DATA, "main", &[]);
    place.server.change(DATA, |repo| {
        repo.commits.insert("../evil".into(), Default::default());
        repo.branches.insert("main".into(), "../evil".into());
    });
    let told = place.refused(&all());
    assert!(told.contains("names no commit"), "{told}");
}

#[test]
fn a_server_that_is_no_hub_is_named() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    place.server.fault("revision/main", Fault::Status(200, "Content-Type: text/html"));
    let told = place.refused(&all());
    assert!(told.contains("does not answer in JSON"), "{told}");
    place.server.fault("revision/main", Fault::Endless);
    let told = place.refused(&all());
    assert!(told.contains("is larger than 64 MiB"), "{told}");
    let mut place = place;
    place.hub.endpoint = "ftp://x".into();
    assert_eq!(
        place.refused(&all()),
        "the hub's address `ftp://x`: `ftp` is neither http nor https | set `HF_ENDPOINT` to a \
         URL, or unset it"
    );
    place.hub.cache = "".into();
    assert!(place.refused(&all()).contains("no folder is known"));
}
