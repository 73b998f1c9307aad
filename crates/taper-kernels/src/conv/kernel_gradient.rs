//! The gradient of the kernel by tiles: a sum over the places of an image.
//!
//! The lanes of a vector are neighbouring channels under the kernel, for which the images are turned to
//! (row, column, channel) order; the rows of a tile are channels of places. So strides and dilations are steps
//! between vectors, and no lane has to be summed with another.

#![allow(unsafe_code)]

use std::ops::Range;

use super::geometry::{Axis, Convolution};
use super::parts;
use super::tile::{LANES, Steps, VECTORS, blocks, tile, with_rows};
use crate::Element;
use crate::isa::{Isa, dispatch};
use crate::matmul::Update;

/// Places that a tile sums before it adds to the gradient: what they read stays in the first-level cache.
const PLACES: usize = 512;

/// The gradient of the kernel.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    parts::sum(shape, gradient, update, |images, gradient, update| {
        let mut sums = Sums::new(shape);
        for image in images {
            let x = &x[image * shape.input_image()..][..shape.input_image()];
            let g = &g[image * shape.output_image()..][..shape.output_image()];
            sums.add(x, g);
        }
        sums.store(gradient, update);
    });
}

/// The zeros before the input, the input, and as many after it as the taps reach.
fn padded(axis: Axis) -> usize {
    let reach = (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
    reach.max(axis.padding + axis.input)
}

/// Sums over images, for all groups.
struct Sums<'a, T> {
    shape: &'a Convolution,
    /// Channels of a group in whole vectors.
    channels: usize,
    /// From one column of a turned image to the next.
    pitch: usize,
    width: usize,
    /// One group of an image under the kernel, turned: (row, column, channel), with zeros around.
    turned: Vec<T>,
    /// A block of channels of places, turned: (place, channel).
    places: Vec<T>,
    /// Where the vector of each tap and eight channels begins for the first place.
    starts: Vec<usize>,
    /// The place of a column of places.
    columns: Vec<usize>,
    /// (channel of places, tap, channel under the kernel).
    sums: Vec<T>,
}

impl<'a, T: Element> Sums<'a, T> {
    fn new(shape: &'a Convolution) -> Self {
        let (height, width) = (shape.height, shape.width);
        let channels = shape.group_inputs().next_multiple_of(LANES);
        // Not a power of two, for which neighbouring columns would share the few places of one cache set.
        let pitch = if channels.is_multiple_of(64) { channels + 2 * LANES } else { channels };
        let (padded_height, padded_width) = (padded(height), padded(width));
        let mut starts = Vec::new();
        for tap in 0..shape.taps() {
            let (down, along) = (tap / width.kernel, tap % width.kernel);
            let place = down * height.dilation * padded_width + along * width.dilation;
            starts.extend((0..channels).step_by(LANES).map(|channel| place * pitch + channel));
        }
        Self {
            shape,
            channels,
            pitch,
            width: padded_width,
            turned: vec![T::ZERO; padded_height * padded_width * pitch],
            places: Vec::new(),
            columns: (0..width.output).map(|column| column * width.stride * pitch).collect(),
            sums: vec![T::ZERO; shape.outputs * shape.taps() * channels],
            starts,
        }
    }

    /// Adds one image.
    fn add(&mut self, x: &[T], g: &[T]) {
        let shape = self.shape;
        let (plane, row) = (shape.output_plane(), shape.width.output);
        let strip = (PLACES / row).max(1);
        let inputs = shape.group_inputs() * shape.input_plane();
        for (group, x) in x.chunks_exact(inputs).enumerate() {
            self.turn(x);
            for start in (0..shape.height.output).step_by(strip) {
                let rows = start..(start + strip).min(shape.height.output);
                for block in blocks(shape.group_outputs()) {
                    let first = group * shape.group_outputs() + block.start;
                    let g = &g[first * plane..(first + block.len()) * plane];
                    dispatch!(I => with_rows!(block.len(), M => {
                        self.block::<I, M>(first, g, rows.clone());
                    }));
                }
            }
        }
    }

    /// Turns the planes of one group.
    fn turn(&mut self, x: &[T]) {
        let (height, width) = (self.shape.height, self.shape.width);
        let (plane, pitch) = (self.shape.input_plane(), self.pitch);
        let (turned, padded_width) = (&mut self.turned, self.width);
        for row in 0..height.input {
            let to = ((row + height.padding) * padded_width + width.padding) * pitch;
            let to = &mut turned[to..to + width.input * pitch];
            let x = &x[row * width.input..];
            dispatch!(_I => turn_row(x, plane, self.shape.group_inputs(), width.input, to, pitch));
        }
    }

    /// Adds the places of some rows, for M channels of places.
    #[inline(always)]
    fn block<I: Isa, const M: usize>(&mut self, first: usize, g: &[T], rows: Range<usize>) {
        let (height, width) = (self.shape.height, self.shape.width.output);
        let plane = self.shape.output_plane();
        let range = rows.start * width..rows.end * width;
        self.places.clear();
        self.places.resize(range.len() * M, T::ZERO);
        for channel in 0..M {
            let g = &g[channel * plane..][range.clone()];
            for (to, g) in self.places.chunks_exact_mut(M).zip(g) {
                to[channel] = *g;
            }
        }
        let line = height.stride * self.width * self.pitch;
        let steps = Steps { outer: rows.len(), stride: line, inner: &self.columns };
        let furthest = self.starts.last().copied().unwrap_or(0) + rows.start * line + steps.reach();
        let largest = self.starts.iter().max().copied().unwrap_or(0) + rows.start * line;
        assert!(furthest.max(largest + steps.reach()) <= self.turned.len(), "operands of a tile");
        let all = self.starts.len();
        let length = all * LANES;
        for at in (0..all).step_by(VECTORS) {
            let vectors = [at, (at + 1).min(all - 1)];
            let starts = vectors.map(|vector| self.starts[vector] + rows.start * line);
            // SAFETY: `places` holds M elements for each step; the vectors are within `turned`, as asserted for
            // the one that begins last.
            let tile = unsafe { tile::<I, T, M>(&self.places, &self.turned, starts, steps) };
            for (channel, tile) in tile.iter().enumerate() {
                // The last vector may be there twice.
                for (tile, vector) in tile.iter().zip(at..all) {
                    let sums =
                        &mut self.sums[(first + channel) * length + vector * LANES..][..LANES];
                    sums.iter_mut().zip(tile).for_each(|(sum, tile)| *sum += *tile);
                }
            }
        }
    }

    /// The sums in the order of the kernel.
    fn store(&self, gradient: &mut [T], update: Update) {
        let (taps, inputs) = (self.shape.taps(), self.shape.group_inputs());
        let sums = self.sums.chunks_exact(taps * self.channels);
        for (gradient, sums) in gradient.chunks_exact_mut(inputs * taps).zip(sums) {
            for (input, gradient) in gradient.chunks_exact_mut(taps).enumerate() {
                let sums = sums[input..].iter().step_by(self.channels);
                if update == Update::Add {
                    gradient.iter_mut().zip(sums).for_each(|(to, sum)| *to += *sum);
                } else {
                    gradient.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum);
                }
            }
        }
    }
}

/// One row of `channels` planes to (column, channel) order.
#[inline(always)]
fn turn_row<T: Element>(
    x: &[T],
    plane: usize,
    channels: usize,
    columns: usize,
    to: &mut [T],
    pitch: usize,
) {
    for first in (0..channels).step_by(LANES) {
        let count = LANES.min(channels - first);
        let mut done = 0;
        if count == LANES {
            // Eight by eight, which the compiler turns in registers.
            while done + LANES <= columns {
                let mut square = [[T::ZERO; LANES]; LANES];
                for (channel, line) in square.iter_mut().enumerate() {
                    line.copy_from_slice(&x[(first + channel) * plane + done..][..LANES]);
                }
                for column in 0..LANES {
                    let to = &mut to[(done + column) * pitch + first..][..LANES];
                    for channel in 0..LANES {
                        to[channel] = square[channel][column];
                    }
                }
                done += LANES;
            }
        }
        for channel in first..first + count {
            let x = &x[channel * plane..][..columns];
            for column in done..columns {
                to[column * pitch + channel] = x[column];
            }
        }
    }
}
