//! Several accelerators that share the steps of one run: no bit depends on how many they are.

use std::sync::Arc;

use llamake::train::kernels::launch::Accelerator;
use llamake::train::model::activations::Keep;
use llamake::train::model::lora::LoraSettings;
use llamake::train::model::{ModelConfig, Transformer};
use llamake::train::optim::Bits;
use llamake::train::stage::{Numerics, Training};

use super::shim::Shim;
use super::training::{Ran, adapted, ran_on, ranked, wide};
use crate::train::fixtures::{model, training};

fn shims(count: u64) -> Vec<Arc<dyn Accelerator>> {
    (1..=count).map(Shim::new).collect()
}

/// Steps of eight rows in parts of three: three parts, of which the last is smaller.
fn settings(numerics: Numerics) -> Training {
    Training { numerics, keep: Keep::Residuals, ..training(3, 3) }
}

/// A run on no accelerator but the CPU, and on so many of them.
fn of(
    numerics: Numerics,
    begun: &dyn Fn() -> Transformer,
    change: &dyn Fn(&mut Training),
    on: Vec<Arc<dyn Accelerator>>,
) -> Ran {
    let mut settings = settings(numerics);
    change(&mut settings);
    ran_on(begun(), &settings, on)
}

/// With more of them than there are parts, some only hear what the others found.
#[test]
fn any_number_of_accelerators_has_the_bits_of_the_cpu() {
    let tied = ModelConfig { tied: true, ..wide() };
    for config in [wide(), tied] {
        let begun = || model(&config, 4);
        let run = |on| of(Numerics::ExactF32, &begun, &|_| (), on);
        let here = run(vec![]);
        for count in 1..=4 {
            assert_eq!(run(shims(count)), here, "{count} of {config:?}");
        }
    }
}

#[test]
fn adapters_and_moments_are_shared_as_well() {
    for (dropout, dora) in [(0.2, false), (0.2, true)] {
        let begun = || adapted(|settings| LoraSettings { dropout, dora, ..settings });
        let run = |on| of(Numerics::ExactF32, &begun, &|_| (), on);
        assert_eq!(run(shims(3)), run(vec![]), "dropout {dropout}, DoRA {dora}");
    }
    let kept = |settings: &mut Training| {
        settings.optimizer.bits = Bits::Eight;
        settings.optimizer.page_budget = Some(100_000);
    };
    let run = |on| of(Numerics::ExactF32, &|| model(&wide(), 4), &kept, on);
    assert_eq!(run(shims(2)), run(vec![]));
}

/// Parts stay as they are, since what is computed at once decides on bits.
#[test]
fn any_number_has_the_bits_of_one_in_the_class_bf16() {
    let begun = || model(&wide(), 4);
    let run = |on| of(Numerics::Bf16, &begun, &|_| (), on);
    let one = run(shims(1));
    for count in 2..=4 {
        assert_eq!(run(shims(count)), one, "{count}");
    }
    let other = of(Numerics::Bf16, &begun, &|settings| settings.micro_batch = 8, shims(2));
    assert_ne!(other, one, "sums over three rows are not those over eight");
}

/// Heads whose gradients are found on the host are the same on all.
#[test]
fn heads_of_the_host_are_shared() {
    let here = ranked(vec![]);
    for count in 2..=3 {
        assert_eq!(ranked(shims(count)), here, "{count}");
    }
}

/// All GPUs of this machine, or those that a made-up driver has, through the driver.
#[cfg(feature = "cuda")]
#[test]
fn gpus_share_a_run_with_the_bits_of_the_cpu() {
    use llamake::train::kernels::cuda::{open, survey};

    let Ok(gpus) = survey().and_then(|survey| survey.usable(None)) else {
        return eprintln!("no GPUs to test on");
    };
    let indices: Vec<usize> = gpus.iter().map(|gpu| gpu.index).collect();
    let [_, _, ..] = indices[..] else { return eprintln!("one GPU shares with nobody") };
    let begun = || model(&ModelConfig { tied: true, ..wide() }, 4);
    let run = |numerics, on| of(numerics, &begun, &|_| (), on);
    let shared = run(Numerics::ExactF32, open(&indices).unwrap());
    assert_eq!(shared, run(Numerics::ExactF32, vec![]));
    assert_eq!(ranked(open(&indices).unwrap()), ranked(vec![]));
    let alike = gpus.iter().all(|gpu| gpu.name == gpus[0].name);
    if alike || super::card::is_made_up() {
        let shared = run(Numerics::Bf16, open(&indices).unwrap());
        assert_eq!(shared, run(Numerics::Bf16, open(&indices[..1]).unwrap()));
    }
}
