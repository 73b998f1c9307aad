//! A 1x1 kernel that moves by one: a product of the kernel and the image itself.
//!
//! Some columns of the image at a time are put into panels, each of which fits the first-level cache, and serve all
//! channels of the result.

#![allow(unsafe_code)]

use super::geometry::Convolution;
use super::parts;
use super::target::Target;
use super::tile::{LANES, Steps, VECTORS, blocks, tile, with_rows};
use crate::Element;
use crate::isa::dispatch;
use crate::matmul::{Matrix, Update, matmul_here};
use crate::threads::{self, Chunks};

/// The columns of a panel.
const COLUMNS: usize = VECTORS * LANES;
/// Elements of the panels that are made at once: as many as the second-level cache holds beside the rest, since memory is
/// read faster in long runs (a 1x1 convolution of 64 to 256 channels takes 25 ms then, 30 ms with panels for the first
/// level; forward and backward, one thread).
const ROOM: usize = 1 << 16;

/// The images of places from those under the kernel.
pub(crate) fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    let (outputs, inputs) = (shape.group_outputs(), shape.group_inputs());
    let product = Product::new(shape, inputs, outputs, |to, from| weight[to * inputs + from]);
    product.run(x, target, y);
}

/// The images under the kernel from those of places.
pub(crate) fn spread<T: Element>(
    shape: &Convolution,
    g: &[T],
    weight: &[T],
    target: Target<'_, T>,
    x: &mut [T],
) {
    let (outputs, inputs) = (shape.group_outputs(), shape.group_inputs());
    let product = Product::new(shape, outputs, inputs, |to, from| {
        let output = to / inputs * outputs + from;
        weight[output * inputs + to % inputs]
    });
    product.run(g, target, x);
}

/// The gradient of the kernel.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    let (outputs, inputs, plane) =
        (shape.group_outputs(), shape.group_inputs(), shape.input_plane());
    parts::sum(shape, gradient, update, |images, gradient, mut update| {
        for image in images {
            for (group, gradient) in gradient.chunks_exact_mut(outputs * inputs).enumerate() {
                let group = image * shape.groups + group;
                let g = &g[group * outputs * plane..][..outputs * plane];
                let x = &x[group * inputs * plane..][..inputs * plane];
                let x = Matrix::new(x, inputs, plane).transposed();
                matmul_here(Matrix::new(g, outputs, plane), x, gradient, update);
            }
            update = Update::Add;
        }
    });
}

/// What the images have in common.
struct Product<T> {
    batch: usize,
    groups: usize,
    plane: usize,
    /// The channels of a group.
    read: usize,
    written: usize,
    /// For each group, blocks of written channels: (read channel, channel of the block).
    weights: Vec<T>,
}

impl<T: Element> Product<T> {
    fn new(
        shape: &Convolution,
        read: usize,
        written: usize,
        pick: impl Fn(usize, usize) -> T,
    ) -> Self {
        let mut weights = Vec::with_capacity(shape.weights());
        for group in 0..shape.groups {
            for block in blocks(written) {
                for from in 0..read {
                    let block = block.clone().map(|to| group * written + to);
                    weights.extend(block.map(|to| pick(to, from)));
                }
            }
        }
        let (batch, groups, plane) = (shape.batch, shape.groups, shape.input_plane());
        Self { batch, groups, plane, read, written, weights }
    }

    fn run(&self, x: &[T], target: Target<'_, T>, y: &mut [T]) {
        let size = self.groups * self.written * self.plane;
        threads::each(self.batch, Chunks::new(y, size), |image, y| {
            let mut panels = vec![T::ZERO; self.panels() * self.read * COLUMNS];
            for (group, y) in y.chunks_exact_mut(self.written * self.plane).enumerate() {
                let at = (image * self.groups + group) * self.read * self.plane;
                self.group(group, &x[at..at + self.read * self.plane], target, &mut panels, y);
            }
        });
    }

    /// How many panels are made at once.
    fn panels(&self) -> usize {
        (ROOM / (self.read * COLUMNS)).clamp(1, self.plane.div_ceil(COLUMNS))
    }

    fn group(&self, group: usize, x: &[T], target: Target<'_, T>, panels: &mut [T], y: &mut [T]) {
        let columns = self.panels() * COLUMNS;
        let weights = &self.weights[group * self.written * self.read..];
        for start in (0..self.plane).step_by(columns) {
            let end = (start + columns).min(self.plane);
            for (channel, x) in x.chunks_exact(self.plane).enumerate() {
                let panels = panels.chunks_exact_mut(self.read * COLUMNS);
                for (panel, x) in panels.zip(x[start..end].chunks(COLUMNS)) {
                    let to = &mut panel[channel * COLUMNS..][..COLUMNS];
                    match <&[T; COLUMNS]>::try_from(x) {
                        Ok(x) => to.copy_from_slice(x),
                        Err(_) => to[..x.len()].copy_from_slice(x),
                    }
                }
            }
            for block in blocks(self.written) {
                let weights = &weights[block.start * self.read..block.end * self.read];
                let y = &mut y[block.start * self.plane..block.end * self.plane];
                dispatch!(I => with_rows!(block.len(), M => {
                    self.block::<I, M>(weights, panels, start..end, target.update, y);
                }));
                for (channel, y) in block.zip(y.chunks_exact_mut(self.plane)) {
                    target.finish(group * self.written + channel, &mut y[start..end]);
                }
            }
        }
    }

    /// Columns of M channels.
    #[inline(always)]
    fn block<I: crate::isa::Isa, const M: usize>(
        &self,
        weights: &[T],
        panels: &[T],
        columns: std::ops::Range<usize>,
        update: Update,
        y: &mut [T],
    ) {
        let steps = Steps { outer: self.read, stride: COLUMNS, inner: &[0] };
        assert_eq!(weights.len(), M * self.read, "the weights of a block");
        let panels = panels.chunks_exact(self.read * COLUMNS);
        for (start, panel) in columns.clone().step_by(COLUMNS).zip(panels) {
            // SAFETY: there are M weights a step, and a panel has two vectors for each.
            let tile = unsafe { tile::<I, T, M>(weights, panel, [0, LANES], steps) };
            let end = (start + COLUMNS).min(columns.end);
            for (channel, sums) in tile.iter().enumerate() {
                let to = &mut y[channel * self.plane..][start..end];
                let sums = sums.as_flattened();
                if update == Update::Add {
                    to.iter_mut().zip(sums).for_each(|(to, sum)| *to += *sum);
                } else if let Ok(to) = <&mut [T; COLUMNS]>::try_from(&mut *to) {
                    to.copy_from_slice(sums);
                } else {
                    to.copy_from_slice(&sums[..to.len()]);
                }
            }
        }
    }
}
