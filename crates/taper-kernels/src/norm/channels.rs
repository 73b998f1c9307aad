//! Layer normalization of images: the channels of each place of a sample by their own statistics.

#![allow(unsafe_code)] // The columns of a strip are pieces of memory that no chunks describe.

use super::planes::mask;
use super::rows::Row;
use super::strips::{Columns, Strip};
use super::{Gradients, Input};
use crate::element::relu;
use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, total};
use crate::linear::Gradient;
use crate::matmul::Update;
use crate::threads::{self, Chunks, Disjoint};
use crate::{Element, work};

/// Channels that are summed in T before the sum goes into f64.
const RUN: usize = 64;
/// The most parts into which the strips are cut for the gradients of the channels: each has sums of its own.
const PARTS: usize = 16;

/// The sizes of a normalization over the channels of each place, y = f(w x̂ + b + r) over x (samples, channels, places)
/// with w and b (channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelNorm {
    /// The samples.
    pub samples: usize,
    /// The channels of a sample, each with its own w and b.
    pub channels: usize,
    /// The places of a channel, each with its own statistics.
    pub places: usize,
    /// Whether f is a rectifier rather than the identity.
    pub rectify: bool,
}

impl ChannelNorm {
    /// Normalises; returns what each place of each sample was normalised by.
    pub fn forward<T: Element>(self, input: Input<'_, T>, eps: f64, y: &mut [T]) -> Vec<Row<T>> {
        self.check(&[Some(input.x), Some(y), input.residual]);
        for it in [input.weight, input.bias].into_iter().flatten() {
            assert_eq!(it.len(), self.channels, "one value a channel");
        }
        let mut found = vec![Row::default(); self.samples * self.places];
        if y.is_empty() {
            return found;
        }
        let strips = self.strips();
        let size = work::rows(strips, 2 * self.channels * LANES);
        let (to, of_places) = (Disjoint::new(y), Disjoint::new(&mut found));
        threads::run(strips.div_ceil(size), |task| {
            for at in task * size..((task + 1) * size).min(strips) {
                let (sample, strip) = self.strip(at);
                let start = sample * self.places + strip.start;
                // SAFETY: the places of a strip are used by this turn alone.
                unsafe {
                    let found = of_places.slice(start..start + strip.width);
                    dispatch!(I => self.normalize::<I, T>(sample, strip, &input, eps, found, &to));
                }
            }
        });
        found
    }

    /// # Safety
    /// Nobody else uses the strip of this sample of `y`.
    #[inline(always)]
    unsafe fn normalize<I: Isa, T: Element>(
        self,
        sample: usize,
        strip: Strip,
        input: &Input<'_, T>,
        eps: f64,
        found: &mut [Row<T>],
        y: &Disjoint<'_, T>,
    ) {
        let start = sample * self.channels * self.places;
        let moments = strip.moments::<I, T>(&input.x[start..][..self.channels * self.places]);
        for (found, moments) in found.iter_mut().zip(moments) {
            *found = Row::of(moments, eps);
        }
        // SAFETY: passed on.
        unsafe {
            match strip.width {
                LANES => self.write::<I, T>(start + strip.start, LANES, input, found, y),
                width => self.write::<I, T>(start + strip.start, width, input, found, y),
            }
        }
    }

    /// The strip that begins at `start`.
    ///
    /// # Safety
    /// As for [`normalize`](Self::normalize).
    #[inline(always)]
    unsafe fn write<I: Isa, T: Element>(
        self,
        start: usize,
        width: usize,
        input: &Input<'_, T>,
        found: &[Row<T>],
        y: &Disjoint<'_, T>,
    ) {
        let [center, inverse_std, offset] = columns(found);
        for channel in 0..self.channels {
            let range = start + channel * self.places..start + channel * self.places + width;
            let weight = input.weight.map_or(T::ONE, |weight| weight[channel]);
            let bias = input.bias.map_or(T::ZERO, |bias| bias[channel]);
            let x = &input.x[range.clone()];
            let mut values = [T::ZERO; LANES];
            for at in 0..width {
                let normal = (x[at] - center[at]).fma::<I>(inverse_std[at], offset[at]);
                values[at] = normal.fma::<I>(weight, bias);
            }
            if let Some(residual) = input.residual {
                let residual = &residual[range.clone()];
                for at in 0..width {
                    values[at] += residual[at];
                }
            }
            if self.rectify {
                for value in &mut values[..width] {
                    *value = relu(*value);
                }
            }
            // SAFETY: passed on; one row at a time.
            unsafe { y.slice(range) }.copy_from_slice(&values[..width]);
        }
    }

    /// The gradients from `upstream`, that of the result `y`, and what each place was normalised by.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        weight: Option<&[T]>,
        y: &[T],
        upstream: &[T],
        found: &[Row<T>],
        gradients: Gradients<'_, T>,
    ) {
        self.check(&[Some(x), Some(y), Some(upstream)]);
        assert_eq!(found.len(), self.samples * self.places, "the statistics of each place");
        let Gradients { x: of_x, weight: of_weight, bias: of_bias, residual } = gradients;
        let strips = if x.is_empty() { 0 } else { self.strips() };
        let size = work::rows(strips, 4 * self.channels * LANES).max(strips.div_ceil(PARTS));
        let parts = strips.div_ceil(size.max(1));
        let call = Pull {
            sizes: self,
            x,
            weight,
            y: self.rectify.then_some(y),
            upstream,
            of_x: shared(of_x),
            residual: shared(residual),
        };
        let wanted = of_weight.is_some() || of_bias.is_some();
        let mut sums = vec![[0.0; 2]; if wanted { parts * self.channels } else { 0 }];
        let of_parts = wanted.then(|| Chunks::new(&mut sums, self.channels));
        threads::each(parts, of_parts, |task, mut sums| {
            for at in task * size..((task + 1) * size).min(strips) {
                let (sample, strip) = self.strip(at);
                let found = &found[sample * self.places + strip.start..][..strip.width];
                let start = sample * self.channels * self.places + strip.start;
                let sums = sums.as_deref_mut();
                // SAFETY: the places of a strip are used by this turn alone.
                unsafe {
                    dispatch!(I => match strip.width {
                        LANES => call.run::<I>(start, LANES, found, sums),
                        width => call.run::<I>(start, width, found, sums),
                    });
                }
            }
        });
        for (at, gradient) in [of_weight, of_bias].into_iter().enumerate() {
            let Some((gradient, update)) = gradient else {
                continue;
            };
            for (channel, to) in gradient.iter_mut().enumerate() {
                let of_parts = sums.iter().skip(channel).step_by(self.channels);
                let sum = T::of(of_parts.map(|sums| sums[at]).sum());
                *to = if update == Update::Add { *to + sum } else { sum };
            }
        }
    }

    fn check<T>(self, all: &[Option<&[T]>]) {
        for it in all.iter().flatten() {
            assert_eq!(it.len(), self.samples * self.channels * self.places, "the size of x");
        }
    }

    /// How many strips of places the samples have.
    fn strips(self) -> usize {
        self.samples * self.places.div_ceil(LANES)
    }

    /// The sample of a strip, and where in the sample it lies.
    fn strip(self, at: usize) -> (usize, Strip) {
        let of_sample = self.places.div_ceil(LANES);
        let start = at % of_sample * LANES;
        let width = LANES.min(self.places - start);
        (at / of_sample, Strip { pitch: self.places, start, width })
    }
}

/// Center, inverse standard deviation and offset of some places.
#[inline(always)]
fn columns<T: Element>(found: &[Row<T>]) -> [Columns<T>; 3] {
    let mut columns = [[T::ZERO; LANES]; 3];
    for (at, row) in found.iter().enumerate().take(LANES) {
        columns[0][at] = row.center;
        columns[1][at] = row.inverse_std;
        columns[2][at] = row.offset;
    }
    columns
}

/// A gradient that the tasks share.
fn shared<T>(gradient: Gradient<'_, T>) -> (Option<Disjoint<'_, T>>, Update) {
    match gradient {
        Some((gradient, update)) => (Some(Disjoint::new(gradient)), update),
        None => (None, Update::Replace),
    }
}

/// The backward pass.
struct Pull<'a, T> {
    sizes: ChannelNorm,
    x: &'a [T],
    weight: Option<&'a [T]>,
    /// Where there is a rectifier.
    y: Option<&'a [T]>,
    upstream: &'a [T],
    of_x: (Option<Disjoint<'a, T>>, Update),
    residual: (Option<Disjoint<'a, T>>, Update),
}

impl<T: Element> Pull<'_, T> {
    /// The strip that begins at `start`; `sums` are those of the channels, of g x̂ and of g.
    ///
    /// # Safety
    /// Nobody else uses this strip of the gradients.
    #[inline(always)]
    unsafe fn run<I: Isa>(
        &self,
        start: usize,
        width: usize,
        found: &[Row<T>],
        mut sums: Option<&mut [[f64; 2]]>,
    ) {
        let [center, inverse_std, offset] = columns(found);
        let (mut wide, channels) = ([[0.0; LANES]; 2], self.sizes.channels);
        for run in (0..channels).step_by(RUN) {
            let mut narrow = [[T::ZERO; LANES]; 2];
            for channel in run..(run + RUN).min(channels) {
                let weight = self.weight.map_or(T::ONE, |weight| weight[channel]);
                let [x, g] = self.load(start + channel * self.sizes.places, width);
                let mut products = [T::ZERO; LANES];
                for at in 0..width {
                    let normal = (x[at] - center[at]).fma::<I>(inverse_std[at], offset[at]);
                    products[at] = g[at] * normal;
                    narrow[0][at] = products[at].fma::<I>(weight, narrow[0][at]);
                    narrow[1][at] = g[at].fma::<I>(weight, narrow[1][at]);
                }
                if let Some(sums) = &mut sums {
                    sums[channel][0] += total(products).to_f64();
                    sums[channel][1] += total(g).to_f64();
                }
            }
            for at in 0..width {
                wide[0][at] += narrow[0][at].to_f64();
                wide[1][at] += narrow[1][at].to_f64();
            }
        }
        // dx = g w · inverse_std + x̂ · slope + shift.
        let (mut slope, mut shift) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for at in 0..width {
            let share = -inverse_std[at].to_f64() / channels as f64;
            (slope[at], shift[at]) = (T::of(share * wide[0][at]), T::of(share * wide[1][at]));
        }
        if self.of_x.0.is_none() && self.residual.0.is_none() {
            return;
        }
        for channel in 0..channels {
            let weight = self.weight.map_or(T::ONE, |weight| weight[channel]);
            let first = start + channel * self.sizes.places;
            let [x, g] = self.load(first, width);
            let mut values = [T::ZERO; LANES];
            for at in 0..width {
                let normal = (x[at] - center[at]).fma::<I>(inverse_std[at], offset[at]);
                let through = normal.fma::<I>(slope[at], shift[at]);
                values[at] = (g[at] * weight).fma::<I>(inverse_std[at], through);
            }
            // SAFETY: passed on.
            unsafe {
                store(&self.of_x, first, &values[..width]);
                store(&self.residual, first, &g[..width]);
            }
        }
    }

    /// x and the gradient before the rectifier, if there is one.
    #[inline(always)]
    fn load(&self, first: usize, width: usize) -> [Columns<T>; 2] {
        let mut columns = [[T::ZERO; LANES]; 2];
        let (x, upstream) = (&self.x[first..first + width], &self.upstream[first..first + width]);
        columns[0][..width].copy_from_slice(x);
        match self.y {
            None => columns[1][..width].copy_from_slice(upstream),
            Some(y) => {
                let y = &y[first..first + width];
                for at in 0..width {
                    columns[1][at] = mask(upstream[at], y[at]);
                }
            }
        }
        columns
    }
}

/// Writes some places of a gradient or adds to them.
///
/// # Safety
/// Nobody else uses these places.
#[inline(always)]
unsafe fn store<T: Element>(
    (to, update): &(Option<Disjoint<'_, T>>, Update),
    first: usize,
    values: &[T],
) {
    let Some(to) = to else {
        return;
    };
    // SAFETY: passed on.
    let to = unsafe { to.slice(first..first + values.len()) };
    match update {
        Update::Replace => to.copy_from_slice(values),
        Update::Add => to.iter_mut().zip(values).for_each(|(to, value)| *to += *value),
    }
}
