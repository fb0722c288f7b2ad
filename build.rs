//! Compiles the kernels for GPUs under the feature `cuda`, and nothing without it. Each `.cu` file
//! becomes one fat binary: machine code for the cards of today and text for those to come, which
//! the driver compiles when it loads it. Does not know what is in them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;
use std::{env, fs, io, thread};

/// Compute capabilities, ascending; text is made of the last.
const CARDS: [u32; 2] = [80, 90];

/// Where kernels lie, each beside the operation that it does.
const KERNELS: &str = "src/train/kernels";

/// A product and a sum are one rounding only where a kernel says so, subnormals are kept, division
/// and square root are exact: the numbers are those of the operations on the CPU. A warning, of
/// registers that spill too, is an error.
const FLAGS: [&str; 10] = [
    "-fatbin",
    "-std=c++17",
    "-O3",
    "-fmad=false",
    "-ftz=false",
    "-prec-div=true",
    "-prec-sqrt=true",
    "-Werror=all-warnings",
    "-Xptxas=--warn-on-spills",
    "-Xptxas=--warning-as-error",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in TOOLKITS.iter().chain(&["PATH"]) {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed={KERNELS}");
    if let Err(fault) = compile_all() {
        for line in fault.lines().filter(|line| !line.trim().is_empty()) {
            println!("cargo::error={line}");
        }
    }
}

/// Variables that name a CUDA toolkit.
const TOOLKITS: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];

/// A compiler of kernels.
struct Nvcc {
    program: PathBuf,
    /// The version of CUDA it belongs to, as in 13.0.
    release: [u32; 2],
}

fn compile_all() -> Result<(), String> {
    let nvcc = nvcc()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    let sources = files("cu")?;
    // A fat binary that is younger than every source is still right, if it was made in this way.
    let headers = newest(&files("cuh")?);
    let (manner, made) = (format!("{:?} {FLAGS:?} {CARDS:?}", nvcc.release), out.join("manner"));
    let same = fs::read_to_string(&made).is_ok_and(|made| made == manner);
    let stale = |source: &&PathBuf| {
        let made = newest(&[binary(&out, source)]);
        !same || made.is_none() || made <= newest(&[source.to_path_buf()]).max(headers)
    };
    let stale: Vec<&PathBuf> = sources.iter().filter(stale).collect();
    compile(&nvcc, &stale, &out)?;
    let written = fs::write(&made, manner).and_then(|()| table(&nvcc, &sources, &out));
    written.map_err(|error| format!("`{}`: {error}", out.display()))
}

/// The compiler of the toolkit that a variable names; or else of the folder that `.ci/run` makes
/// one in, of the search path, or of the usual place.
fn nvcc() -> Result<Nvcc, String> {
    let named = TOOLKITS.iter().filter_map(env::var_os).filter(|folder| !folder.is_empty());
    let mut places: Vec<PathBuf> =
        named.map(|folder| Path::new(&folder).join("bin/nvcc")).collect();
    if places.is_empty() {
        places.push("target/cuda/bin/nvcc".into());
        places.push("nvcc".into());
        places.push("/usr/local/cuda/bin/nvcc".into());
    }
    let found = places.into_iter().find_map(|program| {
        let told = Command::new(&program).arg("--version").output().ok()?;
        let release = release(&String::from_utf8_lossy(&told.stdout))?;
        Some(Nvcc { program, release })
    });
    found.ok_or_else(|| {
        "the feature `cuda` needs nvcc, and there is none: set CUDA_HOME to a CUDA toolkit, \
         or run `.ci/cuda-toolkit target/cuda`, which makes one"
            .to_string()
    })
}

/// The version in `Cuda compilation tools, release 13.0, V13.0.88`.
fn release(told: &str) -> Option<[u32; 2]> {
    let (_, rest) = told.split_once("release ")?;
    let (major, minor) = rest.split_once(',')?.0.split_once('.')?;
    Some([major.parse().ok()?, minor.parse().ok()?])
}

/// Files below the folder of kernels with such an end, sorted.
fn files(end: &str) -> Result<Vec<PathBuf>, String> {
    let (mut open, mut found) = (vec![PathBuf::from(KERNELS)], Vec::new());
    while let Some(folder) = open.pop() {
        let fault = |error: io::Error| format!("`{}`: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == end) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// When the youngest of some files was written, as far as they are there.
fn newest(files: &[PathBuf]) -> Option<SystemTime> {
    files.iter().filter_map(|file| fs::metadata(file).ok()?.modified().ok()).max()
}

fn binary(out: &Path, source: &Path) -> PathBuf {
    out.join(name(source)).with_extension("fatbin")
}

/// A file of kernels by its path in their folder, as in `gemm-tile`.
fn name(source: &Path) -> String {
    let inside = source.strip_prefix(KERNELS).expect("it was found there").with_extension("");
    inside.to_string_lossy().replace('/', "-")
}

/// Compiles files, as many at a time as cargo allows.
fn compile(nvcc: &Nvcc, sources: &[&PathBuf], out: &Path) -> Result<(), String> {
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_usize);
    let (waiting, faults) = (Mutex::new(sources.iter()), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("no thread panics").next();
    thread::scope(|scope| {
        for _ in 0..jobs.min(sources.len()) {
            scope.spawn(|| {
                while let Some(source) = next() {
                    let fault = compile_one(nvcc, source, &binary(out, source)).err();
                    faults.lock().expect("no thread panics").extend(fault);
                }
            });
        }
    });
    let mut faults = faults.into_inner().expect("no thread panics");
    faults.sort();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn compile_one(nvcc: &Nvcc, source: &Path, binary: &Path) -> Result<(), String> {
    let mut command = Command::new(&nvcc.program);
    command.args(FLAGS);
    for card in CARDS {
        command.arg(format!("-gencode=arch=compute_{card},code=sm_{card}"));
    }
    let last = CARDS[CARDS.len() - 1];
    command.arg(format!("-gencode=arch=compute_{last},code=compute_{last}"));
    // What is left of a compilation that was killed would look younger than its source.
    let part = binary.with_extension("part");
    let told = command.arg("-o").arg(&part).arg(source).output();
    let told = told.map_err(|error| format!("`{}`: {error}", nvcc.program.display()))?;
    if told.status.success() {
        let moved = fs::rename(&part, binary);
        return moved.map_err(|error| format!("`{}`: {error}", binary.display()));
    }
    let said = [told.stdout, told.stderr].concat();
    Err(format!("`{}` does not compile:\n{}", source.display(), String::from_utf8_lossy(&said)))
}

/// Writes the table of fat binaries that the crate embeds.
fn table(nvcc: &Nvcc, sources: &[PathBuf], out: &Path) -> io::Result<()> {
    let mut text = io::BufWriter::new(fs::File::create(out.join("binaries.rs"))?);
    writeln!(text, "/// The version of CUDA that the kernels were compiled by.")?;
    writeln!(text, "pub const RELEASE: [u32; 2] = {:?};", nvcc.release)?;
    writeln!(text, "/// Compute capabilities there is machine code for, ascending.")?;
    writeln!(text, "pub const CARDS: [u32; {}] = {CARDS:?};", CARDS.len())?;
    writeln!(text, "/// The fat binary of each file of kernels, by its name.")?;
    writeln!(text, "pub const BINARIES: [(&str, &[u8]); {}] = [", sources.len())?;
    for source in sources {
        let name = name(source);
        writeln!(text, "    ({name:?}, include_bytes!({:?})),", binary(out, source))?;
    }
    writeln!(text, "];")?;
    text.into_inner()?.flush()
}
