//! `recipes/real_preferences.recipe` on the data it is written for: a reward model from a tiny base
//! must tell the politer of two answers that it never saw. Kept in the target folder, so that a
//! second run of the tests finds it built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the data lies, or nothing after saying so; where tests must be complete, that is a
/// failure.
fn data() -> Option<PathBuf> {
    let folder = std::env::var("LLAMAKE_DATA").unwrap_or_else(|_| "../shared/data".into());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if folder.join("preferences").is_dir() {
        return Some(folder);
    }
    let missing = format!("NOT TESTED: no preferences in `{}`", folder.display());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

#[test]
fn a_tiny_reward_model_learns_real_preferences() {
    let Some(data) = data() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_preferences");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("llamake.toml"), "cache = \"cache\"\n").unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/real_preferences.recipe");
    fs::copy(recipe, folder.join("real_preferences.recipe")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamake"));
    command.current_dir(&folder).args(["build", "real_preferences.recipe"]);
    for (param, file) in [
        ("manners", "preferences/llms_from_scratch_preference.json"),
        ("harmless", "preferences/hh_rlhf_harmless_base_test.jsonl.gz"),
        ("text", "text/wiki_demo.txt"),
        ("tasks", "instructions/gpteacher_codegen.json"),
    ] {
        command.arg("-p").arg(format!("{param}={}", data.join(file).display()));
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let report = folder.join("build/real_preferences/scores/report.json");
    let report = fs::read_to_string(report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let interval = |task: &str, model: &str| {
        let scores = &report["tasks"][task]["models"][model];
        let bound = |at: usize| scores["accuracy_95"][at].as_f64().unwrap();
        let (accuracy, low, high) = (scores["accuracy"].as_f64().unwrap(), bound(0), bound(1));
        println!("{task}: accuracy {accuracy:.3}, 95% interval {low:.3} to {high:.3}");
        low
    };
    interval("harmlessness", "safe");
    let low = interval("manners", "kind");
    assert!(low > 0.5, "no better than a coin: {low}");
}
