//! Convolution of any geometry as a product of matrices: each place's elements become a column.
//!
//! A task takes one image, or some where their planes are small, and holds the columns of one group at a
//! time.

use std::ops::Range;

use super::geometry::Convolution;
use super::parts;
use super::target::Target;
use crate::matmul::{Matrix, Update, matmul_here};
use crate::threads::{self, Chunks};
use crate::{Element, buffer};

/// Places whose columns are made at once, at least, where the batch has them.
const PLACES: usize = 128;

/// The images of one task.
fn images(shape: &Convolution) -> usize {
    PLACES.div_ceil(shape.output_plane().max(1)).min(shape.batch).max(1)
}

/// The images of places from those under the kernel.
pub(crate) fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    let (images, image) = (images(shape), shape.output_image());
    let tasks = shape.batch.div_ceil(images);
    threads::each(tasks, Chunks::new(y, images * image), |task, y| {
        let x = &x[task * images * shape.input_image()..];
        let mut block = Block::new(shape, y.len() / image);
        for group in 0..shape.groups {
            block.gather(x, group);
            let channels = group * shape.group_outputs()..(group + 1) * shape.group_outputs();
            let weight = block.kernel(weight, group);
            let columns = Matrix::new(&block.columns, shape.depth(), block.places);
            matmul_here(weight, columns, &mut block.staged, Update::Replace);
            block.store(channels, target, y);
        }
    });
}

/// The images under the kernel from those of places.
pub(crate) fn spread<T: Element>(
    shape: &Convolution,
    g: &[T],
    weight: &[T],
    target: Target<'_, T>,
    x: &mut [T],
) {
    let (images, image) = (images(shape), shape.input_image());
    let tasks = shape.batch.div_ceil(images);
    threads::each(tasks, Chunks::new(x, images * image), |task, x| {
        let g = &g[task * images * shape.output_image()..];
        let mut block = Block::new(shape, x.len() / image);
        for group in 0..shape.groups {
            block.load(g, group);
            let weight = block.kernel(weight, group).transposed();
            let staged = Matrix::new(&block.staged, shape.group_outputs(), block.places);
            matmul_here(weight, staged, &mut block.columns, Update::Replace);
            block.scatter(group, target, x);
        }
    });
}

/// The gradient of the kernel.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    let images = images(shape);
    parts::sum(shape, gradient, update, |part, gradient, mut update| {
        for start in part.clone().step_by(images) {
            let mut block = Block::new(shape, images.min(part.end - start));
            let (x, g) = (&x[start * shape.input_image()..], &g[start * shape.output_image()..]);
            let size = shape.group_outputs() * shape.depth();
            for (group, gradient) in gradient.chunks_exact_mut(size).enumerate() {
                block.gather(x, group);
                block.load(g, group);
                let staged = Matrix::new(&block.staged, shape.group_outputs(), block.places);
                let columns = Matrix::new(&block.columns, shape.depth(), block.places);
                matmul_here(staged, columns.transposed(), gradient, update);
            }
            update = Update::Add;
        }
    });
}

/// The columns of some images, for one group at a time.
struct Block<'a, T> {
    shape: &'a Convolution,
    images: usize,
    places: usize,
    /// (depth, places).
    columns: Vec<T>,
    /// (outputs of the group, places).
    staged: Vec<T>,
}

impl<'a, T: Element> Block<'a, T> {
    fn new(shape: &'a Convolution, images: usize) -> Self {
        let places = images * shape.output_plane();
        let columns = buffer(shape.depth() * places);
        Self { shape, images, places, columns, staged: buffer(shape.group_outputs() * places) }
    }

    fn kernel<'b>(&self, weight: &'b [T], group: usize) -> Matrix<'b, T> {
        let (outputs, depth) = (self.shape.group_outputs(), self.shape.depth());
        Matrix::new(&weight[group * outputs * depth..][..outputs * depth], outputs, depth)
    }

    /// Calls `f` for each part of a row that meets a tap within the images: the row's place among the
    /// columns, the outputs that reach, and where in `x` the first of them is.
    fn rows(&self, group: usize, mut f: impl FnMut(usize, Range<usize>, Option<usize>)) {
        let shape = self.shape;
        let (height, width) = (shape.height, shape.width);
        for row in 0..shape.depth() {
            let (channel, tap) = (row / shape.taps(), row % shape.taps());
            let channel = group * shape.group_inputs() + channel;
            let (down, along) = (tap / width.kernel, tap % width.kernel);
            let (rows, columns) = (height.reach(down), width.reach(along));
            for image in 0..self.images {
                let plane = (image * shape.inputs + channel) * shape.input_plane();
                for output in 0..height.output {
                    let at =
                        row * self.places + image * shape.output_plane() + output * width.output;
                    let first = (rows.contains(&output) && !columns.is_empty()).then(|| {
                        plane
                            + height.meets(output, down) * width.input
                            + width.meets(columns.start, along)
                    });
                    f(at, columns.clone(), first);
                }
            }
        }
    }

    /// x into columns.
    fn gather(&mut self, x: &[T], group: usize) {
        let mut columns = std::mem::take(&mut self.columns);
        let width = self.shape.width;
        self.rows(group, |at, reach, first| {
            let row = &mut columns[at..at + width.output];
            let Some(first) = first else {
                row.fill(T::ZERO);
                return;
            };
            row[..reach.start].fill(T::ZERO);
            row[reach.end..].fill(T::ZERO);
            let row = &mut row[reach];
            if width.stride == 1 {
                row.copy_from_slice(&x[first..first + row.len()]);
            } else {
                let x = x[first..].iter().step_by(width.stride);
                row.iter_mut().zip(x).for_each(|(to, from)| *to = *from);
            }
        });
        self.columns = columns;
    }

    /// Columns into x.
    fn scatter(&self, group: usize, target: Target<'_, T>, x: &mut [T]) {
        let (shape, width) = (self.shape, self.shape.width);
        let (plane, inputs) = (shape.input_plane(), shape.group_inputs());
        if target.update == Update::Replace {
            for image in x.chunks_exact_mut(shape.input_image()) {
                image[group * inputs * plane..][..inputs * plane].fill(T::ZERO);
            }
        }
        self.rows(group, |at, reach, first| {
            let Some(first) = first else { return };
            let row = &self.columns[at..at + width.output][reach];
            if width.stride == 1 {
                let x = &mut x[first..first + row.len()];
                x.iter_mut().zip(row).for_each(|(to, from)| *to += *from);
            } else {
                let x = x[first..].iter_mut().step_by(width.stride);
                x.zip(row).for_each(|(to, from)| *to += *from);
            }
        });
        for image in x.chunks_exact_mut(shape.input_image()) {
            for channel in group * inputs..(group + 1) * inputs {
                target.finish(channel, &mut image[channel * plane..][..plane]);
            }
        }
    }

    /// Places into the staged rows.
    fn load(&mut self, g: &[T], group: usize) {
        let (plane, outputs) = (self.shape.output_plane(), self.shape.group_outputs());
        for channel in 0..outputs {
            for image in 0..self.images {
                let from = (image * self.shape.outputs + group * outputs + channel) * plane;
                self.staged[channel * self.places + image * plane..][..plane]
                    .copy_from_slice(&g[from..from + plane]);
            }
        }
    }

    /// Staged rows into places.
    fn store(&self, channels: Range<usize>, target: Target<'_, T>, y: &mut [T]) {
        let plane = self.shape.output_plane();
        for (row, channel) in channels.enumerate() {
            for image in 0..self.images {
                let to = (image * self.shape.outputs + channel) * plane;
                let from = &self.staged[row * self.places + image * plane..][..plane];
                target.write(channel, from, &mut y[to..to + plane]);
            }
        }
    }
}
