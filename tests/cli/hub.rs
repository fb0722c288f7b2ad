//! Data sets of a hub from a recipe to rows, and what is said when the hub's bytes have changed.

use std::path::Path;

use super::{Project, Ran, ran};
use crate::fake_hub::{FakeHub, digest};

const RECIPE: &str = "use std/shapes
stage wiki = hub_text { repo: \"some/text\", column: \"text\" }
stage talk = hub_chat { repo: \"some/chat\", shape: shapes.prompt_completion {} }
stage quiz = hub_benchmark {
    repo:     \"some/chat\"
    revision: \"v1\"
    columns:  [\"prompt\", \"completion\"]
}
stage book = fetch { url: \"BOOK\", sha256: \"DIGEST\" }
output wiki, talk, quiz, book
";
const CHAT: &[u8] = b"{\"prompt\":\"a\",\"completion\":\"b\"}\n";

fn project(server: &FakeHub) -> Project {
    let url = format!("{}/some/book/resolve/main/book.txt", server.endpoint);
    let digest = digest("large", b"a book\n");
    Project::of(&RECIPE.replace("BOOK", &url).replace("DIGEST", &digest))
}

fn run(project: &Project, server: &FakeHub, home: &Path, line: &str, offline: &str) -> Ran {
    let mut command = project.command(line);
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", &server.endpoint).env("HF_HOME", home);
    command.env("HF_TOKEN", "hf_not_to_be_told").env("HF_HUB_OFFLINE", offline);
    let ran = ran(command.output().unwrap());
    assert!(!format!("{}{}", ran.out, ran.err).contains("not_to_be_told"));
    ran
}

#[test]
fn a_recipe_is_built_from_a_hub_and_a_moved_branch_is_named() {
    let server = FakeHub::new();
    server.commit("datasets/some/text", "main", &[("a.jsonl", b"{\"text\":\"one\"}\n")]);
    server.commit("datasets/some/chat", "main", &[("large.jsonl", CHAT)]);
    server.commit("datasets/some/chat", "v1", &[("a.jsonl", CHAT)]);
    server.commit("models/some/book", "main", &[("book.txt", b"a book\n")]);
    let (project, home) = (project(&server), tempfile::tempdir().unwrap());
    let built = run(&project, &server, home.path(), "build", "").ended(0);
    built.told(&["`some/text` at `main` is commit 0000", "revision: \"0000"]);
    assert_eq!(project.read("build/a/wiki/out"), "{\"text\":\"one\"}\n");
    assert_eq!(project.read("build/a/book/book.txt"), "a book\n");
    assert!(home.path().join("hub/datasets--some--chat/refs/v1").is_file());

    // The result is in the cache of the project: nobody is asked again.
    server.asked();
    run(&project, &server, home.path(), "build", "").ended(0).told(&["0 built, 4 fresh"]);
    assert!(server.asked().is_empty());
    let same = run(&project, &server, home.path(), "reproduce a.lock", "").ended(0);
    assert_eq!(same.out.matches("bit-identical").count(), 4, "{}", same.out);

    server.commit("datasets/some/text", "main", &[("a.jsonl", b"{\"text\":\"two\"}\n")]);
    let other = run(&project, &server, home.path(), "reproduce a.lock", "").ended(4);
    assert!(other.out.contains("wiki           different at `out`"), "{}", other.out);
    assert_eq!(other.out.matches("bit-identical").count(), 3, "{}", other.out);
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    let locked = run(&project, &server, home.path(), "build --locked", "").ended(4);
    locked.told(&["stage `wiki` made another `out`", "`some/text` at `main` is commit"]);
}

#[test]
fn a_recipe_is_built_without_a_hub_from_what_others_left() {
    let server = FakeHub::new();
    server.commit("datasets/some/text", "main", &[("a.jsonl", b"{\"text\":\"one\"}\n")]);
    let recipe = "stage wiki = hub_text { repo: \"some/text\", column: \"text\" }\noutput wiki\n";
    let (project, home) = (Project::of(recipe), tempfile::tempdir().unwrap());
    let told = run(&project, &server, home.path(), "build", "1").ended(3);
    told.told(&["stage `wiki`", "is not in the cache, and `HF_HUB_OFFLINE` is set"]);
    run(&project, &server, home.path(), "build", "").ended(0);
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    server.leave();
    let built = run(&project, &server, home.path(), "build", "1").ended(0);
    built.told(&["`some/text` is read from the cache: `HF_HUB_OFFLINE` is set"]);
}

#[test]
fn a_model_of_a_hub_is_used_like_any_other() {
    let (project, server) = (Project::micro(), FakeHub::new());
    project.run("build").ended(0);
    let read = |name: &str| std::fs::read(project.path("build/a/chat").join(name)).unwrap();
    let weights = read("model.safetensors");
    let (config, tokenizer, settings) =
        (read("config.json"), read("tokenizer.json"), read("tokenizer_config.json"));
    let files: [(&str, &[u8]); 7] = [
        ("config.json", &config),
        ("tokenizer.json", &tokenizer),
        ("tokenizer_config.json", &settings),
        ("model.safetensors", &weights),
        ("original/model.safetensors", b"the same in another layout"),
        ("pytorch_model.bin", b"the same in another format"),
        ("README.md", b"what it is"),
    ];
    server.commit("models/some/chat", "main", &files);
    let stage = "stage begun = hub_chat_model {
        repo:      \"some/chat\"
        is:        micro
        tokenizer
        template:  llama2.chat
    }\n";
    project.write("a.recipe", project.read("a.recipe") + stage + "output begun\n");
    let home = tempfile::tempdir().unwrap();
    run(&project, &server, home.path(), "build", "").ended(0);
    let made = std::fs::read(project.path("build/a/begun/model.safetensors")).unwrap();
    assert_eq!(made, weights);
    let asked = server.asked();
    let files = asked.iter().filter(|one| !one.aside && one.path.contains("/resolve/"));
    assert_eq!(files.count(), 4, "{asked:?}");
    project.edit("a.recipe", "repo:      \"some/chat\"", "repo:      \"some/chit\"");
    let told = run(&project, &server, home.path(), "build", "").ended(3);
    told.told(&["there is no model `some/chit`"]);
}
