//! Convolution of any geometry as products of matrices: what each place reads becomes a column.
//!
//! The columns of some images at a time are gathered from padded planes, so that the places of small planes fill the
//! products as well as those of large ones.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ops::Range;

use super::geometry::Convolution;
use super::passes::{self, Padding, Pass};
use super::target::Target;
use crate::isa::dispatch;
use crate::matmul::{Matrix, Update, matmul_here};
use crate::threads::{self, Chunks, Disjoint};
use crate::{Element, buffer, work};

/// Places whose columns are made at once, at least, where the batch has them.
const PLACES: usize = 256;
/// Tasks into which a map is cut, at least, where its channels are enough for it.
const TASKS: usize = 8;
/// Channels of the result that are worth a task of their own, which gathers its columns itself.
const CHANNELS: usize = 64;
/// Rows of columns whose part of the gradient of the kernel is one task's: so many fill a product.
const ROWS: usize = 256;

/// The images of places from those under the kernel.
pub(crate) fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    let (padding, passes) = passes::correlate(shape);
    let (taps, depth) = (shape.taps(), shape.depth());
    let weights = |pass: &Pass| -> Cow<'_, [T]> {
        if pass.taps.len() == taps {
            return weight.into();
        }
        let all = shape.group_inputs();
        rows(shape.outputs, all, &pass.taps, |to, from| &weight[to * depth + from * taps..][..taps])
    };
    let weights = passes.iter().map(weights).collect();
    let (read, written) = (shape.group_inputs(), shape.group_outputs());
    let plane = [shape.height.output, shape.width.output];
    let groups = shape.groups;
    Job { padding, passes, weights, read, written, plane, groups }.run(x, shape.batch, target, y);
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
    let (taps, depth) = (shape.taps(), shape.depth());
    let (read, written) = (shape.group_outputs(), shape.group_inputs());
    let weights = |pass: &Pass| {
        rows(shape.inputs, read, &pass.taps, |to, from| {
            let output = to / written * read + from;
            &weight[output * depth + to % written * taps..][..taps]
        })
    };
    let weights = passes.iter().map(weights).collect();
    let plane = [shape.height.input, shape.width.input];
    let groups = shape.groups;
    Job { padding, passes, weights, read, written, plane, groups }.run(g, shape.batch, target, x);
}

/// For each written channel a row of weights: (read channel of its group, tap), where `of` has all taps of two channels.
fn rows<'a, T: Element>(
    written: usize,
    read: usize,
    taps: &[usize],
    of: impl Fn(usize, usize) -> &'a [T] + Sync,
) -> Cow<'a, [T]> {
    let row = read * taps.len();
    let mut rows = buffer::<T>(written * row);
    let some = work::rows(written, row);
    threads::each(written.div_ceil(some), Chunks::new(&mut rows, some * row), |task, rows| {
        for (at, places) in rows.chunks_exact_mut(taps.len().max(1)).enumerate() {
            let weights = of(task * some + at / read, at % read);
            places.iter_mut().zip(taps).for_each(|(place, tap)| *place = weights[*tap]);
        }
    });
    rows.into()
}

/// What the images have in common.
struct Job<'a, T: Element> {
    padding: Padding,
    passes: Vec<Pass>,
    /// The kernel of each pass: written channel, (read channel of its group, tap).
    weights: Vec<Cow<'a, [T]>>,
    /// The channels of a group.
    read: usize,
    written: usize,
    /// Rows and columns of a written plane.
    plane: [usize; 2],
    groups: usize,
}

impl<T: Element> Job<'_, T> {
    /// `y` from `x`, both of `batch` images.
    fn run(&self, x: &[T], batch: usize, target: Target<'_, T>, y: &mut [T]) {
        let most = self.passes.iter().map(Pass::places).max().unwrap_or(1);
        let images = PLACES.div_ceil(most).min(batch).max(1);
        let chunks = batch.div_ceil(images);
        // Where the places are too few for many tasks, the written channels are cut, too.
        let blocks = TASKS.div_ceil(chunks).min(self.written.div_ceil(CHANNELS));
        let channels = self.written.div_ceil(blocks);
        let y = Disjoint::new(y);
        threads::run(chunks * blocks, |task| {
            let (chunk, block) = (task / blocks, task % blocks);
            let images = chunk * images..((chunk + 1) * images).min(batch);
            let channels =
                (block * channels).min(self.written)..((block + 1) * channels).min(self.written);
            if !channels.is_empty() {
                self.task(x, images, channels, target, &y);
            }
        });
    }

    /// Some channels of each group of some images.
    fn task(
        &self,
        x: &[T],
        images: Range<usize>,
        channels: Range<usize>,
        target: Target<'_, T>,
        y: &Disjoint<'_, T>,
    ) {
        let plane = self.plane[0] * self.plane[1];
        let size = |pass: &Pass| images.len() * pass.places();
        let most = |of: &dyn Fn(&Pass) -> usize| self.passes.iter().map(of).max().unwrap_or(0);
        let mut columns = buffer(most(&|pass| self.read * pass.taps.len() * size(pass)));
        let mut sums = buffer(channels.len() * most(&size));
        let mut padded = Padded::new(&self.padding, images.len(), self.read);
        for group in 0..self.groups {
            padded.fill(x, images.start, group * self.read, self.groups * self.read);
            let first = group * self.written + channels.start;
            for (pass, weights) in self.passes.iter().zip(&self.weights) {
                let depth = self.read * pass.taps.len();
                let columns = &mut columns[..depth * size(pass)];
                let sums = &mut sums[..channels.len() * size(pass)];
                padded.gather(pass, columns);
                let weights = &weights[first * depth..][..channels.len() * depth];
                let weights = Matrix::new(weights, channels.len(), depth);
                product(weights, Matrix::new(columns, depth, size(pass)), sums, Update::Replace);
                for (at, image) in images.clone().enumerate() {
                    let start = (image * self.groups * self.written + first) * plane;
                    // SAFETY: other tasks have other images or other channels.
                    let y = unsafe { y.slice(start..start + channels.len() * plane) };
                    for (channel, y) in y.chunks_exact_mut(plane).enumerate() {
                        let from = channel * size(pass) + at * pass.places();
                        pass.put(&sums[from..][..pass.places()], target.update, self.plane[1], y);
                    }
                }
            }
            for image in images.clone() {
                let start = (image * self.groups * self.written + first) * plane;
                // SAFETY: as above.
                let y = unsafe { y.slice(start..start + channels.len() * plane) };
                for (channel, y) in y.chunks_exact_mut(plane).enumerate() {
                    target.finish(first + channel, y);
                }
            }
        }
    }
}

/// a b; of nothing it is 0.
fn product<T: Element>(a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [T], update: Update) {
    if a.columns() > 0 {
        matmul_here(a, b, out, update);
    } else if update == Update::Replace {
        out.fill(T::ZERO);
    }
}

/// Some channels of some images with zeros around their planes.
struct Padded<'a, T> {
    padding: &'a Padding,
    images: usize,
    channels: usize,
    planes: Vec<T>,
}

impl<'a, T: Element> Padded<'a, T> {
    fn new(padding: &'a Padding, images: usize, channels: usize) -> Self {
        let planes = vec![T::ZERO; images * channels * padding.plane];
        Self { padding, images, channels, planes }
    }

    /// Takes the channels from `channel` on of the images from `image` on, each of `all` channels.
    fn fill(&mut self, x: &[T], image: usize, channel: usize, all: usize) {
        let (size, plane) = (self.channels * self.padding.plane, self.padding.source);
        for (at, padded) in self.planes.chunks_exact_mut(size).enumerate() {
            let from = ((image + at) * all + channel) * plane;
            self.padding.fill(&x[from..from + self.channels * plane], padded);
        }
    }

    /// What each place of each image reads: (channel, tap), (image, place).
    fn gather(&self, pass: &Pass, columns: &mut [T]) {
        dispatch!(_I => match pass.columns {
            1 => self.gather_rows(pass, columns, |to, from| to[0] = from[0]),
            2 => self.gather_rows(pass, columns, copy::<T, 2>),
            4 => self.gather_rows(pass, columns, copy::<T, 4>),
            8 => self.gather_rows(pass, columns, copy::<T, 8>),
            16 => self.gather_rows(pass, columns, copy::<T, 16>),
            _ => self.gather_rows(pass, columns, |to, from| {
                passes::copy(from, 1, to);
            }),
        });
    }

    #[inline(always)]
    fn gather_rows(&self, pass: &Pass, columns: &mut [T], copy: impl Fn(&mut [T], &[T])) {
        let size = self.channels * self.padding.plane;
        let mut all = columns.chunks_exact_mut(self.images * pass.places());
        for channel in 0..self.channels {
            for (offset, row) in pass.offsets.iter().zip(&mut all) {
                let start = channel * self.padding.plane + offset;
                let images = row.chunks_exact_mut(pass.places());
                for (row, from) in images.zip(self.planes.chunks_exact(size)) {
                    for (at, row) in row.chunks_exact_mut(pass.columns).enumerate() {
                        copy(row, &from[start + at * pass.row_step..][..pass.columns]);
                    }
                }
            }
        }
    }
}

/// A copy of a length that the compiler knows.
#[inline(always)]
fn copy<T: Element, const N: usize>(to: &mut [T], from: &[T]) {
    if let (Ok(to), Ok(from)) = (<&mut [T; N]>::try_from(to), <&[T; N]>::try_from(from)) {
        *to = *from;
    }
}

/// The gradient of the kernel.
///
/// A task sums the columns of some channels of a group over some images; the sums of the images are added in their
/// order.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    let (padding, passes) = passes::correlate(shape);
    let Some(pass) = passes.first() else { return };
    let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
    let channels = (ROWS / pass.taps.len().max(1)).clamp(1, inputs);
    let blocks = inputs.div_ceil(channels);
    let parts = TASKS.div_ceil(shape.groups * blocks).min(shape.batch);
    let images = shape.batch.div_ceil(parts);
    let parts = shape.batch.div_ceil(images);
    // (group, block of its channels, part of the images), (output, channel, tap).
    let size = outputs * channels * pass.taps.len();
    let mut sums = buffer::<T>(shape.groups * blocks * parts * size);
    let tasks = shape.groups * blocks * parts;
    threads::each(tasks, Chunks::new(&mut sums, size.max(1)), |task, sums| {
        let (group, block, part) = (task / parts / blocks, task / parts % blocks, task % parts);
        let range = block * channels..((block + 1) * channels).min(inputs);
        let images = part * images..((part + 1) * images).min(shape.batch);
        let sums = &mut sums[..outputs * range.len() * pass.taps.len()];
        add_up(shape, (&padding, pass), x, g, group, range, images, sums);
    });
    let depth = shape.depth();
    let some = work::rows(shape.outputs, depth * parts);
    threads::each(
        shape.outputs.div_ceil(some),
        Chunks::new(gradient, some * depth),
        |task, rows| {
            for (at, row) in rows.chunks_exact_mut(depth).enumerate() {
                let (group, output) = ((task * some + at) / outputs, (task * some + at) % outputs);
                if update == Update::Replace {
                    row.fill(T::ZERO);
                }
                for (block, row) in row.chunks_mut(channels * shape.taps()).enumerate() {
                    let length = row.len() / shape.taps() * pass.taps.len();
                    for part in 0..parts {
                        let task = (group * blocks + block) * parts + part;
                        let sums = &sums[task * size + output * length..][..length];
                        add_taps(pass, shape.taps(), sums, row);
                    }
                }
            }
        },
    );
}

/// Adds what was summed for the taps of a pass to all taps of each channel.
fn add_taps<T: Element>(pass: &Pass, taps: usize, sums: &[T], row: &mut [T]) {
    if pass.taps.len() == taps {
        dispatch!(_I => row.iter_mut().zip(sums).for_each(|(to, sum)| *to += *sum));
        return;
    }
    let channels = row.chunks_exact_mut(taps).zip(sums.chunks_exact(pass.taps.len().max(1)));
    for (row, sums) in channels {
        pass.taps.iter().zip(sums).for_each(|(tap, sum)| row[*tap] += *sum);
    }
}

/// `sums` = Σ over the places of some images of what they read of some channels, for each output of the group.
#[allow(clippy::too_many_arguments)] // The operands, and which part of them.
fn add_up<T: Element>(
    shape: &Convolution,
    (padding, pass): (&Padding, &Pass),
    x: &[T],
    g: &[T],
    group: usize,
    channels: Range<usize>,
    images: Range<usize>,
    sums: &mut [T],
) {
    let (plane, outputs) = (shape.output_plane(), shape.group_outputs());
    let depth = channels.len() * pass.taps.len();
    let step = PLACES.div_ceil(plane).min(images.len());
    let mut columns = buffer(depth * step * plane);
    let mut places = buffer(outputs * step * plane);
    let mut padded = Padded::new(padding, step, channels.len());
    let mut update = Update::Replace;
    for start in images.clone().step_by(step) {
        let count = step.min(images.end - start);
        if count < step {
            padded = Padded::new(padding, count, channels.len());
        }
        padded.fill(x, start, group * shape.group_inputs() + channels.start, shape.inputs);
        let columns = &mut columns[..depth * count * plane];
        padded.gather(pass, columns);
        let places = &mut places[..outputs * count * plane];
        for (output, row) in places.chunks_exact_mut(count * plane).enumerate() {
            for (at, row) in row.chunks_exact_mut(plane).enumerate() {
                let from = (start + at) * shape.outputs + group * outputs + output;
                passes::copy(&g[from * plane..(from + 1) * plane], 1, row);
            }
        }
        let columns = Matrix::new(columns, depth, count * plane).transposed();
        product(Matrix::new(places, outputs, count * plane), columns, sums, update);
        update = Update::Add;
    }
}
