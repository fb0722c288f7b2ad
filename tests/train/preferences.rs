//! DPO and GRPO: what is preferred becomes more probable, in any division and after any stop with
//! the same bits, and what cannot be learnt from is told.

use llamake::train::data::mixture::Mix;
use llamake::train::objective::dpo::PairLoss;
use llamake::train::objective::grpo::Share;
use llamake::train::objective::ppo::Clip;
use llamake::train::optim::{Schedule, WarmUp};
use llamake::train::stage::{Dpo, Grpo, Length, Training, dpo, grpo};

use super::alignment::{ended, endings, metric, preferences};
use super::fixtures::{message, training};
use super::samplers::world;

const PETS: [&str; 8] = ["dog", "duck", "goat", "dog", "goat", "duck", "dog", "duck"];

fn direct(data: &str, loss: PairLoss, beta: f64) -> Dpo {
    let length = Length::Epochs { millionths: 12_000_000 };
    Dpo {
        init: world().at("chat/out"),
        data: Mix::Joined(vec![world().at(data)]),
        context: 160,
        batch: 4,
        beta,
        loss,
        training: Training { length, lr: 3e-4, ..training(0, 2) },
    }
}

#[test]
fn dpo_prefers_what_is_preferred_with_each_loss() {
    world().write("dpo pets", preferences(&PETS));
    let losses = [
        (PairLoss::Sigmoid, 0.2, std::f64::consts::LN_2),
        (PairLoss::Hinge, 0.2, 1.0),
        (PairLoss::Ipo, 0.5, 1.0),
    ];
    for (loss, beta, begin) in losses {
        let params = direct("dpo pets", loss, beta);
        let first = Training { length: Length::Steps(1), ..params.training.clone() };
        let first = Dpo { training: first, ..params.clone() };
        let (_, first, _) = ended(&|context| dpo::run(&first, context), 2, &[None]);
        let (_, last, _) = ended(&|context| dpo::run(&params, context), 2, &[None]);
        // Policy and reference are one at first, bit for bit.
        assert!((metric(&first, "loss") - begin).abs() < 1e-4, "{loss:?}: {first:?}");
        assert!(metric(&last, "loss") < 0.7 * begin, "{loss:?}: {last:?}");
    }
}

#[test]
fn dpo_killed_anywhere_ends_with_the_bits_of_one_never_killed() {
    world().write("more pets", preferences(&PETS));
    let params = direct("more pets", PairLoss::Sigmoid, 0.2);
    let (bits, metrics, _) = ended(&|context| dpo::run(&params, context), 1, &[None]);
    let micro = Training { micro_batch: 3, ..params.training.clone() };
    let cut = Dpo { training: micro, ..params.clone() };
    let (other, told, _) = ended(&|context| dpo::run(&cut, context), 3, &[None]);
    assert_eq!((other, &told), (bits, &metrics), "three threads, parts of three");
    for ends in endings(9) {
        let (resumed, told, _) = ended(&|context| dpo::run(&params, context), 2, &ends);
        assert_eq!((resumed, &told), (bits, &metrics), "{ends:?}");
    }
}

#[test]
fn dpo_tells_pairs_that_teach_nothing_by_row() {
    let mut pairs = preferences(&PETS);
    pairs[2].rejected = pairs[2].chosen.clone();
    pairs[5].chosen = "cat ".repeat(200);
    world().write("unfit pets", pairs);
    let params = direct("unfit pets", PairLoss::Sigmoid, 0.2);
    let told = message(world().run("unfit", 1, |context| dpo::run(&params, context)));
    assert!(told.starts_with("2 pairs cannot be learned from: row 3: the two answers"), "{told}");
    assert!(told.contains("row 6 is ") && told.contains("more than the context of 160"), "{told}");
}

fn grouped(iterations: u64, loss: Share) -> Grpo {
    let training = Training {
        length: Length::Steps(iterations),
        lr: 2e-3,
        schedule: Schedule::Constant { warmup: WarmUp::Steps(0) },
        ..training(0, 3)
    };
    Grpo {
        policy: world().at("chat/out"),
        judge: world().at("judge").into(),
        prompts: Mix::Joined(vec![world().at("questions")]),
        samples: 4,
        batch: 6,
        mini_batch: 3,
        beta: 0.0,
        clip: Clip { low: 0.2, high: 0.28 },
        loss,
        max_answer: 12,
        temperature: 1.5,
        training,
    }
}

#[test]
fn grpo_raises_the_reward_with_each_loss() {
    for loss in [Share::Grpo, Share::Bnpo, Share::DrGrpo, Share::Dapo] {
        let reward = |iterations| {
            let params = grouped(iterations, loss);
            let (_, metrics, _) = ended(&|context| grpo::run(&params, context), 2, &[None]);
            metric(&metrics, "reward")
        };
        let (first, last) = (reward(1), reward(40));
        println!("{loss:?}: {first:.3}, then {last:.3}");
        assert!(last > first + 0.05, "{loss:?}: {first}, then {last}");
    }
}

#[test]
fn grpo_killed_anywhere_ends_with_the_bits_of_one_never_killed() {
    let params = Grpo { beta: 0.04, ..grouped(6, Share::Grpo) };
    let (bits, metrics, _) = ended(&|context| grpo::run(&params, context), 1, &[None]);
    let micro = Training { micro_batch: 5, ..params.training.clone() };
    let cut = Grpo { training: micro, ..params.clone() };
    let (other, told, _) = ended(&|context| grpo::run(&cut, context), 3, &[None]);
    assert_eq!((other, &told), (bits, &metrics), "three threads, parts of five");
    for ends in endings(6) {
        let (resumed, told, _) = ended(&|context| grpo::run(&params, context), 2, &ends);
        assert_eq!((resumed, &told), (bits, &metrics), "{ends:?}");
    }
}
