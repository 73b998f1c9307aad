//! Local response normalization: each value by the squares of its neighbours in other channels.

use std::ops::Range;

use super::strips::Columns;
use crate::isa::{Isa, dispatch};
use crate::lanes::LANES;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// A local response normalization over x (samples, channels, places): y = x d⁻ᵝ with d = k + α / size · Σ x², the
/// sum over the channels from size / 2 before to (size − 1) / 2 behind, as far as they are there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponseNorm {
    /// The samples.
    pub samples: usize,
    /// The channels of a sample.
    pub channels: usize,
    /// The places of a channel.
    pub places: usize,
    /// The channels of a window, at least 1.
    pub size: usize,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
    /// k, above 0.
    pub k: f64,
}

impl LocalResponseNorm {
    /// Normalises.
    pub fn forward<T: Element>(self, x: &[T], y: &mut [T]) {
        self.check(&[x, y]);
        let size = self.per_task();
        threads::each(x.len().div_ceil(size), Chunks::new(y, size), |task, y| {
            dispatch!(I => self.normalize::<I, T>(task * size, x, y));
        });
    }

    /// The gradient of x from `upstream`, that of the result.
    pub fn backward<T: Element>(self, x: &[T], upstream: &[T], of_x: &mut [T], update: Update) {
        self.check(&[x, upstream, of_x]);
        let size = self.per_task();
        let tasks = x.len().div_ceil(size);
        // dx = g d⁻ᵝ − 2 α β / size · x · Σ t with t = g x d⁻ᵝ⁻¹, over the channels whose window has this one.
        let mut terms = buffer::<T>(x.len());
        let parts = (Chunks::new(&mut terms, size), Chunks::new(of_x, size));
        threads::each(tasks, parts, |task, (terms, of_x)| {
            dispatch!(I => self.pull::<I, T>(task * size, [x, upstream], terms, of_x, update));
        });
        threads::each(tasks, Chunks::new(of_x, size), |task, of_x| {
            dispatch!(I => self.pull_through_sums::<I, T>(task * size, x, &terms, of_x));
        });
    }

    #[inline(always)]
    fn normalize<I: Isa, T: Element>(self, start: usize, x: &[T], y: &mut [T]) {
        for block in self.blocks(start..start + y.len()) {
            let [factors, _] = self.factors::<I, T>(x, &block);
            let places = block.range();
            let y = &mut y[places.start - start..places.end - start];
            for ((y, x), factor) in y.iter_mut().zip(&x[places]).zip(&factors) {
                *y = *x * *factor;
            }
        }
    }

    /// Writes t, and dx as far as it does not go through the sums.
    #[inline(always)]
    fn pull<I: Isa, T: Element>(
        self,
        start: usize,
        [x, upstream]: [&[T]; 2],
        terms: &mut [T],
        of_x: &mut [T],
        update: Update,
    ) {
        for block in self.blocks(start..start + of_x.len()) {
            let [factors, slopes] = self.factors::<I, T>(x, &block);
            let places = block.range();
            let own = places.start - start..places.end - start;
            let (x, upstream) = (&x[places.clone()], &upstream[places]);
            let operands = x.iter().zip(upstream).zip(&slopes);
            for (term, ((x, g), slope)) in terms[own.clone()].iter_mut().zip(operands) {
                *term = *g * *x * *slope;
            }
            let of_x = of_x[own].iter_mut().zip(upstream).zip(&factors);
            match update {
                Update::Replace => of_x.for_each(|((to, g), factor)| *to = *g * *factor),
                Update::Add => of_x.for_each(|((to, g), factor)| *to += *g * *factor),
            }
        }
    }

    /// Adds to dx what goes through the sums.
    #[inline(always)]
    fn pull_through_sums<I: Isa, T: Element>(
        self,
        start: usize,
        x: &[T],
        terms: &[T],
        of_x: &mut [T],
    ) {
        let scale = T::of(-2.0 * self.alpha * self.beta / self.size as f64);
        let readers = self.window().mirrored();
        for block in self.blocks(start..start + of_x.len()) {
            let sums = readers.sums(terms, &block, |sum, term| sum + term);
            let places = block.range();
            let of_x = &mut of_x[places.start - start..places.end - start];
            for ((to, x), sum) in of_x.iter_mut().zip(&x[places]).zip(&sums) {
                *to = (*x * scale).fma::<I>(*sum, *to);
            }
        }
    }

    /// d⁻ᵝ and d⁻ᵝ⁻¹ for each place of a block.
    #[inline(always)]
    fn factors<I: Isa, T: Element>(self, x: &[T], block: &Block) -> [Columns<T>; 2] {
        let sums = self.window().sums(x, block, |sum, x: T| x.fma::<I>(x, sum));
        let (scale, k) = (T::of(self.alpha / self.size as f64), T::of(self.k));
        let d = sums.map(|sum| sum.fma::<I>(scale, k));
        // The usual exponents without a power. Each form is 0 where d is infinite.
        if self.beta == 0.75 {
            each_lane(&d, |d| {
                let r = T::ONE / d.sqrt();
                let factor = r * r.sqrt();
                [factor, factor * (r * r)]
            })
        } else if self.beta == 0.5 {
            each_lane(&d, |d| {
                let r = T::ONE / d.sqrt();
                [r, r * (r * r)]
            })
        } else if self.beta == 1.0 {
            each_lane(&d, |d| {
                let r = T::ONE / d;
                [r, r * r]
            })
        } else {
            each_lane(&d, |d| {
                let d = d.to_f64();
                let factor = d.powf(-self.beta);
                [T::of(factor), T::of(factor / d)]
            })
        }
    }

    fn window(self) -> Window {
        let last = self.channels.saturating_sub(1);
        Window {
            channels: self.channels,
            places: self.places,
            before: (self.size / 2).min(last),
            behind: ((self.size - 1) / 2).min(last),
        }
    }

    fn check<T>(self, all: &[&[T]]) {
        assert!(self.size > 0, "a window of at least one channel");
        for it in all {
            assert_eq!(it.len(), self.samples * self.length(), "the size of x");
        }
    }

    /// The elements of a sample.
    fn length(self) -> usize {
        self.channels * self.places
    }

    /// The elements that one task gets: by the sizes alone.
    fn per_task(self) -> usize {
        let cost = self.size.min(self.channels) + 8;
        work::rows(self.samples * self.length(), cost).next_multiple_of(2 * LANES)
    }

    /// Blocks of neighbours of one sample, at most as many as there are lanes, that make up `range`.
    fn blocks(self, range: Range<usize>) -> impl Iterator<Item = Block> {
        let length = self.length().max(1);
        let mut start = range.start;
        std::iter::from_fn(move || {
            let sample = start / length * length;
            let end = (start + LANES).min(range.end).min(sample + length);
            let block = Block { sample, start: start - sample, width: end - start };
            let some = start < range.end;
            start = end;
            some.then_some(block)
        })
    }
}

/// Elements of a sample that are worked on together.
struct Block {
    /// Where the sample begins.
    sample: usize,
    /// Where in the sample the block begins.
    start: usize,
    width: usize,
}

impl Block {
    fn range(&self) -> Range<usize> {
        let start = self.sample + self.start;
        start..start + self.width
    }
}

/// A window over the channels of a sample. Its elements are in a row, with the neighbour in the next channel
/// `places` further, so that a block may cross from a channel into the next.
#[derive(Debug, Clone, Copy)]
struct Window {
    channels: usize,
    places: usize,
    /// The channels before the own one.
    before: usize,
    /// The channels behind the own one.
    behind: usize,
}

impl Window {
    /// The channels whose window has the own one.
    fn mirrored(self) -> Self {
        Self { before: self.behind, behind: self.before, ..self }
    }

    /// For each place of a block the sum over its window.
    #[inline(always)]
    fn sums<T: Element>(self, x: &[T], block: &Block, add: impl Fn(T, T) -> T) -> Columns<T> {
        let x = &x[block.sample..][..self.channels * self.places];
        let first = self.neighbours(block.start / self.places);
        let last = self.neighbours((block.start + block.width - 1) / self.places);
        if first != last {
            return self.sums_one_by_one(x, block, add);
        }
        match block.width {
            LANES => self.sums_of(x, block.start, LANES, first, add),
            width => self.sums_of(x, block.start, width, first, add),
        }
    }

    /// [`sums`](Self::sums) where all of the block have the same neighbours; a constant width makes the loops
    /// unroll.
    #[inline(always)]
    fn sums_of<T: Element>(
        self,
        x: &[T],
        start: usize,
        width: usize,
        neighbours: Range<usize>,
        add: impl Fn(T, T) -> T,
    ) -> Columns<T> {
        let mut sums = [T::ZERO; LANES];
        for neighbour in neighbours {
            let from = start + neighbour * self.places - self.before * self.places;
            let x = &x[from..from + width];
            for at in 0..width {
                sums[at] = add(sums[at], x[at]);
            }
        }
        sums
    }

    /// [`sums`](Self::sums) near the first and the last channel.
    #[inline(always)]
    fn sums_one_by_one<T: Element>(
        self,
        x: &[T],
        block: &Block,
        add: impl Fn(T, T) -> T,
    ) -> Columns<T> {
        let mut sums = [T::ZERO; LANES];
        for (at, sum) in sums.iter_mut().enumerate().take(block.width) {
            let own = block.start + at;
            for neighbour in self.neighbours(own / self.places) {
                *sum = add(*sum, x[own + neighbour * self.places - self.before * self.places]);
            }
        }
        sums
    }

    /// Which channels of the window of `channel` are there, counted from the first of the window.
    #[inline(always)]
    fn neighbours(self, channel: usize) -> Range<usize> {
        let first = self.before.saturating_sub(channel);
        first..(self.before + self.behind + 1).min(self.channels + self.before - channel)
    }
}

/// Two values of each lane.
#[inline(always)]
fn each_lane<T: Element>(d: &Columns<T>, f: impl Fn(T) -> [T; 2]) -> [Columns<T>; 2] {
    let mut both = [[T::ZERO; LANES]; 2];
    for at in 0..LANES {
        let [first, second] = f(d[at]);
        both[0][at] = first;
        both[1][at] = second;
    }
    both
}
