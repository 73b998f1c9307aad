//! Convolution without columns: tiles of sums read the padded planes themselves.
//!
//! The lanes of a vector are neighbouring results of a row, the rows of a tile are channels of the result.

#![allow(unsafe_code)]

use std::ops::Range;

use super::geometry::Convolution;
use super::passes::{self, Padding, Pass};
use super::target::Target;
use super::tile::{LANES, Steps, VECTORS, blocks, tile, with_rows};
use crate::Element;
use crate::isa::{Isa, dispatch};
use crate::matmul::Update;
use crate::threads::{self, Chunks};

/// The most tasks; each takes as many images, and reuses its memory for them.
const TASKS: usize = 64;
/// Elements of padded planes that a strip of results should read: they stay in the second-level cache while
/// all channels of the strip are computed.
const STRIP: usize = 1 << 15;

/// The images of places from those under the kernel.
pub(crate) fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    let (padding, passes) = passes::correlate(shape);
    let (depth, taps) = (shape.depth(), shape.taps());
    let read = Channels { all: shape.inputs, group: shape.group_inputs() };
    let written = Channels { all: shape.outputs, group: shape.group_outputs() };
    // Written channel, read channel of its group, tap.
    let pick = |to: usize, from: usize, tap: usize| weight[to * depth + from * taps + tap];
    let plane = [shape.height.output, shape.width.output];
    let job = Job::new(padding, passes, read, written, plane, shape.groups, pick);
    job.run(x, shape.batch, target, y);
}

/// The images under the kernel from those of places.
pub(crate) fn spread<T: Element>(
    shape: &Convolution,
    g: &[T],
    weight: &[T],
    target: Target<'_, T>,
    x: &mut [T],
) {
    let (padding, passes) = passes::spread(shape);
    let (depth, taps, inputs) = (shape.depth(), shape.taps(), shape.group_inputs());
    let (read, written) = (
        Channels { all: shape.outputs, group: shape.group_outputs() },
        Channels { all: shape.inputs, group: inputs },
    );
    let pick = |to: usize, from: usize, tap: usize| {
        let output = to / inputs * shape.group_outputs() + from;
        weight[output * depth + to % inputs * taps + tap]
    };
    let plane = [shape.height.input, shape.width.input];
    let job = Job::new(padding, passes, read, written, plane, shape.groups, pick);
    job.run(g, shape.batch, target, x);
}

/// The channels of an image, and of a group of it.
#[derive(Clone, Copy)]
struct Channels {
    all: usize,
    group: usize,
}

/// All that the images have in common.
struct Job<T> {
    padding: Padding,
    passes: Vec<Pass>,
    /// The kernel of each pass: blocks of written channels, then (read channel, tap, channel of the block).
    weights: Vec<Vec<T>>,
    read: Channels,
    written: Channels,
    /// Rows and columns of a written plane.
    plane: [usize; 2],
    groups: usize,
}

impl<T: Element> Job<T> {
    fn new(
        padding: Padding,
        passes: Vec<Pass>,
        read: Channels,
        written: Channels,
        plane: [usize; 2],
        groups: usize,
        pick: impl Fn(usize, usize, usize) -> T,
    ) -> Self {
        let pack = |pass: &Pass| {
            let mut weights = Vec::with_capacity(written.all * read.group * pass.taps.len());
            for group in 0..groups {
                for block in blocks(written.group) {
                    for from in 0..read.group {
                        for tap in &pass.taps {
                            let block = block.clone().map(|to| group * written.group + to);
                            weights.extend(block.map(|to| pick(to, from, *tap)));
                        }
                    }
                }
            }
            weights
        };
        let weights = passes.iter().map(pack).collect();
        Self { padding, passes, weights, read, written, plane, groups }
    }

    /// `y` from `x`, both of `batch` images.
    fn run(&self, x: &[T], batch: usize, target: Target<'_, T>, y: &mut [T]) {
        let images = batch.div_ceil(TASKS).max(1);
        let written = self.written.all * self.plane[0] * self.plane[1];
        let read = x.len() / batch.max(1);
        threads::each(batch.div_ceil(images), Chunks::new(y, images * written), |task, y| {
            // A vector may reach past the last plane.
            let mut padded = vec![T::ZERO; self.read.group * self.padding.plane + LANES];
            let mut staged = Vec::new();
            for (at, y) in y.chunks_exact_mut(written).enumerate() {
                let x = &x[(task * images + at) * read..][..read];
                let (from, to) = (read / self.groups, written / self.groups);
                let groups = x.chunks_exact(from).zip(y.chunks_exact_mut(to));
                for (group, (x, y)) in groups.enumerate() {
                    self.padding.fill(x, &mut padded);
                    self.group(group, &padded, target, &mut staged, y);
                }
            }
        });
    }

    /// The written planes of one group of one image.
    fn group(
        &self,
        group: usize,
        padded: &[T],
        target: Target<'_, T>,
        staged: &mut Vec<T>,
        y: &mut [T],
    ) {
        let [height, width] = self.plane;
        let rows = self.passes.iter().map(|pass| pass.rows).max().unwrap_or(0);
        let strip = self.strip();
        for start in (0..rows).step_by(strip) {
            let rows = start..start + strip;
            for block in blocks(self.written.group) {
                let y = &mut y[block.start * height * width..block.end * height * width];
                let channel = group * self.written.group + block.start;
                if self.in_place(target) {
                    self.block_in_place(group, block, &rows, padded, y);
                    let end = rows.end.min(height) * width;
                    for (at, y) in y.chunks_exact_mut(height * width).enumerate() {
                        target.finish(channel + at, &mut y[rows.start * width..end]);
                    }
                } else {
                    self.block_staged(group, block, &rows, padded, staged);
                    self.merge(channel, &rows, staged, target, y);
                }
            }
        }
    }

    /// How many rows of each pass are computed for all channels before the next.
    fn strip(&self) -> usize {
        let row = self.read.group * self.passes.first().map_or(1, |pass| pass.row_step);
        (STRIP / row.max(1)).max(2)
    }

    /// Whether vectors can be written where they belong.
    fn in_place(&self, target: Target<'_, T>) -> bool {
        let whole = self.passes.len() == 1 && self.passes[0].step == [1, 1];
        whole && self.plane[1] >= LANES && target.update == Update::Replace
    }

    /// The weights of a pass for a block of channels, and the steps through them.
    fn operands<'a>(
        &'a self,
        pass: usize,
        group: usize,
        block: &Range<usize>,
    ) -> (&'a [T], Steps<'a>) {
        let inner = &self.passes[pass].offsets;
        let steps = Steps { outer: self.read.group, stride: self.padding.plane, inner };
        let first = group * self.written.group;
        let range = (first + block.start) * steps.count()..(first + block.end) * steps.count();
        (&self.weights[pass][range], steps)
    }

    fn block_in_place(
        &self,
        group: usize,
        block: Range<usize>,
        rows: &Range<usize>,
        padded: &[T],
        y: &mut [T],
    ) {
        let (weights, steps) = self.operands(0, group, &block);
        let pass = &self.passes[0];
        let rows = rows.start..rows.end.min(pass.rows);
        let row = pass.columns;
        let out = Out { plane: self.plane[0] * self.plane[1], row, last: row - LANES };
        let y = &mut y[rows.start * row..];
        dispatch!(I => with_rows!(block.len(), M => {
            vectors::<I, T, M>(weights, padded, steps, pass, rows, out, y);
        }));
    }

    /// Rows of all passes, one pass after the other.
    fn block_staged(
        &self,
        group: usize,
        block: Range<usize>,
        rows: &Range<usize>,
        padded: &[T],
        staged: &mut Vec<T>,
    ) {
        staged.clear();
        for (at, pass) in self.passes.iter().enumerate() {
            let (weights, steps) = self.operands(at, group, &block);
            let rows = rows.start.min(pass.rows)..rows.end.min(pass.rows);
            let row = pass.columns.next_multiple_of(LANES);
            let out = Out { plane: rows.len() * row, row, last: row - LANES };
            let start = staged.len();
            staged.resize(start + block.len() * out.plane, T::ZERO);
            let staged = &mut staged[start..];
            dispatch!(I => with_rows!(block.len(), M => {
                vectors::<I, T, M>(weights, padded, steps, pass, rows, out, staged);
            }));
        }
    }

    /// Staged rows to where they belong.
    fn merge(
        &self,
        channel: usize,
        rows: &Range<usize>,
        staged: &[T],
        target: Target<'_, T>,
        y: &mut [T],
    ) {
        let [height, width] = self.plane;
        let channels = y.len() / (height * width);
        let mut rest = staged;
        // The passes of one residue of rows follow each other.
        for passes in self.passes.chunk_by(|a, b| a.first[0] == b.first[0]) {
            let rows = rows.start.min(passes[0].rows)..rows.end.min(passes[0].rows);
            let lengths = passes.iter().map(|pass| pass.columns.next_multiple_of(LANES));
            let lengths: Vec<usize> = lengths.collect();
            let size = lengths.iter().sum::<usize>() * rows.len() * channels;
            let (here, after) = rest.split_at(size);
            rest = after;
            for at in 0..channels {
                for (index, row) in rows.clone().enumerate() {
                    let row = passes[0].first[0] + row * passes[0].step[0];
                    let y = &mut y[(at * height + row) * width..][..width];
                    let mut start = 0;
                    let mut line = |pass: usize| {
                        let from = start + (at * rows.len() + index) * lengths[pass];
                        start += lengths[pass] * rows.len() * channels;
                        &here[from..from + passes[pass].columns]
                    };
                    if let [first, second] = passes
                        && target.update == Update::Replace
                        && first.step[1] == 2
                    {
                        let (first_line, second_line) = (line(0), line(1));
                        if first.first[1] < second.first[1] {
                            interleave(first_line, second_line, y);
                        } else {
                            interleave(second_line, first_line, y);
                        }
                    } else {
                        for (at, pass) in passes.iter().enumerate() {
                            let line = line(at);
                            let y = y[pass.first[1]..].iter_mut().step_by(pass.step[1]);
                            if target.update == Update::Add {
                                y.zip(line).for_each(|(y, line)| *y += *line);
                            } else {
                                y.zip(line).for_each(|(y, line)| *y = *line);
                            }
                        }
                    }
                    target.finish(channel + at, y);
                }
            }
        }
    }
}

/// to = a₀ b₀ a₁ b₁ ...; `a` may have one element more.
#[inline]
fn interleave<T: Element>(a: &[T], b: &[T], to: &mut [T]) {
    for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
        to[0] = *a;
        to[1] = *b;
    }
    if let (true, Some(to), Some(a)) = (a.len() > b.len(), to.last_mut(), a.last()) {
        *to = *a;
    }
}

/// Where the results of a block go: element (channel, row, column) to
/// channel · plane + row · row_length + column, rows counted from the first of them.
#[derive(Clone, Copy)]
struct Out {
    plane: usize,
    row: usize,
    /// The column of the last vector of a row: where a row is not a whole number of vectors, it overlaps the
    /// one before, with the same values.
    last: usize,
}

/// Rows of a pass for M channels.
#[inline(always)]
fn vectors<I: Isa, T: Element, const M: usize>(
    weights: &[T],
    padded: &[T],
    steps: Steps<'_>,
    pass: &Pass,
    rows: Range<usize>,
    out: Out,
    to: &mut [T],
) {
    if rows.is_empty() {
        return;
    }
    let per_row = pass.columns.div_ceil(LANES);
    // The row and column of a vector.
    let at = |vector: usize| (vector / per_row, (vector % per_row * LANES).min(out.last));
    let furthest = (rows.end - 1) * pass.row_step + out.last + steps.reach();
    assert!(furthest <= padded.len() && weights.len() == M * steps.count(), "operands of a tile");
    let all = rows.len() * per_row;
    for vector in (0..all).step_by(VECTORS) {
        let places = [at(vector), at((vector + 1).min(all - 1))];
        let starts = places.map(|(row, column)| (rows.start + row) * pass.row_step + column);
        // SAFETY: as asserted, for the last vector and so for each before it.
        let sums = unsafe { tile::<I, T, M>(weights, padded, starts, steps) };
        for (channel, sums) in sums.iter().enumerate() {
            for (sums, (row, column)) in sums.iter().zip(places) {
                to[channel * out.plane + row * out.row + column..][..LANES].copy_from_slice(sums);
            }
        }
    }
}
