//! What stages ask of a GPU: those that learn and those that ask finished models.

use llamake::exec::ledger::{Bytes, bytes};

use llamake::lang::compile;
use llamake::lang::diagnostic::Severity;
use llamake::lang::source::{Source, Sources};

use super::memory::{compiled, recipe};

const STAGES: &str = "
stage beside = lora { base: small, data: talk, rank: 8, context: 512 tokens, length: 1 steps }
stage magnitudes = lora {
    base: base, data: talk, rank: 8, dora: true, context: 512 tokens, length: 1 steps
}
stage judge = reward_model {
    init: base, data: pairs, margins: \"none\", batch: 2 pairs, context: 512 tokens
    length: 1 steps
}
stage other = reward_model {
    init: base, data: pairs, margins: \"none\", batch: 2 pairs, context: 512 tokens
    length: 1 steps, seed: 2
}
stage gate = safety_gate { helpful: judge, safe: other }
stage plain = generate { model: base, prompts: asked }
stage small_plain = generate { model: small, prompts: asked }
stage dressed = generate { model: beside, prompts: asked }
stage narrow = generate { model: magnitudes, prompts: asked }
stage paged = sft {
    init: base, data: talk, context: 512 tokens, length: 1 steps
    optimizer: paged_adamw { page_budget: 1GiB }
}
stage whole = sft { init: base, data: talk, context: 512 tokens, length: 1 steps }
stage halves = sft {
    init: base, data: talk, context: 512 tokens, length: 1 steps, numerics: \"bf16\"
}
stage low = lora {
    base: small, data: talk, rank: 8, context: 512 tokens, length: 1 steps, numerics: \"bf16\"
    optimizer: paged_adamw { page_budget: 1GiB }
}
stage best = rejection_sampling { policy: base, judge: gate, prompts: asked, samples: 2 }
let steps = { prompts: asked, length: 1 steps, batch: 2 prompts, mini_batch: 2 prompts }
stage judged_once = ppo { ..steps, policy: base, judge }
stage tuned = ppo { ..steps, policy: base, judge: gate }
";

fn gpu(stage: &str) -> Result<u64, &'static str> {
    let (_, module) = compiled(&recipe("7b", STAGES));
    let all = bytes(&module);
    let Bytes { gpu, .. } = all.get(stage).unwrap_or_else(|| panic!("{stage} is not known"));
    gpu.map(|ledger| ledger.total())
}

/// GiB of 7B in f32, and of its matrices in NF4 with the rest in f32.
const WHOLE: f64 = 25.1;
const QUANTISED: f64 = 3.11 + 2.0 * 0.49;

fn gib(stage: &str) -> f64 {
    gpu(stage).unwrap() as f64 / f64::from(1 << 30)
}

#[test]
fn a_finished_model_asks_for_its_weights_and_room_for_an_answer() {
    // Keys and values of 4,096 tokens are 4 GiB, of an answer and of what all begin with.
    let room = gib("plain") - WHOLE;
    assert!((8.0..12.0).contains(&room), "{room}");
    assert!((gib("small_plain") - room - QUANTISED).abs() < 0.1, "{}", gib("small_plain"));
    let adapter = gib("dressed") - gib("small_plain");
    assert!(adapter > 0.0 && adapter < 0.1, "{adapter}");
    assert!((gib("best") - gib("plain") - 2.0 * WHOLE).abs() < 0.1, "{}", gib("best"));
}

#[test]
fn magnitudes_ask_for_their_gains() {
    assert!(gpu("magnitudes").unwrap() > gpu("beside").unwrap());
    assert!(gpu("narrow").is_ok());
}

/// Of two moments of f32 all but a GiB are elsewhere.
#[test]
fn moments_in_pages_take_nothing_of_a_gpu() {
    let kept = gib("paged") - (gib("whole") - 2.0 * WHOLE);
    assert!((0.9..=1.0).contains(&kept), "{kept}");
}

/// Learnt weights in f32 and in 16 bits, their gradients and moments; of a frozen base what is in
/// blocks, the rest in 16 bits, and one matrix widened.
#[test]
fn the_class_bf16_asks_for_weights_twice_and_half_of_the_rest() {
    let [exact, halves] = ["whole", "halves"].map(gib);
    let rest = exact - 4.0 * WHOLE;
    let rest_of_halves = halves - 4.5 * WHOLE;
    assert!(rest_of_halves < 0.6 * rest && rest_of_halves > 0.4 * rest, "{rest} {rest_of_halves}");
    let frozen = 3.11 + 0.49 + 2.0 * (4096.0 * 11008.0) / f64::from(1 << 30);
    let rest_of_low = gib("low") - frozen;
    assert!(rest_of_low > 0.9 * rest_of_halves && rest_of_low < 1.2 * rest_of_halves);
    assert!(gib("low") < gib("beside"));
}

#[test]
fn dora_is_no_part_of_the_class_bf16() {
    let stage = "stage tuned = lora { base: base, data: talk, dora: true, numerics: \"bf16\", \
                 length: 1 steps }";
    let mut sources = Sources::default();
    let root = sources.add(Source::new("a.recipe", recipe("7b", stage)));
    let (_, faults) = compile(&mut sources, root, &[]);
    let fault = faults.iter().find(|one| one.severity == Severity::Error).unwrap();
    assert_eq!((fault.id, fault.message.as_str()), ("requirement", "`dora` and `false` differ"));
    assert!(fault.notes.iter().any(|note| note.contains("numerics")), "{fault:?}");
}

/// Beside what it learns with: a copy that samples, the policy as it began, and its judges.
#[test]
fn a_policy_asks_for_all_models_beside_it() {
    assert!((gib("tuned") - gib("judged_once") - WHOLE).abs() < 0.1);
    let learning = gib("judge") - 4.0 * WHOLE;
    let rest = gib("judged_once") - (4.0 + 1.0 + 1.0 + 1.0) * WHOLE;
    assert!(learning > 0.0 && rest > learning, "{learning} and {rest}");
}
