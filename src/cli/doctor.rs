//! `llamake doctor`: what this machine offers, its GPUs too, and whether a sandbox holds on it.

use anyhow::Result;

use super::Exit;
use super::exit::tell;
use super::machine::{isa, launcher, pool};
use super::terminal::out;
use crate::eval::sandbox::Sandbox;
use crate::exec::ledger::bytes_text;
use crate::exec::local::translated;
use crate::train::kernels::cuda::gpu::Form;
use crate::train::kernels::cuda::{Gpu, has_products, survey};

/// Looks, and ends well only if everything is there.
pub fn run() -> Result<Exit> {
    let machine = pool(None);
    out(&format!("threads   {}\n", machine.threads));
    out(&format!("memory    {}\n", bytes_text(machine.memory_bytes)));
    out(&format!("kernels   {}\n", format!("{:?}", isa()?).to_lowercase()));
    gpus();
    match Sandbox::open(&launcher()) {
        Ok(sandbox) => {
            out(&format!("sandbox   holds, with {}\n", sandbox.interpreter()));
            Ok(Exit::Done)
        }
        Err(failure) => {
            out("sandbox   missing\n");
            tell(&translated(failure));
            Ok(Exit::StageFailed)
        }
    }
}

/// Says which GPUs there are, and what they could run. That there is none is no fault.
fn gpus() {
    let survey = match survey() {
        Ok(survey) => survey,
        Err(fault) => return out(&format!("gpu       none: {fault}\n")),
    };
    let [major, minor] = survey.driver;
    out(&format!("driver    CUDA {major}.{minor}\n"));
    for gpu in &survey.gpus {
        let Gpu { index, name, memory_bytes, capability: [major, minor] } = gpu;
        let memory = bytes_text(*memory_bytes);
        let kernels = match gpu.form(&survey.built_for) {
            Form::Machine(built) => format!("runs the kernels for {}.{}", built / 10, built % 10),
            Form::Text(_) => "compiles the kernels when it loads them".to_string(),
            Form::None => "is too old for the kernels".to_string(),
        };
        let card = format!("{name}, {memory}, compute capability {major}.{minor}");
        out(&format!("cuda:{index}    {card}: {kernels}\n"));
    }
    out(match has_products() {
        true => "bf16      is learnt on a GPU, with cuBLASLt\n",
        false => "bf16      is not learnt here: there is no cuBLASLt, which its products need\n",
    });
    out("stages    compute with models on a GPU; all else runs on the CPU\n");
}
