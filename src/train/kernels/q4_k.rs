//! One block of ggml's `q4_K`: 256 numbers in eight parts of 32, each on a line of its own,
//! number = slope · code − offset with codes of 4 bits. It knows one block.
//!
//! ```text
//! f16      unit of slopes
//! f16      unit of offsets
//! 12 bytes slope and offset of each part, 6 bits: of parts 0 to 3 in bytes 0 to 3 and 4 to 7; of
//!          parts 4 to 7 low halves in bytes 8 to 11, and two bits above those of part − 4
//! 128      codes, two a byte: in each 32 bytes one part in the low halves, the next in the high
//! ```
//!
//! A number is code · (unit · slope) − (unit · offset), each operation rounded. How good a block
//! is depends on its lines; no way to find them is prescribed. Here, as in ggml: numbers are put on
//! codes in 21 ways, the range from the best offset so far to the largest number being 14.0 to 16.0
//! steps; each time the line with the least sum of weighted squares is found, offsets not below
//! zero, and the best is kept. A number weighs its magnitude more than the root mean square of its
//! part, so that large ones lose less. Units make
//! the largest slope and offset 63, and codes are found anew on the lines as they are written.
//! Sums are over the tree of 16 lanes.

use std::array::from_fn;

use half::f16;

use super::ggml::scale_of;

/// Numbers of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 4 + LINES + BLOCK / 2;

/// Numbers on one line.
const PART: usize = 32;
const PARTS: usize = BLOCK / PART;
/// Bytes of eight lines.
const LINES: usize = 12;
const LARGEST_CODE: f32 = 15.0;
/// The largest of what is written in 6 bits.
const LARGEST_SHARE: f32 = 63.0;

/// Where the numbers of a part lie: at slope · code − offset; neither is negative.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    slope: f32,
    offset: f32,
}

/// Writes a block of finite numbers.
#[inline(always)]
pub fn encode(numbers: &[f32; BLOCK], bytes: &mut [u8; BYTES]) {
    let parts = numbers.as_chunks::<PART>().0;
    let lines: [Line; PARTS] = from_fn(|part| nearest_line(&parts[part]));
    let (slope_unit, slopes) = shares(lines.map(|line| line.slope));
    let (offset_unit, offsets) = shares(lines.map(|line| line.offset));
    bytes[..2].copy_from_slice(&slope_unit.to_le_bytes());
    bytes[2..4].copy_from_slice(&offset_unit.to_le_bytes());
    write_lines(&slopes, &offsets, &mut bytes[4..4 + LINES]);
    let lines = lines_of(bytes);
    let codes = bytes[4 + LINES..].as_chunks_mut::<PART>().0;
    for (codes, pair) in codes.iter_mut().zip(0..) {
        let [low, high] =
            [2 * pair, 2 * pair + 1].map(|part: usize| codes_on(lines[part], &parts[part]));
        *codes = from_fn(|at| low[at] as u8 | (high[at] as u8) << 4);
    }
}

/// Writes the numbers of a block.
#[inline(always)]
pub fn decode(bytes: &[u8; BYTES], numbers: &mut [f32; BLOCK]) {
    let lines = lines_of(bytes);
    let codes = bytes[4 + LINES..].as_chunks::<PART>().0;
    let pairs = numbers.as_chunks_mut::<{ 2 * PART }>().0;
    for ((codes, pair), lines) in codes.iter().zip(pairs).zip(lines.as_chunks::<2>().0) {
        let (low, high) = pair.split_at_mut(PART);
        let on = |line: &Line, code: u8| line.slope * f32::from(code) - line.offset;
        low.iter_mut().zip(codes).for_each(|(x, code)| *x = on(&lines[0], code & 15));
        high.iter_mut().zip(codes).for_each(|(x, code)| *x = on(&lines[1], code >> 4));
    }
}

/// The lines as a block says them.
#[inline(always)]
fn lines_of(bytes: &[u8; BYTES]) -> [Line; PARTS] {
    let [slope_unit, offset_unit] = [0, 2].map(|at| scale_of([bytes[at], bytes[at + 1]]));
    let shares = &bytes[4..4 + LINES];
    from_fn(|part| {
        let (slope, offset) = match part {
            0..4 => (shares[part] & 63, shares[part + 4] & 63),
            _ => (
                shares[part + 4] & 15 | shares[part - 4] >> 6 << 4,
                shares[part + 4] >> 4 | shares[part] >> 6 << 4,
            ),
        };
        Line { slope: slope_unit * f32::from(slope), offset: offset_unit * f32::from(offset) }
    })
}

#[inline(always)]
fn write_lines(slopes: &[u8; PARTS], offsets: &[u8; PARTS], bytes: &mut [u8]) {
    for part in 0..4 {
        let (slope, offset) = (slopes[part + 4], offsets[part + 4]);
        bytes[part] = slopes[part] | slope >> 4 << 6;
        bytes[part + 4] = offsets[part] | offset >> 4 << 6;
        bytes[part + 8] = slope & 15 | offset << 4;
    }
}

/// A unit, and how many of it each value is.
#[inline(always)]
fn shares(values: [f32; PARTS]) -> (f16, [u8; PARTS]) {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(*value));
    let inverse = if largest > 0.0 { LARGEST_SHARE / largest } else { 0.0 };
    let unit = f16::from_f32(largest / LARGEST_SHARE);
    (unit, values.map(|value| rounded(value * inverse, LARGEST_SHARE) as u8))
}

/// The codes of numbers on a line.
#[inline(always)]
fn codes_on(line: Line, x: &[f32; PART]) -> [f32; PART] {
    if line.slope > 0.0 {
        x.map(|x| rounded((x + line.offset) / line.slope, LARGEST_CODE))
    } else {
        [0.0; PART]
    }
}

/// The whole number nearest to a share, from 0 to `most`. To add and take off 3 · 2²² rounds to
/// whole numbers in one instruction everywhere.
#[inline(always)]
fn rounded(share: f32, most: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0;
    (share.max(0.0).min(most) + WHOLE) - WHOLE
}

/// The best of the lines that are tried.
#[inline(always)]
fn nearest_line(x: &[f32; PART]) -> Line {
    let low = x.iter().fold(0.0f32, |low, x| low.min(*x));
    let high = x.iter().fold(x[0], |high, x| high.max(*x));
    let range = high - low;
    if range <= 0.0 {
        return Line { slope: 0.0, offset: -low };
    }
    let weigh = Weighing::of(x);
    let mut best = Line { slope: range / LARGEST_CODE, offset: -low };
    let mut least = weigh.error(best, &codes_on(best, x));
    for step in 0..=20 {
        let per_range = (140 + step) as f32 / 10.0 / (high + best.offset);
        let codes = x.map(|x| rounded((x + best.offset) * per_range, LARGEST_CODE));
        let Some(line) = weigh.line(&codes) else { continue };
        let error = weigh.error(line, &codes);
        if error < least {
            (best, least) = (line, error);
        }
    }
    best
}

/// Numbers with their weights.
struct Weighing<'x> {
    x: &'x [f32; PART],
    weights: [f32; PART],
    /// The sum of weights, and of weighted numbers.
    weight: f32,
    weighted: f32,
}

impl Weighing<'_> {
    #[inline(always)]
    fn of(x: &[f32; PART]) -> Weighing<'_> {
        let mean_square = sum(&x.map(|x| x * x)) / PART as f32;
        let weights = x.map(|x| mean_square.sqrt() + x.abs());
        let weighted = sum(&from_fn(|at| weights[at] * x[at]));
        Weighing { x, weights, weight: sum(&weights), weighted }
    }

    /// The line with the least error for these codes.
    #[inline(always)]
    fn line(&self, codes: &[f32; PART]) -> Option<Line> {
        let per_code: [f32; PART] = from_fn(|at| self.weights[at] * codes[at]);
        let once = sum(&per_code);
        let square = sum(&from_fn(|at| per_code[at] * codes[at]));
        let across = sum(&from_fn(|at| per_code[at] * self.x[at]));
        let determinant = self.weight * square - once * once;
        if determinant <= 0.0 {
            return None;
        }
        let slope = (self.weight * across - self.weighted * once) / determinant;
        let offset = (once * across - square * self.weighted) / determinant;
        match offset < 0.0 {
            true => Some(Line { slope: across / square, offset: 0.0 }),
            false => Some(Line { slope, offset }),
        }
    }

    /// The sum of weighted squares of what lies between numbers and their codes' places.
    #[inline(always)]
    fn error(&self, line: Line, codes: &[f32; PART]) -> f32 {
        sum(&from_fn(|at| {
            let away = line.slope * codes[at] - line.offset - self.x[at];
            self.weights[at] * (away * away)
        }))
    }
}

/// Over the tree of 16 lanes.
#[inline(always)]
fn sum(terms: &[f32; PART]) -> f32 {
    let mut lanes: [f32; 16] = from_fn(|lane| terms[lane] + terms[lane + 16]);
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}
