//! Programs that a model writes, from a recipe: two permissions, a sandbox, a report.

use std::io::BufRead;

use serde_json::json;

use super::Project;

const STAGES: &str = r#"
stage problems = read_benchmark {
    files:   "problems.jsonl"
    columns: ["prompt", "test", "entry_point"]
}

let scored = programs {
    program:              "{{prompt}}\nsaid = {{answer | tojson}}\n{{test}}\ncheck({{entry_point}})"
    max_answer:           8 tokens
    temperature:          1
    samples:              4
    k:                    [1, 4]
    allow_code_execution: true
}

stage solved = eval {
    models: [base]
    tasks:  [
        task {
            name:    "problems"
            data:    problems
            prompt:  "{{prompt}}"
            between: ""
            score:   scored
        }
    ]
}

output solved
"#;

/// Of the first problem every program passes, whatever it was that the model wrote; of the second
/// none.
fn problems() -> String {
    let problem = |name: &str, wanted: u32| {
        let prompt = format!("def {name}():\n    return 1\n");
        let test = format!("def check(f):\n    assert f() == {wanted}");
        json!({ "prompt": prompt, "test": test, "entry_point": name }).to_string()
    };
    [problem("one", 1), problem("two", 2)].join("\n")
}

fn project() -> Project {
    let project = Project::micro();
    let text = project.read("a.recipe");
    project.write("a.recipe", text.replace("output chat, scores", "") + STAGES);
    project.write("problems.jsonl", problems());
    project
}

#[test]
fn programs_need_a_permission_in_the_recipe() {
    let project = project();
    let allows = "    allow_code_execution: true\n";
    project.edit("a.recipe", allows, "");
    let told = ["[programs]", "`problems`", "recipe does not allow", "allow_code_execution: true"];
    project.run("check a.recipe").ended(1).told(&told);
    project.run("build a.recipe --allow-code-execution").ended(1).told(&told);
    assert!(!project.path("cache").exists(), "nothing ran");
}

#[test]
fn programs_need_a_permission_of_the_user() {
    let project = project();
    project.run("check a.recipe").ended(0);
    let told = ["stage `solved`, task `problems`", "not allowed it", "--allow-code-execution"];
    project.run("build a.recipe").ended(2).told(&told);
    assert!(!project.path("build").exists(), "nothing ran");
    project.run("build a.recipe base").ended(0);
}

#[test]
fn a_k_beyond_the_programs_is_found_before_anything_runs() {
    let project = project();
    project.edit("a.recipe", "[1, 4]", "[1, 5]");
    let told = ["pass@5 is asked of 4 programs a row", "set `samples`"];
    project.run("check a.recipe").ended(1).told(&told);
}

#[test]
fn a_program_of_columns_that_are_not_there_is_found_before_anything_runs() {
    let project = project();
    project.edit("a.recipe", "{{answer | tojson}}", "{{answers | tojson}}");
    let told = ["`program` reads a column `answers` that its rows have not", "`entry_point`"];
    project.run("check a.recipe").ended(1).told(&told);
}

#[test]
fn programs_of_mbpp_are_right_as_the_library_has_them() {
    let project = project();
    let stages = r#"
stage first = read_benchmark { files: "first.jsonl", columns: ["text", "code", "test_list"] }
stage rest = read_benchmark {
    files:   "rest.jsonl"
    columns: ["text", "code", "test_setup_code", "test_list"]
}
stage more = eval {
    models: [base]
    tasks:  [
        task {
            name:     "MBPP"
            data:     rest
            prompt:   mbpp_prompt
            answer:   "{{code}}\n[DONE]"
            between:  ""
            shots:    3
            examples: first
            score:    programs { ..mbpp_programs, allow_code_execution: true }
        }
    ]
}
output more
"#;
    project.write("a.recipe", project.read("a.recipe") + stages);
    project.run("check a.recipe").ended(0);
    project.edit("a.recipe", "\"test_setup_code\", ", "");
    project.run("check a.recipe").ended(1).told(&["`test_setup_code` that its rows have not"]);
}

#[cfg(target_os = "linux")]
#[test]
fn programs_are_run_and_reproduced() {
    let project = project();
    let told = project.run("build a.recipe --allow-code-execution");
    if told.err.contains("cannot be confined here") {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", told.err);
        eprintln!("not tried: {}", told.err);
        return;
    }
    let told = told.ended(0);
    let report = project.read("build/a/solved/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let cell = &report["tasks"]["problems"]["models"]["base"];
    assert_eq!((&cell["pass@1"], &cell["pass@4"]), (&0.5.into(), &0.5.into()), "{}", told.out);
    project.run("reproduce a.lock").ended(2).told(&["--allow-code-execution"]);
    project.run("reproduce a.lock --allow-code-execution").ended(0);
}

const HUMANEVAL: &str = r#"
stage humaneval = read_benchmark {
    files:   "humaneval.jsonl"
    columns: ["task_id", "prompt", "canonical_solution", "entry_point", "test"]
}
stage sampled = eval {
    models: [base]
    tasks:  [
        task {
            name:    "HumanEval"
            data:    humaneval
            prompt:  "{{prompt}}"
            between: ""
            score:   programs {
                program: """
                    {{prompt}}{{canonical_solution if (answer | length) % 2 == 0 else answer}}
                    {{test}}
                    check({{entry_point}})
                    """
                max_answer:           6 tokens
                temperature:          0.8
                samples:              6
                k:                    [1, 2, 6]
                allow_code_execution: true
            }
        }
    ]
}
output sampled
"#;

/// The first problems of the shared HumanEval.
fn humaneval(count: usize) -> Option<String> {
    let path = crate::train::shared_data("eval/humaneval")?.join("HumanEval.jsonl.gz");
    let file = std::fs::File::open(path).unwrap();
    let lines = std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    Some(lines.take(count).map(|line| line.unwrap() + "\n").collect())
}

/// How likely one of k of `programs` passes, of which `passed` do: the share of all choices.
fn pass_at(k: u32, programs: u32, passed: u32) -> f64 {
    let choices = (0_u32..1 << programs).filter(|chosen| chosen.count_ones() == k);
    let (all, hit) = choices.fold((0, 0), |(all, hit), chosen| {
        (all + 1, hit + u32::from(chosen & ((1 << passed) - 1) != 0))
    });
    f64::from(hit) / f64::from(all)
}

/// The solution of the row stands in for an answer whose length is even, so that the verdict on a
/// program hangs on what the model drew.
#[cfg(target_os = "linux")]
#[test]
fn several_programs_are_drawn_for_each_problem_of_humaneval() {
    let Some(problems) = humaneval(8) else { return };
    let project = project();
    project.write("humaneval.jsonl", problems);
    project.write("a.recipe", project.read("a.recipe") + HUMANEVAL);
    let told = project.run("build a.recipe sampled --allow-code-execution");
    if told.err.contains("cannot be confined here") {
        eprintln!("not tried: {}", told.err);
        return;
    }
    told.ended(0);
    let samples = project.read("build/a/sampled/samples_HumanEval_base.jsonl");
    let rows = samples.lines().map(|line| serde_json::from_str(line).unwrap());
    let rows = rows.collect::<Vec<serde_json::Value>>();
    let mut passed = Vec::new();
    for row in &rows {
        let answers = row["resps"][0].as_array().unwrap();
        let verdicts = row["filtered_resps"][0].as_array().unwrap();
        assert_eq!((answers.len(), verdicts.len()), (6, 6));
        let even = answers.iter().map(|text| text.as_str().unwrap().chars().count() % 2 == 0);
        let right = verdicts.iter().map(|verdict| verdict == "passed");
        assert!(right.clone().eq(even), "{row}");
        passed.push(right.filter(|right| *right).count() as u32);
    }
    let some = |passed: &u32| (1..6).contains(passed);
    assert!(passed.iter().any(some), "no row tells pass@1 from pass@2: {passed:?}");
    let report = project.read("build/a/sampled/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let cell = &report["tasks"]["HumanEval"]["models"]["base"];
    for k in [1, 2, 6] {
        let all = passed.iter().map(|passed| pass_at(k, 6, *passed)).sum::<f64>();
        let (got, want) = (cell[format!("pass@{k}")].as_f64().unwrap(), all / rows.len() as f64);
        assert!((got - want).abs() < 1e-12, "pass@{k}: got {got}, want {want}");
    }
}
