//! Files, folders and globs as inputs, and the memo of their digests.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::world::*;

fn read(world: &World, written: &str) -> Recipe {
    Recipe::default().stage("r", "read", &[("path", world.file(written))])
}

#[test]
fn content_and_name_count_and_place_does_not() {
    let world = World::new();
    world.write("one/a.txt", "x");
    assert_eq!(world.ran(&read(&world, "one/a.txt")), ["r"]);
    world.write("two/a.txt", "x");
    assert!(world.ran(&read(&world, "two/a.txt")).is_empty());
    world.write("two/a.csv", "x");
    assert_eq!(world.ran(&read(&world, "two/a.csv")), ["r"]);
    world.write("one/a.txt", "y");
    assert_eq!(world.ran(&read(&world, "one/a.txt")), ["r"]);
}

#[test]
fn folders_and_globs_are_sorted_sets_of_files() {
    let world = World::new();
    for (name, text) in [("d/b.txt", "2"), ("d/a.txt", "1"), ("d/deep/c.txt", "3")] {
        world.write(name, text);
    }
    world.ran(&read(&world, "d"));
    assert_eq!(fs::read_to_string(world.path("build/r/out")).unwrap(), "123");
    world.ran(&read(&world, "d/*.txt"));
    assert_eq!(fs::read_to_string(world.path("build/r/out")).unwrap(), "12");
    world.ran(&read(&world, "./d/**/*.txt"));
    assert_eq!(fs::read_to_string(world.path("build/r/out")).unwrap(), "123");
    world.write("d/more.txt", "9");
    assert_eq!(world.ran(&read(&world, "d/*.txt")), ["r"]);
    fs::rename(world.path("d"), world.path("e")).unwrap();
    assert!(world.ran(&read(&world, "e/*.txt")).is_empty());
}

#[test]
fn a_path_without_files_is_named_with_its_place() {
    let world = World::new();
    fs::create_dir(world.path("empty")).unwrap();
    for (written, message) in [
        ("no.txt", "there is no file `no.txt`, which a.recipe:1 names"),
        ("no/*.txt", "`no/*.txt` at a.recipe:1 names no file"),
        ("empty", "`empty` at a.recipe:1 names no file"),
    ] {
        let recipe = read(&world, written);
        let report = world.build(&recipe, &Fake::default());
        assert_eq!(failure(&report, &recipe, "r").message, message);
        assert!(failure(&report, &recipe, "r").remedy.is_some());
    }
    let recipe = read(&world, "[");
    let report = world.build(&recipe, &Fake::default());
    assert!(failure(&report, &recipe, "r").message.contains("is no pattern of files"));
}

#[test]
fn an_edit_that_keeps_size_and_time_is_seen() {
    let world = World::new();
    world.write("a.txt", "one");
    let time = fs::metadata(world.path("a.txt")).unwrap().modified().unwrap();
    world.ran(&read(&world, "a.txt"));
    world.write("a.txt", "two");
    File::options().write(true).open(world.path("a.txt")).unwrap().set_modified(time).unwrap();
    assert_eq!(world.ran(&read(&world, "a.txt")), ["r"]);
    assert_eq!(fs::read_to_string(world.path("build/r/out")).unwrap(), "two");
}

#[test]
fn files_touched_just_now_are_not_remembered() {
    let world = World::new();
    world.write("new.txt", "one");
    let store = world.store();
    let (digest, stat) = store.file_digest(&world.path("new.txt")).unwrap();
    store.flush_memo();
    assert_eq!(store.memo().recall(&world.path("new.txt"), stat), None);
    // What is remembered is recalled for that very stat only.
    store.memo().remember(&world.path("new.txt"), stat, digest);
    store.flush_memo();
    assert_eq!(store.memo().recall(&world.path("new.txt"), stat), Some(digest));
    let other = llamake::build::store::FileStat { inode: stat.inode + 1, ..stat };
    assert_eq!(store.memo().recall(&world.path("new.txt"), other), None);
}

#[test]
fn a_time_in_the_future_is_not_trusted() {
    let world = World::new();
    world.write("a.txt", "one");
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(world.path("a.txt")).unwrap().set_modified(later).unwrap();
    let store = world.store();
    let (_, stat) = store.file_digest(&world.path("a.txt")).unwrap();
    store.flush_memo();
    assert_eq!(store.memo().recall(&world.path("a.txt"), stat), None);
}

#[test]
fn a_source_that_changes_under_a_stage_is_refused() {
    let world = World::new();
    world.write("a.txt", "one");
    let recipe = Recipe::default().stage("m", "meddle", &[("path", world.file("a.txt"))]);
    let report = world.build(&recipe, &Fake::default());
    assert!(failure(&report, &recipe, "m").message.ends_with("changed while it was being used"));
    assert!(world.store().list().unwrap().is_empty());
}
