//! Batch normalization: each channel over the batch and all places.

#![allow(unsafe_code)] // The tasks write columns and planes that no chunks describe.

mod backward;
mod forward;

use std::ops::Range;

use super::moments::Moments;
use super::strips::{Columns, Strip};
use super::{Gradients, Input};
use crate::isa::dispatch;
use crate::lanes::LANES;
use crate::matmul::Update;
use crate::threads::{self, Chunks, Disjoint};
use crate::{Element, buffer, work};
use backward::Backward;
use forward::Forward;

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
