//! A strided, dilated or transposed convolution as passes that read contiguous rows.
//!
//! The images that are read are copied once into padded planes, from which every tap of every pass reads
//! neighbouring elements for neighbouring results. For `correlate` with stride s, a plane is split into its
//! rows and columns of each residue modulo s. For `spread`, the results of each residue are a pass of their
//! own, with the taps that meet them.

use super::geometry::{Axis, Convolution};
use super::tile::LANES;
use crate::Element;
use crate::isa::dispatch;
use crate::matmul::Update;

/// Elements `from`, `from + step`, ... of a line, which are put one after the other from `to` on.
#[derive(Debug)]
struct Run {
    from: usize,
    to: usize,
    step: usize,
    count: usize,
}

/// How the planes of an image are laid out to be read.
#[derive(Debug)]
pub(crate) struct Padding {
    rows: Vec<Run>,
    columns: Vec<Run>,
    source_width: usize,
    /// The elements of a plane that is read.
    pub(crate) source: usize,
    width: usize,
    /// The elements of a padded plane.
    pub(crate) plane: usize,
}

/// Results of one residue of rows and columns, all with the same taps.
#[derive(Debug)]
pub(crate) struct Pass {
    /// The taps of the kernel.
    pub(crate) taps: Vec<usize>,
    /// Where in a padded plane each of them is read for the first result.
    pub(crate) offsets: Vec<usize>,
    /// How far in a padded plane the next row of results is.
    pub(crate) row_step: usize,
    /// The rows and columns of results.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The row and column of the first result.
    pub(crate) first: [usize; 2],
    /// How far the results are apart.
    pub(crate) step: [usize; 2],
}

impl Pass {
    /// The results.
    pub(crate) fn places(&self) -> usize {
        self.rows * self.columns
    }

    /// Writes or adds the results, in rows of `row` elements, to their places in a plane of rows of `width` elements.
    #[inline(always)]
    pub(crate) fn put<T: Element>(
        &self,
        from: &[T],
        row: usize,
        update: Update,
        width: usize,
        to: &mut [T],
    ) {
        if row == width && self.places() == to.len() {
            return put(&from[..to.len()], update, to);
        }
        for (at, from) in from.chunks_exact(row).take(self.rows).enumerate() {
            let from = &from[..self.columns];
            let to = &mut to[(self.first[0] + at * self.step[0]) * width..][..width];
            let to = &mut to[self.first[1]..];
            match self.step[1] {
                1 => put(from, update, &mut to[..self.columns]),
                2 => put_apart(from, update, 2, to),
                step => put_apart(from, update, step, to),
            }
        }
    }
}

#[inline(always)]
fn put<T: Element>(from: &[T], update: Update, to: &mut [T]) {
    match update {
        Update::Replace => copy(from, 1, to),
        Update::Add => to.iter_mut().zip(from).for_each(|(to, from)| *to += *from),
    }
}

#[inline(always)]
fn put_apart<T: Element>(from: &[T], update: Update, step: usize, to: &mut [T]) {
    let to = to.iter_mut().step_by(step).zip(from);
    match update {
        Update::Replace => to.for_each(|(to, from)| *to = *from),
        Update::Add => to.for_each(|(to, from)| *to += *from),
    }
}

impl Padding {
    fn new(rows: Line, columns: Line, source: [usize; 2]) -> Self {
        Self {
            rows: rows.runs,
            columns: columns.runs,
            source_width: source[1],
            source: source[0] * source[1],
            width: columns.length,
            plane: apart(rows.length * columns.length),
        }
    }

    /// Whether the planes can be read where they are.
    pub(crate) fn plain(&self) -> bool {
        let whole = |runs: &[Run], length: usize| match runs {
            [run] => (run.from, run.to, run.step, run.count) == (0, 0, 1, length),
            _ => false,
        };
        let (rows, columns) = (self.source / self.source_width, self.source_width);
        self.width == columns
            && self.plane == apart(self.source)
            && whole(&self.rows, rows)
            && whole(&self.columns, columns)
    }

    /// Copies planes to where they are read. The zeros around them are there already.
    pub(crate) fn fill<T: Element>(&self, x: &[T], padded: &mut [T]) {
        dispatch!(_I => self.fill_here(x, padded));
    }

    #[inline(always)]
    fn fill_here<T: Element>(&self, x: &[T], padded: &mut [T]) {
        let planes = x.chunks_exact(self.source).zip(padded.chunks_exact_mut(self.plane));
        if let ([rows], [columns]) = (&self.rows[..], &self.columns[..]) {
            let place = rows.to * self.width + columns.to;
            if self.source == 1 {
                let padded = padded.chunks_exact_mut(self.plane);
                return padded.zip(x).for_each(|(padded, x)| padded[place] = *x);
            }
            for (x, padded) in planes {
                let x = x[rows.from * self.source_width..].chunks_exact(self.source_width);
                let padded = padded[rows.to * self.width..].chunks_exact_mut(self.width);
                for (x, padded) in x.step_by(rows.step).zip(padded).take(rows.count) {
                    let padded = &mut padded[columns.to..][..columns.count];
                    copy(&x[columns.from..], columns.step, padded);
                }
            }
            return;
        }
        for (x, padded) in planes {
            for rows in &self.rows {
                for at in 0..rows.count {
                    // Not cut where the row ends: whole vectors are read faster.
                    let x = &x[(rows.from + at * rows.step) * self.source_width..];
                    let padded = &mut padded[(rows.to + at) * self.width..][..self.width];
                    for columns in &self.columns {
                        copy(
                            &x[columns.from..],
                            columns.step,
                            &mut padded[columns.to..][..columns.count],
                        );
                    }
                }
            }
        }
    }
}

/// A distance between planes that is no multiple of many cache lines: at such a distance the same element of
/// all planes would have to share a few places of the cache.
fn apart(plane: usize) -> usize {
    if plane.is_multiple_of(64) { plane + 16 } else { plane }
}

/// Every `step`-th element. Rows are short: calls to copy memory would cost more than the copies.
#[inline(always)]
pub(crate) fn copy<T: Element>(from: &[T], step: usize, to: &mut [T]) {
    let length = to.len();
    let (blocks, rest) = to.as_chunks_mut::<LANES>();
    let done = blocks.len() * LANES;
    match step {
        1 => {
            let from = &from[..length];
            for (to, from) in blocks.iter_mut().zip(from.as_chunks::<LANES>().0) {
                *to = *from;
            }
            for (to, from) in rest.iter_mut().zip(&from[done..]) {
                *to = *from;
            }
        }
        // A step that the compiler knows, for shuffles instead of single loads.
        2 if from.len() >= 2 * length => {
            let from = &from[..2 * length];
            for (to, from) in blocks.iter_mut().zip(from.chunks_exact(2 * LANES)) {
                for lane in 0..LANES {
                    to[lane] = from[2 * lane];
                }
            }
            for (at, to) in rest.iter_mut().enumerate() {
                *to = from[2 * (done + at)];
            }
        }
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
    }
}

/// The taps that meet an element at some place. Of a 3x3 kernel over planes of one element it is one.
fn met(shape: &Convolution) -> Vec<usize> {
    let (height, width) = (shape.height, shape.width);
    let meets = |tap: &usize| {
        let (down, along) = (tap / width.kernel, tap % width.kernel);
        !height.reach(down).is_empty() && !width.reach(along).is_empty()
    };
    (0..shape.taps()).filter(meets).collect()
}

/// The passes of [`correlate`](super::correlate): one, over the residues of the images under the kernel.
pub(crate) fn correlate(shape: &Convolution) -> (Padding, Vec<Pass>) {
    let (height, width) = (shape.height, shape.width);
    let (rows, row_offsets) = split(height);
    let (columns, column_offsets) = split(width);
    let row_step = columns.length;
    let taps = met(shape);
    let offsets = taps.iter().map(|tap| {
        let (down, along) = (tap / width.kernel, tap % width.kernel);
        row_offsets[down] * row_step + column_offsets[along]
    });
    let pass = Pass {
        offsets: offsets.collect(),
        taps,
        row_step,
        rows: height.output,
        columns: width.output,
        first: [0, 0],
        step: [1, 1],
    };
    (Padding::new(rows, columns, [height.input, width.input]), vec![pass])
}

/// The passes of [`spread`](super::spread): one for each residue of the images under the kernel.
pub(crate) fn spread(shape: &Convolution) -> (Padding, Vec<Pass>) {
    let (height, width) = (shape.height, shape.width);
    let (rows, row_residues) = residues(height);
    let (columns, column_residues) = residues(width);
    let row_step = columns.length;
    let taps = met(shape);
    let mut passes = Vec::new();
    for row in &row_residues {
        for column in &column_residues {
            let mut pass = Pass {
                taps: Vec::new(),
                offsets: Vec::new(),
                row_step,
                rows: row.count,
                columns: column.count,
                first: [row.first, column.first],
                step: [height.stride, width.stride],
            };
            for (down, at_row) in &row.taps {
                for (along, at_column) in &column.taps {
                    let tap = down * width.kernel + along;
                    if taps.contains(&tap) {
                        pass.taps.push(tap);
                        pass.offsets.push(at_row * row_step + at_column);
                    }
                }
            }
            passes.push(pass);
        }
    }
    (Padding::new(rows, columns, [height.output, width.output]), passes)
}

/// How an axis is laid out.
struct Line {
    runs: Vec<Run>,
    length: usize,
}

/// The inputs of an axis by their residue modulo the stride, and where each tap reads for the first output.
fn split(axis: Axis) -> (Line, Vec<usize>) {
    let Axis { input, output, kernel, stride, padding, dilation } = axis;
    let each = output + (kernel - 1) * dilation / stride;
    let mut used = Vec::new();
    let offsets = (0..kernel)
        .map(|tap| {
            let residue = tap * dilation % stride;
            let at = used.iter().position(|it| *it == residue).unwrap_or_else(|| {
                used.push(residue);
                used.len() - 1
            });
            at * each + tap * dilation / stride
        })
        .collect();
    let runs = used
        .iter()
        .enumerate()
        .map(|(at, &residue)| {
            let first = padding.saturating_sub(residue).div_ceil(stride);
            let end = (input + padding).saturating_sub(residue).div_ceil(stride).min(each);
            Run {
                from: (first * stride + residue).saturating_sub(padding),
                to: at * each + first,
                step: stride,
                count: end.saturating_sub(first),
            }
        })
        .filter(|run| run.count > 0)
        .collect();
    (Line { runs, length: used.len() * each }, offsets)
}

/// The inputs of one residue.
struct Residue {
    first: usize,
    count: usize,
    /// The taps that meet them, and where each reads for the first input.
    taps: Vec<(usize, usize)>,
}

/// The outputs of an axis with zeros around them, and the residues of its inputs.
///
/// With i + padding = q · stride + r, tap k meets input i at the output q − ⌊k · dilation / stride⌋ if r is
/// k · dilation modulo the stride.
fn residues(axis: Axis) -> (Line, Vec<Residue>) {
    let Axis { input, output, kernel, stride, padding, dilation } = axis;
    let range = |residue: usize| {
        let first = padding.saturating_sub(residue).div_ceil(stride);
        first..(input + padding).saturating_sub(residue).div_ceil(stride).max(first)
    };
    let ranges: Vec<_> = (0..stride).map(range).filter(|it| !it.is_empty()).collect();
    let least = ranges.iter().map(|it| it.start).min().unwrap_or(0);
    let most = ranges.iter().map(|it| it.end).max().unwrap_or(0);
    let reach = (kernel - 1) * dilation / stride;
    let all = (0..stride).map(|residue| (residue, range(residue))).filter(|(_, it)| !it.is_empty());
    let residues = all
        .map(|(residue, range)| Residue {
            first: range.start * stride + residue - padding,
            count: range.len(),
            taps: (0..kernel)
                .filter(|tap| tap * dilation % stride == residue)
                .map(|tap| (tap, range.start - least + reach - tap * dilation / stride))
                .collect(),
        })
        .collect();
    let length = most - least + reach;
    // Output o is at o + reach − least.
    let from = least.saturating_sub(reach);
    let to = (from + reach) - least;
    let count = output.saturating_sub(from).min(length - to.min(length));
    let runs = if count > 0 { vec![Run { from, to, step: 1, count }] } else { Vec::new() };
    (Line { runs, length }, residues)
}
