//! The conformance cases of alignment: losses, advantages and gradients that transformers and trl
//! gave, or the formulas of the papers where there is no code.

use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::Threads;
use llamake::train::kernels::cross_entropy::{Gradients, Losses, Targets, cross_entropy};
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::judge::{Gate, scores_at};
use llamake::train::model::tensor::{Stored, Tensor as _};
use llamake::train::model::{Batch, Head, ModelConfig, Trainable, Transformer};
use llamake::train::objective::dpo::{Answer, Learnt, PairLoss};
use llamake::train::objective::grpo::{Share, Sizes, Token, advantages, token_loss};
use llamake::train::objective::ppo::{
    Clip, Clipped, Estimate, Rollout, kl, policy_loss, value_loss, whiten,
};
use llamake::train::objective::ranking::{learn_scores, pair_loss};
use llamake::train::optim::clip;

use crate::golden::{Case, Tensors, base, cases, gradients_close};
use crate::train::fixtures::assert_close;

impl Case {
    /// Fails where a figure is not the expected one.
    fn check(&self, got: f64, path: &str, tolerance: &str) {
        let (want, (atol, rtol)) = (self.number(path), self.tolerance(tolerance));
        assert!((got - want).abs() <= atol + rtol * want.abs(), "{path}: {got}, not {want}");
    }
}

impl Tensors {
    /// What is not padding of each row.
    fn ragged(&self, name: &str, lengths: &[usize]) -> Vec<Vec<f32>> {
        let flat = self.floats(name);
        let rows = flat.chunks(flat.len() / lengths.len());
        rows.zip(lengths).map(|(row, length)| row[..*length].to_vec()).collect()
    }
}

/// How many ones each row begins with.
fn lengths(mask: &[Vec<i64>]) -> Vec<usize> {
    mask.iter().map(|row| row.iter().filter(|seen| **seen == 1).count()).collect()
}

/// Padded rows with their padding cut off; `learnt` names the positions to predict.
fn rows(ids: &[Vec<i64>], lengths: &[usize], learnt: impl Fn(usize, usize) -> bool) -> Vec<Row> {
    let row = |(row, (ids, length)): (usize, (&Vec<i64>, &usize))| {
        let tokens: Vec<u32> = ids[..*length].iter().map(|id| *id as u32).collect();
        let target = |at| if learnt(row, at) { tokens[at] } else { IGNORE };
        let targets = (1..*length).map(target).chain([IGNORE]).collect();
        let segments = std::iter::once(0..*length).collect();
        Row { tokens, targets, segments }
    };
    ids.iter().zip(lengths).enumerate().map(row).collect()
}

/// A forward pass over all rows at once, ready for the way back.
fn forward(t: &Threads, model: &Transformer, rows: &[Row]) -> (Batch, Activations, Trainable) {
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let mut a = Activations::for_training(&model.config, batch.len(), Keep::Activations);
    model.forward(t, &batch, &mut a);
    (batch, a, Trainable::gradients(model))
}

fn norm(t: &Threads, model: &Transformer, gradients: &Trainable) -> f64 {
    clip::norm(t, model, gradients)
}

/// Scores of pairs, and the ranking loss with and without margins.
#[test]
fn golden_reward() {
    for case in cases("reward") {
        let (t, inputs) = (Threads::new(2), case.tensors("inputs.safetensors"));
        let expected = case.tensors("expected.safetensors");
        let body = base(&case);
        let config = ModelConfig { head: Head::Score, tied: false, ..body.config };
        let weights = body.weights.under(
            &config,
            Stored::Memory(inputs.floats("score.weight")),
            Stored::default(),
        );
        let positions = config.context;
        let model = Transformer::new(config, weights, positions);
        let lengths = lengths(&inputs.ids("attention_mask"));
        let rows = rows(&inputs.ids("input_ids"), &lengths, |_, _| false);
        let (batch, mut a, _) = forward(&t, &model, &rows);
        let ends: Vec<usize> = batch.rows.iter().map(|row| row.end).collect();
        let scores = scores_at(&t, &model, &ends, &a).unwrap();
        let (atol, rtol) = case.tolerance("scores");
        assert_close("scores", &scores, &expected.floats("scores"), atol, rtol);

        for name in ["margin", "no_margin"] {
            let mut gradients = Trainable::gradients(&model);
            let pairs = scores.len() / 2;
            let margins = inputs.floats("margin");
            let (mut loss, mut right, mut ahead) = (0.0, 0.0, 0.0);
            let mut slopes = vec![0.0; scores.len()];
            for pair in 0..pairs {
                let [chosen, rejected] = [pair, pairs + pair].map(|at| f64::from(scores[at]));
                let margin = if name == "margin" { f64::from(margins[pair]) } else { 0.0 };
                let (one, slope) = pair_loss(chosen, rejected, margin);
                loss += one / pairs as f64;
                right += f64::from(u8::from(chosen > rejected)) / pairs as f64;
                ahead += (chosen - rejected) / pairs as f64;
                slopes[pair] = slope / pairs as f64;
                slopes[pairs + pair] = -slope / pairs as f64;
            }
            case.check(loss, &format!("/expected/{name}/loss"), "loss");
            case.check(ahead, &format!("/expected/{name}/mean_margin"), "scores");
            case.check(right, &format!("/expected/{name}/accuracy"), "loss");
            learn_scores(&ends, &slopes, &model, &mut a, &mut gradients.weights);
            model.backward(&t, &batch, &mut a, &mut gradients);
            let want = case.tensors(&format!("grads_{name}.safetensors"));
            gradients_close(&case, &model.config, &gradients.weights, &want, "");
            let norm = norm(&t, &model, &gradients);
            case.check(norm, &format!("/expected/{name}/grad_norm"), "grad_norm");
        }
    }
}

/// From scores to the gradients of logits and values.
#[test]
fn golden_ppo() {
    for case in cases("ppo") {
        let inputs = case.tensors("inputs.safetensors");
        let lengths = lengths(&inputs.ids("mask"));
        let rollouts = rollouts(&inputs, &lengths);
        let estimates = check_estimates(&case, &rollouts, &lengths);
        check_policy(&case, &inputs, &rollouts, &estimates);
        check_values(&case, &inputs, &rollouts, &estimates);
        check_divergence(&case, &rollouts);
        check_rule(&case);
    }
}

fn rollouts(inputs: &Tensors, lengths: &[usize]) -> Vec<Rollout> {
    let lists = ["old_logprobs", "ref_logprobs", "values"].map(|name| inputs.ragged(name, lengths));
    let [log_probs, reference, values] = lists;
    let lists = log_probs.into_iter().zip(reference).zip(values).zip(inputs.floats("scores"));
    lists
        .map(|(((log_probs, reference), values), score)| Rollout {
            log_probs,
            reference,
            values,
            score,
        })
        .collect()
}

/// Rewards, raw and whitened advantages, and returns.
fn check_estimates(case: &Case, rollouts: &[Rollout], lengths: &[usize]) -> Vec<Estimate> {
    let expected = case.tensors("expected.safetensors");
    let (atol, rtol) = case.tolerance("default");
    let same = |name: &str, got: Vec<&[f32]>| {
        let want = expected.ragged(name, lengths);
        assert_close(name, &got.concat(), &want.concat(), atol, rtol);
    };
    let [beta, gamma, lambda] =
        ["kl_coef", "gamma", "lam"].map(|name| case.number(&format!("/config/{name}")));
    let rewards: Vec<Vec<f32>> = rollouts.iter().map(|rollout| rollout.rewards(beta)).collect();
    same("rewards", rewards.iter().map(Vec::as_slice).collect());
    let estimate = |rollout: &Rollout| rollout.estimate(beta, gamma, lambda);
    let mut estimates: Vec<Estimate> = rollouts.iter().map(estimate).collect();
    same("returns", estimates.iter().map(|of| of.returns.as_slice()).collect());
    same("advantages_raw", estimates.iter().map(|of| of.advantages.as_slice()).collect());
    let mut parts: Vec<&mut [f32]> =
        estimates.iter_mut().map(|of| of.advantages.as_mut_slice()).collect();
    whiten(&mut parts);
    same("advantages_whitened", estimates.iter().map(|of| of.advantages.as_slice()).collect());
    estimates
}

/// The policy's loss through the kernel: logits are hidden states, and the head is the identity.
fn check_policy(case: &Case, inputs: &Tensors, rollouts: &[Rollout], estimates: &[Estimate]) {
    let (t, expected) = (Threads::new(2), case.tensors("expected.safetensors"));
    let lengths: Vec<usize> = rollouts.iter().map(|rollout| rollout.values.len()).collect();
    let (ids, query) = (inputs.ids("ids"), case.number("/config/query_len") as usize);
    let targets = ids.iter().zip(&lengths).flat_map(|(ids, length)| &ids[query..query + length]);
    let targets: Vec<u32> = targets.map(|id| *id as u32).collect();
    let (tokens, width) = (targets.len(), case.number("/config/response_len") as usize);
    let vocab = inputs.floats("logits").len() / (lengths.len() * width);
    let of_logits: Vec<usize> = lengths.iter().map(|length| length * vocab).collect();
    let hidden = inputs.ragged("logits", &of_logits).concat();
    let identity: Vec<f32> =
        (0..vocab * vocab).map(|at| f32::from(u8::from(at / vocab == at % vocab))).collect();
    let old: Vec<f32> = rollouts.iter().flat_map(|rollout| rollout.log_probs.clone()).collect();
    let advantages: Vec<f32> = estimates.iter().flat_map(|of| of.advantages.clone()).collect();
    let clip = Clip::both(case.number("/config/cliprange"));
    let of = |at: usize, log_prob: f32| policy_loss(log_prob, old[at], advantages[at], clip);
    let weight = |at: usize, nll: f32| (-of(at, -nll).slope / tokens as f64) as f32;
    let (mut nll, mut entropy) = (vec![0.0; tokens], vec![0.0; tokens]);
    let mut dlogits = vec![0.0; tokens * vocab];
    let rows: Vec<std::ops::Range<usize>> = std::iter::once(0..tokens).collect();
    let targets = Targets { ids: &targets, rows: &rows, temperature: 1.0 };
    let losses = Losses { nll: &mut nll, entropy: Some(&mut entropy) };
    let towards = Gradients { weight: &weight, dhidden: &mut dlogits, dhead: None };
    cross_entropy(&t, &hidden, &identity, targets, losses, Some(towards));

    let log_probs: Vec<f32> = nll.iter().map(|nll| -nll).collect();
    let (atol, rtol) = case.tolerance("logprobs");
    let want = expected.ragged("logprobs", &lengths).concat();
    assert_close("logprobs", &log_probs, &want, atol, rtol);
    let mean = |sum: f64| sum / tokens as f64;
    let clipped: Vec<Clipped> = (0..tokens).map(|at| of(at, log_probs[at])).collect();
    let loss = mean(clipped.iter().map(|of| of.loss).sum());
    case.check(loss, "/expected/policy_loss", "default");
    let held = clipped.iter().filter(|of| of.clipped).count();
    case.check(mean(held as f64), "/expected/policy_clipfrac", "default");
    let entropy = mean(entropy.iter().map(|x| f64::from(*x)).sum());
    case.check(entropy, "/expected/entropy", "default");
    let moved =
        |of: fn(f32, f32) -> f64| mean((0..tokens).map(|at| of(old[at], log_probs[at])).sum());
    case.check(moved(|old, new| kl(old, new).k1), "/expected/policy_kl", "default");
    case.check(moved(|old, new| kl(old, new).k2), "/expected/approx_kl_half_sq", "default");
    let (atol, rtol) = case.tolerance("grads");
    let want = expected.ragged("grad_logits", &of_logits).concat();
    assert_close("grad_logits", &dlogits, &want, atol, rtol);
}

fn check_values(case: &Case, inputs: &Tensors, rollouts: &[Rollout], estimates: &[Estimate]) {
    let expected = case.tensors("expected.safetensors");
    let lengths: Vec<usize> = rollouts.iter().map(|rollout| rollout.values.len()).collect();
    let (clip, share) = (case.number("/config/cliprange_value"), case.number("/config/vf_coef"));
    let old = rollouts.iter().flat_map(|rollout| &rollout.values);
    let returns = estimates.iter().flat_map(|of| &of.returns);
    let made = inputs.ragged("vpred", &lengths).concat();
    let losses: Vec<Clipped> = made
        .iter()
        .zip(old.zip(returns))
        .map(|(value, (old, returned))| value_loss(*value, *old, *returned, clip))
        .collect();
    let tokens = losses.len() as f64;
    let loss = losses.iter().map(|of| of.loss).sum::<f64>() / tokens;
    case.check(loss, "/expected/value_loss", "default");
    let held = losses.iter().filter(|of| of.clipped).count() as f64;
    case.check(held / tokens, "/expected/value_clipfrac", "default");
    let total = case.number("/expected/policy_loss") + share * loss;
    case.check(total, "/expected/total_loss", "default");
    let slopes: Vec<f32> = losses.iter().map(|of| (share * of.slope / tokens) as f32).collect();
    let (atol, rtol) = case.tolerance("grads");
    let want = expected.ragged("grad_vpred", &lengths).concat();
    assert_close("grad_vpred", &slopes, &want, atol, rtol);
}

fn check_divergence(case: &Case, rollouts: &[Rollout]) {
    let pairs = rollouts.iter().flat_map(|of| of.log_probs.iter().zip(&of.reference));
    let all: Vec<_> = pairs.map(|(own, reference)| kl(*own, *reference)).collect();
    let k1: f64 = all.iter().map(|kl| kl.k1).sum();
    let tokens = all.len() as f64;
    case.check(k1 / tokens, "/expected/kl_k1", "default");
    case.check(all.iter().map(|kl| kl.k2).sum::<f64>() / tokens, "/expected/kl_k2", "default");
    case.check(all.iter().map(|kl| kl.k3).sum::<f64>() / tokens, "/expected/kl_k3", "default");
    let each = k1 / rollouts.len() as f64;
    case.check(each, "/expected/objective_kl_sum_per_seq", "default");
}

/// Which reward model decides, and its whitened logit. The case gives scores after the sigmoid.
fn check_rule(case: &Case) {
    let rule = case.tensors("llama2_reward.safetensors");
    let logit = |p: f32| (f64::from(p) / (1.0 - f64::from(p))).ln() as f32;
    let [safe, helpful] = ["safety_score", "helpful_score"].map(|name| rule.floats(name));
    let safety = &rule.floats("is_safety_prompt");
    let (gate, mut combined) = (Gate { below: 0.15 }, Vec::new());
    for ((safe, helpful), safety) in safe.iter().zip(&helpful).zip(safety) {
        let picks = gate.picks_safe(*safety == 1.0, logit(*safe));
        combined.push(logit(if picks { *safe } else { *helpful }));
    }
    let (atol, rtol) = case.tolerance("default");
    assert_close("logit", &combined, &rule.floats("logit"), atol, rtol);
    whiten(&mut [&mut combined]);
    assert_close("whitened", &combined, &rule.floats("whitened"), atol, rtol);
}

/// Losses of pairs against a reference model, and their gradients through the policy.
#[test]
fn golden_dpo() {
    for case in cases("dpo") {
        let (t, inputs) = (Threads::new(2), case.tensors("inputs.safetensors"));
        let expected = case.tensors("expected.safetensors");
        let (policy, mut reference) = (base(&case), base(&case));
        let delta = inputs.floats("reference_delta.lm_head.weight");
        reference
            .weights
            .head_vd
            .floats_mut()
            .iter_mut()
            .zip(&delta)
            .for_each(|(head, delta)| *head += delta);
        let lengths = lengths(&inputs.ids("attention_mask"));
        let completion = inputs.ids("completion_mask");
        let rows = rows(&inputs.ids("input_ids"), &lengths, |row, at| completion[row][at] == 1);
        let [ours, theirs] = [&policy, &reference].map(|model| answer_log_probs(&t, model, &rows));
        let (atol, rtol) = case.tolerance("logps");
        for (name, got) in [("policy_logps", &ours), ("ref_logps", &theirs)] {
            let got: Vec<f32> = got.iter().map(|x| *x as f32).collect();
            assert_close(name, &got, &expected.floats(name), atol, rtol);
        }
        let answer = |at: usize| Answer {
            policy: ours[at],
            reference: theirs[at],
            tokens: rows[at].supervised(),
        };
        for (name, loss) in
            [("sigmoid", PairLoss::Sigmoid), ("hinge", PairLoss::Hinge), ("ipo", PairLoss::Ipo)]
        {
            let (pairs, beta) = (rows.len() / 2, case.number("/config/beta"));
            let of = |pair| loss.of(beta, answer(pair), answer(pairs + pair));
            let learnt: Vec<Learnt> = (0..pairs).map(of).collect();
            let mean = learnt.iter().map(|of| of.loss).sum::<f64>() / pairs as f64;
            case.check(mean, &format!("/expected/{name}/loss"), "loss");
            let slopes = learnt.iter().map(|of| of.chosen);
            let slopes: Vec<f64> = slopes.chain(learnt.iter().map(|of| of.rejected)).collect();
            check_dpo_gradients(&case, &policy, &rows, &slopes, name);
            let gains = |from: usize| -> f64 {
                (from..from + pairs).map(|at| beta * answer(at).gain()).sum::<f64>() / pairs as f64
            };
            case.check(gains(0), &format!("/expected/{name}/rewards_chosen"), "logps");
            case.check(gains(pairs), &format!("/expected/{name}/rewards_rejected"), "logps");
            case.check(gains(0) - gains(pairs), &format!("/expected/{name}/margin"), "logps");
        }
    }
}

fn answer_log_probs(t: &Threads, model: &Transformer, rows: &[Row]) -> Vec<f64> {
    let (batch, mut a, _) = forward(t, model, rows);
    model.losses(t, &batch, &mut a);
    let sum = |row: &std::ops::Range<usize>| -> f64 {
        a.nll_t[row.clone()].iter().map(|nll| -f64::from(*nll)).sum()
    };
    batch.rows.iter().map(sum).collect()
}

fn check_dpo_gradients(
    case: &Case,
    policy: &Transformer,
    rows: &[Row],
    slopes: &[f64],
    name: &str,
) {
    let t = Threads::new(2);
    let (batch, mut a, mut gradients) = forward(&t, policy, rows);
    let pairs = (rows.len() / 2) as f64;
    let row_of = |at: usize| batch.rows.iter().position(|row| row.contains(&at)).unwrap();
    let weight = |at: usize, _| (-slopes[row_of(at)] / pairs) as f32;
    let dhead = gradients.weights.head_gradient();
    let towards = Gradients { weight: &weight, dhidden: &mut a.dhidden_td, dhead };
    let losses = Losses { nll: &mut a.nll_t, entropy: None };
    let targets = batch.targets_at(1.0);
    cross_entropy(&t, &a.hidden_td, policy.weights.head(), targets, losses, Some(towards));
    policy.backward(&t, &batch, &mut a, &mut gradients);
    case.check(norm(&t, policy, &gradients), &format!("/expected/{name}/grad_norm"), "grad_norm");
    if name == "sigmoid" {
        let want = case.tensors("grads_sigmoid.safetensors");
        gradients_close(case, &policy.config, &gradients.weights, &want, "");
    }
}

/// Advantages of groups, and four losses.
#[test]
fn golden_grpo() {
    for case in cases("grpo") {
        let inputs = case.tensors("inputs.safetensors");
        let expected = case.tensors("expected.safetensors");
        let (atol, rtol) = case.tolerance("default");
        let (rewards, group) =
            (inputs.floats("rewards"), case.number("/config/group_size") as usize);
        for (name, share, scaled) in [
            ("advantages_group_std", Share::Grpo, true),
            ("advantages_no_std", Share::DrGrpo, false),
        ] {
            let got = rewards.chunks(group).flat_map(|group| share.advantages(group));
            let got: Vec<f32> = got.collect();
            assert_close(name, &got, &expected.floats(name), atol, rtol);
            assert_eq!(share.advantages(&rewards), advantages(&rewards, scaled));
        }
        for name in case.json["expected"]["losses"].as_object().unwrap().keys() {
            check_grpo_loss(&case, &inputs, &expected, name);
        }
    }
}

fn check_grpo_loss(case: &Case, inputs: &Tensors, expected: &Tensors, name: &str) {
    let (kind, beta) = name.split_once("_beta").unwrap();
    let share = match kind {
        "grpo" => Share::Grpo,
        "bnpo" => Share::Bnpo,
        "dr_grpo" => Share::DrGrpo,
        "dapo" => Share::Dapo,
        other => panic!("a loss `{other}`"),
    };
    let high = if kind == "dapo" { "dapo" } else { "default" };
    let high = case.number(&format!("/config/epsilon_high/{high}"));
    let clip = Clip { low: case.number("/config/epsilon_low"), high };
    let lengths = lengths(&inputs.ids("mask"));
    let tokens = lengths.iter().sum();
    let longest = case.number("/config/max_completion_length") as usize;
    let sizes = Sizes { answers: lengths.len(), tokens, generated: tokens, longest };
    let lists = ["logprobs", "old_logprobs", "ref_logprobs"];
    let [new, old, reference] = lists.map(|name| inputs.ragged(name, &lengths));
    let (mut loss, mut slopes) = (0.0, Vec::new());
    for (row, advantage) in inputs.floats("advantages_for_loss").into_iter().enumerate() {
        let part = share.of(lengths[row], sizes);
        for at in 0..lengths[row] {
            let token =
                Token { log_prob: new[row][at], old: old[row][at], reference: reference[row][at] };
            let of = token_loss(token, advantage, clip, beta.parse().unwrap());
            loss += part * of.loss;
            slopes.push((part * of.slope) as f32);
        }
    }
    let (atol, rtol) = case.tolerance("default");
    let want = case.json["expected"]["losses"][name].as_f64().unwrap();
    assert!((loss - want).abs() <= atol + rtol * want.abs(), "{name}: {loss}, not {want}");
    let want = expected.ragged(&format!("grad.{name}"), &lengths).concat();
    assert_close(name, &slopes, &want, atol, rtol);
}
