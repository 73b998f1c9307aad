//! Gradients of channels that were normalised together.

#![allow(unsafe_code)] // As forward.

use std::ops::Range;

use super::{BatchNorm, Blocks, RUN, Statistics, cut, spread};
use crate::Element;
use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, total};
use crate::matmul::Update;
use crate::norm::planes;
use crate::threads::{self, Chunks, Disjoint};

pub(super) struct Backward<'a, T> {
    pub(super) sizes: BatchNorm,
    pub(super) x: &'a [T],
    pub(super) weight: Option<&'a [T]>,
    /// Where there is a rectifier.
    pub(super) y: Option<&'a [T]>,
    pub(super) upstream: &'a [T],
    pub(super) statistics: &'a Statistics,
    /// Whether somebody asks for the sums, or for what is written on the way.
    pub(super) needs_sums: bool,
    /// Where the gradient before the rectifier goes, which is that of the residual.
    pub(super) masked: Option<Disjoint<'a, T>>,
    pub(super) of_x: Option<(Disjoint<'a, T>, Update)>,
}

impl<T: Element> Backward<'_, T> {
    /// Writes the gradients of x and the residual; returns Σ g and Σ g x̂ of each channel.
    pub(super) fn run(&self) -> [Vec<f64>; 2] {
        let sizes = self.sizes;
        let Blocks { channels: size, samples } = sizes.blocks();
        let all = 0..sizes.samples;
        let [mut sums, mut products] = [(); 2].map(|()| vec![0.0; sizes.channels]);
        if self.x.is_empty() {
            return [sums, products];
        }
        if samples == sizes.samples {
            let parts = (Chunks::new(&mut sums, size), Chunks::new(&mut products, size));
            threads::each(sizes.channels.div_ceil(size), parts, |task, (sums, products)| {
                let channels = task * size..task * size + sums.len();
                dispatch!(I => self.sum::<I>(channels.clone(), all.clone(), sums, products));
                dispatch!(I => self.pull::<I>(channels, all.clone(), sums, products));
            });
            return [sums, products];
        }
        let parts = sizes.samples.div_ceil(samples);
        let [mut part_sums, mut part_products] =
            [(); 2].map(|()| vec![0.0; sizes.channels * parts]);
        let of_parts = (Chunks::new(&mut part_sums, 1), Chunks::new(&mut part_products, 1));
        threads::each(sizes.channels * parts, of_parts, |task, (sums, products)| {
            let (channel, part) = (task / parts, sizes.part(task % parts, samples));
            dispatch!(I => self.sum::<I>(channel..channel + 1, part, sums, products));
        });
        for (whole, part) in [(&mut sums, part_sums), (&mut products, part_products)] {
            for (whole, part) in whole.iter_mut().zip(part.chunks(parts)) {
                *whole = part.iter().sum();
            }
        }
        threads::run(sizes.channels * parts, |task| {
            let (channel, part) = (task / parts, sizes.part(task % parts, samples));
            let (sum, product) = (&sums[channel..=channel], &products[channel..=channel]);
            dispatch!(I => self.pull::<I>(channel..channel + 1, part, sum, product));
        });
        [sums, products]
    }

    /// Σ g and Σ g x̂ of some channels in some samples.
    #[inline(always)]
    fn sum<I: Isa>(
        &self,
        channels: Range<usize>,
        samples: Range<usize>,
        sums: &mut [f64],
        products: &mut [f64],
    ) {
        if !self.needs_sums {
            return;
        }
        let (sizes, statistics) = (self.sizes, self.statistics);
        let first = channels.start;
        if sizes.in_strips() {
            for channels in cut(channels.clone(), sizes.per_strip()) {
                let strip = sizes.strip(&channels);
                let center = |channel: usize| [T::of(statistics.mean[channel])];
                let [center] = spread(sizes.places, channels.clone(), center);
                let masked = self.masked.as_ref();
                // SAFETY: the channels are those of this task alone.
                let [a, b] =
                    unsafe { strip.sums::<I, T>(self.x, self.upstream, self.y, &center, masked) };
                for (at, channel) in channels.enumerate() {
                    let columns = at * sizes.places..(at + 1) * sizes.places;
                    sums[channel - first] = a[columns.clone()].iter().sum();
                    products[channel - first] = b[columns].iter().sum();
                }
            }
        } else {
            for channel in channels.clone() {
                let [a, b] = self.plane_sums(channel, samples.clone());
                (sums[channel - first], products[channel - first]) = (a, b);
            }
        }
        // So far Σ g (x − center).
        for channel in channels {
            let (mean, inverse_std) = (statistics.mean[channel], statistics.inverse_std[channel]);
            let left = T::of(mean).to_f64() - mean;
            let at = channel - first;
            products[at] = (products[at] + left * sums[at]) * inverse_std;
        }
    }

    /// Σ g and Σ g (x − center) of a channel in some samples.
    #[inline(always)]
    fn plane_sums(&self, channel: usize, samples: Range<usize>) -> [f64; 2] {
        let sizes = self.sizes;
        let center = T::of(self.statistics.mean[channel]);
        let mut wide = [0.0; 2];
        for samples in cut(samples, (RUN / sizes.places).max(1)) {
            for places in cut(0..sizes.places, RUN) {
                let mut lanes = [[T::ZERO; LANES]; 2];
                for sample in samples.clone() {
                    let start = sizes.plane(sample, channel).start;
                    let segment = start + places.start..start + places.end;
                    let masked = self.masked.as_ref().map(|masked| {
                        // SAFETY: the channel and sample are those of this task alone.
                        unsafe { masked.slice(segment.clone()) }
                    });
                    let y = self.y.map(|y| &y[segment.clone()]);
                    let (x, g) = (&self.x[segment.clone()], &self.upstream[segment]);
                    planes::add_sums(x, g, y, center, masked, &mut lanes);
                }
                for (wide, lanes) in wide.iter_mut().zip(lanes) {
                    *wide += total(lanes).to_f64();
                }
            }
        }
        wide
    }

    /// Writes the gradient of x for some channels and samples from the sums of the channels.
    #[inline(always)]
    pub(super) fn pull<I: Isa>(
        &self,
        channels: Range<usize>,
        samples: Range<usize>,
        sums: &[f64],
        products: &[f64],
    ) {
        let Some((of_x, update)) = &self.of_x else {
            return;
        };
        let (sizes, statistics) = (self.sizes, self.statistics);
        let first = channels.start;
        let count = (sizes.samples * sizes.places) as f64;
        let constants = |channel: usize| {
            let (mean, inverse_std) = (statistics.mean[channel], statistics.inverse_std[channel]);
            let weight = self.weight.map_or(1.0, |weight| weight[channel].to_f64());
            let factor = weight * inverse_std;
            let center = T::of(mean);
            let Some(divisor) = statistics.divisor else {
                return [T::ZERO, T::of(factor), T::ZERO, T::ZERO];
            };
            let slope = -factor * inverse_std * products[channel - first] / divisor;
            let shift = slope * (center.to_f64() - mean) - factor * sums[channel - first] / count;
            [center, T::of(factor), T::of(slope), T::of(shift)]
        };
        if sizes.in_strips() {
            for channels in cut(channels, sizes.per_strip()) {
                let strip = sizes.strip(&channels);
                let constants = spread(sizes.places, channels, constants);
                let (x, g) = (self.x, self.upstream);
                // SAFETY: the channels are those of this task alone.
                unsafe { strip.pull::<I, T>(x, g, self.y, &constants, of_x, *update) };
            }
            return;
        }
        for channel in channels {
            let constants = constants(channel);
            for sample in samples.clone() {
                let plane = sizes.plane(sample, channel);
                let y = self.y.map(|y| &y[plane.clone()]);
                // SAFETY: the channel and sample are those of this task alone.
                let to = unsafe { of_x.slice(plane.clone()) };
                let (x, g) = (&self.x[plane.clone()], &self.upstream[plane]);
                planes::pull::<I, T>(x, g, y, constants, to, *update);
            }
        }
    }
}
