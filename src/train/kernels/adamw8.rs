//! AdamW with its moments in blocks of 8 bits (Dettmers et al., "8-bit optimizers via block-wise
//! quantization", 2022). It does not know which tensors are kept so.
//!
//! A block of 256 numbers is widened, moved as in [`adamw`](super::adamw), and quantised again with
//! the scale it then has: the first moment by the signed map of [`dynamic8`](super::dynamic8), the
//! second by the unsigned one. The weights move by the moments before they are quantised.

pub mod launch;

use super::adamw::{AdamW, Constants};
use super::device::{Parts, Threads};
use super::dynamic8::{SIGNED, UNSIGNED};

/// Numbers that share a scale.
pub const BLOCK: usize = 256;

/// A moment in blocks: a code a number, a scale a block.
pub struct Blocks<'a> {
    pub codes: &'a mut [u8],
    pub scales: &'a mut [f32],
}

/// Moves one tensor and its moments by one step.
pub fn step(
    of: &AdamW,
    t: &Threads,
    param: &mut [f32],
    gradient: &[f32],
    first: Blocks<'_>,
    second: Blocks<'_>,
) {
    let (len, blocks) = (param.len(), param.len().div_ceil(BLOCK));
    assert_eq!([gradient.len(), first.codes.len(), second.codes.len()], [len; 3]);
    assert_eq!([first.scales.len(), second.scales.len()], [blocks; 2]);
    let constants = of.constants();
    let p = Parts::new(param);
    let (m, v) = (Parts::new(first.codes), Parts::new(second.codes));
    let (m_scales, v_scales) = (Parts::new(first.scales), Parts::new(second.scales));
    t.split(blocks, 1 << 5, |range| {
        for block in range {
            let numbers = block * BLOCK..len.min((block + 1) * BLOCK);
            let gradient = &gradient[numbers.clone()];
            // SAFETY: each block is one thread's.
            unsafe {
                let p = p.part(numbers.clone());
                let (m, v) = (m.part(numbers.clone()), v.part(numbers));
                let m_scale = &mut m_scales.part(block..block + 1)[0];
                let v_scale = &mut v_scales.part(block..block + 1)[0];
                t.isa().run(
                    #[inline(always)]
                    || move_block(&constants, p, gradient, (m, m_scale), (v, v_scale)),
                );
            }
        }
    });
}

#[inline(always)]
fn move_block(
    constants: &Constants,
    p: &mut [f32],
    gradient: &[f32],
    (m_codes, m_scale): (&mut [u8], &mut f32),
    (v_codes, v_scale): (&mut [u8], &mut f32),
) {
    let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
    let (m, v) = (&mut m[..p.len()], &mut v[..p.len()]);
    SIGNED.widen(m_codes, *m_scale, m);
    UNSIGNED.widen(v_codes, *v_scale, v);
    for (((p, m), v), g) in p.iter_mut().zip(&mut *m).zip(&mut *v).zip(gradient) {
        constants.move_one(p, m, v, *g);
    }
    *m_scale = SIGNED.quantise(m, m_codes);
    *v_scale = UNSIGNED.quantise(v, v_codes);
}
