//! Layer and root-mean-square normalization: each row of a matrix by its own statistics, with a weight and a bias for
//! each column.

use std::ops::Range;

use super::moments::{Moments, add_terms};
use super::planes::mask;
use super::{Gradients, Input};
use crate::element::relu;
use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, sum_by, total};
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Elements of a row that are summed in T before the sum goes into f64.
const RUN: usize = 4096;
/// Rows whose products are summed in T before the sum goes into f64.
const GROUP: usize = 256;
/// The most parts into which the rows are cut for the gradients of the columns: each has sums of its own.
const PARTS: usize = 16;
/// The fewest rows that are worth sums of their own.
const LEAST: usize = 32;
/// Columns whose sums a tile keeps in registers.
const WIDTH: usize = 16;
/// Rows that share a pass over the columns.
const TILE: usize = 8;
/// Elements of a tile: with its companions it stays in the first-level cache.
const TILE_SIZE: usize = 4096;

/// What a row subtracts and multiplies by: x̂ = (x − center) · inverse_std + offset, where the offset has the
/// digits of the mean that the center lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Row<T> {
    pub(super) center: T,
    pub(super) inverse_std: T,
    pub(super) offset: T,
}

impl<T: Element> Row<T> {
    /// The mean and the biased variance of the row, which was normalised with this ε: each with the digits that T
    /// has for the mean and for the variance plus ε.
    pub fn moments(self, eps: f64) -> [f64; 2] {
        let inverse_std = self.inverse_std.to_f64();
        let variance = inverse_std.powi(2).recip() - eps;
        // Rounding can make it negative; NaN stays.
        let variance = if variance < 0.0 { 0.0 } else { variance };
        [self.center.to_f64() - self.offset.to_f64() / inverse_std, variance]
    }

    #[inline(always)]
    fn normal<I: Isa>(self, x: T) -> T {
        (x - self.center).fma::<I>(self.inverse_std, self.offset)
    }
}

/// What normalises these values, around their mean or around 0.
#[inline(always)]
pub(super) fn measure<I: Isa, T: Element>(x: &[T], centred: bool, eps: f64) -> Row<T> {
    let mut moments = Moments::default();
    for run in x.chunks(RUN) {
        moments.merge(match centred {
            true => Moments::of::<I, T>([run].into_iter(), run.len()),
            false => Moments::about_zero::<I, T>(run),
        });
    }
    let inverse_std = (moments.squares / moments.count + eps).sqrt().recip();
    let center = T::of(moments.mean);
    let offset = T::of((center.to_f64() - moments.mean) * inverse_std);
    Row { center, inverse_std: T::of(inverse_std), offset }
}

/// The sizes of a normalization of each row by itself, y = f(w x̂ + b + r) over x (rows, columns) with w and b (columns):
/// layer normalization, or root-mean-square normalization, where x̂ is x / √(mean x² + ε).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowNorm {
    /// The samples, each with its own statistics.
    pub rows: usize,
    /// The features of a sample.
    pub columns: usize,
    /// Whether the mean is subtracted: layer normalization.
    pub centred: bool,
    /// Whether f is a rectifier rather than the identity.
    pub rectify: bool,
}

impl RowNorm {
    /// Normalises; returns what each row was normalised by.
    pub fn forward<T: Element>(self, input: Input<'_, T>, eps: f64, y: &mut [T]) -> Vec<Row<T>> {
        let Self { rows, columns, .. } = self;
        assert!(input.x.len() == rows * columns && y.len() == rows * columns, "the size of x");
        assert!(input.residual.is_none_or(|it| it.len() == y.len()), "the size of x");
        for it in [input.weight, input.bias].into_iter().flatten() {
            assert_eq!(it.len(), columns, "one value a column");
        }
        let mut found = vec![Row::default(); rows];
        if y.is_empty() {
            return found;
        }
        let size = work::rows(rows, 2 * columns);
        let parts = (Chunks::new(&mut found, size), Chunks::new(y, size * columns));
        threads::each(rows.div_ceil(size), parts, |task, (found, y)| {
            let start = task * size * columns;
            let x = &input.x[start..][..y.len()];
            let residual = input.residual.map(|residual| &residual[start..][..y.len()]);
            let input = Input { x, residual, ..input };
            dispatch!(I => self.normalize_rows::<I, T>(input, eps, found, y));
        });
        found
    }

    #[inline(always)]
    fn normalize_rows<I: Isa, T: Element>(
        self,
        input: Input<'_, T>,
        eps: f64,
        found: &mut [Row<T>],
        y: &mut [T],
    ) {
        let rows = input.x.chunks_exact(self.columns).zip(y.chunks_exact_mut(self.columns));
        for (at, ((x, y), found)) in rows.zip(found).enumerate() {
            *found = measure::<I, T>(x, self.centred, eps);
            let row = *found;
            match (input.weight, input.bias) {
                (Some(w), Some(b)) => {
                    for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
                        *y = row.normal::<I>(*x).fma::<I>(*w, *b);
                    }
                }
                (Some(w), None) => {
                    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                        *y = row.normal::<I>(*x) * *w;
                    }
                }
                (None, bias) => {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = row.normal::<I>(*x);
                    }
                    if let Some(bias) = bias {
                        y.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
                    }
                }
            }
            // The row is still in the cache.
            let residual = input.residual.map(|it| &it[at * self.columns..][..self.columns]);
            match (residual, self.rectify) {
                (None, false) => {}
                (None, true) => y.iter_mut().for_each(|y| *y = relu(*y)),
                (Some(r), false) => y.iter_mut().zip(r).for_each(|(y, r)| *y += *r),
                (Some(r), true) => y.iter_mut().zip(r).for_each(|(y, r)| *y = relu(*y + *r)),
            }
        }
    }

    /// The gradients from `upstream`, that of the result `y`, and what each row was normalised by.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        weight: Option<&[T]>,
        y: &[T],
        upstream: &[T],
        found: &[Row<T>],
        gradients: Gradients<'_, T>,
    ) {
        let Self { rows, columns, .. } = self;
        for it in [x, y, upstream] {
            assert_eq!(it.len(), rows * columns, "the size of x");
        }
        assert_eq!(found.len(), rows, "the statistics of each row");
        let Gradients { x: of_x, weight: of_weight, bias: of_bias, residual } = gradients;
        let part = self.part();
        let parts = if x.is_empty() { 0 } else { rows.div_ceil(part) };
        let (of_x, update) = match of_x {
            Some((of_x, update)) => (Some(Chunks::new(of_x, part * columns)), update),
            None => (None, Update::Replace),
        };
        let (residual, of_residual) = match residual {
            Some((residual, update)) => (Some(Chunks::new(residual, part * columns)), update),
            None => (None, Update::Replace),
        };
        let of_columns = of_weight.is_some() || of_bias.is_some();
        let mut sums = vec![0.0; if of_columns { parts * 2 * columns } else { 0 }];
        let of_parts = of_columns.then(|| Chunks::new(&mut sums, 2 * columns));
        threads::each(parts, (of_x, residual, of_parts), |task, (of_x, residual, sums)| {
            let rows = task * part..((task + 1) * part).min(rows);
            let range = rows.start * columns..rows.end * columns;
            let call = Pull {
                columns,
                centred: self.centred,
                x: &x[range.clone()],
                y: self.rectify.then(|| &y[range.clone()]),
                weight,
                upstream: &upstream[range],
                found: &found[rows],
                update,
                of_residual,
            };
            dispatch!(I => call.run::<I>(of_x, residual, sums));
        });
        let first = sums.len().min(2 * columns);
        let (sums, others) = sums.split_at_mut(first);
        for other in others.chunks_exact(first.max(1)) {
            sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += *other);
        }
        for (at, gradient) in [of_weight, of_bias].into_iter().enumerate() {
            let Some((gradient, update)) = gradient else {
                continue;
            };
            for (column, to) in gradient.iter_mut().enumerate() {
                // Without rows there is no part.
                let sum = T::of(sums.get(at * columns + column).copied().unwrap_or(0.0));
                *to = if update == Update::Add { *to + sum } else { sum };
            }
        }
    }

    /// How many rows one part has: by the sizes alone.
    fn part(self) -> usize {
        let least = work::rows(self.rows, 4 * self.columns).max(LEAST.min(self.rows));
        self.rows.div_ceil(PARTS).max(least).next_multiple_of(TILE)
    }
}

/// A part of the rows in the backward pass.
struct Pull<'a, T> {
    columns: usize,
    centred: bool,
    x: &'a [T],
    /// Where there is a rectifier.
    y: Option<&'a [T]>,
    weight: Option<&'a [T]>,
    upstream: &'a [T],
    found: &'a [Row<T>],
    update: Update,
    /// As `update`, for the residual.
    of_residual: Update,
}

/// dx = g w · factor + x̂ · slope + shift.
#[derive(Clone, Copy, Default)]
struct Constants<T> {
    row: Row<T>,
    slope: T,
    shift: T,
}

impl<T: Element> Pull<'_, T> {
    /// `sums` are those of the columns, of g x̂ and then of g.
    #[inline(always)]
    fn run<I: Isa>(
        &self,
        mut of_x: Option<&mut [T]>,
        mut residual: Option<&mut [T]>,
        mut sums: Option<&mut [f64]>,
    ) {
        let columns = self.columns;
        let tile = (TILE_SIZE / columns).clamp(1, TILE);
        let mut masked = vec![T::ZERO; if self.y.is_some() { tile * columns } else { 0 }];
        let length = if sums.is_some() { columns } else { 0 };
        let mut narrow = vec![T::ZERO; 2 * length];
        let (narrow_products, narrow_sums) = narrow.split_at_mut(length);
        let rows = self.found.len();
        for group in (0..rows).step_by(GROUP) {
            let end = (group + GROUP).min(rows);
            for start in (group..end).step_by(tile) {
                let rows = start..(start + tile).min(end);
                let range = start * columns..rows.end * columns;
                let g = self.through_rectifier(range.clone(), &mut masked);
                if let Some(residual) = &mut residual {
                    self.hand_on(g, &mut residual[range.clone()]);
                }
                let mut constants = [Constants::default(); TILE];
                for (at, row) in rows.clone().enumerate() {
                    let g = &g[at * columns..][..columns];
                    constants[at] = self.constants::<I>(row, g, of_x.is_some());
                }
                let constants = &constants[..rows.len()];
                let of_x = of_x.as_deref_mut().map(|it| &mut it[range.clone()]);
                let x = &self.x[range];
                self.pull_tile::<I>(x, g, constants, of_x, [narrow_products, narrow_sums]);
            }
            if let Some(sums) = &mut sums {
                let (products, sums) = sums.split_at_mut(columns);
                flush(products, narrow_products);
                flush(sums, narrow_sums);
            }
        }
    }

    /// The gradient of a tile before the rectifier, if there is one.
    #[inline(always)]
    fn through_rectifier<'a>(&'a self, range: Range<usize>, masked: &'a mut [T]) -> &'a [T] {
        let g = &self.upstream[range.clone()];
        let Some(y) = self.y else {
            return g;
        };
        let masked = &mut masked[..g.len()];
        for ((to, g), y) in masked.iter_mut().zip(g).zip(&y[range]) {
            *to = mask(*g, *y);
        }
        masked
    }

    /// The residual's gradient.
    #[inline(always)]
    fn hand_on(&self, g: &[T], residual: &mut [T]) {
        match self.of_residual {
            Update::Replace => residual.copy_from_slice(g),
            Update::Add => residual.iter_mut().zip(g).for_each(|(to, g)| *to += *g),
        }
    }

    fn row(&self, row: usize) -> Range<usize> {
        row * self.columns..(row + 1) * self.columns
    }

    /// What the gradient of a row is made of: the means of g w and of g w x̂.
    #[inline(always)]
    fn constants<I: Isa>(&self, row: usize, g: &[T], wanted: bool) -> Constants<T> {
        let found = self.found[row];
        if !wanted {
            return Constants { row: found, ..Default::default() };
        }
        let x = &self.x[self.row(row)];
        let (mut sum, mut product) = (0.0, 0.0);
        for start in (0..self.columns).step_by(RUN) {
            let end = (start + RUN).min(self.columns);
            let (x, g) = (&x[start..end], &g[start..end]);
            let [a, b] = match self.weight {
                Some(weight) => two_sums::<I, T>(x, g, &weight[start..end], found),
                None => {
                    let inner = |at: usize| g[at] * (x[at] - found.center);
                    [sum_by(g.len(), |at| g[at]), sum_by(g.len(), inner)]
                }
            };
            sum += a.to_f64();
            product += b.to_f64();
        }
        let count = self.columns as f64;
        let inverse_std = found.inverse_std.to_f64();
        let product = product * inverse_std + sum * found.offset.to_f64();
        let sum = if self.centred { sum } else { 0.0 };
        let [slope, shift] = [product, sum].map(|sum| T::of(-inverse_std * sum / count));
        Constants { row: found, slope, shift }
    }

    /// The gradients of a few rows while they are in the cache.
    #[inline(always)]
    fn pull_tile<I: Isa>(
        &self,
        x: &[T],
        g: &[T],
        constants: &[Constants<T>],
        mut of_x: Option<&mut [T]>,
        [products, sums]: [&mut [T]; 2],
    ) {
        let columns = self.columns;
        let mut start = 0;
        while start < columns {
            let width = WIDTH.min(columns - start);
            let mut weight = [T::ONE; WIDTH];
            if let Some(it) = self.weight {
                weight[..width].copy_from_slice(&it[start..start + width]);
            }
            let block = Block { columns, start, g, x, constants, weight: &weight };
            let whole = width == WIDTH;
            let found = match (&mut of_x, self.update) {
                (Some(of_x), Update::Replace) if whole => block.pull::<I, true, false>(WIDTH, of_x),
                (Some(of_x), Update::Replace) => block.pull::<I, true, false>(width, of_x),
                (Some(of_x), Update::Add) => block.pull::<I, true, true>(width, of_x),
                (None, _) => block.pull::<I, false, false>(width, &mut []),
            };
            if !products.is_empty() {
                let [of_products, of_sums] = &found;
                add_to(&mut products[start..start + width], of_products);
                add_to(&mut sums[start..start + width], of_sums);
            }
            start += width;
        }
    }
}

/// Σ g w and Σ g w (x − center).
#[inline(always)]
fn two_sums<I: Isa, T: Element>(x: &[T], g: &[T], weight: &[T], row: Row<T>) -> [T; 2] {
    let mut lanes = [[T::ZERO; LANES]; 2];
    add_terms(x, g, weight, &mut lanes, |x, g, w| {
        let g = g * w;
        [g, g * (x - row.center)]
    });
    [total(lanes[0]), total(lanes[1])]
}

/// Moves what was summed so far into f64.
#[inline(always)]
fn flush<T: Element>(wide: &mut [f64], narrow: &mut [T]) {
    for (wide, narrow) in wide.iter_mut().zip(&*narrow) {
        *wide += narrow.to_f64();
    }
    narrow.fill(T::ZERO);
}

/// sums += addends.
#[inline(always)]
fn add_to<T: Element>(sums: &mut [T], addends: &[T; WIDTH]) {
    match <&mut [T; WIDTH]>::try_from(&mut *sums) {
        Ok(sums) => {
            for at in 0..WIDTH {
                sums[at] += addends[at];
            }
        }
        Err(_) => {
            for (sum, addend) in sums.iter_mut().zip(addends) {
                *sum += *addend;
            }
        }
    }
}

/// Some columns of a tile.
struct Block<'a, T> {
    columns: usize,
    start: usize,
    x: &'a [T],
    g: &'a [T],
    constants: &'a [Constants<T>],
    weight: &'a [T; WIDTH],
}

impl<T: Element> Block<'_, T> {
    /// Writes dx or adds to it; returns Σ g x̂ and Σ g of each column.
    #[inline(always)]
    fn pull<I: Isa, const WRITE: bool, const ADD: bool>(
        &self,
        width: usize,
        of_x: &mut [T],
    ) -> [[T; WIDTH]; 2] {
        let (mut products, mut sums) = ([T::ZERO; WIDTH], [T::ZERO; WIDTH]);
        for (row, constants) in self.constants.iter().enumerate() {
            let start = row * self.columns + self.start;
            let (x, g) = (&self.x[start..start + width], &self.g[start..start + width]);
            let Constants { row: found, slope, shift } = *constants;
            let mut values = [T::ZERO; WIDTH];
            for at in 0..width {
                let normal = found.normal::<I>(x[at]);
                products[at] = g[at].fma::<I>(normal, products[at]);
                sums[at] += g[at];
                let straight = g[at] * self.weight[at];
                values[at] = straight.fma::<I>(found.inverse_std, normal.fma::<I>(slope, shift));
            }
            if WRITE {
                let to = &mut of_x[start..start + width];
                if ADD {
                    for at in 0..width {
                        values[at] += to[at];
                    }
                }
                to.copy_from_slice(&values[..width]);
            }
        }
        [products, sums]
    }
}
