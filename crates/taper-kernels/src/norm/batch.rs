//! Batch normalization: each channel over the batch and all places.

#![allow(unsafe_code)] // The tasks write columns and planes that no chunks describe.

use std::ops::Range;

use super::moments::Moments;
use super::strips::{Columns, Strip};
use super::{Gradients, Input, planes};
use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, total};
use crate::matmul::Update;
use crate::threads::{self, Chunks, Disjoint};
use crate::{Element, buffer, work};

/// Places of a channel up to which its columns are worked on in strips of several channels.
const FEW_PLACES: usize = 16;
/// Elements of a channel that are summed in T before the sum goes into f64; half of the first-level cache.
const RUN: usize = 4096;
/// Channels from which they alone are tasks enough.
const MANY_CHANNELS: usize = 8;

/// The sizes of a batch normalization, y = f(w x̂ + b + r) over x (samples, channels, places).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNorm {
    /// The samples of the batch.
    pub samples: usize,
    /// The channels, each with its own statistics, w and b.
    pub channels: usize,
    /// The places of a channel in a sample.
    pub places: usize,
    /// Whether f is a rectifier rather than the identity.
    pub rectify: bool,
}

/// What a batch normalization subtracts and divides by, one value a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// The means.
    pub mean: Vec<f64>,
    /// Of a batch, the sums of the squared distances from the mean; else nothing.
    pub squares: Vec<f64>,
    /// 1 / √(variance + ε).
    pub inverse_std: Vec<f64>,
    /// What `squares` was divided by; none where the statistics do not depend on x.
    divisor: Option<f64>,
}

impl Statistics {
    /// Given ones, of which there is no gradient.
    pub fn given(mean: Vec<f64>, variance: &[f64], eps: f64) -> Self {
        let inverse_std = variance.iter().map(|variance| (variance + eps).sqrt().recip()).collect();
        Self { mean, squares: Vec::new(), inverse_std, divisor: None }
    }
}

impl BatchNorm {
    /// Normalises by the batch's own statistics, which it returns: the variance is the sum of the squared
    /// distances over `divisor`. There is at least one value a channel.
    pub fn train<T: Element>(
        self,
        input: Input<'_, T>,
        divisor: f64,
        eps: f64,
        y: &mut [T],
    ) -> Statistics {
        self.check(&input, y);
        assert!(!y.is_empty(), "values to take statistics of");
        let zeros = || vec![0.0; self.channels];
        let (mut mean, mut squares, mut inverse_std) = (zeros(), zeros(), zeros());
        let invert = |squares: f64| (squares / divisor + eps).sqrt().recip();
        let call = Forward { sizes: self, input, y: Disjoint::new(y) };
        let Blocks { channels: size, samples } = self.blocks();
        let all = 0..self.samples;
        if samples == self.samples {
            let parts = (
                Chunks::new(&mut mean, size),
                Chunks::new(&mut squares, size),
                Chunks::new(&mut inverse_std, size),
            );
            threads::each(self.channels.div_ceil(size), parts, |task, parts| {
                let (mean, squares, inverse_std) = parts;
                let channels = task * size..task * size + mean.len();
                dispatch!(I => call.measure::<I>(channels.clone(), mean, squares));
                for (inverse_std, squares) in inverse_std.iter_mut().zip(squares) {
                    *inverse_std = invert(*squares);
                }
                dispatch!(I => call.normalize::<I>(channels, all.clone(), mean, inverse_std));
            });
        } else {
            let parts = self.samples.div_ceil(samples);
            let mut moments = vec![Moments::default(); self.channels * parts];
            let of_parts = Chunks::new(&mut moments, 1);
            threads::each(self.channels * parts, of_parts, |task, moments| {
                let part = self.part(task % parts, samples);
                dispatch!(I => moments[0] = call.plane_moments::<I>(task / parts, part));
            });
            for (at, parts) in moments.chunks(parts).enumerate() {
                let mut whole = Moments::default();
                parts.iter().for_each(|part| whole.merge(*part));
                (mean[at], squares[at]) = (whole.mean, whole.squares);
                inverse_std[at] = invert(whole.squares);
            }
            call.normalize_all(&mean, &inverse_std);
        }
        Statistics { mean, squares, inverse_std, divisor: Some(divisor) }
    }

    /// Normalises by `statistics`.
    pub fn evaluate<T: Element>(self, input: Input<'_, T>, statistics: &Statistics, y: &mut [T]) {
        self.check(&input, y);
        let call = Forward { sizes: self, input, y: Disjoint::new(y) };
        call.normalize_all(&statistics.mean, &statistics.inverse_std);
    }

    /// The gradients from `upstream`, that of the result `y`, and the statistics that it was made with.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        weight: Option<&[T]>,
        y: &[T],
        upstream: &[T],
        statistics: &Statistics,
        gradients: Gradients<'_, T>,
    ) {
        assert_eq!(x.len(), self.samples * self.channels * self.places, "the size of x");
        assert!(y.len() == x.len() && upstream.len() == x.len(), "the size of y");
        let Gradients { x: of_x, weight: of_weight, bias: of_bias, residual } = gradients;
        let mut scratch = Vec::new();
        let (masked, to_add) = match residual {
            Some((residual, Update::Replace)) => (Some(residual), None),
            Some((residual, Update::Add)) => {
                scratch = buffer::<T>(x.len());
                (None, Some(residual))
            }
            None => (None, None),
        };
        let masked = masked.or(to_add.is_some().then_some(&mut scratch[..]));
        let of_channels = of_weight.is_some() || of_bias.is_some();
        let wanted = of_channels || statistics.divisor.is_some() && of_x.is_some();
        let sums = Backward {
            sizes: self,
            x,
            weight,
            y: self.rectify.then_some(y),
            upstream,
            statistics,
            needs_sums: wanted || masked.is_some(),
            masked: masked.map(Disjoint::new),
            of_x: of_x.map(|(of_x, update)| (Disjoint::new(of_x), update)),
        }
        .run();
        if let Some(residual) = to_add {
            residual.iter_mut().zip(&scratch).for_each(|(sum, addend)| *sum += *addend);
        }
        for (gradient, sums) in [(of_bias, &sums[0]), (of_weight, &sums[1])] {
            if let Some((gradient, update)) = gradient {
                for (to, sum) in gradient.iter_mut().zip(sums) {
                    *to = if update == Update::Add { *to + T::of(*sum) } else { T::of(*sum) };
                }
            }
        }
    }

    fn check<T>(&self, input: &Input<'_, T>, y: &[T]) {
        let length = self.samples * self.channels * self.places;
        assert!(input.x.len() == length && y.len() == length, "the size of x and y");
        assert!(input.residual.is_none_or(|it| it.len() == length), "the size of the residual");
        for it in [input.weight, input.bias].into_iter().flatten() {
            assert_eq!(it.len(), self.channels, "one value a channel");
        }
    }

    fn in_strips(self) -> bool {
        self.places <= FEW_PLACES
    }

    /// How many channels a strip has.
    fn per_strip(self) -> usize {
        LANES / self.places.max(1)
    }

    /// The strip of these channels.
    fn strip(self, channels: &Range<usize>) -> Strip {
        Strip {
            pitch: self.channels * self.places,
            start: channels.start * self.places,
            width: channels.len() * self.places,
        }
    }

    fn part(self, part: usize, samples: usize) -> Range<usize> {
        part * samples..((part + 1) * samples).min(self.samples)
    }

    /// How the work is cut: by the sizes alone.
    fn blocks(self) -> Blocks {
        if self.in_strips() {
            let per_strip = self.per_strip();
            let strips = work::rows(self.channels.div_ceil(per_strip), self.samples * LANES);
            return Blocks { channels: strips * per_strip, samples: self.samples };
        }
        let channels = work::rows(self.channels, self.samples * self.places);
        if self.channels < MANY_CHANNELS && channels < self.channels.max(2) {
            let samples = work::rows(self.samples, self.places);
            return Blocks { channels: 1, samples };
        }
        Blocks { channels, samples: self.samples }
    }

    fn plane(self, sample: usize, channel: usize) -> Range<usize> {
        let start = (sample * self.channels + channel) * self.places;
        start..start + self.places
    }
}

/// The channels and samples of one task.
struct Blocks {
    channels: usize,
    samples: usize,
}

/// Parts of `range`, each of at most `size`.
fn cut(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..(start + size).min(end))
}

/// Each channel's values at all of its places.
#[inline(always)]
fn spread<T: Element, const N: usize>(
    places: usize,
    channels: Range<usize>,
    of_channel: impl Fn(usize) -> [T; N],
) -> [Columns<T>; N] {
    let mut columns = [[T::ZERO; LANES]; N];
    for (at, channel) in channels.enumerate() {
        let values = of_channel(channel);
        for (columns, value) in columns.iter_mut().zip(values) {
            columns[at * places..(at + 1) * places].fill(value);
        }
    }
    columns
}

struct Forward<'a, T> {
    sizes: BatchNorm,
    input: Input<'a, T>,
    y: Disjoint<'a, T>,
}

impl<T: Element> Forward<'_, T> {
    /// The means and sums of squares of some channels.
    #[inline(always)]
    fn measure<I: Isa>(&self, channels: Range<usize>, mean: &mut [f64], squares: &mut [f64]) {
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
    fn plane_moments<I: Isa>(&self, channel: usize, samples: Range<usize>) -> Moments {
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
    fn normalize<I: Isa>(
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
    fn normalize_all(&self, mean: &[f64], inverse_std: &[f64]) {
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

struct Backward<'a, T> {
    sizes: BatchNorm,
    x: &'a [T],
    weight: Option<&'a [T]>,
    /// Where there is a rectifier.
    y: Option<&'a [T]>,
    upstream: &'a [T],
    statistics: &'a Statistics,
    /// Whether somebody asks for the sums, or for what is written on the way.
    needs_sums: bool,
    /// Where the gradient before the rectifier goes, which is that of the residual.
    masked: Option<Disjoint<'a, T>>,
    of_x: Option<(Disjoint<'a, T>, Update)>,
}

impl<T: Element> Backward<'_, T> {
    /// Writes the gradients of x and the residual; returns Σ g and Σ g x̂ of each channel.
    fn run(&self) -> [Vec<f64>; 2] {
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
    fn pull<I: Isa>(
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
