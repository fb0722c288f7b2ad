//! One product of two strided matrices on one thread: both are packed in the order in which the
//! tiles of the result read them. It knows nothing of threads, and of layers.
//!
//! For each chunk of columns, block of the inner sum and chunk of rows, the packed parts stay in
//! the second-level cache, one panel of b and one tile of a in the first. Blocks come before the
//! next columns, so that the results they are added to are not far.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::codes::{are_packed, pack_codes};
use super::pack::{Buffer, Tiles, pack_panels, pack_tiles};
use super::tile::{self, Work};
use super::{BLOCK, Sink};
use crate::train::kernels::device::Isa;
use crate::train::kernels::elements::Elements;

/// Rows that lie a multiple of this many floats apart fall into the same sets of the cache, so
/// that a tile of them does not stay in it.
const CROWDED: usize = 1024;

/// A matrix read with a stride for its rows and one for its columns, of which one is 1.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: Elements<'a>,
    row: usize,
    column: usize,
}

/// The same of f32, as packing reads it.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> View<'a> {
    /// Rows that lie `stride` apart.
    pub(crate) fn rows(data: impl Into<Elements<'a>>, stride: usize) -> View<'a> {
        View { data: data.into(), row: stride, column: 1 }
    }

    /// The transpose of such a matrix: columns that lie `stride` apart.
    pub(crate) fn columns(data: impl Into<Elements<'a>>, stride: usize) -> View<'a> {
        View { data: data.into(), row: 1, column: stride }
    }

    /// Without the first rows and columns.
    pub(crate) fn skip(self, rows: usize, columns: usize) -> View<'a> {
        View { data: self.data.skip(rows * self.row + columns * self.column), ..self }
    }

    /// A matrix of f32 as it lies. Only weights have fewer bits, and they stand on the right.
    fn floats(self) -> Floats<'a> {
        let Elements::F32(data) = self.data else { panic!("a left matrix that is not f32") };
        Floats { data, row: self.row, column: self.column }
    }

    /// The first `rows` and `columns` as f32: as they lie, or widened into `room`.
    fn widened(self, isa: Isa, [rows, columns]: [usize; 2], room: &'a mut Buffer) -> Floats<'a> {
        if let Elements::F32(_) = self.data {
            return self.floats();
        }
        let by_row = self.column == 1;
        let (lines, length, stride) =
            if by_row { (rows, columns, self.row) } else { (columns, rows, self.column) };
        let widened = room.floats(lines * length);
        for (line, to) in widened.chunks_exact_mut(length).enumerate() {
            self.data.skip(line * stride).widen_with(isa, to);
        }
        let [row, column] = if by_row { [length, 1] } else { [1, length] };
        Floats { data: widened, row, column }
    }

    /// The first `rows` and `columns` in panels. What is neither f32 nor turned as codes is widened
    /// into `room`: lines that are columns one panel at a time, which is then still in the
    /// first-level cache; of lines that are rows a panel would take parts of blocks.
    fn packed<'p>(
        self,
        isa: Isa,
        [rows, columns]: [usize; 2],
        room: &mut Buffer,
        panels: &'p mut Buffer,
    ) -> &'p [f32] {
        let width = tile::columns(isa);
        let panels = panels.floats(columns.div_ceil(width) * rows * width);
        let by_row = self.column == 1;
        #[cfg(target_arch = "x86_64")]
        if let Elements::Nf4(blocks) = self.data
            && !by_row
            && are_packed(isa, blocks, self.column, rows)
        {
            pack_codes(isa, blocks, [self.column, rows, columns], panels);
            return panels;
        }
        let is_whole = by_row || matches!(self.data, Elements::F32(_));
        let step = if is_whole { columns } else { width };
        for columns in chunks(columns, step) {
            let (first, count) = (columns.start, columns.len());
            let part = self.skip(0, first).widened(isa, [rows, count], room);
            let to = &mut panels[first * rows..][..count.div_ceil(width) * rows * width];
            pack_panels(isa, part, rows, count, to);
        }
        panels
    }
}

impl Floats<'_> {
    /// Whether tiles take its rows as they lie, without a copy.
    pub(super) fn is_read_in_place(self) -> bool {
        self.column == 1 && !self.row.is_multiple_of(CROWDED)
    }
}

/// The matrix that a product is written to.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) start: *mut f32,
    /// How far apart rows lie.
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// The blocks of an inner width.
pub(crate) fn blocks_of(width: usize) -> Vec<Range<usize>> {
    (0..width).step_by(BLOCK).map(|start| start..(start + BLOCK).min(width)).collect()
}

/// Columns of b that are packed at once: a multiple of every tile's width.
const COLUMN_CHUNK: usize = 512;
/// Rows of a that are packed at once.
const ROW_CHUNK: usize = 224;

thread_local! {
    /// The packed a and b, and a part of b as f32, kept from call to call.
    static PACKED: RefCell<[Buffer; 3]> =
        const { RefCell::new([Buffer::new(), Buffer::new(), Buffer::new()]) };
}

/// c = (or +=) a · b, the inner sums by `blocks`.
///
/// # Safety
/// `c` must be writable and not shared.
pub(crate) unsafe fn product(
    isa: Isa,
    a: View,
    b: View,
    c: Grid,
    blocks: &[Range<usize>],
    sink: Sink,
) {
    PACKED.with_borrow_mut(|[packed_a, packed_b, widened]| {
        for columns in chunks(c.columns, COLUMN_CHUNK) {
            for (at, block) in blocks.iter().enumerate() {
                assert!(block.len() <= BLOCK);
                let sink = if at == 0 { sink } else { Sink::Add };
                let b = b.skip(block.start, columns.start);
                let panels = b.packed(isa, [block.len(), columns.len()], widened, packed_b);
                for rows in chunks(c.rows, ROW_CHUNK) {
                    let a = a.skip(rows.start, block.start).floats();
                    let tiles = pack_tiles(isa, a, rows.len(), block.len(), packed_a);
                    // SAFETY: the part lies inside `c`, and what was packed is of its size.
                    unsafe {
                        let start = c.start.add(rows.start * c.stride + columns.start);
                        let shape = Grid { start, rows: rows.len(), columns: columns.len(), ..c };
                        multiply(isa, tiles, panels, shape, block.len(), sink);
                    }
                }
            }
        }
    });
}

/// All tiles of one part of the result.
///
/// # Safety
/// As for [`product`]; `tiles` and `panels` must be packed for this part.
unsafe fn multiply(isa: Isa, tiles: Tiles, panels: &[f32], c: Grid, len: usize, sink: Sink) {
    let width = tile::columns(isa);
    for (panel, column) in panels.chunks_exact(len * width).zip((0..c.columns).step_by(width)) {
        for (a, row) in tiles.data.chunks(tiles.stride).zip((0..c.rows).step_by(tiles.rows)) {
            // SAFETY: the tile lies inside `c`.
            unsafe {
                let work = Work {
                    a: a.as_ptr(),
                    b: panel.as_ptr(),
                    c: c.start.add(row * c.stride + column),
                    stride: c.stride,
                    len,
                    rows: tiles.rows.min(c.rows - row),
                    columns: width.min(c.columns - column),
                    sink,
                };
                tile::run(isa, tiles.order, work);
            }
        }
    }
}

fn chunks(len: usize, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(chunk).map(move |start| start..(start + chunk).min(len))
}
