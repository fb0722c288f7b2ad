//! A cache that was damaged, and builds that meet in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamake::build::report::BuildState;
use llamake::build::store::Store;

use super::world::*;

fn chain() -> Recipe {
    Recipe::default().text("a", "alpha").join("b", &["a"]).join("c", &["b", "a"])
}

/// Every blob of a cache with its content.
fn blobs(world: &World) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(world.path("cache/blobs")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            found.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

fn overwrite(path: &Path, text: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, text).unwrap();
}

fn blob(world: &World, content: &str) -> PathBuf {
    blobs(world).into_iter().find(|(_, text)| text == content).unwrap().0
}

#[test]
fn a_corrupt_or_missing_blob_is_made_again() {
    let world = World::new();
    let whole = {
        world.ran(&chain());
        blobs(&world)
    };
    overwrite(&blob(&world, "alphaalpha"), "alphaalphA");
    let heard = Heard::default();
    let fake = Fake::default();
    assert!(world.build_told(&chain(), &fake, &heard).is_success());
    assert_eq!(fake.ran(), ["c"]);
    assert!(
        heard.lines.borrow().iter().any(|line| line.ends_with("is corrupt")),
        "{heard_lines:?}",
        heard_lines = heard.lines.borrow()
    );
    assert_eq!(blobs(&world), whole);
    fs::remove_file(blob(&world, "alpha")).unwrap();
    // `a` and `b` both make these bytes; the first to be built restores them for both.
    assert!(!world.ran(&chain()).is_empty());
    assert_eq!(blobs(&world), whole);
}

#[test]
fn a_blob_that_breaks_unseen_is_found_when_a_stage_reads_it() {
    let world = World::new();
    world.ran(&chain());
    // The same size and the memo told so: only reading can show it.
    let path = blob(&world, "alpha");
    overwrite(&path, "alphA");
    let store = world.store();
    let digest = llamake::build::digest::Digest::of_bytes(b"alpha");
    let stat = llamake::build::store::FileStat::of(&path).unwrap();
    store.memo().remember(&path, stat, digest);
    store.flush_memo();
    let more = chain().join("d", &["a", "b", "a"]).join("e", &["d", "c"]);
    let ran = world.ran(&more);
    assert!(ran.contains(&"a".to_string()) && ran.contains(&"d".to_string()), "{ran:?}");
    assert_eq!(fs::read_to_string(world.path("build/e/out")).unwrap(), "alpha".repeat(5));
    assert!(world.store().verify().unwrap().is_empty());
}

#[test]
fn verify_reads_everything_and_names_the_stages() {
    let world = World::new();
    world.ran(&chain());
    assert!(world.store().verify().unwrap().is_empty());
    overwrite(&blob(&world, "alphaalpha"), "?");
    let faults = world.store().verify().unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].stages, ["c"]);
    assert!(faults[0].what.ends_with("is corrupt"));
    let again = world.store().verify().unwrap();
    assert!(again[0].what.ends_with("is missing"));
    assert_eq!(world.ran(&chain()), ["c"]);
}

#[test]
fn a_broken_database_says_what_to_do() {
    let world = World::new();
    world.ran(&chain());
    let path = world.path("cache/results.db");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let broken = |what: &str| match Store::open(&world.path("cache")) {
        Err(failure) => failure.remedy.unwrap(),
        Ok(store) => match store.list() {
            Err(failure) => failure.remedy.unwrap(),
            Ok(_) => panic!("{what} was read"),
        },
    };
    assert!(broken("half a database").starts_with("delete `"));
    fs::write(&path, "this is no database at all, not in the least").unwrap();
    assert!(broken("a text").starts_with("delete `"));
    fs::remove_file(&path).unwrap();
    assert_eq!(world.ran(&chain()), ["a", "b", "c"]);
}

#[test]
fn a_broken_memo_is_made_anew() {
    let world = World::new();
    world.ran(&chain());
    fs::write(world.path("cache/memo.db"), "no database").unwrap();
    assert!(world.ran(&chain()).is_empty());
}

#[test]
fn another_layout_is_refused_and_a_deleted_cache_is_made_anew() {
    let world = World::new();
    world.ran(&chain());
    world.write("cache/VERSION", "99\n");
    let failure = Store::open(&world.path("cache")).err().unwrap();
    assert!(failure.message.contains("has layout `99`, not 1"));
    fs::remove_dir_all(world.path("cache")).unwrap();
    assert_eq!(world.ran(&chain()), ["a", "b", "c"]);
    assert!(world.path("cache/CACHEDIR.TAG").exists());
}

#[test]
fn a_folder_of_something_else_is_never_made_a_cache() {
    let world = World::new();
    for (folder, file) in [("notes", "notes.txt"), ("other", "VERSION"), ("git", ".gitmodules")] {
        world.write(&format!("{folder}/{file}"), "7\n");
        world.write(&format!("{folder}/.gitignore"), "mine\n");
        let failure = Store::open(&world.path(folder)).err().unwrap();
        assert!(failure.message.ends_with("is not empty and no cache of llamake"), "{failure:?}");
        assert_eq!(fs::read_dir(world.path(folder)).unwrap().count(), 2, "nothing is written");
    }
}

#[test]
fn a_store_keeps_what_was_put_in_its_folder_and_older_ones_go_on() {
    let world = World::new();
    world.write("cache/.gitignore", "mine\n");
    world.ran(&chain());
    assert_eq!(fs::read_to_string(world.path("cache/.gitignore")).unwrap(), "mine\n");
    world.write("cache/stray.txt", "");
    fs::remove_file(world.path("cache/CACHEDIR.TAG")).unwrap();
    assert!(world.ran(&chain()).is_empty(), "its layout and its results mark it");
    world.write("begun/VERSION", "");
    fs::create_dir(world.path("begun/blobs")).unwrap();
    Store::open(&world.path("begun")).unwrap();
    assert!(world.path("begun/CACHEDIR.TAG").exists(), "one that was cut short is finished");
}

#[test]
fn two_builders_share_the_work() {
    let world = World::new();
    let mut recipe = Recipe::default();
    for at in 0..8 {
        recipe = recipe.text(&format!("s{at}"), &at.to_string());
    }
    let fake = Fake { delay: Duration::from_millis(20), ..Fake::default() };
    let (fake, recipe, folder) = (&fake, &recipe, world.folder.path());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                let store = Store::open(&folder.join("cache")).unwrap();
                let off = std::sync::atomic::AtomicBool::new(false);
                let (plan, options) = (planned(recipe), options(&off));
                let report = llamake::build::schedule::build(
                    &plan,
                    &options,
                    &store,
                    fake,
                    &Heard::default(),
                );
                assert!(report.is_success(), "{report:?}");
                assert_eq!(report.built + report.fresh, 8);
            });
        }
    });
    assert_eq!(fake.ran().len(), 8);
    assert_eq!(fs::read_dir(world.path("cache/locks")).unwrap().count(), 0);
}

#[test]
fn a_builder_waits_for_the_one_that_holds_the_key() {
    let world = World::new();
    let recipe = Recipe::default().text("a", "1");
    let plan = planned(&recipe);
    let fake = Fake::default();
    let key =
        llamake::build::key::action_key(&plan.actions[0], Default::default(), &Default::default());
    let lock = world.store().try_lock(key).unwrap().unwrap();
    let heard = Heard::default();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop(lock);
        });
        assert!(world.build_told(&recipe, &fake, &heard).is_success());
    });
    assert_eq!(heard.lines.borrow()[0], "waiting a");
    assert_eq!(fake.ran(), ["a"]);
}

#[test]
fn a_result_with_links_or_odd_names_is_refused() {
    let world = World::new();
    let store = world.store();
    let folder = store.work_folder().unwrap();
    fs::write(folder.join("a"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
    let failure = store.blobs().adopt(&folder).unwrap_err();
    assert!(failure.message.ends_with("which is no plain file"), "{failure:?}");
}

#[test]
fn stage_names_cannot_leave_the_outputs() {
    let world = World::new();
    let recipe = Recipe::default().text("../../escape", "1").text("/abs", "2").text(".", "3");
    assert_eq!(world.ran(&recipe).len(), 3);
    assert!(!world.path("escape").exists() && !world.folder.path().join("../escape").exists());
    assert_eq!(fs::read_to_string(world.path("build/%2E./%2E./escape/out")).unwrap(), "1");
    let report = world.build(&recipe, &Fake::default());
    assert_eq!(state(&report, &recipe, "/abs"), BuildState::Fresh);
}
