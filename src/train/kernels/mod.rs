//! The operations of the numerics class `exact-f32`: the same bits on every instruction set, with
//! any number of threads, in any batch of whole rows, packed or alone, decoded or scored again.
//! They know slices and sizes; not what a layer, a batch or a stage is.
//!
//! Every array is row-major. Every number is an IEEE f32 rounded to nearest, subnormals kept;
//! division and square root are exact; a product and a sum are one rounding (FMA) only where it is
//! said. Each file states its formulas, term by term, so that another machine can follow them.
//!
//! | file            | operation                              | order of its sums                 |
//! |-----------------|----------------------------------------|-----------------------------------|
//! | `elements`      | numbers of 4 to 16 bits widened        | none                              |
//! | `nf4`           | blocks of 4 bits, and back             | mean of scales: f64, ascending    |
//! | `dynamic8`      | blocks of 8 bits, and back             | none                              |
//! | `ggml`          | blocks of 8 and 4 bits, and back       | none                              |
//! | `q4_k`          | the same with lines of their own       | 16 lanes                          |
//! | `gemm`          | y = x wᵀ, dx = dy w                    | FMA ascending, blocks of 256      |
//! | `gemm`          | dw += dyᵀ x                            | the same from each row's start    |
//! | `rms_norm`      | y = x w / √(mean x² + ε), and back     | width: 16 lanes; tokens: as dw    |
//! | `rms_norm`      | y += x                                 | none                              |
//! | `rope`          | rotation by position, and back         | none                              |
//! | `attention`     | causal, grouped queries, packed        | max; 16 lanes; blocks of 256 keys |
//! | `attention`     | dq, dk, dv                             | head, then blocks of 64 queries   |
//! | `swiglu`        | silu(gate) · up, and back              | none                              |
//! | `embedding`     | rows of a table, and back              | ascending token                   |
//! | `dora`          | gains of outputs, and back             | f64 and by token, ascending       |
//! | `cross_entropy` | head and loss in blocks of tokens      | 16 lanes; as gemm                 |
//! | `adamw`         | one step; norm of gradients; clipping  | f64, 16 lanes, pieces of 65,536   |
//! | `adamw8`        | one step, moments in blocks of 8 bits  | none                              |
//! | `init`          | normal numbers by counter              | none                              |
//! | `sample`        | a token from logits                    | 16 lanes; descending probability  |
//! | `math`          | exp, ln, sin, cos, tanh, sigmoid, silu | Horner by FMA                     |
//! | `rng`           | Philox-4x32-10 streams                 | none                              |
//!
//! An operation `x` is here for the processor; its `launch` starts the kernels of `x.cu` on an
//! [accelerator](launch), which give the same bits. Kernels of the class `bf16` widen where they
//! read and round where they write; their large products are the vendor's, their bits a card's own.
//!
//! The tree of 16 lanes: lane l takes the elements l, l + 16, … in ascending order; then lane l
//! takes lane l + 8, l + 4, l + 2, l + 1.

mod pool;

pub mod device;

pub mod launch;

pub mod math;

pub mod rng;

pub mod elements;

pub mod dynamic8;

pub mod nf4;

pub mod ggml;

pub mod q4_k;

pub mod gemm;

pub mod rms_norm;

pub mod rope;

pub mod attention;

pub mod swiglu;

pub mod embedding;

pub mod dropout;

pub mod dora;

pub mod cross_entropy;

pub mod adamw;

pub mod adamw8;

pub mod init;

pub mod sample;

pub mod conformance;

pub mod cuda;

pub use device::{Isa, Threads};
pub use elements::Elements;
pub use gemm::Sink;
