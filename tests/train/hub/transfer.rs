//! Bytes on their way: cut, late, wrong, too many.

use std::time::{Duration, Instant};

use llamake::train::progress::{Context, Failure, Progress};
use llamake::train::stage::hub;

use super::{Place, ROWS, all};
use crate::fake_hub::{Asked, Fault, digest};

/// A file on the server of large files.
fn large() -> Vec<u8> {
    ROWS.repeat(4000)
}

fn ranges(asked: &[Asked]) -> Vec<(Option<&str>, usize)> {
    let of_file = asked.iter().filter(|one| one.aside);
    of_file.map(|one| (one.headers.get("range").map(String::as_str), one.sent)).collect()
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
    let bytes = large();
    let place = Place::with(&[("large.jsonl", &bytes)]);
    let end = digest("large.jsonl", &bytes) + "?X-Amz-Signature=s3cret";
    place.server.fault(&end, Fault::Cut(50_000));
    place.server.fault(&end, Fault::Cut(30_000));
    assert_eq!(place.read(&all()).texts().len(), 8000);
    let asked = place.server.asked();
    let rest = bytes.len() - 80_000;
    let expected = [(None, 50_000), (Some("bytes=50000-"), 30_000), (Some("bytes=80000-"), rest)];
    assert_eq!(ranges(&asked), expected);
    let etag = format!("\"{}\"", &digest("large.jsonl", &bytes)[..9]);
    let last = asked.last().unwrap();
    assert_eq!(last.headers.get("if-range"), Some(&etag));
}

#[test]
fn a_small_file_is_resumed_at_the_hub_itself() {
    let bytes = large();
    let place = Place::with(&[("a.jsonl", &bytes)]);
    place.server.fault("a.jsonl", Fault::Cut(50_000));
    assert_eq!(place.read(&all()).texts().len(), 8000);
    let asked = place.server.asked();
    let sent: usize =
        asked.iter().filter(|one| one.path.ends_with("a.jsonl")).map(|one| one.sent).sum();
    assert_eq!(sent, bytes.len());
}

#[test]
fn what_a_killed_process_left_is_not_asked_for_again() {
    let bytes = large();
    let place = Place::with(&[("large.jsonl", &bytes)]);
    let name = digest("large.jsonl", &bytes);
    let part = place.path("blobs").join(format!("{name}.incomplete"));
    std::fs::create_dir_all(place.path("blobs")).unwrap();
    std::fs::write(&part, &bytes[..70_000]).unwrap();
    assert_eq!(place.read(&all()).texts().len(), 8000);
    assert_eq!(ranges(&place.server.asked()), [(Some("bytes=70000-"), bytes.len() - 70_000)]);
    assert!(!part.exists());

    // All of it was there.
    let place = Place::with(&[("large.jsonl", &bytes)]);
    let part = place.path("blobs").join(format!("{name}.incomplete"));
    std::fs::create_dir_all(place.path("blobs")).unwrap();
    std::fs::write(&part, &bytes).unwrap();
    assert_eq!(place.read(&all()).texts().len(), 8000);
    assert!(ranges(&place.server.asked()).is_empty());

    // It was spoilt, or is of something else and longer.
    for spoilt in [vec![b'x'; 70_000], vec![b'x'; bytes.len() + 9]] {
        let place = Place::with(&[("large.jsonl", &bytes)]);
        std::fs::create_dir_all(place.path("blobs")).unwrap();
        let part = place.path("blobs").join(format!("{name}.incomplete"));
        std::fs::write(&part, &spoilt).unwrap();
        assert_eq!(place.read(&all()).texts().len(), 8000);
    }
}

#[test]
fn a_server_without_ranges_begins_again() {
    let bytes = large();
    let place = Place::with(&[("a.jsonl", &bytes)]);
    place.server.fault("a.jsonl", Fault::Cut(50_000));
    place.server.fault("a.jsonl", Fault::NoRange);
    assert_eq!(place.read(&all()).texts().len(), 8000);
}

#[test]
fn failures_of_a_moment_are_tried_again_and_others_are_not() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    for (status, header) in [(500, ""), (429, "Retry-After: 3600"), (503, "Retry-After: 0")] {
        place.server.fault("a.jsonl", Fault::Status(status, header));
        std::fs::remove_dir_all(place.path("")).ok();
        let done = place.read(&all());
        let said = format!("answers with status {status}; trying again in 0.0 s");
        assert!(done.log.iter().any(|line| line.contains(&said)), "{:?}", done.log);
        assert_eq!(done.texts(), ["one", "two"]);
    }
    std::fs::remove_dir_all(place.path("")).unwrap();
    for _ in 0..3 {
        place.server.fault("a.jsonl", Fault::Status(502, ""));
    }
    let told = place.refused(&all());
    assert!(told.contains("cannot be reached: `HUB/datasets/some/text/resolve/"), "{told}");
    assert!(told.contains("answers with status 502 | build again when it can be"), "{told}");
    place.server.asked();
    place.server.fault("a.jsonl", Fault::Status(418, ""));
    assert!(place.refused(&all()).starts_with("the hub answers with status 418 for"));
    assert_eq!(place.asked().iter().filter(|line| line.ends_with("a.jsonl")).count(), 1);
}

#[test]
fn wrong_bytes_are_named_and_not_kept() {
    let bytes = large();
    let place = Place::with(&[("large.jsonl", &bytes), ("b.jsonl", ROWS)]);
    let name = digest("large.jsonl", &bytes);
    place.server.fault("s3cret", Fault::Wrong);
    let told = place.refused(&all());
    let other = digest("large.jsonl", &bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
    assert!(told.contains(&format!("sha256 {name} is wanted, {other} is what came")), "{told}");
    let left = std::fs::read_dir(place.path("blobs")).unwrap().count();
    assert_eq!(left, 1, "the other file is kept, nothing else");
    assert_eq!(place.read(&all()).texts().len(), 8002);
}

#[test]
fn more_or_fewer_bytes_than_announced_are_refused() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    place.server.fault("a.jsonl", Fault::Endless);
    let told = place.refused(&all());
    assert!(told.ends_with(&format!("sends more than the {} bytes it has", ROWS.len())), "{told}");
    place.server.fault("a.jsonl", Fault::OtherLength);
    let told = place.refused(&all());
    let (found, wanted) = (ROWS.len() + 1, ROWS.len());
    assert!(told.ends_with(&format!("has {found} bytes where {wanted} were announced")), "{told}");
}

#[test]
fn redirects_are_followed_but_not_for_ever_nor_to_files() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    let to = |location: &str| Fault::Redirect(location.into());
    place.server.fault("revision/main", to("/api/datasets/some/text/revision/main?again"));
    assert_eq!(place.read(&all()).texts(), ["one", "two"]);
    for _ in 0..11 {
        place.server.fault("revision/main", to("/api/datasets/some/text/revision/main"));
    }
    let told = place.refused(&all());
    assert!(told.ends_with("redirects more than 10 times"), "{told}");
    place.server.fault("revision/main", to("file:///etc/passwd"));
    let told = place.refused(&all());
    assert!(told.contains("points to where nobody may follow: `file` is neither"), "{told}");
}

/// Stops once some bytes are there.
#[derive(Default)]
struct Impatient {
    some: bool,
}

impl Progress for Impatient {
    fn at(&mut self, done: u64, _: u64, unit: &'static str, _: &[(&str, f64)]) {
        self.some |= done > 0 && unit == "bytes";
    }

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, _: &str) {}

    fn cancelled(&self) -> bool {
        self.some
    }
}

#[test]
fn a_trickle_can_be_interrupted_and_waited_for() {
    let place = Place::with(&[("a.jsonl", ROWS)]);
    place.server.fault("a.jsonl", Fault::Trickle);
    let out = tempfile::tempdir().unwrap();
    let mut progress = Impatient::default();
    let hub = place.hub.clone();
    let mut ctx = Context { hub, ..Context::new(1, out.path().into(), &mut progress) };
    let began = Instant::now();
    let ended = hub::text(&all(), &mut ctx);
    assert!(matches!(ended, Err(Failure::Interrupted)), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let place = Place::with(&[("a.jsonl", b"{\"text\":\"x\"}")]);
    place.server.fault("a.jsonl", Fault::Trickle);
    assert_eq!(place.read(&all()).texts(), ["x"]);
}

#[test]
fn a_silent_server_is_left() {
    let mut place = Place::with(&[("a.jsonl", ROWS)]);
    place.hub.limits.silence = Duration::from_millis(400);
    place.server.fault("a.jsonl", Fault::Stall(7));
    // After the silence the rest is asked for, and this time it comes.
    assert_eq!(place.read(&all()).texts(), ["one", "two"]);
    let asked = place.server.asked();
    assert_eq!(asked.last().unwrap().headers["range"], "bytes=7-");
}
