//! What DoRA (Liu et al., "DoRA: weight-decomposed low-rank adaptation", 2024) does beside the
//! products of a linear layer, on an accelerator: y = m / n ∘ z by output, n = ‖W + s · B · A‖,
//! held constant. It does not know whose outputs they are; the CPU does the same where its adapters
//! are. No bit depends on where it is done.
//!
//! - Gains: m / n, in f32.
//! - Forward: y = z · gain. Backward: dm += dy · z / n, each operation rounded, by ascending token;
//!   dz = dy · gain.
//! - Norms, in f64, each operation rounded: ‖W‖² of an output is Σ w², ascending; to it are added,
//!   by ascending k, (s · b_k) · (2 (A Wᵀ)_k + s · Σ b_l (A Aᵀ)_kl), the inner sum ascending; the
//!   root is rounded to f32 once, that of a negative sum being 0.

pub mod launch;
