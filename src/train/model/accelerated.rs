//! An accelerator as what a decoder computes on: every operation is a launch of its kernels, and
//! the bits are those of the processor. The first fault is kept, and nothing is done after it,
//! until somebody asks. Knows no order of operations, and not which accelerator it is.
//!
//! Left out: heads and optimizers. Weights of 16 bits, or in ggml's blocks, are widened.

// What is learnt beside a projection.
mod adapter;
// What finished decoders are asked.
mod inference;

use std::sync::{Arc, Mutex};

pub use adapter::LowRanks;
use adapter::{Adapted, Beside};

use super::activations::BlockActivations;
use super::batch::Batch;
use super::config::{Head, ModelConfig};
use super::lora::Adapter;
use super::machine::{Machine, Normed, Place};
use super::parameters::count;
use super::projection::Which;
use super::tensor::{Stored, Tensor};
use super::trainable::Trainable;
use super::transformer::Transformer;
use crate::train::kernels::attention::launch::{Saved, Segments, WIDTHS};
use crate::train::kernels::attention::{self, Heads, Segment};
use crate::train::kernels::dropout::launch::Places;
use crate::train::kernels::embedding::launch::Tokens;
use crate::train::kernels::gemm::launch::{
    TokenBlocks, Weights, linear, linear_grad_input, linear_grad_weight,
};
use crate::train::kernels::launch::{Accelerator, Array, Fault, Slice, SliceMut};
use crate::train::kernels::rms_norm::launch::Read;
use crate::train::kernels::rope::launch::DeviceTable;
use crate::train::kernels::{Sink, embedding, nf4, rms_norm, swiglu};
use crate::train::progress::Failure;

/// An accelerator, and what went wrong on it.
#[derive(Debug)]
pub struct Accelerated {
    on: Arc<dyn Accelerator>,
    fault: Mutex<Option<Fault>>,
}

/// Numbers in its memory: room that grows, and how much of it is in use.
#[derive(Debug, Default)]
pub struct Room {
    array: Option<Array<f32>>,
    len: usize,
}

/// A parameter in its memory.
#[derive(Debug)]
pub enum Parameter {
    Floats(Room),
    Nf4(nf4::launch::Matrix),
}

/// A batch as kernels read it.
#[derive(Debug)]
pub struct Ready {
    tokens: Tokens,
    positions: Array<u32>,
    segments: Segments,
    blocks: TokenBlocks,
    places: Places,
}

impl Ready {
    fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// Buffers that operations use anew.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of the adapters.
    pub beside: Beside,
    dots_th: Room,
}

impl Accelerated {
    /// One that is in order.
    pub fn new(on: Arc<dyn Accelerator>) -> Accelerated {
        Accelerated { on, fault: Mutex::new(None) }
    }

    /// What went wrong first since it was last asked.
    pub fn check(&self) -> Result<(), Fault> {
        let fault = self.fault.lock().expect("no operation panics").take();
        fault.map_or(Ok(()), Err)
    }

    /// The accelerator itself.
    pub fn on(&self) -> &Arc<dyn Accelerator> {
        &self.on
    }

    /// Makes a buffer so long.
    fn resize(&self, buffer: &mut Room, length: usize) {
        self.run(|on| {
            if buffer.array.as_ref().is_none_or(|array| array.len() < length) {
                // What is too short is given back first.
                *buffer = Room::default();
                buffer.array = Some(Array::new(on, length)?);
            }
            buffer.len = length;
            Ok(())
        });
    }

    /// Does something unless something went wrong before.
    fn run(&self, body: impl FnOnce(&Arc<dyn Accelerator>) -> Result<(), Fault>) {
        let mut fault = self.fault.lock().expect("no operation panics");
        if fault.is_none() {
            *fault = body(&self.on).err();
        }
    }

    /// The same with a batch, which is there unless something went wrong.
    fn run_on(
        &self,
        batch: &Option<Ready>,
        body: impl FnOnce(&dyn Accelerator, &Ready) -> Result<(), Fault>,
    ) {
        self.run(|on| batch.as_ref().map_or(Ok(()), |batch| body(&**on, batch)));
    }

    /// A copy of numbers of the host.
    pub fn send(&self, numbers: &[f32]) -> Room {
        let mut room = Room::default();
        self.run(|on| {
            let array = (!numbers.is_empty()).then(|| Array::of(on, numbers)).transpose()?;
            room = Room { array, len: numbers.len() };
            Ok(())
        });
        room
    }

    /// A copy of its numbers on the host; of any content where something went wrong.
    pub fn fetch(&self, room: &Room) -> Vec<f32> {
        let mut numbers = Vec::new();
        self.run(|_| {
            numbers = room.array.as_ref().map(Array::read).transpose()?.unwrap_or_default();
            Ok(())
        });
        numbers.truncate(room.len);
        numbers
    }

    fn send_stored(&self, stored: &Stored) -> Parameter {
        let Stored::Nf4(blocks) = stored else {
            let room = match stored {
                Stored::Memory(floats) => self.send(floats),
                stored => self.send(&stored.elements().to_floats()),
            };
            stored.release();
            return Parameter::Floats(room);
        };
        let mut sent = Parameter::Floats(Room::default());
        self.run(|on| {
            let len = stored.elements().len();
            let matrix = nf4::launch::Matrix::new(on, blocks.packed(), blocks.scales(), len)?;
            sent = Parameter::Nf4(matrix);
            Ok(())
        });
        sent
    }
}

impl Room {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sets every number to zero.
    pub fn clear(&mut self) -> Result<(), Fault> {
        self.array.as_mut().map_or(Ok(()), Array::clear)
    }

    /// Replaces the numbers by as many.
    pub fn write(&mut self, numbers: &[f32]) -> Result<(), Fault> {
        assert_eq!(numbers.len(), self.len, "as many numbers as there are");
        self.array.as_mut().map_or(Ok(()), |array| array.write_first(numbers))
    }

    /// Copies the numbers to the host.
    pub fn read(&self, numbers: &mut [f32]) -> Result<(), Fault> {
        assert_eq!(numbers.len(), self.len, "as many numbers as there are");
        self.array.as_ref().map_or(Ok(()), |array| array.read_first(numbers))
    }

    /// All of its numbers, of which there must be some.
    pub fn all(&self) -> Slice<'_, f32> {
        self.array.as_ref().expect("numbers that are read are there").all().part(0..self.len)
    }

    /// The same, to be written.
    pub fn all_mut(&mut self) -> SliceMut<'_, f32> {
        let array = self.array.as_mut().expect("numbers that are written have room");
        array.first_mut(self.len)
    }
}

impl Parameter {
    /// The numbers of what is never in 4 bits: norms, tables of words, and all that is learnt.
    pub fn floats(&self) -> Slice<'_, f32> {
        match self {
            Parameter::Floats(room) => room.all(),
            Parameter::Nf4(_) => panic!("only the matrices of blocks are in 4 bits"),
        }
    }

    fn weights(&self) -> Weights<'_> {
        match self {
            Parameter::Floats(room) => room.all().into(),
            Parameter::Nf4(matrix) => matrix.into(),
        }
    }
}

/// A fault as those tell it who asked for the work.
pub fn told(Fault { message, remedy }: Fault) -> Failure {
    let failure = Failure::input(message);
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}

impl Transformer {
    /// A copy of the decoder in an accelerator's memory.
    pub fn onto(&self, m: &Accelerated) -> Result<Transformer<Accelerated>, Fault> {
        let width = self.config.head_dim();
        if !WIDTHS.contains(&width) {
            let message = format!("heads are 16, 32, 64 or 128 wide on a GPU, not {width}");
            return Err(Fault { message, remedy: Some("build with `--device cpu`".into()) });
        }
        let rope = DeviceTable::new(&m.on, &self.rope)?;
        let weights = self.weights.each(|stored| m.send_stored(stored));
        let config = self.config.clone();
        let mut copy = Transformer { config, weights, adapter: None, rope };
        copy.wear(m, self.adapter.as_ref())?;
        Ok(copy)
    }
}

impl Transformer<Accelerated> {
    /// What turns the last hidden state into logits, or into a score.
    pub fn head(&self) -> Slice<'_, f32> {
        let own = self.config.has_own_head();
        let head = if own { &self.weights.head_vd } else { &self.weights.embedding_vd };
        head.floats()
    }

    /// From here on it computes under a copy of this adapter, or as it is.
    pub fn wear(&mut self, m: &Accelerated, adapter: Option<&Adapter>) -> Result<(), Fault> {
        self.adapter = adapter.map(|adapter| LowRanks::of(m, adapter, self.config.layers));
        self.settle(m);
        m.check()
    }

    /// After a change of the adapter: what follows from it is found anew.
    pub fn settle(&mut self, m: &Accelerated) {
        if let Some(adapter) = &mut self.adapter {
            adapter.settle(m, &self.weights);
        }
    }

    /// Everything that is learnt in the order of the table; nothing where something is frozen.
    pub fn learnt_mut(&mut self) -> Vec<Option<&mut Room>> {
        let (frozen, scores) = (self.adapter.is_some(), self.config.head == Head::Score);
        let last = count(&self.config) - 1;
        let weights = self.weights.in_order_mut().into_iter().enumerate();
        let learnt = weights.map(|(at, parameter)| match parameter {
            Parameter::Floats(room) if !frozen || (scores && at == last) => Some(room),
            _ => None,
        });
        let beside = self.adapter.iter_mut().flat_map(LowRanks::rooms_mut).map(Some);
        learnt.chain(beside).collect()
    }
}

impl Trainable {
    /// A copy in an accelerator's memory.
    pub fn onto(&self, m: &Accelerated) -> Result<Trainable<Room, LowRanks>, Fault> {
        let weights = self.weights.each(|floats| m.send(floats));
        let layers = weights.blocks.len();
        let adapter = self.adapter.as_ref().map(|adapter| LowRanks::of(m, adapter, layers));
        m.check().map(|()| Trainable { weights, adapter })
    }
}

impl Trainable<Room, LowRanks> {
    /// The buffers in the order of the table, empty where something is frozen.
    pub fn rooms_mut(&mut self) -> Vec<&mut Room> {
        let mut rooms = self.weights.in_order_mut();
        rooms.extend(self.adapter.iter_mut().flat_map(LowRanks::rooms_mut));
        rooms
    }

    /// Sets every number to zero.
    pub fn clear(&mut self) -> Result<(), Fault> {
        self.rooms_mut().into_iter().try_for_each(Room::clear)?;
        self.weights.head_vd.clear()
    }
}

impl Place<'_, Accelerated> {
    /// Tokens of so many outputs, inputs and outputs.
    fn shape(&self, outputs: usize) -> [usize; 3] {
        let config: &ModelConfig = &self.model.config;
        let [i, o] = self.which.shape(config);
        [outputs / o, i, o]
    }

    fn weights(&self) -> Weights<'_> {
        self.model.weights.blocks[self.layer].of(self.which).weights()
    }

    fn adapted(&self) -> Option<Adapted<'_>> {
        self.model.adapter.as_ref()?.at(self.layer, self.which)
    }
}

impl<'a> From<Normed<'a, Accelerated>> for Read<'a, f32> {
    fn from(of: Normed<'a, Accelerated>) -> Read<'a, f32> {
        Read { dy: of.dy_td.all(), x: of.x_td.all(), inv_rms: of.inv_rms_t.all() }
    }
}

impl Machine for Accelerated {
    type Floats = Room;
    type Tensor = Parameter;
    type Adapter = LowRanks;
    type Rope = DeviceTable;
    type Beside = Scratch;
    /// None where it could not be sent.
    type Batch<'b> = Option<Ready>;

    fn fit(&self, buffer: &mut Room, length: usize) {
        self.resize(buffer, length);
    }

    fn batch(&self, batch: &Batch) -> Option<Ready> {
        let mut ready = None;
        self.run(|on| {
            let segments: Vec<Segment> =
                batch.segments.iter().cloned().map(Segment::whole).collect();
            ready = Some(Ready {
                tokens: Tokens::new(on, &batch.tokens)?,
                positions: Array::of(on, &batch.positions)?,
                segments: Segments::new(on, &segments)?,
                blocks: TokenBlocks::new(on, &batch.rows, batch.len())?,
                places: Places::new(on, &batch.rows)?,
            });
            Ok(())
        });
        ready
    }

    fn gather(&self, table_vd: &Parameter, batch: &Option<Ready>, x_td: &mut Room) {
        self.run_on(batch, |on, batch| {
            embedding::launch::gather(on, table_vd.floats(), &batch.tokens, x_td.all_mut())
        });
    }

    fn scatter(&self, batch: &Option<Ready>, dx_td: &Room, dtable_vd: &mut Room) {
        if !dtable_vd.is_empty() {
            self.run_on(batch, |on, batch| {
                embedding::launch::backward(on, &batch.tokens, dx_td.all(), dtable_vd.all_mut())
            });
        }
    }

    fn norm(
        &self,
        x_td: &Room,
        weight_d: &Parameter,
        eps: f32,
        y_td: &mut Room,
        inv_rms_t: &mut Room,
    ) {
        self.run(|on| {
            let written = (y_td.all_mut(), inv_rms_t.all_mut());
            let weight_d = weight_d.floats();
            rms_norm::launch::forward(&**on, x_td.all(), weight_d, eps, written.0, written.1)
        });
    }

    fn norm_grad_input(
        &self,
        of: Normed<'_, Accelerated>,
        weight_d: &Parameter,
        dx_td: &mut Room,
        sink: Sink,
    ) {
        self.run(|on| {
            let (weight_d, dx_td) = (weight_d.floats(), dx_td.all_mut());
            rms_norm::launch::grad_input(&**on, of.into(), weight_d, dx_td, sink)
        });
    }

    fn norm_grad_weight(
        &self,
        of: Normed<'_, Accelerated>,
        batch: &Option<Ready>,
        dweight_d: &mut Room,
    ) {
        if !dweight_d.is_empty() {
            self.run_on(batch, |on, batch| {
                rms_norm::launch::grad_weight(on, of.into(), &batch.blocks, dweight_d.all_mut())
            });
        }
    }

    fn add(&self, x: &Room, y: &mut Room) {
        self.run(|on| rms_norm::launch::add(&**on, x.all(), y.all_mut()));
    }

    fn turn(&self, rope: &DeviceTable, batch: &Option<Ready>, x: &mut Room) {
        self.run_on(batch, |on, batch| rope.apply(on, x.all_mut(), batch.positions.all()));
    }

    fn turn_back(&self, rope: &DeviceTable, batch: &Option<Ready>, x: &mut Room) {
        self.run_on(batch, |on, batch| rope.apply_inverse(on, x.all_mut(), batch.positions.all()));
    }

    fn attend(&self, heads: Heads, batch: &Option<Ready>, block: &mut BlockActivations<Room>) {
        self.run_on(batch, |on, batch| {
            let read = [block.query_td.all(), block.key_tk.all(), block.value_tk.all()];
            let softmax = [block.softmax_max_th.all_mut(), block.softmax_sum_th.all_mut()];
            let out = block.attended_td.all_mut();
            attention::launch::forward(on, heads, read, &batch.segments, out, softmax)
        });
    }

    fn attend_back(
        &self,
        heads: Heads,
        batch: &Option<Ready>,
        block: &BlockActivations<Room>,
        dattended_td: &Room,
        dinputs: [&mut Room; 3],
        beside: &mut Scratch,
    ) {
        self.fit(&mut beside.dots_th, block.softmax_sum_th.len);
        self.run_on(batch, |on, batch| {
            let saved = Saved {
                q: block.query_td.all(),
                k: block.key_tk.all(),
                v: block.value_tk.all(),
                out: block.attended_td.all(),
                max: block.softmax_max_th.all(),
                sum: block.softmax_sum_th.all(),
            };
            let (segments, dots) = (&batch.segments, beside.dots_th.all_mut());
            let into = dinputs.map(Room::all_mut);
            attention::launch::backward(on, heads, saved, segments, dattended_td.all(), dots, into)
        });
    }

    fn gate(&self, gate_tf: &Room, up_tf: &Room, hidden_tf: &mut Room) {
        self.run(|on| {
            swiglu::launch::forward(&**on, gate_tf.all(), up_tf.all(), hidden_tf.all_mut())
        });
    }

    fn gate_back(&self, of: [&Room; 3], dgate_up_tf: [&mut Room; 2]) {
        self.run(|on| {
            let written = dgate_up_tf.map(Room::all_mut);
            swiglu::launch::backward(&**on, of.map(Room::all), written)
        });
    }

    fn project(
        &self,
        at: Place<'_, Accelerated>,
        batch: &Option<Ready>,
        x: &Room,
        y: &mut Room,
        beside: &mut Scratch,
    ) {
        if let (Some(adapted), Some(batch)) = (at.adapted(), batch) {
            adapted.forward(self, (batch, at.weights()), x, y, &mut beside.beside);
            return;
        }
        self.run(|on| {
            let shape = at.shape(y.len);
            linear(&**on, x.all(), at.weights(), y.all_mut(), shape, Sink::Write)
        });
    }

    fn project_back(
        &self,
        at: Place<'_, Accelerated>,
        batch: &Option<Ready>,
        [x, dy]: [&Room; 2],
        towards: &mut Trainable<Room, LowRanks>,
        into: Option<(&mut Room, Sink)>,
        beside: &mut Scratch,
    ) {
        let shape = at.shape(dy.len);
        self.run_on(batch, |on, batch| {
            let dweight_oi = towards.weights.blocks[at.layer].of_mut(at.which);
            if dweight_oi.is_empty() {
                return Ok(());
            }
            let dweight_oi = dweight_oi.all_mut();
            linear_grad_weight(on, dy.all(), x.all(), &batch.blocks, dweight_oi, shape)
        });
        let towards = towards.adapter.as_mut().and_then(|of| of.of_mut(at.layer, at.which));
        if let (Some(adapted), Some(towards), Some(batch)) = (at.adapted(), towards, batch) {
            let (through, beside) = ((batch, at.weights()), &mut beside.beside);
            adapted.backward(self, through, [x, dy], towards, into, beside);
        } else if let Some((dx, sink)) = into {
            self.run(|on| {
                linear_grad_input(&**on, dy.all(), at.weights(), dx.all_mut(), shape, sink)
            });
        }
    }

    fn targets(adapter: &LowRanks) -> &[Which] {
        &adapter.settings.targets
    }
}
