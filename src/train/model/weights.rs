//! Weights as a `model.safetensors` file in Hugging Face's names, read through candle and written
//! by the safetensors crate. Knows no tokenizer and no other file of a model's folder.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use candle_core::safetensors::{Load, SliceSafetensors};
use candle_core::{DType, Device};
use safetensors::tensor::{Dtype, TensorView, View};

use super::config::ModelConfig;
use super::parameters::{Parameters, TensorSpec, count, table};
use crate::train::progress::Failure;

/// Reads weights of the shapes of `config`, widened to f32. A missing, superfluous or mis-shaped
/// tensor is an error that names it, and so is a file that is not whole.
pub fn load(path: &Path, config: &ModelConfig) -> Result<Parameters, Failure> {
    let fail = |fact: String| Failure::input(format!("`{}`: {fact}", path.display()));
    let bytes = std::fs::read(path).map_err(Failure::io(path))?;
    let file = SliceSafetensors::new(&bytes)
        .map_err(|error| fail(format!("this is no whole safetensors file: {error}")))?;
    let views = file.tensors();
    // A config may lie about its layers; the table is only made once the file bears them out.
    if views.len() < count(config) {
        let (found, layers) = (views.len(), config.layers);
        return Err(fail(format!("{found} tensors are too few for {layers} layers")));
    }
    let table = table(config);
    refuse_superfluous(&table, &views).map_err(fail)?;
    let tensors = table.iter().map(|spec| read(&file, spec)).collect::<Result<_, _>>();
    Ok(Parameters::from_tensors(config, tensors.map_err(fail)?))
}

/// Buffers of rotary frequencies that old converters saved; they follow from the configuration.
fn follows_from_config(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

fn refuse_superfluous(
    table: &[TensorSpec],
    views: &[(String, TensorView<'_>)],
) -> Result<(), String> {
    let known: BTreeSet<&str> = table.iter().map(|spec| spec.name.as_str()).collect();
    let found: BTreeSet<&str> = views.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(missing) = known.difference(&found).next() {
        return Err(format!("tensor `{missing}` is missing"));
    }
    match found.difference(&known).find(|name| !follows_from_config(name)) {
        Some(name) => Err(format!("tensor `{name}` belongs to no part of this model")),
        None => Ok(()),
    }
}

fn read(file: &SliceSafetensors<'_>, spec: &TensorSpec) -> Result<Vec<f32>, String> {
    let name = &spec.name;
    let view = file.get(name).map_err(|error| format!("tensor `{name}`: {error}"))?;
    if view.shape() != spec.shape {
        let (found, expected) = (view.shape(), &spec.shape);
        return Err(format!("tensor `{name}` has shape {found:?}, expected {expected:?}"));
    }
    if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
        let dtype = view.dtype();
        return Err(format!(
            "tensor `{name}` has dtype {dtype:?}, expected a float of 16 to 64 bits"
        ));
    }
    view.load(&Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
        .map_err(|error| format!("tensor `{name}`: {error}"))
}

/// A parameter on its way into a file.
struct Saved<'a> {
    spec: &'a TensorSpec,
    values: &'a [f32],
}

impl View for Saved<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.spec.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// Writes weights as f32, one tensor at a time, under the mark that transformers asks for.
pub fn save(path: &Path, config: &ModelConfig, weights: &Parameters) -> Result<(), Failure> {
    let table = table(config);
    let tensors = table
        .iter()
        .zip(weights.tensors())
        .map(|(spec, values)| (spec.name.as_str(), Saved { spec, values }));
    let mark = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(tensors, Some(mark), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => Failure::io(path)(error),
        other => Failure::input(format!("`{}` cannot be written: {other}", path.display())),
    })?;
    // The crate writes through a private temporary file; a model is for everyone to read.
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, readable).map_err(Failure::io(path))
}
