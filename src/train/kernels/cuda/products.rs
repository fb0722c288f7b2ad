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

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::cudaDataType;
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cublasLtMatmulDescAttributes_t};
use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatmulHeuristicResult_t,
};
use cudarc::cublaslt::sys::{cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t};
use cudarc::cublaslt::sys::{cublasLtMatrixLayout_t, cublasLtReductionScheme_t};

use super::super::gemm::halves::{Output, Product, Shape, Stored, WORKSPACE};
use super::super::launch::{Accelerator, Address, Fault};
use super::card::Card;
use super::faults;

/// What an algorithm is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    shape: Shape,
    output: Output,
    /// Bytes that the places of left, right and product are multiples of.
    alignments: [u32; 3],
}

/// The library on one GPU, whose every call gets the same card.
#[derive(Debug)]
pub struct Products {
    handle: cublasLtHandle_t,
    workspace: Address,
    chosen: BTreeMap<Choice, cublasLtMatmulHeuristicResult_t>,
}

// SAFETY: a handle may be used from any thread, in the context that every call begins with.
unsafe impl Send for Products {}

/// Whether the library is found.
pub fn has_products() -> bool {
    // SAFETY: nothing but the library has these names, and loading it does nothing by itself.
    unsafe { sys::is_culib_present() }
}

impl Products {
    /// Loads the library for a GPU.
    pub fn open(card: &Card) -> Result<Products, Fault> {
        if !has_products() {
            return Err(faults::no_products());
        }
        let workspace = card.allocate(WORKSPACE)?;
        card.enter()?;
        match result::create_handle() {
            Ok(handle) => Ok(Products { handle, workspace, chosen: BTreeMap::new() }),
            Err(error) => {
                card.release(workspace, WORKSPACE);
                Err(faults::of_products(card.gpu().index, error))
            }
        }
    }

    /// Gives back what it took.
    pub fn close(self, card: &Card) {
        // SAFETY: the handle is this one's. That the context is lost is told where it is used.
        let _ = card.enter().map(|()| unsafe { result::destroy_handle(self.handle) });
        card.release(self.workspace, WORKSPACE);
    }

    /// Makes a product.
    pub fn multiply(&mut self, card: &Card, product: &Product) -> Result<(), Fault> {
        let Product { shape, left, right, into, output, adds: _ } = *product;
        let alignments = [left, right, into].map(|place| 1 << place.0.trailing_zeros().min(8));
        let choice = Choice { shape, output, alignments };
        card.enter()?;
        let told = Told::new(&choice).and_then(|told| self.run(card, &choice, &told, product));
        told.map_err(|error| faults::of_products(card.gpu().index, error))
    }

    fn run(
        &mut self,
        card: &Card,
        choice: &Choice,
        told: &Told,
        product: &Product,
    ) -> Result<(), CublasError> {
        let algorithm = self.algorithm(choice, told)?;
        let (one, more) = (1.0_f32, f32::from(u8::from(product.adds)));
        let place = |address: Address| address.0 as *mut c_void;
        // SAFETY: all is alive until the call returns; the memory is the callers' while the stream
        // works on it, and the workspace is used by this stream alone.
        unsafe {
            result::matmul(
                self.handle,
                told.product,
                (&raw const one).cast(),
                (&raw const more).cast(),
                place(product.right),
                told.right,
                place(product.left),
                told.left,
                place(product.into),
                told.written,
                place(product.into),
                told.written,
                &raw const algorithm.algo,
                place(self.workspace),
                WORKSPACE,
                card.stream().cast(),
            )
        }
    }

    /// The library's first choice, asked once.
    fn algorithm(
        &mut self,
        choice: &Choice,
        told: &Told,
    ) -> Result<cublasLtMatmulHeuristicResult_t, CublasError> {
        if let Some(known) = self.chosen.get(choice) {
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
        self.chosen.insert(*choice, found);
        Ok(found)
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
        let written = match choice.output {
            Output::F32 => cudaDataType::CUDA_R_32F,
            Output::Bf16 => cudaDataType::CUDA_R_16BF,
        };
        told.written = layout(written, [rows, columns])?;
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
