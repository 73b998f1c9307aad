//! Channels times a factor each, as gates, layer scale and drop path do.

use std::ops::Range;

use crate::columns::add_sums;
use crate::isa::dispatch;
use crate::lanes::sum_by;
use crate::linear::Gradient;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// Elements that are summed in T before the sum goes into f64.
const RUN: usize = 4096;

/// y = s x of x (samples, channels, places) with a factor s for each channel: other factors are these, too, with axes
/// taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The samples, which share the factors.
    pub samples: usize,
    /// The channels, each with its factor.
    pub channels: usize,
    /// The places of a channel.
    pub places: usize,
}

impl Scale {
    /// x and y (samples, channels, places), the factors (channels).
    pub fn forward<T: Element>(self, x: &[T], factor: &[T], y: &mut [T]) {
        self.check(&[x, y], &[factor]);
        self.times(x, factor, y, Update::Replace);
    }

    /// The gradients of x and of the factors from that of y.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        factor: &[T],
        upstream: &[T],
        of_x: Gradient<'_, T>,
        of_factor: Gradient<'_, T>,
    ) {
        self.check(&[x, upstream], &[factor]);
        if let Some((of_x, update)) = of_x {
            self.check(&[of_x], &[]);
            self.times(upstream, factor, of_x, update);
        }
        if let Some((of_factor, update)) = of_factor {
            self.check(&[], &[of_factor]);
            self.sums(x, upstream, of_factor, update);
        }
    }

    fn check<T>(self, like_x: &[&[T]], like_factor: &[&[T]]) {
        let size = self.samples * self.channels * self.places;
        assert!(like_x.iter().all(|it| it.len() == size), "the size of x");
        assert!(like_factor.iter().all(|it| it.len() == self.channels), "one factor a channel");
    }

    /// `to` = (or +=) each channel times its factor.
    fn times<T: Element>(self, x: &[T], factor: &[T], to: &mut [T], update: Update) {
        let size = self.per_task();
        threads::each(x.len().div_ceil(size), Chunks::new(to, size), |task, to| {
            let (start, mut done) = (task * size, 0);
            dispatch!(_I => while done < to.len() {
                let (channel, run) = self.run(start + done, to.len() - done);
                let (x, to) = (&x[start + done..][..run], &mut to[done..][..run]);
                if self.places == 1 {
                    join(x.iter().zip(&factor[channel..][..run]), to, update, |(x, s)| *x * *s);
                } else {
                    let s = factor[channel];
                    join(x.iter(), to, update, |x| *x * s);
                }
                done += run;
            });
        });
    }

    /// How many elements one task gets.
    fn per_task(self) -> usize {
        work::block(self.samples * self.channels * self.places)
    }

    /// The channel of an element, and for how many elements, of so many, what follows is alike: those of the channel;
    /// where a channel has one place, those up to the last channel.
    fn run(self, element: usize, most: usize) -> (usize, usize) {
        if self.places == 1 {
            let channel = element % self.channels;
            return (channel, most.min(self.channels - channel));
        }
        let channel = element / self.places % self.channels;
        (channel, most.min(self.places - element % self.places))
    }

    /// `sums` = (or +=) Σ g x of each channel.
    fn sums<T: Element>(self, x: &[T], upstream: &[T], sums: &mut [T], update: Update) {
        if self.places == 1 {
            let mut products = buffer::<T>(x.len());
            let size = self.per_task();
            threads::each(x.len().div_ceil(size), Chunks::new(&mut products, size), |task, to| {
                let range = task * size..task * size + to.len();
                let pairs = x[range.clone()].iter().zip(&upstream[range]);
                dispatch!(_I => join(pairs, to, Update::Replace, |(x, g)| *x * *g));
            });
            return add_sums(&products, self.channels, sums, update);
        }
        let rows = self.samples * self.channels;
        let mut of_rows = vec![0.0; rows];
        let some = work::rows(rows, self.places);
        threads::each(rows.div_ceil(some), Chunks::new(&mut of_rows, some), |task, of_rows| {
            for (at, sum) in of_rows.iter_mut().enumerate() {
                let row = (task * some + at) * self.places;
                *sum = inner(x, upstream, row..row + self.places);
            }
        });
        for (channel, to) in sums.iter_mut().enumerate() {
            let sum: f64 = of_rows.iter().skip(channel).step_by(self.channels).sum();
            *to = if update == Update::Add { *to + T::of(sum) } else { T::of(sum) };
        }
    }
}

/// Σ a b over a range.
fn inner<T: Element>(a: &[T], b: &[T], range: Range<usize>) -> f64 {
    let runs = a[range.clone()].chunks(RUN).zip(b[range].chunks(RUN));
    runs.map(|(a, b)| dispatch!(_I => sum_by(a.len(), |at| a[at] * b[at])).to_f64()).sum()
}

/// `to` = (or +=) f of each.
#[inline(always)]
fn join<T: Element, A>(
    all: impl Iterator<Item = A>,
    to: &mut [T],
    update: Update,
    f: impl Fn(A) -> T,
) {
    match update {
        Update::Replace => to.iter_mut().zip(all).for_each(|(to, it)| *to = f(it)),
        Update::Add => to.iter_mut().zip(all).for_each(|(to, it)| *to += f(it)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y, and the gradients of x and the factors, each replaced and then added to.
    fn run(scale: Scale, threads: usize) -> [Vec<f32>; 3] {
        let size = scale.samples * scale.channels * scale.places;
        let numbers = |length: usize, seed: usize| -> Vec<f32> {
            (0..length).map(|at| ((at * 7919 + seed) % 17) as f32 - 8.0).collect()
        };
        let (x, s, g) = (numbers(size, 1), numbers(scale.channels, 2), numbers(size, 3));
        let mut results = [vec![f32::NAN; size], vec![f32::NAN; size], vec![f32::NAN; s.len()]];
        let [y, of_x, of_s] = &mut results;
        threads::limit(threads, || {
            scale.forward(&x, &s, y);
            for update in [Update::Replace, Update::Add] {
                scale.backward(&x, &s, &g, Some((of_x, update)), Some((of_s, update)));
            }
        });
        results
    }

    #[test]
    fn each_element_is_that_of_its_channel() {
        // Whole numbers, so that every order of the sums is exact.
        for (samples, channels, places) in [
            (1, 1, 1),
            (2, 3, 4),
            (5, 7, 1),
            (1, 40_000, 1),
            (3, 1, 50_000),
            (40, 33, 49),
            (0, 3, 2),
        ] {
            let scale = Scale { samples, channels, places };
            let number = |at: usize, seed: usize| ((at * 7919 + seed) % 17) as f32 - 8.0;
            let mut sums = vec![0.0; channels];
            let results = run(scale, 1);
            assert_eq!(results, run(scale, 4));
            let [y, of_x, of_s] = results;
            for (at, (y, of_x)) in y.iter().zip(&of_x).enumerate() {
                let channel = at / places % channels;
                let (x, s, g) = (number(at, 1), number(channel, 2), number(at, 3));
                assert_eq!(*y, x * s);
                assert_eq!(*of_x, 2.0 * g * s);
                sums[channel] += 2.0 * x * g;
            }
            assert_eq!(of_s, sums, "{scale:?}");
        }
    }
}
