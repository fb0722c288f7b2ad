//! A whole model into a GGUF file, one tensor after the other. What is in the file's blocks already
//! is written as it is, never rounded again. The bytes depend on the model alone. Does not know
//! what is done with the file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::facts::{Fact, write_fact, write_text};
use super::file::{ALIGNMENT, MAGIC, VERSION, number_of};
use super::layout::{Laid, ROPE_FREQUENCIES, laid};
use super::shape;
use crate::train::kernels::{Elements, Threads};
use crate::train::model::ModelConfig;
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::ModelFolder;
use crate::train::model::tensor::Tensor;
use crate::train::progress::{Failure, Progress};

/// What other programs call these files' contents, by llama.cpp's numbers.
fn file_type(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Q4_0 => 2,
        Encoding::Q8_0 => 7,
        // All matrices alike, which llama.cpp calls pure.
        Encoding::Q4_K => 14,
        Encoding::Bf16 => 32,
    }
}

/// The version of ggml's layout of blocks.
const BLOCKS_VERSION: u32 = 2;

/// A tensor on its way into the file.
struct Placed {
    name: String,
    shape: Vec<usize>,
    encoding: Encoding,
    offset: usize,
}

impl Placed {
    fn bytes(&self) -> usize {
        self.encoding.bytes(self.shape.iter().product())
    }
}

/// Writes a model in `encoding`, norms in f32, with the facts of its tokenizer and template.
pub fn write<T: Tensor + Default>(
    t: &Threads,
    path: &Path,
    model: &ModelFolder<T>,
    tokenizer: Vec<(String, Fact)>,
    encoding: Encoding,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let laid = laid(&model.config);
    check_rows(&laid, encoding)?;
    let divisors = shape::divisors(&model.config);
    let placed = places(&laid, encoding, divisors.as_deref());
    let facts = facts_of(&model.config, tokenizer, encoding);
    let file = File::create(path).map_err(Failure::io(path))?;
    let mut out = Out { file: BufWriter::new(file), written: 0 };
    out.write(&head(&facts, &placed)).map_err(Failure::io(path))?;
    let parameters = laid.iter().zip(model.weights.in_order());
    for (done, (laid, tensor)) in parameters.enumerate() {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let bytes = encoded(t, laid, tensor.elements(), laid.encoding(encoding))?;
        out.write(&bytes).and_then(|()| out.pad()).map_err(Failure::io(path))?;
        progress.at(done as u64 + 1, placed.len() as u64, "tensors", &[]);
    }
    let finished = match divisors {
        Some(divisors) => out.write(&Encoding::F32.encoded(t, &divisors)).and_then(|()| out.pad()),
        None => Ok(()),
    };
    finished.and_then(|()| out.file.flush()).map_err(Failure::io(path))
}

/// A file that is being written, with how long it is.
struct Out {
    file: BufWriter<File>,
    written: usize,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.written += bytes.len();
        self.file.write_all(bytes)
    }

    fn pad(&mut self) -> std::io::Result<()> {
        let missing = self.written.next_multiple_of(ALIGNMENT) - self.written;
        self.write(&[0; ALIGNMENT][..missing])
    }
}

/// The bytes of a tensor in the file's order of rows.
fn encoded(
    t: &Threads,
    laid: &Laid,
    elements: Elements<'_>,
    encoding: Encoding,
) -> Result<Vec<u8>, Failure> {
    let width = laid.row();
    if let Elements::Ggml(blocks) = elements
        && encoding == Encoding::Blocks(blocks.format())
    {
        return Ok(laid
            .rows()
            .flat_map(|row| blocks.bytes_of(row * width, width))
            .copied()
            .collect());
    }
    let mut numbers = vec![0.0; elements.len()];
    for (row, to) in laid.rows().zip(numbers.chunks_exact_mut(width)) {
        elements.skip(row * width).widen(to);
    }
    encoding.check(&laid.spec.name, &numbers)?;
    Ok(encoding.encoded(t, &numbers))
}

fn check_rows(laid: &[Laid], encoding: Encoding) -> Result<(), Failure> {
    let whole = |laid: &&Laid| laid.row().is_multiple_of(laid.encoding(encoding).group());
    match laid.iter().find(|laid| !whole(laid)) {
        Some(laid) => {
            let (name, group) = (encoding.name(), encoding.group());
            Err(Failure::input(format!(
                "rows of `{}` hold {} numbers, and {name} needs a multiple of {group}",
                laid.spec.name,
                laid.row()
            ))
            .remedy(match laid.row().is_multiple_of(Encoding::Q4_0.group()) {
                true => "choose `\"q4_0\"` or `\"q8_0\"`",
                false => "choose `\"f16\"` or `\"bf16\"`",
            }))
        }
        None => Ok(()),
    }
}

fn places(laid: &[Laid], encoding: Encoding, divisors: Option<&[f32]>) -> Vec<Placed> {
    let parameters = laid
        .iter()
        .map(|laid| (laid.name.clone(), laid.spec.shape.clone(), laid.encoding(encoding)));
    let divisors =
        divisors.map(|all| (ROPE_FREQUENCIES.to_string(), vec![all.len()], Encoding::F32));
    let mut end: usize = 0;
    let place = |(name, shape, encoding)| {
        let placed = Placed { name, shape, encoding, offset: end.next_multiple_of(ALIGNMENT) };
        end = placed.offset + placed.bytes();
        placed
    };
    parameters.chain(divisors).map(place).collect()
}

fn facts_of(
    config: &ModelConfig,
    tokenizer: Vec<(String, Fact)>,
    encoding: Encoding,
) -> Vec<(String, Fact)> {
    let text = |text: &str| Fact::Text(text.to_string());
    let mut facts = vec![
        ("general.architecture".to_string(), text("llama")),
        ("general.name".to_string(), text("llamake")),
    ];
    facts.extend(shape::facts_of(config));
    facts.push(("general.file_type".to_string(), Fact::U32(file_type(encoding))));
    if encoding.group() > 1 {
        facts.push(("general.quantization_version".to_string(), Fact::U32(BLOCKS_VERSION)));
    }
    facts.extend(tokenizer);
    facts
}

/// All before the numbers.
fn head(facts: &[(String, Fact)], placed: &[Placed]) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend((placed.len() as u64).to_le_bytes());
    head.extend((facts.len() as u64).to_le_bytes());
    facts.iter().for_each(|(key, fact)| write_fact(key, fact, &mut head));
    for placed in placed {
        write_text(&placed.name, &mut head);
        head.extend((placed.shape.len() as u32).to_le_bytes());
        let sizes = placed.shape.iter().rev();
        head.extend(sizes.flat_map(|size| (*size as u64).to_le_bytes()));
        head.extend(number_of(placed.encoding).to_le_bytes());
        head.extend((placed.offset as u64).to_le_bytes());
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    head
}
