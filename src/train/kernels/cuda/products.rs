//! Products of matrices in 16 bits by NVIDIA's cuBLASLt, for the numerics class `bf16`: bf16 in,
//! sums in f32, f32 or bf16 out. The class `exact-f32` has kernels of its own. Knows no layer.
//!
//! The same bits run to run on the same GPU and library: an algorithm is the first of the library's
//! heuristic, which is a function of shape and alignment, and no sum is split and put together by
//! whoever comes first. The library is loaded when the first of these is opened.
//!
//! Arrays are row-major, the library's column-major: it is told the transposes of all, right before
//! left, and writes the transpose of the product, which is the product.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::cudaDataType;
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cublasLtMatmulDescAttributes_t};
use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatmulHeuristicResult_t,
};
use cudarc::cublaslt::sys::{cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t};
use cudarc::cublaslt::sys::{cublasLtMatrixLayout_t, cublasLtReductionScheme_t};
use half::bf16;

use super::super::launch::{Accelerator, Address, Argument, Array, Fault, Plain, Slice, SliceMut};
use super::card::Card;
use super::faults;

/// Bytes that an algorithm may use, as the library's documentation advises for its newest cards.
const WORKSPACE: usize = 32 << 20;

/// The shape of a product: `rows` × `inner` times `inner` × `columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    pub left: Stored,
    pub right: Stored,
}

/// How a factor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stored {
    AsUsed,
    Transposed,
}

impl Shape {
    /// y = x wᵀ, with w of `outputs` × `inputs`.
    pub fn forward(tokens: usize, inputs: usize, outputs: usize) -> Shape {
        let (left, right) = (Stored::AsUsed, Stored::Transposed);
        Shape { rows: tokens, inner: inputs, columns: outputs, left, right }
    }

    /// dx = dy w.
    pub fn grad_input(tokens: usize, inputs: usize, outputs: usize) -> Shape {
        let (left, right) = (Stored::AsUsed, Stored::AsUsed);
        Shape { rows: tokens, inner: outputs, columns: inputs, left, right }
    }

    /// dw = dyᵀ x.
    pub fn grad_weight(tokens: usize, inputs: usize, outputs: usize) -> Shape {
        let (left, right) = (Stored::Transposed, Stored::AsUsed);
        Shape { rows: outputs, inner: tokens, columns: inputs, left, right }
    }
}

/// Numbers that a product can be written as.
pub trait Written: Plain {
    /// What the library calls them.
    const TYPE: cudaDataType;
}

impl Written for f32 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_32F;
}

impl Written for bf16 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_16BF;
}

/// What an algorithm is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    shape: Shape,
    output: cudaDataType,
    /// Bytes that the places of left, right and product are multiples of.
    alignments: [u32; 3],
}

/// The library on one GPU.
#[derive(Debug)]
pub struct Products {
    card: Arc<Card>,
    handle: cublasLtHandle_t,
    workspace: Array<u8>,
    chosen: Mutex<BTreeMap<Choice, cublasLtMatmulHeuristicResult_t>>,
}

// SAFETY: a handle may be used from any thread, in the context that every call begins with.
unsafe impl Send for Products {}
// SAFETY: the same; what changes lies behind a lock.
unsafe impl Sync for Products {}

impl Products {
    /// Loads the library for a GPU.
    pub fn open(card: &Arc<Card>) -> Result<Products, Fault> {
        // SAFETY: nothing but the library has these names, and loading it does nothing by itself.
        if !unsafe { sys::is_culib_present() } {
            return Err(faults::no_products());
        }
        let on: Arc<dyn Accelerator> = Arc::clone(card) as Arc<dyn Accelerator>;
        let workspace = Array::new(&on, WORKSPACE)?;
        card.enter()?;
        let handle = result::create_handle();
        let handle = handle.map_err(|error| faults::of_products(card.gpu().index, error))?;
        Ok(Products { card: Arc::clone(card), handle, workspace, chosen: Mutex::default() })
    }

    /// Writes a product of `left` and `right`, or adds it to what is there.
    pub fn multiply<T: Written>(
        &self,
        shape: Shape,
        left: Slice<'_, bf16>,
        right: Slice<'_, bf16>,
        product: &mut SliceMut<'_, T>,
        adds: bool,
    ) -> Result<(), Fault> {
        let Shape { rows, inner, columns, .. } = shape;
        assert_eq!(left.len(), rows * inner, "the left factor has its shape");
        assert_eq!(right.len(), inner * columns, "the right factor has its shape");
        assert_eq!(product.len(), rows * columns, "the product has its shape");
        assert!(inner > 0, "a product sums something");
        if product.is_empty() {
            return Ok(());
        }
        let places = [address(left), address(right), address(&*product)];
        let alignments = places.map(|place| 1 << place.0.trailing_zeros().min(8));
        let choice = Choice { shape, output: T::TYPE, alignments };
        self.card.enter()?;
        let told = Told::new(&choice).and_then(|told| self.run(&choice, &told, places, adds));
        told.map_err(|error| faults::of_products(self.card.gpu().index, error))
    }

    fn run(
        &self,
        choice: &Choice,
        told: &Told,
        [left, right, product]: [Address; 3],
        adds: bool,
    ) -> Result<(), CublasError> {
        let algorithm = self.algorithm(choice, told)?;
        let (one, more) = (1.0_f32, f32::from(u8::from(adds)));
        let place = |address: Address| address.0 as *mut c_void;
        // SAFETY: all is alive until the call returns; the memory is the callers' while the stream
        // works on it, and the workspace is used by this stream alone.
        unsafe {
            result::matmul(
                self.handle,
                told.product,
                (&raw const one).cast(),
                (&raw const more).cast(),
                place(right),
                told.right,
                place(left),
                told.left,
                place(product),
                told.written,
                place(product),
                told.written,
                &raw const algorithm.algo,
                place(address(self.workspace.all())),
                WORKSPACE,
                self.card.stream().cast(),
            )
        }
    }

    /// The library's first choice, asked once.
    fn algorithm(
        &self,
        choice: &Choice,
        told: &Told,
    ) -> Result<cublasLtMatmulHeuristicResult_t, CublasError> {
        let mut chosen = self.chosen.lock().expect("no thread panics while it chooses");
        if let Some(known) = chosen.get(choice) {
            return Ok(*known);
        }
        let wishes = Wishes::new(choice)?;
        // SAFETY: everything told is alive.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                told.product,
                told.right,
                told.left,
                told.written,
                told.written,
                wishes.0,
            )
        }?;
        chosen.insert(*choice, found);
        Ok(found)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: the handle is this one's. That the context is lost is told where it is used.
        let _ = self.card.enter().map(|()| unsafe { result::destroy_handle(self.handle) });
    }
}

fn address(argument: impl Into<Argument>) -> Address {
    match argument.into() {
        Argument::Address(address) => address,
        other => unreachable!("an array is passed by its place, not as {other:?}"),
    }
}

/// A product as the library is told of it.
struct Told {
    product: cublasLtMatmulDesc_t,
    left: cublasLtMatrixLayout_t,
    right: cublasLtMatrixLayout_t,
    written: cublasLtMatrixLayout_t,
}

impl Told {
    fn new(choice: &Choice) -> Result<Told, CublasError> {
        let Shape { rows, inner, columns, left, right } = choice.shape;
        let (product, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut told = Told { product, left: none, right: none, written: none };
        told.left = layout(cudaDataType::CUDA_R_16BF, left.as_stored([rows, inner]))?;
        told.right = layout(cudaDataType::CUDA_R_16BF, right.as_stored([inner, columns]))?;
        told.written = layout(choice.output, [rows, columns])?;
        let (sums, scale) = (cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F);
        told.product = result::create_matmul_desc(sums, scale)?;
        told.turn(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, right)?;
        told.turn(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, left)?;
        Ok(told)
    }

    fn turn(
        &self,
        which: cublasLtMatmulDescAttributes_t,
        stored: Stored,
    ) -> Result<(), CublasError> {
        // The library's CUBLAS_OP_N and CUBLAS_OP_T.
        let turn: i32 = match stored {
            Stored::AsUsed => 0,
            Stored::Transposed => 1,
        };
        let (at, bytes) = ((&raw const turn).cast(), size_of_val(&turn));
        // SAFETY: the description is alive, and the library copies the value.
        unsafe { result::set_matmul_desc_attribute(self.product, which, at, bytes) }
    }
}

impl Stored {
    /// Rows and columns in memory of a factor that is used with these.
    fn as_stored(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        match self {
            Stored::AsUsed => [rows, columns],
            Stored::Transposed => [columns, rows],
        }
    }
}

/// A row-major matrix, told as its column-major transpose.
fn layout(
    numbers: cudaDataType,
    [rows, columns]: [usize; 2],
) -> Result<cublasLtMatrixLayout_t, CublasError> {
    result::create_matrix_layout(numbers, columns as u64, rows as u64, columns as i64)
}

impl Drop for Told {
    fn drop(&mut self) {
        // SAFETY: each was made once, or is null.
        unsafe {
            for layout in [self.left, self.right, self.written] {
                if !layout.is_null() {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
            if !self.product.is_null() {
                let _ = result::destroy_matmul_desc(self.product);
            }
        }
    }
}

/// What is asked of an algorithm.
struct Wishes(cublasLtMatmulPreference_t);

impl Wishes {
    fn new(choice: &Choice) -> Result<Wishes, CublasError> {
        use cublasLtMatmulPreferenceAttributes_t as Wish;
        let wishes = Wishes(result::create_matmul_pref()?);
        let unsplit = cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        let [left, right, product] = choice.alignments;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE)?;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &unsplit)?;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &right)?;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &left)?;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &product)?;
        wishes.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &product)?;
        Ok(wishes)
    }

    fn set<T>(
        &self,
        which: cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<(), CublasError> {
        let at = (value as *const T).cast();
        // SAFETY: the preferences are alive, and the library copies the value.
        unsafe { result::set_matmul_pref_attribute(self.0, which, at, size_of::<T>()) }
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        // SAFETY: they were made once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
