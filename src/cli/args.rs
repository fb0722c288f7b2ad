//! What was typed, before it means anything: one struct per command. Does not look at files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// To model training what make and cargo are to programs.
#[derive(Debug, Parser)]
#[command(name = "llamake", version, about, arg_required_else_help = true)]
#[command(after_help = "Start with `llamake new DIR`, or build a recipe: \
    `llamake build recipes/llama2_tiny.recipe`.\nExit codes: 0 done, 1 the recipe is wrong, \
    2 usage, 3 a stage failed, 4 the lockfile disagrees, 130 interrupted.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build the outputs of a recipe, or the named targets
    Build(Build),
    /// Prove a recipe right without running anything; with `--data` also every row to learn from
    Check(Check),
    /// Show every stage: fresh, or why it will run, with its parameters and cost
    Plan(Plan),
    /// Say why a stage would be built again, or why it is fresh
    Why(Why),
    /// Draw the graph of stages, coloured by state
    Graph(Graph),
    /// Rebuild a lockfile in an empty cache and compare every digest
    Reproduce(Reproduce),
    /// Show the state of every stage of a recipe
    Status(Status),
    /// Show what a stage said and how its figures went
    Log(Log),
    /// Answer a prompt with a model that was built
    Generate(Generate),
    /// Write a model in the form of other tools
    Export(Export),
    /// Look into the store of results
    Cache(Cache),
    /// Print the reference of a stage kind, record or module
    Doc(Doc),
    /// Write recipes in the canonical form
    Fmt(Fmt),
    /// Start a project: a folder with a recipe that builds
    New(New),
    /// Say what this machine and its GPUs offer, and whether programs of a model can be confined
    Doctor,
    /// Run one program of a model; started by llamake itself
    #[command(hide = true)]
    Sandboxed,
}

/// Which recipe, and with which parameters: common to most commands.
#[derive(Debug, Args)]
pub struct Recipe {
    /// The recipe, if not the first argument that ends in `.recipe`
    #[arg(short = 'r', long = "recipe", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Give a `param` of the recipe a value
    #[arg(short = 'p', value_name = "NAME=VALUE")]
    pub params: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    pub recipe: Recipe,
    /// A recipe first if it ends in `.recipe`, then stages to build instead of the outputs
    #[arg(value_name = "RECIPE|TARGET")]
    pub targets: Vec<String>,
    /// Refuse to build anything that differs from the lockfile
    #[arg(long)]
    pub locked: bool,
    #[command(flatten)]
    pub on: On,
    #[command(flatten)]
    pub sharing: Sharing,
    /// Threads in total; all cores if not given
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// After a failure, still build what does not need the failed stage
    #[arg(short = 'k', long)]
    pub keep_going: bool,
    /// Let programs that a model wrote run, in a sandbox, where the recipe allows it too
    #[arg(long)]
    pub allow_code_execution: bool,
    /// Print events as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Where work is done: common to the commands that compute.
#[derive(Debug, Args)]
pub struct On {
    /// Where to compute: `auto`, `cpu`, `cuda` for any GPU, `cuda:1` for one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
}

/// How many GPUs work on one stage: common to the commands that build.
#[derive(Debug, Args)]
pub struct Sharing {
    /// GPUs that share the steps of a training stage, each with some of the rows
    #[arg(long, value_name = "N", default_value = "1")]
    pub data_parallel: std::num::NonZeroUsize,
}

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Auto,
    Cpu,
    /// The GPU of an index, or any.
    Cuda(Option<usize>),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let index = text.strip_prefix("cuda:").map(str::parse);
        match (text, index) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(None)),
            (_, Some(Ok(index))) => Ok(Device::Cuda(Some(index))),
            _ => Err("a device is `auto`, `cpu`, `cuda` or `cuda:N`".to_string()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => text.write_str("auto"),
            Device::Cpu => text.write_str("cpu"),
            Device::Cuda(None) => text.write_str("cuda"),
            Device::Cuda(Some(index)) => write!(text, "cuda:{index}"),
        }
    }
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub recipe: Recipe,
    #[arg(value_name = "RECIPE")]
    pub file: Option<PathBuf>,
    /// Fail where a training stage needs more memory than this: `24GiB`
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub device_memory: Option<u64>,
    /// Also look at every row that the training stages learn from, before anything is trained
    #[arg(long)]
    pub data: bool,
    /// Print diagnostics as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub recipe: Recipe,
    #[arg(value_name = "RECIPE|TARGET")]
    pub targets: Vec<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Why {
    #[command(flatten)]
    pub recipe: Recipe,
    /// A recipe first if it ends in `.recipe`, then the stage
    #[arg(value_name = "STAGE", required = true)]
    pub stage: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Graph {
    #[command(flatten)]
    pub recipe: Recipe,
    #[arg(value_name = "RECIPE")]
    pub file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Drawing::Dot)]
    pub format: Drawing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    Dot,
    Mermaid,
    Svg,
}

#[derive(Debug, Args)]
pub struct Reproduce {
    /// The lockfile of the run
    pub lockfile: PathBuf,
    /// Keep the rebuilt results here instead of in a temporary folder; what was interrupted here
    /// goes on
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    #[command(flatten)]
    pub on: On,
    #[command(flatten)]
    pub sharing: Sharing,
    /// Let programs that a model wrote run, in a sandbox, where the recipe allows it too
    #[arg(long)]
    pub allow_code_execution: bool,
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub recipe: Recipe,
    #[arg(value_name = "RECIPE")]
    pub file: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Log {
    #[command(flatten)]
    pub recipe: Recipe,
    /// A recipe first if it ends in `.recipe`, then the stage
    #[arg(value_name = "STAGE", required = true)]
    pub stage: Vec<String>,
    /// Print every recorded figure as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Generate {
    #[command(flatten)]
    pub recipe: Recipe,
    /// A recipe first if it ends in `.recipe`, then a stage that makes a model; or a model folder,
    /// or a `.gguf` file
    #[arg(value_name = "STAGE|DIR", required = true)]
    pub model: Vec<String>,
    /// What to say to the model
    #[arg(long)]
    pub prompt: String,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 128)]
    pub max_answer: u64,
    /// 0 takes the most likely token each time
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    #[arg(long)]
    pub top_k: Option<u64>,
    #[arg(long)]
    pub top_p: Option<f64>,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub on: On,
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub recipe: Recipe,
    /// A recipe first if it ends in `.recipe`, then a stage that makes a model, a model folder or a
    /// `.gguf` file, then the path to write
    #[arg(value_name = "STAGE|DIR|FILE PATH", required = true)]
    pub stage: Vec<String>,
    #[arg(long = "to", value_enum, default_value_t = Format::Hf)]
    pub format: Format,
    /// How numbers are written; q8_0, q4_0 and q4_K only in GGUF
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A Hugging Face model folder
    Hf,
    /// A file for llama.cpp
    Gguf,
    /// A Hugging Face model folder with matrices in bitsandbytes' NF4
    Bnb4,
    /// A PEFT adapter folder
    Peft,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_K")]
    Q4K,
}

#[derive(Debug, Args)]
pub struct Cache {
    #[command(flatten)]
    pub recipe: Recipe,
    #[command(subcommand)]
    pub action: CacheAction,
}

#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// List results: kind, key, size
    Ls {
        #[arg(long)]
        json: bool,
    },
    /// Hash every blob again and name what is damaged
    Verify,
}

#[derive(Debug, Args)]
pub struct Doc {
    /// A stage kind, record or module: `sft`, `llama2`, `smallworld.generate`; all if not given
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Fmt {
    /// Recipes; `-` reads standard input and writes standard output
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing, name what is not in the canonical form, and then exit with 1
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct New {
    /// The folder to make
    pub folder: PathBuf,
}

/// A size as recipes write it: `24GiB`, `1.5GB`.
fn bytes(text: &str) -> Result<u64, String> {
    const SUFFIXES: [(&str, u64); 8] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
    ];
    let read = |(suffix, size): &(&str, u64)| {
        let number: f64 = text.strip_suffix(suffix)?.trim().parse().ok()?;
        (number > 0.0 && number < 1e9).then_some((number * *size as f64) as u64)
    };
    let found = SUFFIXES.iter().find_map(read);
    found.ok_or_else(|| "a size is a number and a unit, as in `24GiB`".to_string())
}
