//! An accelerator as what a decoder computes on: every operation is a launch of its kernels, and
//! in the class `exact-f32` the bits are those of the processor. In `bf16` activations, and weights
//! as they are used, are bf16; sums, norms, statistics and gradients of what is learnt are f32, and
//! so is what is learnt itself. The first fault is kept, and nothing is done after it, until
//! somebody asks. Knows no order of operations, and not which accelerator it is.
//!
//! Left out: heads and optimizers. Weights of other encodings are turned into the class's numbers.

// What is learnt beside a projection.
mod adapter;
// What finished decoders are asked.
mod inference;
// Where numbers lie.
mod room;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

pub use adapter::LowRanks;
use adapter::{Adapted, Beside};
use room::Numbers;
pub use room::{Class, Learning, Parameter, Room};

use super::batch::Batch;
use super::config::{Head, ModelConfig};
use super::lora::Adapter;
use super::machine::{Block, Gradients, Machine, Normed, Place};
use super::parameters::{Parameters, Role, TensorSpec, count, table};
use super::projection::Which;
use super::tensor::{Stored, Tensor};
use super::trainable::{Group, Trainable};
use super::transformer::Transformer;
use crate::train::kernels::attention::launch::{Saved, Segments, WIDTHS};
use crate::train::kernels::attention::{self, Heads, Segment};
use crate::train::kernels::dropout::launch::Places;
use crate::train::kernels::embedding::launch::Tokens;
use crate::train::kernels::gemm::launch::{TokenBlocks, Weights};
use crate::train::kernels::launch::{Accelerator, Array, Fault, Slice};
use crate::train::kernels::rms_norm::launch::Read;
use crate::train::kernels::rope::launch::DeviceTable;
use crate::train::kernels::{Sink, embedding, nf4, rms_norm, swiglu};
use crate::train::progress::Failure;

/// An accelerator that computes in a class of numerics, and what went wrong on it.
#[derive(Debug)]
pub struct Accelerated<T = f32> {
    on: Arc<dyn Accelerator>,
    fault: Mutex<Option<Fault>>,
    class: PhantomData<T>,
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
#[derive(Debug)]
pub struct Scratch<T: Class = f32> {
    /// Of the adapters.
    pub beside: Beside<T>,
    dots_th: Room,
}

impl<T: Class> Default for Scratch<T> {
    fn default() -> Scratch<T> {
        Scratch { beside: Beside::default(), dots_th: Room::default() }
    }
}

impl<T: Class> Accelerated<T> {
    /// One that is in order.
    pub fn new(on: Arc<dyn Accelerator>) -> Accelerated<T> {
        Accelerated { on, fault: Mutex::new(None), class: PhantomData }
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
    fn resize(&self, buffer: &mut Room<T>, length: usize) {
        self.run(|on| buffer.resize(on, length));
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
        body: impl FnOnce(&Arc<dyn Accelerator>, &Ready) -> Result<(), Fault>,
    ) {
        self.run(|on| batch.as_ref().map_or(Ok(()), |batch| body(on, batch)));
    }

    /// A copy of numbers of the host.
    pub fn send<N: Class>(&self, numbers: &[f32]) -> Room<N> {
        let mut room = Room::default();
        self.run(|on| {
            room = Room::of(on, numbers)?;
            Ok(())
        });
        room
    }

    /// A copy of its numbers on the host; of any content where something went wrong.
    pub fn fetch<N: Class>(&self, room: &Room<N>) -> Vec<f32> {
        let mut numbers = vec![0.0; room.len()];
        self.run(|_| room.read(&mut numbers));
        numbers
    }

    fn send_stored(&self, stored: &Stored, spec: &TensorSpec, is_learnt: bool) -> Parameter<T> {
        let mut sent = Parameter::default();
        self.run(|on| {
            let len = stored.elements().len();
            if let Stored::Nf4(blocks) = stored {
                let matrix = nf4::launch::Matrix::new(on, blocks.packed(), blocks.scales(), len)?;
                sent = Parameter::Nf4(matrix);
                return Ok(());
            }
            let widened;
            let floats = match stored {
                Stored::Memory(floats) => floats,
                stored => {
                    widened = stored.elements().to_floats();
                    &widened
                }
            };
            let is_wide = spec.role == Role::Norm || spec.shape[0] == 1;
            sent = match is_wide {
                true => Parameter::Floats(Room::of(on, floats)?),
                false => Parameter::Numbers(Numbers::of(on, floats, is_learnt)?),
            };
            stored.release();
            Ok(())
        });
        sent
    }
}

/// A fault as those tell it who asked for the work.
pub fn told(Fault { message, remedy, lacks_memory }: Fault) -> Failure {
    match lacks_memory {
        true => Failure::Memory { message, remedy },
        false => Failure::Input { message, remedy },
    }
}

impl Transformer {
    /// A copy of the decoder in an accelerator's memory.
    pub fn onto<T: Class>(&self, m: &Accelerated<T>) -> Result<Transformer<Accelerated<T>>, Fault> {
        let width = self.config.head_dim();
        if !WIDTHS.contains(&width) {
            let message = format!("heads are 16, 32, 64 or 128 wide on a GPU, not {width}");
            return Err(Fault::new(message).remedy("build with `--device cpu`"));
        }
        let rope = DeviceTable::new(&m.on, &self.rope)?;
        let is_learnt = self.adapter.is_none();
        let each = self.weights.in_order().into_iter().zip(table(&self.config));
        let sent = each.map(|(stored, spec)| m.send_stored(stored, &spec, is_learnt));
        let weights = Parameters::arranged(&self.config, sent.collect());
        let config = self.config.clone();
        let mut copy = Transformer { config, weights, adapter: None, rope };
        copy.wear(m, self.adapter.as_ref())?;
        Ok(copy)
    }
}

impl<T: Class> Transformer<Accelerated<T>> {
    /// What turns the last hidden state into logits.
    pub fn head(&self) -> Slice<'_, T> {
        let own = self.config.has_own_head();
        let head = if own { &self.weights.head_vd } else { &self.weights.embedding_vd };
        head.numbers()
    }

    /// From here on it computes under a copy of this adapter, or as it is.
    pub fn wear(&mut self, m: &Accelerated<T>, adapter: Option<&Adapter>) -> Result<(), Fault> {
        self.adapter = adapter.map(|adapter| LowRanks::of(m, adapter, self.config.layers));
        self.settle(m);
        m.check()
    }

    /// After a change of the adapter: what follows from it is found anew.
    pub fn settle(&mut self, m: &Accelerated<T>) {
        if let Some(adapter) = &mut self.adapter {
            adapter.settle(m, &self.weights);
        }
    }

    /// Everything that is learnt in the order of the table; nothing where something is frozen.
    pub fn learning(&mut self) -> Vec<Option<Learning<'_>>> {
        let (frozen, scores) = (self.adapter.is_some(), self.config.head == Head::Score);
        let last = count(&self.config) - 1;
        let weights = self.weights.in_order_mut().into_iter().enumerate();
        let learnt = weights.map(|(at, parameter)| {
            let is_learnt = !frozen || (scores && at == last);
            if is_learnt { parameter.learning() } else { None }
        });
        let beside = self.adapter.iter_mut().flat_map(LowRanks::learning).map(Some);
        learnt.chain(beside).collect()
    }
}

impl Trainable {
    /// A copy in an accelerator's memory, f32 in every class.
    pub fn onto<T: Class>(&self, m: &Accelerated<T>) -> Result<Trainable<Room, LowRanks>, Fault> {
        let weights = self.weights.each(|floats| m.send(floats));
        let layers = weights.blocks.len();
        let adapter = self.adapter.as_ref().map(|adapter| LowRanks::of(m, adapter, layers));
        m.check()?;
        Ok(Trainable { weights, adapter })
    }
}

impl Trainable<Room, LowRanks> {
    /// The buffers of a group that are not empty; of the top those of the heads where `heads`.
    pub fn rooms_of(&mut self, group: Group, heads: bool) -> Vec<&mut Room> {
        let (weights, adapter) = (&mut self.weights, &mut self.adapter);
        let mut rooms: Vec<&mut Room> = match group {
            Group::Top if heads => {
                vec![&mut weights.head_vd, &mut weights.value_d, &mut weights.norm_d]
            }
            Group::Top => vec![&mut weights.norm_d],
            Group::Block(layer) => {
                let beside = adapter.iter_mut().flat_map(|of| of.learning_in(layer..layer + 1));
                let block = weights.block_mut(layer).in_order_mut().into_iter();
                block.chain(beside.map(|of| of.weight)).collect()
            }
            Group::Table => vec![&mut weights.embedding_vd],
        };
        rooms.retain(|room| !room.is_empty());
        rooms
    }

    /// The buffers in the order of the table, empty where something is frozen.
    pub fn rooms_mut(&mut self) -> Vec<&mut Room> {
        let mut rooms = self.weights.in_order_mut();
        let beside = self.adapter.iter_mut().flat_map(LowRanks::learning);
        rooms.extend(beside.map(|of| of.weight));
        rooms
    }

    /// Sets every number to zero.
    pub fn clear(&mut self) -> Result<(), Fault> {
        self.rooms_mut().into_iter().try_for_each(Room::clear)?;
        self.weights.head_vd.clear()
    }
}

impl<T: Class> Place<'_, Accelerated<T>> {
    /// Tokens of so many outputs, inputs and outputs.
    fn shape(&self, outputs: usize) -> [usize; 3] {
        let config: &ModelConfig = &self.model.config;
        let [i, o] = self.which.shape(config);
        [outputs / o, i, o]
    }

    fn weights(&self) -> Weights<'_, T> {
        self.model.weights.blocks[self.layer].of(self.which).weights()
    }

    fn adapted(&self) -> Option<Adapted<'_, T>> {
        self.model.adapter.as_ref()?.at(self.layer, self.which)
    }
}

impl<'a, T: Class> From<Normed<'a, Accelerated<T>>> for Read<'a, T> {
    fn from(of: Normed<'a, Accelerated<T>>) -> Read<'a, T> {
        Read { dy: of.dy_td.all(), x: of.x_td.all(), inv_rms: of.inv_rms_t.all() }
    }
}

impl<T: Class> Machine for Accelerated<T> {
    type Floats = Room<T>;
    type Sums = Room;
    type Tensor = Parameter<T>;
    type Adapter = LowRanks<T>;
    type Towards = LowRanks;
    type Rope = DeviceTable;
    type Beside = Scratch<T>;
    /// None where it could not be sent.
    type Batch<'b> = Option<Ready>;

    fn fit(&self, buffer: &mut Room<T>, length: usize) {
        self.resize(buffer, length);
    }

    fn fit_sums(&self, buffer: &mut Room, length: usize) {
        self.run(|on| buffer.resize(on, length));
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

    fn gather(&self, table_vd: &Parameter<T>, batch: &Option<Ready>, x_td: &mut Room<T>) {
        self.run_on(batch, |on, batch| {
            embedding::launch::gather(&**on, table_vd.numbers(), &batch.tokens, x_td.all_mut())
        });
    }

    fn scatter(&self, batch: &Option<Ready>, dx_td: &Room<T>, dtable_vd: &mut Room) {
        if !dtable_vd.is_empty() {
            self.run_on(batch, |on, batch| {
                embedding::launch::backward(&**on, &batch.tokens, dx_td.all(), dtable_vd.all_mut())
            });
        }
    }

    fn norm(
        &self,
        x_td: &Room<T>,
        weight_d: &Parameter<T>,
        eps: f32,
        y_td: &mut Room<T>,
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
        of: Normed<'_, Accelerated<T>>,
        weight_d: &Parameter<T>,
        dx_td: &mut Room<T>,
        sink: Sink,
    ) {
        self.run(|on| {
            let (weight_d, dx_td) = (weight_d.floats(), dx_td.all_mut());
            rms_norm::launch::grad_input(&**on, of.into(), weight_d, dx_td, sink)
        });
    }

    fn norm_grad_weight(
        &self,
        of: Normed<'_, Accelerated<T>>,
        batch: &Option<Ready>,
        dweight_d: &mut Room,
    ) {
        if !dweight_d.is_empty() {
            self.run_on(batch, |on, batch| {
                rms_norm::launch::grad_weight(&**on, of.into(), &batch.blocks, dweight_d.all_mut())
            });
        }
    }

    fn add(&self, x: &Room<T>, y: &mut Room<T>) {
        self.run(|on| rms_norm::launch::add(&**on, x.all(), y.all_mut()));
    }

    fn turn(&self, rope: &DeviceTable, batch: &Option<Ready>, x: &mut Room<T>) {
        self.run_on(batch, |on, batch| rope.apply(&**on, x.all_mut(), batch.positions.all()));
    }

    fn turn_back(&self, rope: &DeviceTable, batch: &Option<Ready>, x: &mut Room<T>) {
        self.run_on(batch, |on, batch| {
            rope.apply_inverse(&**on, x.all_mut(), batch.positions.all())
        });
    }

    fn attend(&self, heads: Heads, batch: &Option<Ready>, block: &mut Block<Self>) {
        self.run_on(batch, |on, batch| {
            let read = [block.query_td.all(), block.key_tk.all(), block.value_tk.all()];
            let softmax = [block.softmax_max_th.all_mut(), block.softmax_sum_th.all_mut()];
            let out = block.attended_td.all_mut();
            attention::launch::forward(&**on, heads, read, &batch.segments, out, softmax)
        });
    }

    fn attend_back(
        &self,
        heads: Heads,
        batch: &Option<Ready>,
        block: &Block<Self>,
        dattended_td: &Room<T>,
        dinputs: [&mut Room<T>; 3],
        beside: &mut Scratch<T>,
    ) {
        self.fit_sums(&mut beside.dots_th, block.softmax_sum_th.len());
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
            attention::launch::backward(
                &**on,
                heads,
                saved,
                segments,
                dattended_td.all(),
                dots,
                into,
            )
        });
    }

    fn gate(&self, gate_tf: &Room<T>, up_tf: &Room<T>, hidden_tf: &mut Room<T>) {
        self.run(|on| {
            swiglu::launch::forward(&**on, gate_tf.all(), up_tf.all(), hidden_tf.all_mut())
        });
    }

    fn gate_back(&self, of: [&Room<T>; 3], dgate_up_tf: [&mut Room<T>; 2]) {
        self.run(|on| {
            let written = dgate_up_tf.map(Room::all_mut);
            swiglu::launch::backward(&**on, of.map(Room::all), written)
        });
    }

    fn project(
        &self,
        at: Place<'_, Accelerated<T>>,
        batch: &Option<Ready>,
        x: &Room<T>,
        y: &mut Room<T>,
        beside: &mut Scratch<T>,
    ) {
        if let (Some(adapted), Some(batch)) = (at.adapted(), batch) {
            adapted.forward(self, (batch, at.weights()), x, y, &mut beside.beside);
            return;
        }
        self.run(|on| {
            let shape = at.shape(y.len());
            T::linear(on, x.all(), at.weights(), y.all_mut(), shape, Sink::Write)
        });
    }

    fn project_back(
        &self,
        at: Place<'_, Accelerated<T>>,
        batch: &Option<Ready>,
        [x, dy]: [&Room<T>; 2],
        towards: &mut Gradients<Self>,
        into: Option<(&mut Room<T>, Sink)>,
        beside: &mut Scratch<T>,
    ) {
        let shape = at.shape(dy.len());
        self.run_on(batch, |on, batch| {
            let dweight_oi = towards.weights.block_mut(at.layer).of_mut(at.which);
            if dweight_oi.is_empty() {
                return Ok(());
            }
            let dweight_oi = dweight_oi.all_mut();
            T::grad_weight(on, dy.all(), x.all(), &batch.blocks, dweight_oi, shape)
        });
        let towards = towards.adapter.as_mut().and_then(|of| of.of_mut(at.layer, at.which));
        if let (Some(adapted), Some(towards), Some(batch)) = (at.adapted(), towards, batch) {
            let (through, beside) = ((batch, at.weights()), &mut beside.beside);
            adapted.backward(self, through, [x, dy], towards, into, beside);
        } else if let Some((dx, sink)) = into {
            self.run(|on| T::grad_input(on, dy.all(), at.weights(), dx.all_mut(), shape, sink));
        }
    }

    fn targets(adapter: &LowRanks<T>) -> &[Which] {
        &adapter.settings.targets
    }
}
