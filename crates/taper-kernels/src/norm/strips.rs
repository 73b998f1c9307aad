//! Loops over a strip of the columns of a matrix, where each column has constants of its own: channels with few
//! places each, so that the rows are the samples.

#![allow(unsafe_code)] // The rows of a strip are pieces of memory that no chunks describe.

use super::moments::Moments;
use super::planes::mask;
use crate::Element;
use crate::element::relu;
use crate::isa::Isa;
use crate::lanes::LANES;
use crate::matmul::Update;
use crate::threads::Disjoint;

/// Rows whose sums are kept in T: a strip of them stays in the first-level cache.
const RUN: usize = 64;

/// One value for each column.
pub(super) type Columns<T> = [T; LANES];

/// The columns `start..start + width` of a matrix with rows of `pitch` elements; at most as many as there are
/// lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    pub(super) pitch: usize,
    pub(super) start: usize,
    pub(super) width: usize,
}

impl Strip {
    /// The rows of the strip, with its width as the caller knows it: a constant makes the loops unroll.
    #[inline(always)]
    fn rows<T>(self, x: &[T], width: usize) -> impl Iterator<Item = &[T]> {
        x.chunks_exact(self.pitch).map(move |row| &row[self.start..self.start + width])
    }

    /// The moments of each column.
    #[inline(always)]
    pub(super) fn moments<I: Isa, T: Element>(self, x: &[T]) -> Columns<Moments> {
        match self.width {
            LANES => self.moments_of::<I, T>(x, LANES),
            width => self.moments_of::<I, T>(x, width),
        }
    }

    #[inline(always)]
    fn moments_of<I: Isa, T: Element>(self, x: &[T], width: usize) -> Columns<Moments> {
        let (mut mean, mut squares) = ([0.0; LANES], [0.0; LANES]);
        let mut taken = 0.0;
        for block in x.chunks(self.pitch * RUN) {
            let count = block.len() / self.pitch;
            let (center, sums, products) = self.block_sums::<I, T>(block, count, width);
            for at in 0..width {
                let (sum, product) = (sums[at].to_f64(), products[at].to_f64());
                let mut so_far = Moments { count: taken, mean: mean[at], squares: squares[at] };
                so_far.merge(Moments::about(count, center[at].to_f64(), sum, product));
                (mean[at], squares[at]) = (so_far.mean, so_far.squares);
            }
            taken += count as f64;
        }
        let mut moments = [Moments::default(); LANES];
        for at in 0..width {
            moments[at] = Moments { count: taken, mean: mean[at], squares: squares[at] };
            if !squares[at].is_finite() {
                let column = x.chunks_exact(self.pitch).map(|row| row[self.start + at].to_f64());
                moments[at] = Moments::wide(column, taken as usize);
            }
        }
        moments
    }

    /// A mean of each column of some rows, rounded, and the sums of the distances from it and of their squares.
    #[inline(always)]
    fn block_sums<I: Isa, T: Element>(
        self,
        block: &[T],
        count: usize,
        width: usize,
    ) -> (Columns<T>, Columns<T>, Columns<T>) {
        let mut center = [T::ZERO; LANES];
        for row in self.rows(block, width) {
            for at in 0..width {
                center[at] += row[at];
            }
        }
        let share = T::ONE / T::of(count as f64);
        center.iter_mut().for_each(|center| *center *= share);
        let (mut sums, mut products) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for row in self.rows(block, width) {
            for at in 0..width {
                let distance = row[at] - center[at];
                sums[at] += distance;
                products[at] = distance.fma::<I>(distance, products[at]);
            }
        }
        (center, sums, products)
    }

    /// y = f((x − center) · scale + shift + residual), f the identity or a rectifier.
    ///
    /// # Safety
    /// Nobody else uses these columns of `y`, which has as many rows as `x`.
    #[inline(always)]
    pub(super) unsafe fn normalize<I: Isa, T: Element>(
        self,
        x: &[T],
        residual: Option<&[T]>,
        constants: &[Columns<T>; 3],
        rectify: bool,
        y: &Disjoint<'_, T>,
    ) {
        let [center, scale, shift] = constants;
        let affine = |at: usize, x: T| (x - center[at]).fma::<I>(scale[at], shift[at]);
        // SAFETY: passed on.
        unsafe {
            match (residual, rectify) {
                (None, false) => {
                    self.write([x; 3], y, Update::Replace, |at, [x, ..]| affine(at, x))
                }
                (None, true) => {
                    self.write([x; 3], y, Update::Replace, |at, [x, ..]| relu(affine(at, x)))
                }
                (Some(r), false) => {
                    self.write([x, r, x], y, Update::Replace, |at, [x, r, _]| affine(at, x) + r)
                }
                (Some(r), true) => {
                    self.write([x, r, x], y, Update::Replace, |at, [x, r, _]| {
                        relu(affine(at, x) + r)
                    });
                }
            }
        }
    }

    /// Σ g and Σ g (x − center) of each column, as [`add_sums`](super::planes::add_sums) has them.
    ///
    /// # Safety
    /// Nobody else uses these columns of `masked`, which has as many rows as `x`.
    #[inline(always)]
    pub(super) unsafe fn sums<I: Isa, T: Element>(
        self,
        x: &[T],
        upstream: &[T],
        y: Option<&[T]>,
        center: &Columns<T>,
        masked: Option<&Disjoint<'_, T>>,
    ) -> [Columns<f64>; 2] {
        if let Some(masked) = masked {
            // SAFETY: passed on.
            unsafe {
                match y {
                    Some(y) => {
                        self.write([upstream, y, y], masked, Update::Replace, |_, [g, y, _]| {
                            mask(g, y)
                        })
                    }
                    None => self.write([upstream; 3], masked, Update::Replace, |_, [g, ..]| g),
                }
            }
        }
        match (y, self.width) {
            (Some(y), LANES) => self.sums_of::<I, T>([x, upstream, y], center, LANES, mask),
            (Some(y), width) => self.sums_of::<I, T>([x, upstream, y], center, width, mask),
            (None, LANES) => self.sums_of::<I, T>([x, upstream, x], center, LANES, |g, _| g),
            (None, width) => self.sums_of::<I, T>([x, upstream, x], center, width, |g, _| g),
        }
    }

    #[inline(always)]
    fn sums_of<I: Isa, T: Element>(
        self,
        [x, upstream, y]: [&[T]; 3],
        center: &Columns<T>,
        width: usize,
        mask: impl Fn(T, T) -> T,
    ) -> [Columns<f64>; 2] {
        let mut wide = [[0.0; LANES]; 2];
        let block = self.pitch * RUN;
        for ((x, g), y) in x.chunks(block).zip(upstream.chunks(block)).zip(y.chunks(block)) {
            let (mut sums, mut products) = ([T::ZERO; LANES], [T::ZERO; LANES]);
            let rows = self.rows(x, width).zip(self.rows(g, width)).zip(self.rows(y, width));
            for ((x, g), y) in rows {
                for at in 0..width {
                    let g = mask(g[at], y[at]);
                    sums[at] += g;
                    products[at] = g.fma::<I>(x[at] - center[at], products[at]);
                }
            }
            for at in 0..width {
                wide[0][at] += sums[at].to_f64();
                wide[1][at] += products[at].to_f64();
            }
        }
        wide
    }

    /// dx = (or +=) g · factor + (x − center) · slope + shift.
    ///
    /// # Safety
    /// Nobody else uses these columns of `gradient`, which has as many rows as `x`.
    #[inline(always)]
    pub(super) unsafe fn pull<I: Isa, T: Element>(
        self,
        x: &[T],
        upstream: &[T],
        y: Option<&[T]>,
        constants: &[Columns<T>; 4],
        gradient: &Disjoint<'_, T>,
        update: Update,
    ) {
        let [center, factor, slope, shift] = constants;
        let of = |at: usize, x: T, g: T| {
            g.fma::<I>(factor[at], (x - center[at]).fma::<I>(slope[at], shift[at]))
        };
        // SAFETY: passed on.
        unsafe {
            match y {
                None => {
                    self.write([x, upstream, x], gradient, update, |at, [x, g, _]| of(at, x, g))
                }
                Some(y) => self.write([x, upstream, y], gradient, update, |at, [x, g, y]| {
                    of(at, x, mask(g, y))
                }),
            }
        }
    }

    /// to = (or +=) f(column, operands).
    ///
    /// # Safety
    /// Nobody else uses these columns of `to`, which has as many rows as the operands.
    #[inline(always)]
    unsafe fn write<T: Element>(
        self,
        operands: [&[T]; 3],
        to: &Disjoint<'_, T>,
        update: Update,
        f: impl Fn(usize, [T; 3]) -> T,
    ) {
        // SAFETY: passed on.
        unsafe {
            match (self.width, update) {
                (LANES, Update::Replace) => self.write_of::<false, T>(operands, LANES, to, f),
                (width, Update::Replace) => self.write_of::<false, T>(operands, width, to, f),
                (width, Update::Add) => self.write_of::<true, T>(operands, width, to, f),
            }
        }
    }

    /// # Safety
    /// As for [`write`](Self::write).
    #[inline(always)]
    unsafe fn write_of<const ADD: bool, T: Element>(
        self,
        [a, b, c]: [&[T]; 3],
        width: usize,
        to: &Disjoint<'_, T>,
        f: impl Fn(usize, [T; 3]) -> T,
    ) {
        let rows = self.rows(a, width).zip(self.rows(b, width)).zip(self.rows(c, width));
        for (row, ((a, b), c)) in rows.enumerate() {
            let start = row * self.pitch + self.start;
            // SAFETY: the columns are this call's, and the rows of one call are used one after the other.
            let to = unsafe { to.slice(start..start + width) };
            // Stored when all is read: else each row begins with a check for overlap.
            let mut values = [T::ZERO; LANES];
            for at in 0..width {
                let value = f(at, [a[at], b[at], c[at]]);
                values[at] = if ADD { to[at] + value } else { value };
            }
            to.copy_from_slice(&values[..width]);
        }
    }
}
