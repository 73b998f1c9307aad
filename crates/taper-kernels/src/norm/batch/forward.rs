//! Statistics of channels, and values normalised by them.

#![allow(unsafe_code)] // The tasks write columns and planes that no chunks describe.

use std::ops::Range;

use super::{BatchNorm, Input, RUN, cut, spread};
use crate::Element;
use crate::isa::{Isa, dispatch};
use crate::norm::moments::Moments;
use crate::norm::planes;
use crate::threads::{self, Disjoint};

pub(super) struct Forward<'a, T> {
    pub(super) sizes: BatchNorm,
    pub(super) input: Input<'a, T>,
    pub(super) y: Disjoint<'a, T>,
}

impl<T: Element> Forward<'_, T> {
    /// The means and sums of squares of some channels.
    #[inline(always)]
    pub(super) fn measure<I: Isa>(
        &self,
        channels: Range<usize>,
        mean: &mut [f64],
        squares: &mut [f64],
    ) {
        let sizes = self.sizes;
        let first = channels.start;
        let mut put = |channel: usize, moments: Moments| {
            mean[channel - first] = moments.mean;
            squares[channel - first] = moments.squares;
        };
        if !sizes.in_strips() {
            for channel in channels {
                put(channel, self.plane_moments::<I>(channel, 0..sizes.samples));
            }
            return;
        }
        for channels in cut(channels, sizes.per_strip()) {
            let columns = sizes.strip(&channels).moments::<I, T>(self.input.x);
            for (channel, columns) in channels.zip(columns.chunks(sizes.places.max(1))) {
                let mut moments = columns[0];
                columns[1..].iter().for_each(|column| moments.merge(*column));
                put(channel, moments);
            }
        }
    }

    /// The moments of a channel in some samples.
    #[inline(always)]
    pub(super) fn plane_moments<I: Isa>(&self, channel: usize, samples: Range<usize>) -> Moments {
        let sizes = self.sizes;
        let mut moments = Moments::default();
        for samples in cut(samples, (RUN / sizes.places).max(1)) {
            for places in cut(0..sizes.places, RUN) {
                let count = samples.len() * places.len();
                let segments = samples.clone().map(|sample| {
                    let plane = &self.input.x[sizes.plane(sample, channel)];
                    &plane[places.clone()]
                });
                moments.merge(Moments::of::<I, T>(segments, count));
            }
        }
        moments
    }

    /// Writes y for some channels and samples; mean and inverse_std are those of the channels.
    #[inline(always)]
    pub(super) fn normalize<I: Isa>(
        &self,
        channels: Range<usize>,
        samples: Range<usize>,
        mean: &[f64],
        inverse_std: &[f64],
    ) {
        let (sizes, Input { x, weight, bias, residual }) = (self.sizes, self.input);
        let first = channels.start;
        let constants = |channel: usize| {
            let (mean, inverse_std) = (mean[channel - first], inverse_std[channel - first]);
            let center = T::of(mean);
            let scale = weight.map_or(1.0, |weight| weight[channel].to_f64()) * inverse_std;
            let bias = bias.map_or(0.0, |bias| bias[channel].to_f64());
            // The digits of the mean that the center lacks.
            [center, T::of(scale), T::of(bias + (center.to_f64() - mean) * scale)]
        };
        if sizes.in_strips() {
            for channels in cut(channels, sizes.per_strip()) {
                let strip = sizes.strip(&channels);
                let constants = spread(sizes.places, channels, constants);
                // SAFETY: the channels are those of this task alone.
                unsafe {
                    strip.normalize::<I, T>(x, residual, &constants, sizes.rectify, &self.y);
                }
            }
            return;
        }
        for channel in channels {
            let constants = constants(channel);
            for sample in samples.clone() {
                let plane = sizes.plane(sample, channel);
                let residual = residual.map(|residual| &residual[plane.clone()]);
                // SAFETY: the channel and sample are those of this task alone.
                let y = unsafe { self.y.slice(plane.clone()) };
                planes::normalize::<I, T>(&x[plane], residual, constants, sizes.rectify, y);
            }
        }
    }

    /// Writes y.
    pub(super) fn normalize_all(&self, mean: &[f64], inverse_std: &[f64]) {
        let sizes = self.sizes;
        if self.input.x.is_empty() {
            return;
        }
        let blocks = sizes.blocks();
        let parts = sizes.samples.div_ceil(blocks.samples);
        threads::run(sizes.channels.div_ceil(blocks.channels) * parts, |task| {
            let first = task / parts * blocks.channels;
            let channels = first..(first + blocks.channels).min(sizes.channels);
            let samples = sizes.part(task % parts, blocks.samples);
            let (mean, inverse_std) = (&mean[channels.clone()], &inverse_std[channels.clone()]);
            dispatch!(I => self.normalize::<I>(channels, samples, mean, inverse_std));
        });
    }
}
