//! Group normalization: groups of the channels of a sample, each by itself.

use super::rows::{Row, measure};
use super::{Gradients, Input, planes};
use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, total};
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// The sizes of a group normalization, y = f(w x̂ + b + r) over x (samples, channels, places) with w and b
/// (channels). As many groups as channels make it instance normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNorm {
    /// The samples.
    pub samples: usize,
    /// The channels of a sample, each with its own w and b.
    pub channels: usize,
    /// The places of a channel.
    pub places: usize,
    /// Into how many groups the channels of a sample are cut; it divides their number.
    pub groups: usize,
    /// Whether f is a rectifier rather than the identity.
    pub rectify: bool,
}

impl GroupNorm {
    /// Normalises; returns what each group of each sample was normalised by.
    pub fn forward<T: Element>(self, input: Input<'_, T>, eps: f64, y: &mut [T]) -> Vec<Row<T>> {
        self.check(&[Some(input.x), Some(y), input.residual]);
        for it in [input.weight, input.bias].into_iter().flatten() {
            assert_eq!(it.len(), self.channels, "one value a channel");
        }
        let mut found = vec![Row::default(); self.samples * self.groups];
        if y.is_empty() {
            return found;
        }
        let (size, length) = (self.per_task(2), self.length());
        let parts = (Chunks::new(&mut found, size), Chunks::new(y, size * length));
        threads::each((self.samples * self.groups).div_ceil(size), parts, |task, (found, y)| {
            for (at, (found, y)) in found.iter_mut().zip(y.chunks_exact_mut(length)).enumerate() {
                dispatch!(I => self.normalize::<I, T>(task * size + at, &input, eps, found, y));
            }
        });
        found
    }

    #[inline(always)]
    fn normalize<I: Isa, T: Element>(
        self,
        group: usize,
        input: &Input<'_, T>,
        eps: f64,
        found: &mut Row<T>,
        y: &mut [T],
    ) {
        let start = group * self.length();
        let x = &input.x[start..start + y.len()];
        *found = measure::<I, T>(x, true, eps);
        for (at, y) in y.chunks_exact_mut(self.places).enumerate() {
            let channel = self.first_channel(group) + at;
            let weight = input.weight.map_or(T::ONE, |weight| weight[channel]);
            let bias = input.bias.map_or(T::ZERO, |bias| bias[channel]);
            let shift = found.offset * weight + bias;
            let constants = [found.center, weight * found.inverse_std, shift];
            let plane = at * self.places..(at + 1) * self.places;
            let residual = input.residual.map(|it| &it[start..][plane.clone()]);
            planes::normalize::<I, T>(&x[plane], residual, constants, self.rectify, y);
        }
    }

    /// The gradients from `upstream`, that of the result `y`, and what each group was normalised by.
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
        assert_eq!(found.len(), self.samples * self.groups, "the statistics of each group");
        let Gradients { x: of_x, weight: of_weight, bias: of_bias, mut residual } = gradients;
        let (size, length) = (self.per_task(4), self.length());
        let per_group = self.channels / self.groups;
        let mut scratch = match &residual {
            Some((_, Update::Add)) => buffer::<T>(x.len()),
            _ => Vec::new(),
        };
        let masked = match &mut residual {
            Some((residual, Update::Replace)) => Some(Chunks::new(residual, size * length)),
            Some((_, Update::Add)) => Some(Chunks::new(&mut scratch, size * length)),
            None => None,
        };
        let (of_x, update) = match of_x {
            Some((of_x, update)) => (Some(Chunks::new(of_x, size * length)), update),
            None => (None, Update::Replace),
        };
        // Σ g and Σ g x̂ of each channel of each sample.
        let mut sums = vec![[0.0; 2]; self.samples * self.channels];
        let of_channels = Chunks::new(&mut sums, size * per_group);
        let tasks = if x.is_empty() { 0 } else { (self.samples * self.groups).div_ceil(size) };
        threads::each(tasks, (of_x, masked, of_channels), |task, (mut of_x, mut masked, sums)| {
            for (at, sums) in sums.chunks_exact_mut(per_group).enumerate() {
                let group = task * size + at;
                let whole = group * length..(group + 1) * length;
                let part = at * length..(at + 1) * length;
                let call = Pull {
                    sizes: self,
                    x: &x[whole.clone()],
                    y: self.rectify.then(|| &y[whole.clone()]),
                    upstream: &upstream[whole],
                    weight: weight.map(|weight| &weight[self.first_channel(group)..][..per_group]),
                    found: found[group],
                };
                let masked = masked.as_mut().map(|masked| &mut masked[part.clone()]);
                let of_x = of_x.as_mut().map(|of_x| &mut of_x[part]);
                dispatch!(I => call.run::<I>(of_x, update, masked, sums));
            }
        });
        if let Some((residual, Update::Add)) = residual {
            residual.iter_mut().zip(&scratch).for_each(|(sum, addend)| *sum += *addend);
        }
        for (at, gradient) in [of_bias, of_weight].into_iter().enumerate() {
            let Some((gradient, update)) = gradient else {
                continue;
            };
            for (channel, to) in gradient.iter_mut().enumerate() {
                let of_samples = sums.iter().skip(channel).step_by(self.channels);
                let sum = T::of(of_samples.map(|sums| sums[at]).sum());
                *to = if update == Update::Add { *to + sum } else { sum };
            }
        }
    }

    fn check<T>(self, all: &[Option<&[T]>]) {
        assert!(
            self.channels.is_multiple_of(self.groups) && self.groups > 0,
            "whole groups of channels"
        );
        for it in all.iter().flatten() {
            assert_eq!(it.len(), self.samples * self.channels * self.places, "the size of x");
        }
    }

    /// The elements of a group.
    fn length(self) -> usize {
        self.channels / self.groups * self.places
    }

    fn first_channel(self, group: usize) -> usize {
        group % self.groups * (self.channels / self.groups)
    }

    /// The groups that one task gets: by the sizes alone.
    fn per_task(self, passes: usize) -> usize {
        work::rows(self.samples * self.groups, passes * self.length())
    }
}

/// One group in the backward pass.
struct Pull<'a, T> {
    sizes: GroupNorm,
    x: &'a [T],
    /// Where there is a rectifier.
    y: Option<&'a [T]>,
    upstream: &'a [T],
    weight: Option<&'a [T]>,
    found: Row<T>,
}

impl<T: Element> Pull<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(
        &self,
        of_x: Option<&mut [T]>,
        update: Update,
        mut masked: Option<&mut [T]>,
        sums: &mut [[f64; 2]],
    ) {
        let places = self.sizes.places;
        let Row { center, inverse_std, offset } = self.found;
        let (inverse_std, offset) = (inverse_std.to_f64(), offset.to_f64());
        let weight = |channel: usize| self.weight.map_or(1.0, |weight| weight[channel].to_f64());
        let (mut sum, mut product) = (0.0, 0.0);
        for (channel, sums) in sums.iter_mut().enumerate() {
            let plane = channel * places..(channel + 1) * places;
            let [a, b] = self.plane_sums(plane.start, masked.as_deref_mut());
            *sums = [a, b * inverse_std + a * offset];
            sum += weight(channel) * sums[0];
            product += weight(channel) * sums[1];
        }
        let Some(of_x) = of_x else {
            return;
        };
        // dx = g w · inverse_std + x̂ · slope + shift, x̂ = (x − center) · inverse_std + offset.
        let count = self.x.len() as f64;
        let slope = -inverse_std * product / count;
        let shift = T::of(slope * offset - inverse_std * sum / count);
        let slope = T::of(slope * inverse_std);
        for (channel, of_x) in of_x.chunks_exact_mut(places).enumerate() {
            let plane = channel * places..(channel + 1) * places;
            let constants = [center, T::of(weight(channel) * inverse_std), slope, shift];
            let y = self.y.map(|y| &y[plane.clone()]);
            let (x, g) = (&self.x[plane.clone()], &self.upstream[plane]);
            planes::pull::<I, T>(x, g, y, constants, of_x, update);
        }
    }

    /// Σ g and Σ g (x − center) of the channel that begins at `start`.
    #[inline(always)]
    fn plane_sums(&self, start: usize, mut masked: Option<&mut [T]>) -> [f64; 2] {
        const RUN: usize = 4096;
        let mut wide = [0.0; 2];
        let end = start + self.sizes.places;
        for start in (start..end).step_by(RUN) {
            let run = start..(start + RUN).min(end);
            let mut lanes = [[T::ZERO; LANES]; 2];
            let y = self.y.map(|y| &y[run.clone()]);
            let masked = masked.as_mut().map(|masked| &mut masked[run.clone()]);
            let (x, g) = (&self.x[run.clone()], &self.upstream[run]);
            planes::add_sums(x, g, y, self.found.center, masked, &mut lanes);
            wide[0] += total(lanes[0]).to_f64();
            wide[1] += total(lanes[1]).to_f64();
        }
        wide
    }
}
