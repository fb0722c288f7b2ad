//! What lies in the cache, who is asked for it, and what is done without asking.

use super::{DATA, Place, ROWS, TOKEN, all, at, files, tree};
use crate::fake_hub::{Fault, digest};

const LARGE: &[u8] = b"{\"text\": \"large\"}\n";

#[test]
fn files_come_into_the_cache_that_others_use_and_are_asked_for_once() {
    let place = Place::with(&[("data/a.jsonl", ROWS), ("data/large.jsonl", LARGE), (".git", b"")]);
    let place = place.with_token(TOKEN);
    let commit = format!("{:040x}", 0xabc0);
    let done = place.read(&all());
    let pin = format!(
        "`some/text` at `main` is commit {commit}; to stay with it: `revision: \"{commit}\"`"
    );
    assert!(done.log.contains(&pin), "{:?}", done.log);
    assert_eq!(done.texts(), ["one", "two", "large"]);

    let (small, large) = (digest("a.jsonl", ROWS), digest("large.jsonl", LARGE));
    let root = "datasets--some--text";
    let expected = [
        format!("{root}/blobs/{small}"),
        format!("{root}/blobs/{large}"),
        format!("{root}/refs/main"),
        format!("{root}/snapshots/{commit}/data/a.jsonl -> ../../../blobs/{small}"),
        format!("{root}/snapshots/{commit}/data/large.jsonl -> ../../../blobs/{large}"),
        format!("{root}/trees/{commit}.json"),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(tree(place.cache.path()), expected);
    assert_eq!(std::fs::read_to_string(place.path("refs/main")).unwrap(), commit);

    let asked = place.server.asked();
    for one in &asked {
        let shown = one.headers.get("authorization").map(String::as_str);
        let expected = (!one.aside).then_some("Bearer hf_open_sesame");
        assert_eq!(shown, expected, "{one:?}");
    }
    assert_eq!(asked.len(), 1 + 2 + 3, "{asked:?}");

    // A branch may have moved; a commit cannot.
    assert_eq!(place.read(&all()).texts(), ["one", "two", "large"]);
    assert_eq!(place.asked(), ["GET /api/datasets/some/text/revision/main"]);
    assert_eq!(place.read(&at(&commit, all())).texts().len(), 3);
    assert!(place.asked().is_empty());
}

#[test]
fn what_another_program_downloaded_is_used_without_asking() {
    let place = Place::with(&[("a.jsonl", b"")]);
    let commit = "c".repeat(40);
    let blob = digest("a.jsonl", ROWS);
    let snapshot = place.path("snapshots").join(&commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(place.path("blobs")).unwrap();
    std::fs::write(place.path("blobs").join(&blob), ROWS).unwrap();
    std::os::unix::fs::symlink(format!("../../blobs/{blob}"), snapshot.join("a.jsonl")).unwrap();
    assert_eq!(place.read(&at(&commit, files(&["a.jsonl"]))).texts(), ["one", "two"]);
    assert!(place.asked().is_empty());
    // A glob asks for the list of files, which this hub has not of that commit.
    let told = place.refused(&at(&commit, files(&["*.jsonl"])));
    assert!(told.starts_with("the dataset `some/text` has no revision `cccc"), "{told}");
}

#[test]
fn a_branch_that_moved_is_followed_and_a_pinned_commit_is_not() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    let first = format!("{:040x}", 0xabc0);
    assert_eq!(place.read(&all()).texts(), ["one", "two"]);
    place.server.commit(DATA, "main", &[("a.jsonl", LARGE)]);
    assert_eq!(place.read(&all()).texts(), ["large"]);
    assert_eq!(place.read(&at(&first, all())).texts(), ["one", "two"]);
    place.server.commit(DATA, "refs/pr/1", &[("b.jsonl", ROWS)]);
    assert_eq!(place.read(&at("refs/pr/1", all())).texts(), ["one", "two"]);
    assert!(place.path("refs/refs/pr/1").is_file());
}

#[test]
fn without_a_hub_the_cache_answers_and_says_so() {
    let mut place = Place::with(&[("a.jsonl", ROWS), ("b.jsonl", LARGE)]);
    place.read(&files(&["a.jsonl"])).texts();
    place.hub.offline = true;
    let done = place.read(&files(&["a.jsonl"]));
    let said = "`some/text` is read from the cache: `HF_HUB_OFFLINE` is set";
    assert!(done.log.contains(&said.to_string()), "{:?}", done.log);
    assert_eq!(done.texts(), ["one", "two"]);
    // The list of files tells that the rest is not there.
    let missing = "`b.jsonl` of `some/text` is not in the cache, and the hub is not asked | build \
                   once where the hub can be asked";
    assert_eq!(place.refused(&all()), missing);
    assert_eq!(
        place.refused(&at("v2", all())),
        "the dataset `some/text` at `v2` is not in the cache, and `HF_HUB_OFFLINE` is set | build \
         once where the hub can be asked"
    );

    place.hub.offline = false;
    place.server.leave();
    let done = place.read(&files(&["a.jsonl"]));
    assert!(done.log.iter().any(|line| line.contains("cannot be reached")), "{:?}", done.log);
    assert_eq!(done.texts(), ["one", "two"]);
    let told = place.refused(&at("v2", all()));
    assert!(told.starts_with("the hub at `HUB` cannot be reached: "), "{told}");
}

#[test]
fn a_cache_without_a_list_of_files_says_so() {
    let mut place = Place::with(&[("a.jsonl", ROWS)]);
    let commit = format!("{:040x}", 0xabc0);
    place.read(&all()).texts();
    std::fs::remove_file(place.path("trees").join(format!("{commit}.json"))).unwrap();
    place.hub.offline = true;
    let done = place.read(&all());
    let said = "which files `some/text` has was never listed here; 1 are in the cache";
    assert!(done.log.contains(&said.to_string()), "{:?}", done.log);
    assert_eq!(done.texts(), ["one", "two"]);
}

#[test]
fn a_damaged_blob_is_downloaded_again() {
    let mut place = Place::with(&[("a.jsonl", ROWS)]);
    place.read(&all()).texts();
    let blob = place.path("blobs").join(digest("a.jsonl", ROWS));
    std::fs::write(&blob, &ROWS[..9]).unwrap();
    place.hub.offline = true;
    let told = place.refused(&all());
    assert!(told.starts_with("`a.jsonl` of `some/text` is damaged in the cache"), "{told}");
    place.hub.offline = false;
    assert_eq!(place.read(&all()).texts(), ["one", "two"]);
    assert_eq!(std::fs::read(&blob).unwrap(), ROWS);
}

#[test]
fn a_hub_that_lists_only_names_is_asked_for_each_file() {
    let place = Place::with(&[("a.jsonl", ROWS), ("large.jsonl", LARGE)]);
    place.server.change(DATA, |repo| repo.unlisted = true);
    assert_eq!(place.read(&all()).texts(), ["one", "two", "large"]);
    let heads = place.asked().iter().filter(|line| line.starts_with("HEAD")).count();
    assert_eq!(heads, 2);
    assert!(place.path("blobs").join(digest("large.jsonl", LARGE)).is_file());
}

#[test]
fn two_at_once_download_a_file_once() {
    let bytes = ROWS.repeat(20_000);
    let place = Place::with(&[("large.jsonl", &bytes)]);
    let texts = std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(|| place.read(&all()).texts().len()));
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(texts, [40_000; 4]);
    let sent: usize = place.server.asked().iter().filter(|one| one.aside).map(|one| one.sent).sum();
    assert_eq!(sent, bytes.len());
}

#[test]
fn a_cache_that_is_only_read_is_enough() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    place.read(&all()).texts();
    place.server.commit(DATA, "v2", &[("a.jsonl", ROWS)]);
    // The list of the new commit cannot be kept, since a file is in its way.
    std::fs::remove_dir_all(place.path("trees")).unwrap();
    std::fs::write(place.path("trees"), "").unwrap();
    assert_eq!(place.read(&at("v2", all())).texts(), ["one", "two"]);
    place.server.fault("main", Fault::Status(500, ""));
    assert_eq!(place.read(&all()).texts(), ["one", "two"]);
}
