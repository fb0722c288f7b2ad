//! Weights as safetensors files in Hugging Face's names: one file, or several with an index; or as
//! a GGUF file in their place. They are mapped and checked, and read where they are used. Knows no
//! tokenizer and no other file of a model's folder.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, View};
use serde::Deserialize;
use serde_json::{Map, json};

use super::config::ModelConfig;
use super::encoding::Encoding;
use super::gguf;
use super::parameters::{Parameters, TensorSpec, count, table};
use super::quantized::{self, Part};
use super::tensor::{self, Blocks, Stored, Tensor};
use crate::train::progress::Failure;

/// The file of a model in one piece.
pub const WHOLE: &str = "model.safetensors";
/// A head of a language model that is not its embedding.
const HEAD: &str = "lm_head.weight";
/// What says which file of several holds a tensor.
pub const INDEX: &str = "model.safetensors.index.json";

/// A safetensors file, mapped, with the place of each tensor in it.
struct Shard {
    /// As messages name it.
    file: String,
    map: Arc<Mmap>,
    metadata: Metadata,
    /// Where the numbers begin.
    start: usize,
}

/// Opens the weights of a folder. A missing, superfluous or mis-shaped tensor is an error that
/// names it, and so is a file that is not whole. Norms are read; matrices stay in their files.
pub fn open(folder: &Path, config: &ModelConfig) -> Result<Parameters<Stored>, Failure> {
    if holds_gguf(folder) {
        return gguf::read::weights_in(&folder.join(gguf::FILE), config);
    }
    let shards = shards(folder)?;
    let mut places: BTreeMap<String, &Shard> = BTreeMap::new();
    for shard in &shards {
        for name in shard.metadata.offset_keys() {
            if let Some(other) = places.get(&name) {
                let (a, b) = (&other.file, &shard.file);
                return Err(Failure::input(format!("tensor `{name}` is in both `{a}` and `{b}`")));
            }
            places.insert(name, shard);
        }
    }
    let whole = &shards[0].file;
    let fail = |fact: String| Failure::input(format!("`{whole}`: {fact}"));
    // A config may lie about its layers; the table is only made once the files bear them out.
    if places.len() < count(config) {
        let (found, layers) = (places.len(), config.layers);
        return Err(fail(format!("{found} tensors are too few for {layers} layers")));
    }
    let table = table(config);
    let tensors = table.iter().map(|spec| match places.remove(spec.name.as_str()) {
        Some(shard) if shard.holds_codes(spec) => shard.blocks(spec, &mut places),
        Some(shard) => shard.tensor(spec),
        None => Err(fail(format!("tensor `{}` is missing", spec.name))),
    });
    let tensors = tensors.collect::<Result<Vec<Stored>, Failure>>()?;
    if let Some(shard) = places.get(HEAD).filter(|_| config.tied) {
        let head = shard.tensor(&TensorSpec { name: HEAD.into(), ..table[0].clone() })?;
        if !same(&head, &tensors[0]) {
            return Err(fail(format!(
                "`{HEAD}` is another matrix than the embedding, and config.json says that they \
                 are one"
            ))
            .remedy("set `tie_word_embeddings` to false there, or leave the tensor out"));
        }
    }
    match places.keys().find(|name| !follows_from_config(name, config)) {
        Some(name) => Err(fail(format!("tensor `{name}` belongs to no part of this model"))),
        None => Ok(Parameters::from_tensors(config, tensors)),
    }
}

/// Opens a file that holds exactly the tensors of a table; a missing, superfluous or mis-shaped one
/// is an error that names it.
pub(super) fn open_table(path: &Path, table: &[TensorSpec]) -> Result<Vec<Stored>, Failure> {
    let shard = Shard::open(path)?;
    let fail = |fact: String| Failure::input(format!("`{}`: {fact}", shard.file));
    let mut names: BTreeSet<String> = shard.metadata.offset_keys().into_iter().collect();
    let tensors = table.iter().map(|spec| match names.remove(&spec.name) {
        true => shard.tensor(spec),
        false => Err(fail(format!("tensor `{}` is missing", spec.name))),
    });
    let tensors = tensors.collect::<Result<Vec<Stored>, Failure>>()?;
    match names.first() {
        Some(name) => Err(fail(format!("tensor `{name}` belongs to no part of this adapter"))),
        None => Ok(tensors),
    }
}

/// Reads the weights of a folder into memory, widened to f32.
pub fn load(folder: &Path, config: &ModelConfig) -> Result<Parameters, Failure> {
    Ok(open(folder, config)?.map(Stored::into_floats))
}

/// Whether a folder's weights are in a GGUF file, there being no others.
fn holds_gguf(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has(gguf::FILE) && !has(WHOLE) && !has(INDEX)
}

/// The names of the files that hold a folder's weights, in the order of their names; the index of
/// several is not among them.
pub fn files(folder: &Path) -> Result<Vec<String>, Failure> {
    if holds_gguf(folder) {
        return Ok(vec![gguf::FILE.to_string()]);
    }
    let index = folder.join(INDEX);
    if folder.join(WHOLE).is_file() || !index.is_file() {
        return Ok(vec![WHOLE.to_string()]);
    }
    let fail = |fact: String| Failure::input(format!("`{}`: {fact}", index.display()));
    let text = std::fs::read_to_string(&index).map_err(Failure::io(&index))?;
    let Index { weight_map } = serde_json::from_str(&text)
        .map_err(|error| fail(format!("it names no file for each tensor: {error}")))?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        let parts: Vec<Component<'_>> = Path::new(name).components().collect();
        if !matches!(parts.as_slice(), [Component::Normal(_)]) {
            return Err(fail(format!("`{name}` is no file of this folder")));
        }
    }
    match names.is_empty() {
        true => Err(fail("it names no file".into())),
        false => Ok(names),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn shards(folder: &Path) -> Result<Vec<Shard>, Failure> {
    let names = files(folder)?;
    if names == [WHOLE] && !folder.join(WHOLE).exists() {
        let failure = format!("`{}` has no `{WHOLE}`", folder.display());
        return Err(Failure::input(failure).remedy(
            match folder.join("pytorch_model.bin").exists() {
                true => "convert `pytorch_model.bin` with transformers: `save_pretrained(DIR)`",
                false => "copy the weights there, and if they are in several files their index too",
            },
        ));
    }
    names.iter().map(|name| Shard::open(&folder.join(name))).collect()
}

impl Shard {
    fn open(path: &Path) -> Result<Shard, Failure> {
        let file = path.display().to_string();
        let opened = File::open(path).map_err(Failure::io(path))?;
        // SAFETY: the file is read as bytes, of which any are numbers. A file that is cut while it
        // is mapped ends the program; a store never changes what it holds.
        let map = unsafe { Mmap::map(&opened) }.map_err(Failure::io(path))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            Failure::input(format!("`{file}`: this is no whole safetensors file: {error}"))
                .remedy("copy the file again; it may have been cut on its way")
        })?;
        Ok(Shard { file, map: Arc::new(map), metadata, start: HEADER_SIZE_BYTES + header })
    }

    /// Whether a matrix is kept in codes of 4 bits.
    fn holds_codes(&self, spec: &TensorSpec) -> bool {
        let info = self.metadata.info(&spec.name).expect("the name is this file's");
        quantized::is_quantised(spec) && info.dtype == Dtype::U8
    }

    /// A matrix in codes, and what belongs to it, wherever it is.
    fn blocks(
        &self,
        spec: &TensorSpec,
        places: &mut BTreeMap<String, &Shard>,
    ) -> Result<Stored, Failure> {
        let mut take = |part: &str| {
            let name = format!("{}.{part}", spec.name);
            places.remove(&name).map(|shard| shard.part(&name))
        };
        let codes = self.part(&spec.name);
        let scales =
            quantized::read_scales(spec, codes.bytes.len(), &mut take).map_err(|fact| {
                Failure::input(format!("`{}`: tensor `{}` {fact}", self.file, spec.name))
            })?;
        let info = self.metadata.info(&spec.name).expect("the name is this file's");
        let bytes = self.start + info.data_offsets.0..self.start + info.data_offsets.1;
        Ok(Stored::Nf4(Blocks::in_file(&self.map, bytes, scales, spec.len())))
    }

    fn part(&self, name: &str) -> Part<'_> {
        let info = self.metadata.info(name).expect("the name is this file's");
        let bytes = self.start + info.data_offsets.0..self.start + info.data_offsets.1;
        Part { dtype: info.dtype, bytes: &self.map[bytes] }
    }

    fn tensor(&self, spec: &TensorSpec) -> Result<Stored, Failure> {
        let name = &spec.name;
        let fail = |fact: String| Failure::input(format!("`{}`: {fact}", self.file));
        let info = self.metadata.info(name).expect("the name is this file's");
        if info.shape != spec.shape {
            let (found, expected) = (&info.shape, &spec.shape);
            return Err(fail(format!(
                "tensor `{name}` has shape {found:?}, expected {expected:?}"
            )));
        }
        let bytes = self.start + info.data_offsets.0..self.start + info.data_offsets.1;
        let dtype = match info.dtype {
            Dtype::F32 => tensor::Dtype::F32,
            Dtype::F16 => tensor::Dtype::F16,
            Dtype::BF16 => tensor::Dtype::Bf16,
            Dtype::F64 => {
                let numbers = self.map[bytes].as_chunks::<8>().0.iter();
                let narrowed = numbers.map(|bytes| f64::from_le_bytes(*bytes) as f32).collect();
                return Ok(Stored::Memory(narrowed));
            }
            dtype => {
                let expected = "expected a float of 16 to 64 bits";
                return Err(fail(format!("tensor `{name}` has dtype {dtype:?}, {expected}")));
            }
        };
        let stored = Stored::in_file(&self.map, bytes, dtype);
        Ok(if spec.shape.len() == 1 { Stored::Memory(stored.into_floats()) } else { stored })
    }
}

/// The length of the header stands before it.
const HEADER_SIZE_BYTES: usize = 8;

/// What a file may hold besides: buffers of rotary frequencies that old converters saved, and the
/// head where it is the embedding.
fn follows_from_config(name: &str, config: &ModelConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (config.tied && name == HEAD)
}

/// Whether two tensors of one size have the same numbers, looked at piece by piece.
fn same(one: &Stored, other: &Stored) -> bool {
    const PIECE: usize = 1 << 16;
    let (one, other) = (one.elements(), other.elements());
    let [mut a, mut b] = [(); 2].map(|()| vec![0.0; PIECE.min(one.len())]);
    (0..one.len()).step_by(PIECE).all(|at| {
        let len = PIECE.min(one.len() - at);
        one.skip(at).widen(&mut a[..len]);
        other.skip(at).widen(&mut b[..len]);
        a[..len] == b[..len]
    })
}

/// A tensor on its way into a file.
pub struct Saved<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub content: Content<'a>,
}

/// What a tensor is written from.
pub enum Content<'a> {
    Numbers(&'a [f32], Encoding),
    Bytes(Dtype, Cow<'a, [u8]>),
}

impl Saved<'_> {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Numbers(values, encoding) => encoding.bytes(values.len()),
            Content::Bytes(_, bytes) => bytes.len(),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        match &self.content {
            Content::Numbers(values, encoding) => encoding.check(&self.name, values),
            Content::Bytes(..) => Ok(()),
        }
    }
}

impl View for &Saved<'_> {
    fn dtype(&self) -> Dtype {
        match &self.content {
            Content::Numbers(_, Encoding::F32) => Dtype::F32,
            Content::Numbers(_, Encoding::F16) => Dtype::F16,
            Content::Numbers(_, Encoding::Bf16) => Dtype::BF16,
            Content::Numbers(_, encoding) => panic!("safetensors have no {}", encoding.name()),
            Content::Bytes(dtype, _) => *dtype,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.content {
            Content::Numbers(values, encoding) => {
                let mut bytes = Vec::new();
                encoding.encode(values, &mut bytes);
                bytes.into()
            }
            Content::Bytes(_, bytes) => Cow::Borrowed(bytes),
        }
    }

    fn data_len(&self) -> usize {
        self.bytes()
    }
}

/// Writes weights as f32 into one file, one tensor at a time.
pub fn save(path: &Path, config: &ModelConfig, weights: &Parameters) -> Result<(), Failure> {
    save_tensors(path, &saved(config, weights, Encoding::F32))
}

/// Writes weights to a folder: one file, or several of at most `largest` bytes with an index.
pub fn save_in(
    folder: &Path,
    config: &ModelConfig,
    weights: &Parameters,
    encoding: Encoding,
    largest: usize,
) -> Result<(), Failure> {
    save_parts(folder, &saved(config, weights, encoding), largest)
}

/// Writes tensors to a folder: one file, or several of at most `largest` bytes with an index.
pub fn save_parts(folder: &Path, saved: &[Saved<'_>], largest: usize) -> Result<(), Failure> {
    saved.iter().try_for_each(Saved::check)?;
    let parts = parts(saved, largest);
    if parts.len() == 1 {
        return save_tensors(&folder.join(WHOLE), saved);
    }
    let mut places = Map::new();
    for (at, part) in parts.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", at + 1, parts.len());
        save_tensors(&folder.join(&file), part)?;
        places.extend(part.iter().map(|one| (one.name.clone(), json!(file))));
    }
    let total: usize = saved.iter().map(|one| one.bytes()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    let path = folder.join(INDEX);
    std::fs::write(&path, format!("{index:#}\n")).map_err(Failure::io(&path))
}

/// Writes the tensors of a table as f32 into one file.
pub(super) fn save_table(
    path: &Path,
    table: &[TensorSpec],
    tensors: &[&[f32]],
) -> Result<(), Failure> {
    let saved = table.iter().zip(tensors).map(|(spec, values)| Saved {
        name: spec.name.clone(),
        shape: spec.shape.clone(),
        content: Content::Numbers(values, Encoding::F32),
    });
    save_tensors(path, &saved.collect::<Vec<_>>())
}

fn saved<'a>(config: &ModelConfig, weights: &'a Parameters, encoding: Encoding) -> Vec<Saved<'a>> {
    let tensors = table(config).into_iter().zip(weights.tensors());
    let saved = tensors.map(|(TensorSpec { name, shape, .. }, values)| Saved {
        name,
        shape,
        content: Content::Numbers(values, encoding),
    });
    saved.collect()
}

/// Tensors in their order, as many to a part as fit; a larger one is a part of its own.
fn parts<'s, 'a>(saved: &'s [Saved<'a>], largest: usize) -> Vec<&'s [Saved<'a>]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, one) in saved.iter().enumerate() {
        if at > start && bytes + one.bytes() > largest {
            parts.push(&saved[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += one.bytes();
    }
    parts.push(&saved[start..]);
    parts
}

/// One file, under the mark that transformers asks for.
fn save_tensors(path: &Path, saved: &[Saved<'_>]) -> Result<(), Failure> {
    let tensors = saved.iter().map(|one| (one.name.as_str(), one));
    let mark = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(tensors, Some(mark), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => Failure::io(path)(error),
        other => Failure::input(format!("`{}` cannot be written: {other}", path.display())),
    })?;
    // The crate writes through a private temporary file; a model is for everyone to read.
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, readable).map_err(Failure::io(path))
}
