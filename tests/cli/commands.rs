//! The other commands on a project that was built.

use super::Project;

#[test]
fn check_reads_no_data_and_finds_every_mistake() {
    let project = Project::micro();
    project.run("check").ended(0);
    assert!(!project.path("cache").exists(), "a check leaves nothing behind");
    project.edit("a.recipe", "vocab:   400", "vocap:   400");
    project.edit("a.recipe", "held_out: 10%", "held_out: 10 tokens");
    let told = project.run("check").ended(1).told(&["unknown-field", "vocap", "vocab", "a.recipe"]);
    assert!(told.err.contains("2 errors"), "{}", told.err);
    let json = project.run("check --json").ended(1);
    for line in json.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn the_recipes_of_the_readme_are_right() {
    let readme = include_str!("../../README.md");
    let recipes = readme.split("```").map(str::trim_start);
    let recipes: Vec<&str> = recipes.filter(|text| text.starts_with("use std/llama2")).collect();
    assert_eq!(recipes.len(), 2);
    for recipe in recipes {
        Project::of(recipe).run("check").ended(0);
    }
}

#[test]
fn a_build_speaks_json_for_programs() {
    let project = Project::micro();
    let told = project.run("build --json").ended(0);
    let events = told.out.lines().map(|line| serde_json::from_str(line).unwrap());
    let events = events.collect::<Vec<serde_json::Value>>();
    let last = events.last().unwrap();
    assert_eq!(last["built"], 8, "{last}");
    let of_base = events.iter().filter(|event| event["stage"] == "base");
    assert!(of_base.count() > 1);
    let none = "{\"event\":\"done\",\"built\":0,\"fresh\":0,\"failed\":0}\n";
    assert_eq!(project.run("build --json nosuch").ended(2).out, none);
    assert_eq!(project.run("build --json nosuch.recipe").ended(2).out, none);
    project.edit("a.recipe", "held_out: 10%", "held_out: 11%");
    assert_eq!(project.run("build --json --locked").ended(4).out, none);
    project.write("a.recipe", "let = = 3\n");
    assert_eq!(project.run("build --json").ended(1).out, none);
}

#[test]
fn a_reproduction_speaks_json_for_programs() {
    let project = Project::micro();
    project.run("build short tokenizer").ended(0);
    let told = project.run("reproduce a.lock --json").ended(0);
    let events = told.out.lines().map(|line| serde_json::from_str(line).unwrap());
    let events = events.collect::<Vec<serde_json::Value>>();
    let (last, before) = events.split_last().unwrap();
    let stages = project.read("a.lock").matches("[stage.").count();
    assert_eq!(
        *last,
        serde_json::json!({ "event": "done", "built": stages, "fresh": 0, "failed": 0 })
    );
    let verdicts = &before[before.len() - stages..];
    for event in verdicts {
        assert_eq!(
            (&event["event"], &event["verdict"]),
            (&"verdict".into(), &"bit-identical".into())
        );
        assert!(event["time"].is_f64() && event["stage"].is_string(), "{event}");
    }
    assert_eq!(before.iter().filter(|event| event["event"] == "verdict").count(), stages);
    assert!(before.iter().all(|event| event["event"] != "done"));
    let plain = project.run("reproduce a.lock").ended(0).out;
    assert!(plain.lines().all(|line| line.ends_with(" bit-identical")), "{plain}");
    let lock = project.read("a.lock");
    project.write("a.lock", lock.replacen("params.seed = '7'", "params.seed = '8'", 1));
    let told = project.run("reproduce a.lock --json").ended(4).out;
    let lines = told.lines().collect::<Vec<_>>();
    assert!(lines[..stages].iter().any(|line| line.contains("\"verdict\":\"edited\"")), "{told}");
    assert!(lines[stages].starts_with("{\"event\":\"done\",\"built\":0"), "{told}");
}

#[test]
fn status_plan_log_and_graph_tell_of_every_stage() {
    let project = Project::micro();
    project.run("build").ended(0);
    for line in
        ["status", "plan", "graph", "graph --format mermaid", "graph --format svg", "cache ls"]
    {
        let told = project.run(line).ended(0);
        for stage in ["world", "tokenizer", "base", "chat", "scores"] {
            assert!(told.out.contains(stage), "`{line}` does not tell of `{stage}`:\n{}", told.out);
        }
    }
    let log = project.run("log base").ended(0);
    assert!(log.out.contains("loss"), "{}", log.out);
    project.run("log nosuch").ended(2).told(&["nosuch", "`base`"]);
}

#[test]
fn a_model_answers_and_is_exported() {
    let project = Project::micro();
    project.run("build").ended(0);
    let first = project.command("generate chat --prompt").arg("Where does Ada live?").output();
    let again = project.command("generate chat -j 1 --prompt").arg("Where does Ada live?").output();
    let (first, again) = (super::ran(first.unwrap()).ended(0), super::ran(again.unwrap()).ended(0));
    assert!(first.out.ends_with('\n'));
    assert_eq!(first.out, again.out);
    project.run("export chat --to hf there").ended(0);
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(project.path("there").join(file).is_file(), "{file}");
    }
    let mut command = project.command("generate there --prompt");
    assert_eq!(super::ran(command.arg("Where does Ada live?").output().unwrap()).out, first.out);
    project.run("export there chat.gguf --to gguf --dtype bf16").ended(0);
    project.run("export there chat.gguf --to gguf").ended(2).told(&["there already"]);
    project.run("export there chat.bin --to gguf").ended(2).told(&["does not end in `.gguf`"]);
    project.run("export chat.gguf again --to hf --dtype bf16").ended(0);
    assert!(project.path("again/model.safetensors").is_file());
    project.run("export there no --to hf --dtype q8_0").ended(3).told(&["cannot hold q8_0"]);
    assert!(!project.path("no").exists());
}

#[test]
fn blocks_in_a_folder_are_found_before_anything_runs() {
    let project = Project::micro();
    let text = project.read("a.recipe");
    let stage = "stage out = export { model: chat, to: \"hf\", dtype: \"q8_0\" }\noutput out\n";
    project.write("a.recipe", format!("{text}\n{stage}"));
    project.run("check a.recipe").ended(1).told(&["export-dtype", "only GGUF files have q8_0"]);
    for stage in [
        "stage out = export { model: chat, to: \"gguf\", dtype: \"q4_K\" }",
        "stage out = quantize { model: chat, to: \"q4_0\" }",
    ] {
        project.write("a.recipe", format!("{text}\n{stage}\noutput out\n"));
        let told = project.run("check a.recipe").ended(1);
        told.told(&["parted-rows", "rows of `out` hold 16 numbers", "dim is 16"]);
    }
    let stage = "stage out = quantize { model: chat, to: \"q8_0\", dtype: \"bf16\" }";
    project.write("a.recipe", format!("{text}\n{stage}\noutput out\n"));
    project.run("check a.recipe").ended(1).told(&["`dtype`", "std/model.recipe"]);
}

#[test]
fn what_a_device_cannot_hold_is_found_with_the_settings_that_it_can() {
    let project = Project::of(
        "use std/llama2\nstage words = read_tokenizer { files: \"w\", vocab: 32000 }\n\
         stage text = read_text { files: \"t.txt\" }\n\
         let small = llama2.architecture {\n    dim: 512\n    layers: 8\n    heads: 8\n    \
         ffn: 1408\n    vocab: 32000\n    context: 2048 tokens\n}\n\
         stage base = pretrain {\n    model: small\n    tokenizer: words\n    data: text\n    \
         length: 10 steps\n    batch: 8 sequences\n    lr: 1e-3\n}\noutput base\n",
    );
    let check = |limit: &str| project.run(&format!("check a.recipe --device-memory {limit}"));
    check("64GiB").ended(0);
    let told =
        ["does-not-fit", "`base` needs", "activations", "help: gradient_checkpointing: true"];
    check("2.5GiB").ended(1).told(&told);
    check("1.3GiB").ended(1).told(&["micro_batch: "]);
    check("0.6GiB").ended(1).told(&["it fits with", "optimizer: paged_adamw { page_budget: "]);
    check("100MiB").ended(1).told(&["no setting of the stage makes it fit"]);
    check("24").ended(2).told(&["24GiB"]);
}

#[test]
fn models_that_no_task_fits_are_found_before_anything_runs() {
    let project = Project::micro();
    let text = project.read("a.recipe");
    let stage = "stage judge = reward_model { init: chat, data: world.helpful, lr: 1e-4 }\n\
                 stage more = eval { models: [chat, judge], tasks: world.tasks }\noutput more\n";
    project.write("a.recipe", format!("{text}\n{stage}"));
    let told = ["unfit-task", "no task fits `judge`, which is a reward model"];
    project.run("check a.recipe").ended(1).told(&told);
}

#[test]
fn a_doctor_says_whether_programs_can_be_confined() {
    let told = Project::new().run("doctor");
    let found = match told.code {
        Some(0) => "sandbox   holds, with Python 3",
        _ => "sandbox   missing",
    };
    assert!(told.out.contains(found), "{}{}", told.out, told.err);
    assert_eq!(told.code == Some(0), told.err.is_empty(), "{}", told.err);
}

#[test]
fn a_new_project_builds() {
    let project = Project::new();
    project.run("new garden").ended(0);
    project.run("check garden/main.recipe").ended(0);
    project.run("fmt --check garden/main.recipe").ended(0);
    project.run("new garden").ended(2).told(&["garden"]);
}

#[test]
fn a_suggested_command_can_be_pasted() {
    let project = Project::new();
    let told = super::ran(project.command("new").arg("my garden").output().unwrap()).ended(0);
    told.told(&["made my garden\nnext: cd 'my garden' && llamake build\n"]);
    project.write("a b.recipe", include_str!("micro.recipe"));
    let mut command = project.command("generate --prompt x -p");
    command.args(["steps=3 steps", "-r", "a b.recipe", "chat"]);
    let told = super::ran(command.output().unwrap()).ended(3).err;
    let pasted = "llamake build 'a b.recipe' chat -p 'steps=3 steps'";
    assert!(told.contains(&format!("help: {pasted}\n")), "{told}");
    let mut shell = std::process::Command::new("sh");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_llamake")).parent().unwrap();
    shell.current_dir(project.path(".")).env("PATH", format!("{}:/bin", program.display()));
    super::ran(shell.args(["-c", pasted]).output().unwrap()).ended(0);
    super::ran(command.output().unwrap()).ended(0);
}

#[test]
fn fmt_writes_the_canonical_form_and_keeps_what_it_cannot_read() {
    let project = Project::of("let a=1\noutput a\n");
    project.run("fmt --check a.recipe").ended(1);
    project.run("fmt a.recipe").ended(0);
    assert_eq!(project.read("a.recipe"), "let a = 1\noutput a\n");
    project.write("a.recipe", "let = = 3\n");
    project.run("fmt a.recipe").ended(1).told(&["a.recipe"]);
    assert_eq!(project.read("a.recipe"), "let = = 3\n");
}

#[test]
fn fmt_follows_links_and_checks_standard_input() {
    let project = Project::of("let a=1\noutput a\n");
    project.write("links/.keep", "");
    std::os::unix::fs::symlink("../a.recipe", project.path("links/b.recipe")).unwrap();
    project.run("fmt links/b.recipe").ended(0);
    assert!(project.path("links/b.recipe").is_symlink());
    assert_eq!(project.read("a.recipe"), "let a = 1\noutput a\n");

    let check = |text: &str| {
        project.write("text", text);
        let text = std::fs::File::open(project.path("text")).unwrap();
        super::ran(project.command("fmt --check -").stdin(text).output().unwrap())
    };
    assert_eq!(check("let a = 1\noutput a\n").ended(0).out, "");
    assert_eq!(check("let a=1\noutput a\n").ended(1).out, "");
}

#[test]
fn every_name_of_the_library_has_its_reference() {
    let project = Project::new();
    let all = project.run("doc").ended(0).out;
    let mut found = 0;
    for line in all.lines() {
        let mut words = line.split_whitespace();
        if let (Some("fn" | "record" | "type" | "let"), Some(name)) = (words.next(), words.next()) {
            let told = project.run(&format!("doc {name}")).ended(0);
            assert!(told.out.contains(name), "{name}: {}", told.out);
            found += 1;
        }
    }
    assert!(found > 25, "{found}");
}
