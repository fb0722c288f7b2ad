//! `--device` on a program without the feature `cuda`, and what is no device at all.

use super::Project;

#[test]
fn what_is_no_device_is_told() {
    for device in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""] {
        let project = Project::micro();
        let mut command = project.command("build --device");
        let told = super::ran(command.arg(device).output().unwrap()).ended(2);
        told.told(&["a device is `auto`, `cpu`, `cuda` or `cuda:N`"]);
    }
    Project::micro().run("build world --device cpu").ended(0);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_is_refused_by_a_program_without_kernels_for_it() {
    let project = Project::micro();
    project.run("build world --device auto").ended(0);
    let lines = [
        "build world --device cuda:0",
        "generate chat --prompt x --device cuda:0",
        "reproduce a.lock --into other --device cuda:0",
    ];
    for line in lines {
        let told = project.run(line).ended(2);
        told.told(&[
            "error: `--device cuda:0`: this llamake was built without `cuda`\n",
            "help: build it with `cargo build --release --features cuda`\n",
        ]);
    }
    assert!(!project.path("other").exists(), "nothing is begun");
    let doctor = project.run("doctor").out;
    assert!(doctor.contains("gpu       none: this llamake was built without `cuda`\n"), "{doctor}");
}
