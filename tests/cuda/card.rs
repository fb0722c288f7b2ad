//! The kernels through the driver: every check of this folder again on a GPU, where there is one,
//! and on GPUs that `driver.c` makes up, everywhere. And what the program says of those it cannot
//! use.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use llamake::train::kernels::cuda::card::Card;
use llamake::train::kernels::cuda::survey;
use llamake::train::kernels::launch::{Accelerator, Array};

use super::shim::{compile, files, kernels_folder};
use crate::cli::{Project, Ran, ran};

/// The first GPU of this machine that runs the kernels, if there is one.
pub fn card() -> Option<Arc<dyn Accelerator>> {
    static CARD: LazyLock<Option<Arc<Card>>> = LazyLock::new(|| {
        let gpu = survey().and_then(|survey| Ok(survey.usable(None)?[0].clone()));
        match gpu {
            Ok(gpu) => Some(Arc::new(Card::open(&gpu).unwrap())),
            Err(fault) => {
                assert!(!is_made_up(), "{fault}");
                eprintln!("no GPU to test on: {fault}");
                None
            }
        }
    });
    CARD.clone().map(|card| card as Arc<dyn Accelerator>)
}

/// Whether this process was started by the test below, under the made-up driver.
pub fn is_made_up() -> bool {
    std::env::var_os("MADE_UP_DRIVER").is_some()
}

/// Lets a program find the made-up driver, with GPUs of these capabilities after its version.
fn under_made_up<'a>(command: &'a mut Command, driver: &str) -> &'a mut Command {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]);
        gcc.arg("-o").arg(folder.join("libcuda.so"));
        gcc.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda"));
        gcc.args(["driver.c", "products.c", "-ffp-contract=off", "-ldl", "-lpthread"]);
        assert!(gcc.status().unwrap().success());
        // One library under both names.
        std::os::unix::fs::symlink("libcuda.so", folder.join("libcublasLt.so")).unwrap();
        folder
    });
    command.env("LD_LIBRARY_PATH", &*FOLDER).env("MADE_UP_DRIVER", driver)
}

/// All kernels as the made-up driver runs them.
fn libraries() -> String {
    let libraries = files(&kernels_folder(), "cu").into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        compile(&path, &text).to_string_lossy().into_owned()
    });
    libraries.collect::<Vec<_>>().join(":")
}

#[test]
fn a_recipe_built_on_a_gpu_has_the_lock_and_the_answers_of_one_built_on_the_cpu() {
    if is_made_up() {
        return;
    }
    let built = |on_gpu: bool| {
        let project = Project::micro();
        // Heads as wide as there are kernels for.
        project.edit("a.recipe", "heads:   2", "heads:   1");
        let run = |line: &str| {
            let mut command = project.command(line);
            if !on_gpu {
                return ran(command.arg("cpu").output().unwrap()).ended(0).out;
            }
            command.arg("cuda:0").env("MADE_UP_KERNELS", libraries());
            ran(under_made_up(&mut command, "13000 9.0").output().unwrap()).ended(0).out
        };
        run("build --device");
        for stage in ["base", "chat", "scores"].into_iter().filter(|_| on_gpu) {
            let told = project.run(&format!("log {stage}")).out;
            assert!(told.contains("it is computed on cuda:0 ("), "{told}");
            assert!(told.contains("it took "), "{told}");
        }
        let answer = run("generate chat --prompt Who? --temperature 1 --device");
        (project.read("a.lock"), answer)
    };
    assert_eq!(built(true), built(false));
}

/// Less memory than was foreseen, because somebody else has it: the error says what was foreseen,
/// and once there is enough the build goes on.
#[test]
fn a_gpu_that_is_fuller_than_foreseen_is_told_with_the_ledger() {
    if is_made_up() {
        return;
    }
    let project = Project::micro();
    project.edit("a.recipe", "heads:   2", "heads:   1");
    let run = |taken: &str| {
        let mut command = project.command("build base --device cuda:0");
        command.env("MADE_UP_KERNELS", libraries()).env("MADE_UP_TAKEN", taken);
        ran(under_made_up(&mut command, "13000 9.0").output().unwrap())
    };
    let taken = (256 << 20) - 100_000;
    run(&taken.to_string()).ended(3).told(&[
        "`cuda:0` has 0.1 MiB of its 256.0 MiB free, and needs ",
        "MiB foreseen: weights ",
        "activations",
        "see with `nvidia-smi` what else is on it",
    ]);
    run("0").ended(0);
}

/// Two GPUs share the steps of what learns, and what cannot be shared is said.
#[test]
fn a_recipe_built_on_two_gpus_together_has_the_lock_of_one_built_on_the_cpu() {
    if is_made_up() {
        return;
    }
    let project = || {
        let project = Project::micro();
        project.edit("a.recipe", "heads:   2", "heads:   1");
        project
    };
    let (here, there) = (project(), project());
    here.run("build --device cpu").ended(0);
    let run = |line: &str, gpus: &str| {
        let mut command = there.command(line);
        command.env("MADE_UP_KERNELS", libraries());
        ran(under_made_up(&mut command, gpus).output().unwrap())
    };
    run("build --data-parallel 3", "13000 9.0 9.0").ended(2).told(&[
        "`--data-parallel 3`: with `--device auto` there are 2 GPUs of one kind",
        "llamake doctor",
    ]);
    run("build --data-parallel 2 --device cuda:1", "13000 9.0 9.0").ended(2).told(&["is one GPU"]);
    run("build --data-parallel 2", "13000 9.0 8.0").ended(2).told(&["is one GPU of one kind"]);
    let cpu = run("build --data-parallel 2 --device cpu", "13000 9.0 9.0").ended(2);
    cpu.told(&["with `--device cpu` there are no GPUs of one kind"]);
    run("build --data-parallel 2", "13000 9.0 9.0").ended(0);
    let told = there.run("log base").out;
    assert!(told.contains("it is computed on cuda:0 (Made-up 90), cuda:1 (Made-up 90)"), "{told}");
    assert_eq!(there.read("a.lock"), here.read("a.lock"));
}

/// The class bf16, with moments in pages and a base in 4 bits: the same bits twice, and a machine
/// without a GPU goes on from what is built, but builds none of it.
#[test]
fn a_recipe_of_the_class_bf16_is_built_on_a_gpu_alone() {
    if is_made_up() {
        return;
    }
    let built = || {
        let project = Project::micro();
        project.edit("a.recipe", "heads:   2", "heads:   1");
        project.edit("a.recipe", "batch:  4 sequences", "batch: 4 sequences, numerics: \"bf16\"");
        let low = "stage low = qlora {\n    base:      chat\n    data:      desk\n    \
                   rank:      2\n    length:    2 steps\n    numerics:  \"bf16\"\n    \
                   optimizer: paged_adamw { page_budget: 1KiB }\n}\n\noutput low, chat";
        project.edit("a.recipe", "output chat", low);
        let told = &["`base` has `numerics: \"bf16\"`, which runs on a GPU alone", "doctor"];
        project.run("build").ended(2).told(told);
        let mut command = project.command("build");
        command.env("MADE_UP_KERNELS", libraries());
        ran(under_made_up(&mut command, "13000 9.0").output().unwrap()).ended(0);
        project
    };
    let (first, again) = (built(), built());
    let lock = first.read("a.lock");
    assert_eq!(lock, again.read("a.lock"));
    assert!(lock.contains("params.numerics = '\"bf16\"'"), "{lock}");
    // What was learnt is there, and here it is used.
    first.edit("a.recipe", "limit: 10 rows", "limit: 9 rows");
    first.run("build").ended(0);
    // Sums go over all rows that are computed at once.
    first.edit("a.recipe", "numerics: \"bf16\"", "micro_batch: 2 sequences, numerics: \"bf16\"");
    first.run("build").ended(2).told(&["`base` has `numerics: \"bf16\"`"]);
    first.edit("a.recipe", "batch:    2 sequences", "batch: 2 sequences, micro_batch: 1 sequence");
    first.edit("a.recipe", "micro_batch: 2 sequences, numerics", "numerics");
    first.run("build").ended(0);
}

/// Rejection sampling, PPO, DPO and GRPO, a little of each: policies, judges, and models beside
/// them.
#[test]
fn alignment_on_a_gpu_has_the_lock_of_alignment_on_the_cpu() {
    if is_made_up() {
        return;
    }
    let built = |on_gpu: bool| {
        let project = Project::of(include_str!("../cli/rounds.recipe"));
        for (before, after) in [
            ("output v2, scores", "output v1, scores"),
            ("models: [chat, v1, v2, advised, grouped, ..free]", "models: [v1, grouped]"),
            ("limit:  80 rows", "limit:  4 rows"),
            ("length:      6 steps", "length:      1 step"),
            ("length:     10 steps", "length:     1 step"),
            ("pairs:     400", "pairs:     100"),
            ("documents: 1500", "documents: 300"),
            ("talks:     3000", "talks:     300"),
            ("length:  200k tokens", "length:  20k tokens"),
            ("length:   8 epochs", "length:   1 epoch"),
        ] {
            project.edit("a.recipe", before, after);
        }
        let mut command = project.command("build --device");
        if on_gpu {
            command.arg("cuda:0").env("MADE_UP_KERNELS", libraries());
            under_made_up(&mut command, "13000 9.0");
        } else {
            command.arg("cpu");
        }
        ran(command.output().unwrap()).ended(0);
        project.read("a.lock")
    };
    assert_eq!(built(true), built(false));
}

#[test]
fn every_check_of_a_kernel_holds_through_a_made_up_driver() {
    if is_made_up() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["cuda::", "--test-threads", "1"]).env("MADE_UP_KERNELS", libraries());
    let told = ran(under_made_up(&mut command, "13000 9.0 8.0").output().unwrap()).ended(0);
    assert!(told.out.contains("rms_norm_has_the_bits_of_the_cpu ... ok"), "{}", told.out);
}

/// Longer than both halves of the staging memory, at odd places, while the stream is busy.
#[test]
fn bytes_arrive_in_the_order_of_the_calls() {
    let Some(card) = card() else { return };
    let len = (17 << 20) + 13;
    let bytes: Vec<u8> =
        (0..len).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut array = Array::<u8>::of(&card, &bytes).unwrap();
    assert!(array.read().unwrap() == bytes);
    let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    array.clear().unwrap();
    array.write(&other).unwrap();
    array.write(&bytes).unwrap();
    assert!(array.read().unwrap() == bytes);
    array.clear().unwrap();
    assert!(array.read().unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_full_gpu_and_a_missing_kernel_are_told() {
    let Some(card) = card() else { return };
    let told = Array::<u8>::new(&card, 1 << 45).unwrap_err();
    assert!(told.message.contains("free, and needs 32768.0 GiB more"), "{told}");
    let told = card.launch("nosuch", [1; 3], [1; 3], 0, &[]).unwrap_err();
    assert_eq!(told.message, "this llamake has no kernel `nosuch`");
    assert!(Array::<u8>::zeros(&card, 0).unwrap().read().unwrap().is_empty());
}

/// The made-up driver ends the program if anything is left.
#[test]
fn a_card_gives_back_what_it_took() {
    for gpu in survey().iter().flat_map(|survey| survey.usable(None).unwrap()) {
        let card: Arc<dyn Accelerator> = Arc::new(Card::open(&gpu).unwrap());
        let array = Array::of(&card, &[1.0_f32, 2.0]).unwrap();
        drop(card);
        assert_eq!(array.read().unwrap(), [1.0, 2.0]);
    }
}

/// The program under a made-up driver, in a project of its own.
fn told(line: &str, driver: &str) -> Ran {
    let project = Project::micro();
    let mut command = project.command(line);
    ran(under_made_up(&mut command, driver).output().unwrap())
}

#[test]
fn a_doctor_names_every_gpu_and_what_it_can_run() {
    if is_made_up() {
        return;
    }
    let doctor = |driver| told("doctor", driver).out;
    let found = doctor("13010 9.0 8.6 12.0 7.5");
    for line in [
        "driver    CUDA 13.1\n",
        "cuda:0    Made-up 90, 268.4 MB, compute capability 9.0: runs the kernels for 9.0\n",
        "cuda:1    Made-up 86, 268.4 MB, compute capability 8.6: runs the kernels for 8.0\n",
        "compute capability 12.0: compiles the kernels when it loads them\n",
        "compute capability 7.5: is too old for the kernels\n",
        "bf16      is learnt on a GPU, with cuBLASLt\n",
        "stages    compute with models on a GPU; all else runs on the CPU\n",
    ] {
        assert!(found.contains(line), "{found}");
    }
    assert!(doctor("13000").contains("gpu       none: the driver finds no GPU\n"));
    let old = "gpu       none: the driver knows CUDA 12.4, and the kernels are of CUDA 13.";
    assert!(doctor("12040 9.0").contains(old));
    assert!(doctor("-34").contains("is a stub, which drives nothing\n"));
    assert!(doctor("-999").contains("none: the driver: made-up error 999\n"));
}

/// That of this machine, or none.
#[test]
fn the_program_works_whatever_driver_there_is() {
    if is_made_up() {
        return;
    }
    let project = Project::micro();
    project.run("build").ended(0);
    let doctor = project.run("doctor").out;
    match survey() {
        Ok(survey) => assert!(doctor.contains(&survey.gpus[0].name), "{doctor}"),
        Err(fault) => {
            assert!(doctor.contains(&format!("gpu       none: {fault}\n")), "{doctor}");
            project.run("build --device cuda").ended(2).told(&["--device cuda", &fault.message]);
        }
    }
}

#[test]
fn a_gpu_that_cannot_be_had_is_refused() {
    if is_made_up() {
        return;
    }
    let refused = |line: &str, driver| told(line, driver).ended(2);
    let idle = "`--device cuda` would be idle: every stage here runs on the CPU";
    refused("build world --device cuda", "13000 9.0").told(&[idle, "say `--device cpu`"]);
    let kept = "`--device cuda`: `base` has heads that are not 16, 32, 64 or 128 wide";
    refused("build --device cuda", "13000 9.0").told(&[kept, "with `--device auto`"]);
    refused("build --device cuda:1", "13000 9.0")
        .told(&["`--device cuda:1`: the GPUs here are `cuda:0`, Made-up 90"]);
    refused("build --device cuda:1", "13000 9.0 7.5")
        .told(&["capability 7.5", "8.0, 9.0 and later"]);
    refused("build --device cuda", "12090 9.0").told(&["CUDA 12.9", "install a newer driver"]);
    refused("generate x --prompt y --device cuda:0", "13000")
        .told(&["`--device cuda:0`: the driver finds no GPU"]);
    told("build world --device auto", "13000 9.0").ended(0);
    told("build world --device cpu", "13000").ended(0);
}
