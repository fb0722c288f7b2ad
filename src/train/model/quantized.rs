//! The matrices of a decoder in NF4, as bitsandbytes keeps them in a state dict: beside the codes
//! their scales, and what the codes mean in JSON. Those inside the blocks are quantised; embedding,
//! head and norms are not. Knows tensors by name; does not know files.
//!
//! ```text
//! NAME                                   codes, u8, [numbers / 2, 1]
//! NAME.absmax                            scales: f32, or codes of 8 bits
//! NAME.quant_map                         what the codes mean, 16 f32
//! NAME.nested_absmax                     scales of the codes of scales, f32
//! NAME.nested_quant_map                  what the codes of scales mean, 256 f32
//! NAME.quant_state.bitsandbytes__nf4     the text of a JSON object, as u8
//! ```

use std::borrow::Cow;

use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::config::ModelConfig;
use super::encoding::Encoding;
use super::parameters::{Parameters, Role, TensorSpec, table};
use super::tensor::{Blocks, Stored, Tensor};
use super::weights::{Content, Saved};
use crate::train::kernels::nf4::{BLOCK, CODE, NESTED_BLOCK, Scales, quantise};
use crate::train::kernels::{Elements, Threads};
use crate::train::progress::Failure;

/// One tensor of a file.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub dtype: Dtype,
    pub bytes: &'a [u8],
}

/// How a model shall be kept: what numbers are rounded to before they are quantised and where they
/// are not, and whether scales are quantised too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub encoding: Encoding,
    pub double: bool,
}

/// Whether a tensor is one that is quantised.
pub fn is_quantised(spec: &TensorSpec) -> bool {
    matches!(spec.role, Role::Projection | Role::Residual)
}

/// Whether the scales of a quantised model are quantised too.
pub fn is_double(weights: &Parameters<Stored>) -> bool {
    let is_nested = |tensor: &&Stored| match tensor {
        Stored::Nf4(blocks) => matches!(blocks.scales(), Scales::Nested { .. }),
        _ => false,
    };
    weights.in_order().iter().any(is_nested)
}

/// The same model with its matrices in NF4, and all else in memory. Each tensor is read and given
/// back before the next, so that a model is never in memory as it was. Matrices that are in NF4
/// already stay as they are.
pub fn quantised(
    t: &Threads,
    config: &ModelConfig,
    weights: &Parameters<Stored>,
    form: Form,
) -> Result<Parameters<Stored>, Failure> {
    let pairs = table(config).into_iter().zip(weights.in_order());
    let tensors = pairs.map(|(spec, tensor)| {
        if let Stored::Nf4(blocks) = tensor {
            return Ok(Stored::Nf4(blocks.clone()));
        }
        let numbers = tensor.elements().to_floats();
        tensor.release();
        form.encoding.check(&spec.name, &numbers)?;
        let numbers = form.encoding.rounded(&numbers);
        if !is_quantised(&spec) {
            return Ok(Stored::Memory(numbers));
        }
        let (packed, scales) = quantise(t, &numbers, form.double);
        Ok(Stored::Nf4(Blocks::in_memory(packed, scales, numbers.len())))
    });
    let tensors = tensors.collect::<Result<Vec<Stored>, Failure>>()?;
    Ok(Parameters::from_tensors(config, tensors))
}

/// How far numbers moved, as a share of what they were: ‖before − after‖ / ‖before‖, in f64.
pub fn relative_error<'a>(pairs: impl Iterator<Item = (Elements<'a>, Elements<'a>)>) -> f64 {
    let (mut moved, mut all) = (0.0, 0.0);
    for (before, after) in pairs {
        for (before, after) in before.to_floats().into_iter().zip(after.to_floats()) {
            let (before, after) = (f64::from(before), f64::from(after));
            moved += (before - after) * (before - after);
            all += before * before;
        }
    }
    if moved == 0.0 { 0.0 } else { (moved / all).sqrt() }
}

/// The same over those matrices of a model that are quantised after. Each is given back before the
/// next.
pub fn error_of_blocks(before: &Parameters<Stored>, after: &Parameters<Stored>) -> f64 {
    let pairs = before.in_order().into_iter().zip(after.in_order());
    let quantised = pairs.filter(|(_, after)| after.is_quantised());
    let mut last: Option<&Stored> = None;
    relative_error(quantised.map(|(before, after)| {
        last.replace(before).inspect(|last| last.release());
        (before.elements(), after.elements())
    }))
}

/// Whether any matrix of a model is quantised.
pub fn has_blocks(weights: &Parameters<Stored>) -> bool {
    weights.in_order().iter().any(|tensor| tensor.is_quantised())
}

/// The tensors of a file that holds a quantised model; those that are not quantised are written in
/// `encoding`.
pub fn saved<'a>(
    config: &ModelConfig,
    weights: &'a Parameters<Stored>,
    encoding: Encoding,
) -> Vec<Saved<'a>> {
    let mut saved = Vec::new();
    for (spec, tensor) in table(config).into_iter().zip(weights.in_order()) {
        match tensor {
            Stored::Nf4(blocks) => saved.extend(saved_blocks(&spec, blocks, encoding)),
            Stored::Memory(numbers) => saved.push(Saved {
                name: spec.name,
                shape: spec.shape,
                content: Content::Numbers(numbers, encoding),
            }),
            Stored::File { .. } | Stored::Ggml(..) => {
                panic!("a tensor that was left in its file")
            }
        }
    }
    saved
}

fn saved_blocks<'a>(spec: &TensorSpec, blocks: &'a Blocks, encoding: Encoding) -> Vec<Saved<'a>> {
    let part = |part: &str, shape: &[usize], dtype, bytes: Cow<'a, [u8]>| {
        let name =
            if part.is_empty() { spec.name.clone() } else { format!("{}.{part}", spec.name) };
        Saved { name, shape: shape.to_vec(), content: Content::Bytes(dtype, bytes) }
    };
    let floats = |part_name: &str, numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        part(part_name, &[numbers.len()], Dtype::F32, bytes.into())
    };
    let packed = blocks.packed();
    let mut saved = vec![part("", &[packed.len(), 1], Dtype::U8, packed.into())];
    match blocks.scales() {
        Scales::Plain(scales) => saved.push(floats("absmax", scales)),
        Scales::Nested { codes, scales, map, .. } => saved.extend([
            part("absmax", &[codes.len()], Dtype::U8, codes.into()),
            floats("nested_absmax", scales),
            floats("nested_quant_map", &map[..]),
        ]),
    }
    saved.push(floats("quant_map", &CODE));
    let state = state_text(spec, blocks.scales(), encoding).into_bytes();
    saved.push(part(STATE, &[state.len()], Dtype::U8, state.into()));
    saved
}

/// Under this name the meaning of the codes is kept.
const STATE: &str = "quant_state.bitsandbytes__nf4";

/// As Python writes it, so that the bytes are bitsandbytes' too.
fn state_text(spec: &TensorSpec, scales: &Scales, encoding: Encoding) -> String {
    let (dtype, shape) = (torch_name(encoding), &spec.shape);
    let plain = format!(
        "\"quant_type\": \"nf4\", \"blocksize\": {BLOCK}, \"dtype\": \"{dtype}\", \
         \"shape\": {shape:?}"
    );
    match scales {
        Scales::Plain(_) => format!("{{{plain}}}"),
        Scales::Nested { offset, .. } => {
            let offset = serde_json::json!(f64::from(*offset));
            format!(
                "{{{plain}, \"nested_blocksize\": {NESTED_BLOCK}, \
                 \"nested_dtype\": \"float32\", \"nested_offset\": {offset}}}"
            )
        }
    }
}

/// What torch calls it.
pub fn torch_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F32 => "float32",
        Encoding::F16 => "float16",
        Encoding::Bf16 => "bfloat16",
        blocks => panic!("torch has no {}", blocks.name()),
    }
}

/// What the JSON says.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: u64,
    shape: Vec<u64>,
    nested_blocksize: Option<u64>,
    nested_offset: Option<f64>,
}

/// The scales of a matrix whose codes are `bytes` long, from the tensors that `take` gives by the
/// end of their names. A fault is told as what follows the tensor's name.
pub fn read_scales<'a>(
    spec: &TensorSpec,
    bytes: usize,
    take: &mut dyn FnMut(&str) -> Option<Part<'a>>,
) -> Result<Scales, String> {
    let state = match take(STATE) {
        Some(state) => state,
        None if take("quant_state.bitsandbytes__fp4").is_some() => {
            return Err("is quantised to fp4; only nf4 is supported".into());
        }
        None => return Err(format!("holds bytes, and `{STATE}` does not say what they mean")),
    };
    let state: State = serde_json::from_slice(state.bytes)
        .map_err(|error| format!("has a `{STATE}` that cannot be read: {error}"))?;
    let shape: Vec<u64> = spec.shape.iter().map(|size| *size as u64).collect();
    if state.shape != shape {
        return Err(format!("has shape {:?}, expected {shape:?}", state.shape));
    }
    if state.quant_type != "nf4" || state.blocksize != BLOCK as u64 {
        let State { quant_type, blocksize, .. } = state;
        return Err(format!(
            "is quantised to {quant_type} in blocks of {blocksize}; only nf4 in blocks of {BLOCK} \
             is supported"
        ));
    }
    if bytes != spec.len().div_ceil(2) {
        return Err(format!("has {bytes} bytes, expected {}", spec.len().div_ceil(2)));
    }
    if let Some(code) = take("quant_map").map(|part| floats(part, "quant_map", 16)).transpose()?
        && code != CODE
    {
        return Err("has a `quant_map` that is not that of nf4".into());
    }
    read_blocks(spec.len().div_ceil(BLOCK), &state, take)
}

fn read_blocks<'a>(
    blocks: usize,
    state: &State,
    take: &mut dyn FnMut(&str) -> Option<Part<'a>>,
) -> Result<Scales, String> {
    let mut part = |name: &str| take(name).ok_or_else(|| format!("has no `{name}`"));
    let absmax = part("absmax")?;
    if absmax.dtype != Dtype::U8 {
        return Ok(Scales::Plain(floats(absmax, "absmax", blocks)?));
    }
    let (Some(size), Some(offset)) = (state.nested_blocksize, state.nested_offset) else {
        return Err(format!("has scales of 8 bits, and `{STATE}` does not say what they mean"));
    };
    if size != NESTED_BLOCK as u64 {
        return Err(format!("has scales in blocks of {size}; only {NESTED_BLOCK} is supported"));
    }
    if absmax.bytes.len() != blocks || !(offset as f32).is_finite() {
        let found = absmax.bytes.len();
        return Err(format!(
            "has {found} scales and the offset {offset}, expected {blocks} scales"
        ));
    }
    let nested = blocks.div_ceil(NESTED_BLOCK);
    let scales = floats(part("nested_absmax")?, "nested_absmax", nested)?;
    let map = floats(part("nested_quant_map")?, "nested_quant_map", 256)?;
    Ok(Scales::Nested {
        codes: absmax.bytes.to_vec(),
        scales,
        map: Box::new(map.try_into().expect("256 were read")),
        offset: offset as f32,
    })
}

/// So many finite numbers.
fn floats(part: Part<'_>, name: &str, count: usize) -> Result<Vec<f32>, String> {
    let (numbers, rest) = part.bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let whole = part.dtype == Dtype::F32 && rest.is_empty() && numbers.len() == count;
    if whole && numbers.iter().all(|number| number.is_finite()) {
        return Ok(numbers);
    }
    Err(format!("needs a `{name}` of {count} finite numbers in f32"))
}
