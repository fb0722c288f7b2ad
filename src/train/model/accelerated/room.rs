//! Numbers of a decoder in an accelerator's memory: buffers that grow, and parameters as a numerics
//! class keeps them. Knows no operation.

use std::convert::Infallible;
use std::sync::Arc;

use half::bf16;
use half::slice::HalfFloatSliceExt;

use crate::train::kernels::dora::launch::{self as dora, Gains};
use crate::train::kernels::gemm::class;
use crate::train::kernels::launch::{Accelerator, Array, Fault, Plain, Slice, SliceMut};
use crate::train::kernels::nf4;

/// Room that grows, and how much of it is in use.
#[derive(Debug)]
pub struct Room<T: Plain = f32> {
    array: Option<Array<T>>,
    len: usize,
}

impl<T: Plain> Default for Room<T> {
    fn default() -> Room<T> {
        Room { array: None, len: 0 }
    }
}

impl<T: Plain> Room<T> {
    /// Makes it so long; what is in it then is anything.
    pub(super) fn resize(&mut self, on: &Arc<dyn Accelerator>, length: usize) -> Result<(), Fault> {
        if self.array.as_ref().is_none_or(|array| array.len() < length) {
            // What is too short is given back first.
            *self = Room::default();
            self.array = Some(Array::new(on, length)?);
        }
        self.len = length;
        Ok(())
    }

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

    /// All of its numbers, of which there must be some.
    pub fn all(&self) -> Slice<'_, T> {
        self.array.as_ref().expect("numbers that are read are there").all().part(0..self.len)
    }

    /// The same, to be written.
    pub fn all_mut(&mut self) -> SliceMut<'_, T> {
        let array = self.array.as_mut().expect("numbers that are written have room");
        array.first_mut(self.len)
    }
}

impl<T: Class> Room<T> {
    /// A copy of numbers of the host.
    pub(super) fn of(on: &Arc<dyn Accelerator>, numbers: &[f32]) -> Result<Room<T>, Fault> {
        let mut room = Room::default();
        if !numbers.is_empty() {
            room.resize(on, numbers.len())?;
            room.write(numbers)?;
        }
        Ok(room)
    }

    /// Replaces the numbers by as many.
    pub fn write(&mut self, numbers: &[f32]) -> Result<(), Fault> {
        assert_eq!(numbers.len(), self.len, "as many numbers as there are");
        self.array.as_mut().map_or(Ok(()), |array| T::write(array, numbers))
    }

    /// Copies the numbers to the host.
    pub fn read(&self, numbers: &mut [f32]) -> Result<(), Fault> {
        assert_eq!(numbers.len(), self.len, "as many numbers as there are");
        self.array.as_ref().map_or(Ok(()), |array| T::read(array, numbers))
    }
}

/// A numerics class, as far as what is kept goes.
pub trait Class: class::Class {
    /// What DoRA multiplies outputs by.
    type Gains: Dora<Self>;

    /// Whether what is learnt is kept as f32 beside the numbers that are computed with.
    const KEEPS_MASTERS: bool;

    /// Replaces an array's first numbers, rounded.
    fn write(array: &mut Array<Self>, numbers: &[f32]) -> Result<(), Fault>;

    /// An array's first numbers, widened.
    fn read(array: &Array<Self>, numbers: &mut [f32]) -> Result<(), Fault>;

    /// What an optimizer moves.
    fn learning(of: &mut Numbers<Self>) -> Learning<'_>;
}

/// Numbers that are multiplied, and those that are learnt where they are others.
#[derive(Debug)]
pub struct Numbers<T: Class = f32> {
    pub used: Room<T>,
    master: Option<Room>,
}

/// A tensor that is learnt.
#[derive(Debug)]
pub struct Learning<'a> {
    pub weight: &'a mut Room,
    /// What follows from it by rounding.
    pub copy: Option<&'a mut Room<bf16>>,
}

impl Class for f32 {
    type Gains = Gains;
    const KEEPS_MASTERS: bool = false;

    fn write(array: &mut Array<f32>, numbers: &[f32]) -> Result<(), Fault> {
        array.write_first(numbers)
    }

    fn read(array: &Array<f32>, numbers: &mut [f32]) -> Result<(), Fault> {
        array.read_first(numbers)
    }

    fn learning(of: &mut Numbers<f32>) -> Learning<'_> {
        Learning { weight: &mut of.used, copy: None }
    }
}

impl Class for bf16 {
    /// DoRA is learnt in `exact-f32` alone.
    type Gains = Infallible;
    const KEEPS_MASTERS: bool = true;

    fn write(array: &mut Array<bf16>, numbers: &[f32]) -> Result<(), Fault> {
        let mut halves = vec![bf16::ZERO; numbers.len()];
        halves.convert_from_f32_slice(numbers);
        array.write_first(&halves)
    }

    fn read(array: &Array<bf16>, numbers: &mut [f32]) -> Result<(), Fault> {
        let mut halves = vec![bf16::ZERO; numbers.len()];
        array.read_first(&mut halves)?;
        halves.convert_to_f32_slice(numbers);
        Ok(())
    }

    fn learning(of: &mut Numbers<bf16>) -> Learning<'_> {
        let weight = of.master.as_mut().expect("what is learnt is kept as f32 too");
        Learning { weight, copy: Some(&mut of.used) }
    }
}

impl<T: Class> Numbers<T> {
    /// A copy of numbers of the host that will be learnt, or stay as they are.
    pub(super) fn of(
        on: &Arc<dyn Accelerator>,
        numbers: &[f32],
        is_learnt: bool,
    ) -> Result<Numbers<T>, Fault> {
        let has_master = is_learnt && T::KEEPS_MASTERS;
        let master = has_master.then(|| Room::of(on, numbers)).transpose()?;
        Ok(Numbers { used: Room::of(on, numbers)?, master })
    }
}

impl<T: Class> Default for Numbers<T> {
    fn default() -> Numbers<T> {
        Numbers { used: Room::default(), master: None }
    }
}

/// The gains of DoRA, in a class that has them.
pub trait Dora<T: Plain>: std::fmt::Debug + Sized {
    /// For a weight of inputs × outputs beside an adapter of a rank; still to be settled.
    fn new(
        on: &Arc<dyn Accelerator>,
        w: class::Weights<'_, T>,
        shape: [usize; 3],
    ) -> Result<Self, Fault>;

    /// Finds them anew.
    fn settle(
        &mut self,
        on: &dyn Accelerator,
        w: class::Weights<'_, T>,
        of: [Slice<'_, T>; 2],
        magnitudes: Slice<'_, f32>,
        scale: f32,
    ) -> Result<(), Fault>;

    /// Multiplies outputs.
    fn apply(&self, on: &dyn Accelerator, y: SliceMut<T>) -> Result<(), Fault>;

    /// Turns z into the gradient of it, and adds that of the magnitudes.
    fn backward(
        &self,
        on: &dyn Accelerator,
        dy: Slice<T>,
        z: SliceMut<T>,
        dmagnitude: SliceMut<f32>,
    ) -> Result<(), Fault>;
}

impl Dora<f32> for Gains {
    fn new(
        on: &Arc<dyn Accelerator>,
        w: class::Weights<'_>,
        shape: [usize; 3],
    ) -> Result<Gains, Fault> {
        Gains::new(on, w, shape)
    }

    fn settle(
        &mut self,
        on: &dyn Accelerator,
        w: class::Weights<'_>,
        [a, b]: [Slice<'_, f32>; 2],
        magnitudes: Slice<'_, f32>,
        scale: f32,
    ) -> Result<(), Fault> {
        Gains::settle(self, on, w, dora::Adapter { a, b, magnitudes, scale })
    }

    fn apply(&self, on: &dyn Accelerator, y: SliceMut<f32>) -> Result<(), Fault> {
        Gains::apply(self, on, y)
    }

    fn backward(
        &self,
        on: &dyn Accelerator,
        dy: Slice<f32>,
        z: SliceMut<f32>,
        dmagnitude: SliceMut<f32>,
    ) -> Result<(), Fault> {
        Gains::backward(self, on, dy, z, dmagnitude)
    }
}

impl Dora<bf16> for Infallible {
    fn new(
        _: &Arc<dyn Accelerator>,
        _: class::Weights<'_, bf16>,
        _: [usize; 3],
    ) -> Result<Infallible, Fault> {
        let message = "DoRA is learnt in the class `exact-f32`, not in `bf16`";
        Err(Fault::new(message).remedy("leave out `numerics`, or `dora`"))
    }

    fn settle(
        &mut self,
        _: &dyn Accelerator,
        _: class::Weights<'_, bf16>,
        _: [Slice<'_, bf16>; 2],
        _: Slice<'_, f32>,
        _: f32,
    ) -> Result<(), Fault> {
        match *self {}
    }

    fn apply(&self, _: &dyn Accelerator, _: SliceMut<bf16>) -> Result<(), Fault> {
        match *self {}
    }

    fn backward(
        &self,
        _: &dyn Accelerator,
        _: Slice<bf16>,
        _: SliceMut<bf16>,
        _: SliceMut<f32>,
    ) -> Result<(), Fault> {
        match *self {}
    }
}

/// A parameter in an accelerator's memory.
#[derive(Debug)]
pub enum Parameter<T: Class = f32> {
    /// What multiplies many numbers, or is looked up.
    Numbers(Numbers<T>),
    /// Norms, and heads of one output: f32 in every class.
    Floats(Room),
    Nf4(nf4::launch::Matrix),
}

impl<T: Class> Default for Parameter<T> {
    fn default() -> Parameter<T> {
        Parameter::Numbers(Numbers::default())
    }
}

impl<T: Class> Parameter<T> {
    /// The numbers of a table of words.
    pub fn numbers(&self) -> Slice<'_, T> {
        match self {
            Parameter::Numbers(numbers) => numbers.used.all(),
            _ => panic!("a table of words is in the numbers of its class"),
        }
    }

    /// The numbers of a norm, or of a head of one output.
    pub fn floats(&self) -> Slice<'_, f32> {
        match self {
            Parameter::Floats(room) => room.all(),
            _ => panic!("norms and heads of one output are f32"),
        }
    }

    /// The weights of a linear layer.
    pub fn weights(&self) -> class::Weights<'_, T> {
        match self {
            Parameter::Numbers(numbers) => numbers.used.all().into(),
            Parameter::Nf4(matrix) => matrix.into(),
            Parameter::Floats(_) => panic!("the matrices of blocks are in the class's numbers"),
        }
    }

    /// The same to be learnt, unless it is frozen for good.
    pub fn learning(&mut self) -> Option<Learning<'_>> {
        match self {
            Parameter::Numbers(numbers) => Some(T::learning(numbers)),
            Parameter::Floats(weight) => Some(Learning { weight, copy: None }),
            Parameter::Nf4(_) => None,
        }
    }
}
