//! Unfinished training on disk: weights, moments, how far it came and what the objective remembers.
//! The order of rows, random numbers and the schedule follow from the step and the seed, so nothing
//! else is needed to go on with the same bits. Knows a file; does not know when it is worth
//! writing.
//!
//! ```text
//! magic       16 bytes, with the version of this layout
//! progress    9 numbers of 8 bytes: steps done, steps in all, tokens, supervised tokens, and as
//!             f64 loss, β₁^t, β₂^t; then how many floats follow, and how many f64 after them
//! floats      what is trained, first moments, second moments, each in the order of the table, and
//!             those that the objective keeps, f32
//! memory      the objective's numbers, f64
//! checksum    blake3 of all before it, 32 bytes
//! ```
//!
//! All little-endian. Written beside its place, synced and renamed, so that a kill at any moment
//! leaves the one before whole.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::train_loop::Position;
use crate::train::model::Transformer;
use crate::train::objective::Objective;
use crate::train::optim::AdamWState;
use crate::train::progress::Failure;

const MAGIC: &[u8; 16] = b"llamake train 2\n";
/// Floats that are read or written at once.
const CHUNK: usize = 1 << 14;

/// A file that holds, or will hold, one checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
}

/// What a training run changes.
pub struct Trained<'a> {
    pub model: &'a mut Transformer,
    pub optimizer: &'a mut AdamWState,
    pub objective: &'a mut dyn Objective,
}

/// What was found where a checkpoint may lie.
#[derive(Debug, PartialEq)]
pub enum Found {
    Nothing,
    /// It was read: go on from there.
    Position(Position),
    /// A sentence that says why it is of no use; nothing was changed.
    Unusable(String),
}

impl Checkpoint {
    /// In the folder of an attempt.
    pub fn in_folder(folder: &Path) -> Checkpoint {
        Checkpoint { path: folder.join("checkpoint") }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves, replacing what was saved before.
    pub fn save(&self, at: &Position, of: &mut Trained<'_>) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let folder = self.path.parent().expect("it lies in a folder");
        let written = fs::create_dir_all(folder)
            .and_then(|()| write(&fresh, at, of))
            .and_then(|()| fs::rename(&fresh, &self.path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.inspect_err(|_| {
            // A part of a file is of no use to anybody.
            let _ = fs::remove_file(&fresh);
        })
    }

    /// Reads back what was saved; `steps` are those of the whole run. The file is verified before
    /// anything of it is taken.
    pub fn restore(&self, steps: u64, into: &mut Trained<'_>) -> Result<Found, Failure> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Failure::io(&self.path)(error)),
        };
        let damaged = |fault| match fault {
            Fault::Unusable(fact) => {
                Ok(Found::Unusable(format!("`{}`: {fact}", self.path.display())))
            }
            Fault::Io(error) => Err(Failure::io(&self.path)(error)),
        };
        if let Err(fault) = verify(&file, into) {
            return damaged(fault);
        }
        match read(&self.path, steps, into) {
            Ok(at) => Ok(Found::Position(at)),
            Err(fault) => damaged(fault),
        }
    }
}

enum Fault {
    Unusable(String),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl Trained<'_> {
    fn tensors(&mut self) -> Vec<&mut [f32]> {
        let mut tensors = self.model.trainable_mut();
        tensors.extend(self.optimizer.first.tensors_mut());
        tensors.extend(self.optimizer.second.tensors_mut());
        tensors.extend(self.objective.memory().1);
        tensors
    }

    fn floats(&mut self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.len() as u64).sum()
    }
}

/// Writes and hashes.
struct Hashing<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.to.write_all(bytes)
    }
}

fn write(path: &Path, at: &Position, of: &mut Trained<'_>) -> io::Result<()> {
    let mut file =
        Hashing { to: BufWriter::new(File::create(path)?), hasher: blake3::Hasher::new() };
    let (beta1_power, beta2_power) = (of.optimizer.beta1_power, of.optimizer.beta2_power);
    let floats = [at.loss, beta1_power, beta2_power].map(f64::to_bits);
    file.put(MAGIC)?;
    for number in [at.step, at.steps, at.tokens, at.supervised] {
        file.put(&number.to_le_bytes())?;
    }
    for number in floats {
        file.put(&number.to_le_bytes())?;
    }
    file.put(&of.floats().to_le_bytes())?;
    let memory = of.objective.memory().0;
    file.put(&(memory.len() as u64).to_le_bytes())?;
    for tensor in of.tensors() {
        for chunk in tensor.chunks(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|x| x.to_le_bytes()).collect();
            file.put(&bytes)?;
        }
    }
    for number in memory {
        file.put(&number.to_bits().to_le_bytes())?;
    }
    let checksum = file.hasher.finalize();
    file.to.write_all(checksum.as_bytes())?;
    file.to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

const HEADER: usize = MAGIC.len() + 9 * 8;

/// Whether the file is whole and of this shape.
fn verify(file: &File, of: &mut Trained<'_>) -> Result<(), Fault> {
    let length = file.metadata()?.len();
    let least = HEADER as u64 + 4 * of.floats() + 32;
    if length < least || !(length - least).is_multiple_of(8) {
        return Err(Fault::Unusable("it is cut off, or of a model of another shape".into()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(length - 32))?;
    let mut checksum = [0; 32];
    let mut rest = file;
    rest.read_exact(&mut checksum)?;
    if hasher.finalize() != blake3::Hash::from_bytes(checksum) {
        return Err(Fault::Unusable("its checksum does not fit its content".into()));
    }
    Ok(())
}

/// Takes a verified file in.
fn read(path: &Path, run: u64, into: &mut Trained<'_>) -> Result<Position, Fault> {
    let mut file = BufReader::new(File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let [step, steps, tokens, supervised] = [number()?, number()?, number()?, number()?];
    let loss = f64::from_bits(number()?);
    let powers = [f64::from_bits(number()?), f64::from_bits(number()?)];
    let (floats, numbers) = (number()?, number()?);
    let length = HEADER as u128 + 4 * u128::from(floats) + 8 * u128::from(numbers) + 32;
    let whole = length == u128::from(std::fs::metadata(path)?.len());
    if magic != *MAGIC || floats != into.floats() || !whole {
        return Err(Fault::Unusable("it has another layout".into()));
    }
    if steps != run || step > steps {
        let fact = format!("it is of a run of {steps} steps, and this one has {run}");
        return Err(Fault::Unusable(fact));
    }
    [into.optimizer.beta1_power, into.optimizer.beta2_power] = powers;
    let mut bytes = vec![0; 4 * CHUNK];
    for tensor in into.tensors() {
        for chunk in tensor.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..4 * chunk.len()];
            file.read_exact(bytes)?;
            for (x, bytes) in chunk.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*bytes);
            }
        }
    }
    let mut memory = Vec::new();
    for _ in 0..numbers {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        memory.push(f64::from_bits(u64::from_le_bytes(bytes)));
    }
    into.objective.recall(memory);
    Ok(Position { step, steps, tokens, supervised, loss })
}
