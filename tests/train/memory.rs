//! What is held while training, beside what the ledger said of it: byte for byte, whatever is
//! learnt.

use llamake::train::kernels::Threads;
use llamake::train::model::activations::Keep;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::parameters::{Role, table};
use llamake::train::model::projection::Which;
use llamake::train::model::quantized::{Form, quantised};
use llamake::train::model::tensor::{Stored, Tensor as _};
use llamake::train::model::{ModelConfig, Transformer};
use llamake::train::optim::{AdamW, Bits};
use llamake::train::stage::ledger::{Kept, Learnt, MemoryLedger, Width, memory};
use llamake::train::stage::train_loop::TrainState;

use super::fixtures::{adamw, config, gradients_of, model, moments, row};

/// Rows of a step, and how many of them at once.
const ROWS: [usize; 2] = [4, 3];

fn adapter(rank: usize, targets: &[Which], dropout: f64, dora: bool, base: Width) -> Learnt {
    let (targets, alpha, rslora) = (targets.to_vec(), 4.0, false);
    Learnt::Adapter { settings: LoraSettings { rank, alpha, dropout, targets, rslora, dora }, base }
}

const NF4: Width = Width { nf4: Some(true), ..Width::F32 };

fn begun(config: &ModelConfig, learnt: &Learnt) -> Transformer {
    let (t, mut model) = (Threads::new(1), model(config, 4));
    if let Learnt::Adapter { settings, base } = learnt {
        if let Some(double) = base.nf4 {
            let form = Form { encoding: Encoding::F32, double };
            model.weights = quantised(&t, config, &model.weights, form).unwrap();
        }
        model.adapter = Some(Adapter::untrained(&t, config, &model.weights, settings, 9));
    }
    model
}

/// Takes one step with rows that fill the context, the last ones fewer, and weighs what is held.
fn held(config: &ModelConfig, learnt: &Learnt, keep: Keep, bits: Bits) -> MemoryLedger {
    let (t, mut model) = (Threads::new(2), begun(config, learnt));
    let optimizer = moments(&model, AdamW { bits, ..adamw() });
    let tokens = ROWS[1] * config.context;
    let mut state = TrainState::new(&model, optimizer, tokens, keep);
    let rows: Vec<_> = (0..ROWS[0] as u64).map(|at| row(at, 50, &[config.context])).collect();
    gradients_of(&mut state, &t, &model, &rows, ROWS[1]);
    state.optimizer.step(&t, &mut model, &state.gradients, 1e-3, 1.0);
    let floats = |floats: usize| 4 * floats as u64;
    let gradients = state.gradients.count();
    let head = if config.has_own_head() { 0 } else { state.gradients.weights.head_vd.len() };
    let [weights, blocks] = weighed(config, &model);
    MemoryLedger {
        weights,
        blocks,
        adapter: floats(model.adapter.iter().map(|adapter| numbers(config, adapter)).sum()),
        gradients: floats(gradients + head),
        optimizer: floats(state.optimizer.words_mut().map(|words| words.len()).sum()),
        activations: state.activations.bytes(),
        ..MemoryLedger::default()
    }
}

/// Of an adapter, with the norms that it remembers.
fn numbers(config: &ModelConfig, adapter: &Adapter) -> usize {
    let learnt: usize = adapter.tensors().iter().map(|of| of.len()).sum();
    let places = (0..config.layers).flat_map(|layer| Which::ALL.map(|which| (layer, which)));
    let norms = places.filter_map(|(layer, which)| Some(adapter.of(layer, which)?.norms().len()));
    learnt + norms.sum::<usize>()
}

/// Bytes of weights as numbers, and in blocks.
fn weighed(config: &ModelConfig, model: &Transformer) -> [u64; 2] {
    let mut bytes = [0, 0];
    for (spec, tensor) in table(config).iter().zip(model.weights.in_order()) {
        match tensor {
            Stored::Nf4(blocks) => bytes[1] += blocks.bytes() as u64,
            tensor => {
                assert!(spec.role != Role::Norm || tensor.floats().len() == spec.len());
                bytes[0] += 4 * tensor.elements().len() as u64;
            }
        }
    }
    bytes
}

#[test]
fn the_ledger_says_what_is_held() {
    let all = &Which::ALL;
    let few = [Which::Query, Which::Value];
    let learnt = [
        Learnt::All,
        adapter(3, &few, 0.0, false, Width::F32),
        adapter(3, all, 0.2, false, NF4),
        adapter(5, &[Which::Down], 0.2, true, Width { nf4: Some(false), ..NF4 }),
        adapter(2, all, 0.0, true, NF4),
    ];
    // Large enough that a part of the moments is kept in 8 bits.
    let large = ModelConfig { dim: 96, ffn: 80, ..config() };
    for config in [large.clone(), ModelConfig { tied: true, ..large }] {
        for learnt in &learnt {
            for keep in [Keep::Activations, Keep::Residuals] {
                for bits in [Bits::Full, Bits::Eight] {
                    let kept = Kept { bits, budget: None };
                    let rows = [ROWS[1], config.context].map(|size| size as u64);
                    let said = memory(&config, learnt, rows, keep, kept);
                    let found = held(&config, learnt, keep, bits);
                    let found = MemoryLedger { workspace: said.workspace, ..found };
                    assert_eq!(found, said, "{learnt:?}, {keep:?}, {bits:?}");
                }
            }
        }
    }
}
