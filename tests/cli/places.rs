//! Where results lie: the cache that a user names, and the folders of a project's recipes.

use super::{Project, contents, ran};

const RECIPE: &str = "use std/smallworld
stage world = smallworld.generate { seed: 7, documents: 100, problems: 100, talks: 100, pairs: 100 }
output world\n";

#[test]
fn a_users_folder_does_not_become_a_cache() {
    let project = Project::of(RECIPE);
    project.write(".gitignore", "secret\n");
    let told = project.command("build").env("LLAMAKE_CACHE", ".").output().unwrap();
    ran(told).ended(3).told(&["is not empty and no cache of llamake", "help: name another folder"]);
    project.write("llamake.toml", "cache = \".\"\n");
    project.run("build").ended(3).told(&["no cache of llamake"]);
    project.write("llamake.toml", "cache = \"\"\n");
    project.run("build").ended(2).told(&["`cache` in `llamake.toml` is empty; name a folder"]);
    assert_eq!(project.read(".gitignore"), "secret\n");
    let mut names = Vec::new();
    for entry in project.path(".").read_dir().unwrap() {
        names.push(entry.unwrap().file_name());
    }
    names.sort();
    assert_eq!(names, [".gitignore", "a.recipe", "llamake.toml"], "nothing is written");
}

#[test]
fn a_path_that_only_a_shell_reads_is_refused() {
    let project = Project::of(RECIPE);
    for path in ["~/models", "$HOME/models"] {
        project.write("llamake.toml", format!("cache = \"{path}\"\n"));
        let shown = format!("is `{path}`; write the whole path");
        project.run("build").ended(2).told(&["`cache` in `llamake.toml`", &shown]);
        let told = project.command("build").env("LLAMAKE_CACHE", path).output().unwrap();
        ran(told).ended(2).told(&["`LLAMAKE_CACHE`", &shown]);
    }
    assert!(!project.path("~").exists() && !project.path("$HOME").exists());
}

#[test]
fn recipes_of_one_name_in_one_project_keep_their_own_outputs() {
    let project = Project::new();
    project.write("llamake.toml", "");
    for (name, seed) in [("a/main.recipe", 1), ("b/main.recipe", 2), ("main.recipe", 3)] {
        project.write(name, RECIPE.replace("seed: 7", &format!("seed: {seed}")));
        project.run(&format!("build {name}")).ended(0);
    }
    let corpora = ["build/a/main", "build/b/main", "build/main"]
        .map(|folder| contents(&project.path(&format!("{folder}/world"))));
    assert!(!corpora[0].is_empty());
    assert!(corpora[0] != corpora[1] && corpora[1] != corpora[2] && corpora[0] != corpora[2]);
    let mut inside = project.command("build main.recipe");
    let told = ran(inside.current_dir(project.path("a")).output().unwrap()).ended(0);
    assert!(told.out.contains("build/a/main/world"), "{}", told.out);
    assert!(!project.path("a/build").exists());
}

#[test]
fn a_recipe_beside_a_project_is_not_of_it() {
    let project = Project::new();
    project.write("here/llamake.toml", "");
    project.write("there/main.recipe", RECIPE);
    let mut command = project.command("build ../there/main.recipe");
    ran(command.current_dir(project.path("here")).output().unwrap()).ended(0);
    assert!(project.path("there/build/main/world").is_dir());
    assert!(!project.path("here/cache").exists());
}
