//! Products of matrices: the blocks of the result are tasks, each a product on one thread by the `gemm` crate.

#![allow(unsafe_code)]

use std::ops::Range;

use crate::Element;
use crate::threads::{self, Disjoint};

/// A matrix in a slice, by its strides.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `data` as `rows` rows of `columns` elements, one after the other.
    ///
    /// # Panics
    /// Where `data` has another length.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows} x {columns} matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    fn row_range(self, range: &Range<usize>) -> Self {
        let start = if range.is_empty() { 0 } else { range.start * self.row_stride };
        Self { data: &self.data[start..], rows: range.len(), ..self }
    }

    fn column_range(self, range: &Range<usize>) -> Self {
        self.transposed().row_range(range).transposed()
    }
}

/// What becomes of what is in the result already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It is written over.
    Replace,
    /// It is added to.
    Add,
}

/// `out` (rows of a × columns of b, row-major) = a b, or `out` += a b.
///
/// # Panics
/// Where the shapes do not fit.
pub fn matmul<T: Element>(a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [T], update: Update) {
    matmul_then(a, b, out, update, |_, _, _| {});
}

/// [`matmul`], after which `then(row, column, segment)` is called for each row of each block while it is
/// still in the cache: `segment` begins at that column of that row of `out`.
pub(crate) fn matmul_then<T: Element>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    update: Update,
    then: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    assert_eq!(a.columns, b.rows, "the inner dimensions");
    assert_eq!(out.len(), a.rows * b.columns, "the size of the product");
    let width = b.columns;
    let grid = Grid::new(a, b);
    let out = Disjoint::new(out);
    threads::run(grid.tasks(), |task| {
        let (rows, columns) = grid.block(task);
        // SAFETY: the blocks of the grid do not overlap, so neither do the rows of different blocks; within
        // this task only one of the two borrows below is used at a time.
        unsafe {
            let first = rows.start * width + columns.start;
            let block = out.pointer_range(first..first + (rows.len() - 1) * width + columns.len());
            product(a.row_range(&rows), b.column_range(&columns), block, width, update);
            for row in rows {
                let start = row * width;
                let segment = out.slice(start + columns.start..start + columns.end);
                then(row, columns.start, segment);
            }
        }
    });
}

/// `out` (row-major, contiguous) = a b or `out` += a b on this thread, for tasks that hold many small products.
///
/// # Panics
/// Where the shapes do not fit.
pub(crate) fn matmul_here<T: Element>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    update: Update,
) {
    assert_eq!(a.columns, b.rows, "the inner dimensions");
    assert_eq!(out.len(), a.rows * b.columns, "the size of the product");
    // SAFETY: `out` is borrowed mutably and holds rows of b.columns elements.
    unsafe { product(a, b, out.as_mut_ptr(), b.columns, update) }
}

/// # Safety
/// `out` points to a.rows rows of b.columns elements, `stride` apart, that nobody else uses meanwhile.
unsafe fn product<T: Element>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: *mut T,
    stride: usize,
    update: Update,
) {
    for matrix in [a, b] {
        let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        let end = last(matrix.rows, matrix.row_stride) + last(matrix.columns, matrix.column_stride);
        let empty = matrix.rows == 0 || matrix.columns == 0;
        assert!(empty || end < matrix.data.len(), "a matrix within its slice");
    }
    let keep = update == Update::Add;
    // SAFETY: the operands lie within their slices, as asserted; `out` as the caller promises.
    unsafe {
        gemm::gemm::<T>(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            stride as isize,
            keep,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// How a result is cut into blocks: by its shape alone, so that each element is computed the same way for
/// any number of threads.
struct Grid {
    rows: usize,
    columns: usize,
    block_rows: usize,
    block_columns: usize,
}

impl Grid {
    /// Into how many blocks a product of so many multiplications is cut: few enough that packing the operands
    /// anew for each costs little, enough for the threads of most machines. The first two steps are at some
    /// four and thirty microseconds of work on one core.
    const PARTS: [(usize, usize); 4] = [(1 << 28, 16), (1 << 25, 8), (1 << 20, 4), (1 << 17, 2)];

    fn new<T>(a: Matrix<'_, T>, b: Matrix<'_, T>) -> Self {
        let (rows, columns) = (a.rows, b.columns);
        let work = rows.saturating_mul(columns).saturating_mul(a.columns);
        let parts =
            Self::PARTS.iter().find(|(least, _)| work >= *least).map_or(1, |(_, parts)| *parts);
        // Measured for each order of the operands: what is cut should be the rows of a result whose left
        // operand is transposed, as a weight's gradient is, and else its columns; a large one both ways.
        let by_rows = a.column_stride != 1;
        let (down, across) = match parts {
            16 => (4, 4),
            _ if by_rows && rows >= 16 * parts || columns < 16 * parts => (parts, 1),
            _ => (1, parts),
        };
        let cut = |length: usize, parts: usize| length.div_ceil(parts).next_multiple_of(16).max(1);
        Self { rows, columns, block_rows: cut(rows, down), block_columns: cut(columns, across) }
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.block_rows) * self.columns.div_ceil(self.block_columns)
    }

    fn block(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let across = self.columns.div_ceil(self.block_columns);
        let range =
            |at: usize, size: usize, length: usize| at * size..((at + 1) * size).min(length);
        (
            range(task / across, self.block_rows, self.rows),
            range(task % across, self.block_columns, self.columns),
        )
    }
}
