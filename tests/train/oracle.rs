//! The decoder once more, in f64 on candle's autograd, out of candle's differentiable slow
//! operations: the specification that the hand-written one is compared with.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops::{log_softmax, silu, softmax};
use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::Threads;
use llamake::train::model::activations::Keep;
use llamake::train::model::parameters::table;
use llamake::train::model::tensor::Stored;
use llamake::train::model::{ModelConfig, Parameters};
use llamake::train::stage::train_loop::TrainState;

use super::fixtures::{adamw, assert_close, config, gradients_of, model, moments, rows};

/// Loss and gradients in the order of the table.
fn reference(
    config: &ModelConfig,
    weights: &Parameters<Stored>,
    rows: &[Row],
) -> Result<(f64, Vec<Vec<f32>>)> {
    let table = table(config);
    let vars: Vec<Var> = table
        .iter()
        .zip(weights.tensors())
        .map(|(spec, values)| {
            let tensor = Tensor::from_slice(values, spec.shape.as_slice(), &Device::Cpu)?;
            Var::from_tensor(&tensor.to_dtype(DType::F64)?)
        })
        .collect::<Result<_>>()?;
    let mut total = Tensor::new(0.0, &Device::Cpu)?;
    for row in rows {
        for segment in &row.segments {
            let (tokens, targets) = (&row.tokens[segment.clone()], &row.targets[segment.clone()]);
            total = (total + segment_loss(config, &vars, tokens, targets)?)?;
        }
    }
    let supervised: usize = rows.iter().map(Row::supervised).sum();
    let loss = (total / supervised as f64)?;
    let gradients = loss.backward()?;
    let gradient = |var: &Var| {
        gradients.get(var).unwrap().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
    };
    Ok((loss.to_scalar()?, vars.iter().map(gradient).collect::<Result<_>>()?))
}

/// The summed loss of one segment, seen by itself.
fn segment_loss(
    config: &ModelConfig,
    vars: &[Var],
    tokens: &[u32],
    targets: &[u32],
) -> Result<Tensor> {
    let at = |index: usize| vars[index].as_tensor();
    let mut x = at(0).index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
    for layer in 0..config.layers {
        let part = |index: usize| at(1 + 9 * layer + index);
        let n = rms_norm(&x, part(0), config.norm_eps)?;
        let attended = attention(config, &n, [part(1), part(2), part(3)])?;
        x = (x + attended.matmul(&part(4).t()?)?)?;
        let n = rms_norm(&x, part(5), config.norm_eps)?;
        let gate = silu(&n.matmul(&part(6).t()?)?)?;
        let hidden = (gate * n.matmul(&part(7).t()?)?)?;
        x = (x + hidden.matmul(&part(8).t()?)?)?;
    }
    let last = 1 + 9 * config.layers;
    let hidden = rms_norm(&x, at(last), config.norm_eps)?;
    let log_probs = log_softmax(&hidden.matmul(&at(last + 1).t()?)?, D::Minus1)?;
    let mut loss = Tensor::new(0.0, &Device::Cpu)?;
    for (position, target) in targets.iter().enumerate().filter(|(_, target)| **target != IGNORE) {
        loss = (loss - log_probs.get(position)?.get(*target as usize)?)?;
    }
    Ok(loss)
}

fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

fn attention(config: &ModelConfig, n: &Tensor, [wq, wk, wv]: [&Tensor; 3]) -> Result<Tensor> {
    let (tokens, width) = (n.dim(0)?, config.head_dim());
    let heads = |w: &Tensor, count: usize| {
        n.matmul(&w.t()?)?.reshape((tokens, count, width))?.transpose(0, 1)?.contiguous()
    };
    let query = rope(config, &heads(wq, config.heads)?)?;
    let repeat = |x: Tensor| {
        let group = config.heads / config.kv_heads;
        let shape = (config.kv_heads, group, tokens, width);
        x.unsqueeze(1)?.broadcast_as(shape)?.reshape((config.heads, tokens, width))
    };
    let key = repeat(rope(config, &heads(wk, config.kv_heads)?)?)?;
    let value = repeat(heads(wv, config.kv_heads)?)?;
    let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
    let hidden = |at: usize| if at % tokens > at / tokens { f64::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f64> = (0..tokens * tokens).map(hidden).collect();
    let mask = Tensor::from_vec(mask, (tokens, tokens), &Device::Cpu)?;
    let weights = softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
    weights.matmul(&value.contiguous()?)?.transpose(0, 1)?.reshape((tokens, config.dim))
}

fn rope(config: &ModelConfig, x: &Tensor) -> Result<Tensor> {
    let (_, tokens, width) = x.dims3()?;
    let half = width / 2;
    let angle = |at: usize| {
        let (position, pair) = (at / half, at % half);
        position as f64 * config.rope.powf(-2.0 * pair as f64 / width as f64)
    };
    let angles: Vec<f64> = (0..tokens * half).map(angle).collect();
    let angles = Tensor::from_vec(angles, (tokens, half), &Device::Cpu)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let first = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let second = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 2)
}

#[test]
fn loss_and_gradients_are_those_of_candles_autograd() {
    let config = config();
    let model = model(&config, 3);
    let rows = rows(5, config.vocab);
    let (loss, gradients) = reference(&config, &model.weights, &rows).unwrap();
    let t = Threads::new(2);
    let optimizer = moments(&model, adamw());
    let mut state = TrainState::new(&model, optimizer, 64, Keep::Activations);
    let report = gradients_of(&mut state, &t, &model, &rows, 3);
    assert!((report.loss - loss).abs() < 1e-5, "loss {} against {loss}", report.loss);
    for (spec, (got, want)) in
        table(&config).iter().zip(state.gradients.tensors().into_iter().zip(&gradients))
    {
        let largest = want.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!(largest > 1e-4, "{} is tested on nothing", spec.name);
        assert_close(&spec.name, got, want, 2e-5 * f64::from(largest), 1e-4);
    }
    let squares = gradients.iter().flatten().map(|x| f64::from(*x) * f64::from(*x));
    let norm = squares.sum::<f64>().sqrt();
    assert!((report.norm / norm - 1.0).abs() < 1e-5, "norm {} against {norm}", report.norm);
}
