//! Processes that are killed or starved in the middle of a build.
//!
//! The child is this test binary again, running [`child`] alone; a further argument `in=FOLDER`,
//! which the test harness takes for a filter that matches nothing, tells it where to work.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use llamake::build::store::Store;

use super::world::*;

fn recipe() -> Recipe {
    let mut recipe = Recipe::default().text("s0", "begin");
    for at in 1..12 {
        let (before, text) = (format!("s{}", at - 1), format!("t{at}"));
        recipe = recipe.text(&text, &at.to_string()).join(&format!("s{at}"), &[&before, &text]);
    }
    recipe.stage("large", "large", &[])
}

/// The work of the child; without its argument there is nothing to do.
#[test]
fn child() {
    let Some(folder) = std::env::args().find_map(|arg| arg.strip_prefix("in=").map(str::to_string))
    else {
        return;
    };
    let fake = Fake { delay: Duration::from_millis(3), ..Fake::default() };
    let report = build_in(Path::new(&folder), &recipe(), &fake, &Heard::default());
    let mut told: Vec<String> = report.troubles.iter().map(|one| format!("{one:?}")).collect();
    told.extend(
        report.actions.iter().filter_map(|one| one.failure.as_ref().map(|f| format!("{f:?}"))),
    );
    fs::write(Path::new(&folder).join("told"), told.join("\n")).unwrap();
}

fn arguments(folder: &Path) -> Vec<String> {
    let place = format!("in={}", folder.display());
    ["build::crash::child", "--exact", place.as_str()].map(str::to_string).to_vec()
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(folder)).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn finished(folder: &Path) -> usize {
    Store::open(&folder.join("cache"))
        .ok()
        .and_then(|store| store.list().ok())
        .map_or(0, |list| list.len())
}

#[test]
fn killed_at_any_moment_nothing_finished_is_lost() {
    let whole = World::new();
    whole.build(&recipe(), &Fake::default());
    for at in 0..12 {
        let world = World::new();
        let folder = world.folder.path();
        let mut child = start(folder);
        let until = Instant::now() + Duration::from_secs(20);
        while finished(folder) < at && Instant::now() < until {
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = finished(folder);
        assert!(kept >= at);
        let fake = Fake::default();
        let report = world.build(&recipe(), &fake);
        assert!(report.is_success(), "{report:?}");
        assert_eq!(fake.ran().len(), report.actions.len() - kept);
        let same = fs::read(world.path("build/s11/out")).unwrap();
        assert_eq!(same, fs::read(whole.path("build/s11/out")).unwrap());
        assert!(world.store().verify().unwrap().is_empty());
        assert_eq!(fs::read_dir(world.path("cache/tmp")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(world.path("build/.incoming")).unwrap().count(), 0);
    }
}

/// Runs the child with a limit on the size of any file it writes, in blocks of 512 bytes.
fn starved(folder: &Path, blocks: u32) -> String {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(arguments(folder)).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap();
    fs::read_to_string(folder.join("told")).unwrap_or_default()
}

#[test]
fn a_full_disk_is_a_failure_with_a_remedy_and_nothing_finished_is_lost() {
    let world = World::new();
    // Everything is in the cache; copying the large result out does not fit.
    assert!(world.build(&recipe(), &Fake::default()).is_success());
    fs::remove_dir_all(world.path("build")).unwrap();
    let told = starved(world.folder.path(), 1024);
    assert!(told.contains("no space is left on the disk"), "{told}");
    assert!(told.contains("every finished stage is kept"), "{told}");
    assert!(world.ran(&recipe()).is_empty());
    // A database that cannot grow.
    let world = World::new();
    drop(world.store());
    let told = starved(world.folder.path(), 160);
    assert!(told.contains("results.db"), "{told}");
    assert!(told.contains("is kept"), "{told}");
    assert!(world.build(&recipe(), &Fake::default()).is_success());
    assert!(world.store().verify().unwrap().is_empty());
}
