//! The innermost loop: a block of sums that stays in registers.

#![allow(unsafe_code)]

use crate::Element;
use crate::isa::Isa;

/// Elements of a vector.
pub(crate) const LANES: usize = 8;
/// Vectors of a tile.
pub(crate) const VECTORS: usize = 2;
/// The most rows of a tile: with two vectors of eight f32 each they fill the sixteen registers of AVX2.
pub(crate) const ROWS: usize = 6;

/// M rows of sums.
pub(crate) type Tile<T, const M: usize> = [[[T; LANES]; VECTORS]; M];

/// What a tile reads: steps s over `outer` · `inner.len()` places, those of `inner` first.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a> {
    pub(crate) outer: usize,
    pub(crate) stride: usize,
    pub(crate) inner: &'a [usize],
}

impl Steps<'_> {
    pub(crate) fn count(&self) -> usize {
        self.outer * self.inner.len()
    }

    /// One past the last element that a vector at 0 reads.
    pub(crate) fn reach(&self) -> usize {
        let furthest = self.inner.iter().max().copied().unwrap_or(0);
        self.outer.saturating_sub(1) * self.stride + furthest + LANES
    }
}

/// tile[m][v][l] = Σ over the steps s of weights[s · M + m] · x[place(s) + starts[v] + l].
///
/// # Safety
/// `weights` has M · steps.count() elements, and `x` at least steps.reach() + starts[v] for both v.
#[inline(always)]
pub(crate) unsafe fn tile<I: Isa, T: Element, const M: usize>(
    weights: &[T],
    x: &[T],
    starts: [usize; VECTORS],
    steps: Steps<'_>,
) -> Tile<T, M> {
    debug_assert!(weights.len() >= M * steps.count());
    debug_assert!(starts.iter().all(|start| start + steps.reach() <= x.len()));
    let mut sums = [[[T::ZERO; LANES]; VECTORS]; M];
    let mut weights = weights.as_ptr();
    let mut x = x.as_ptr();
    for _ in 0..steps.outer {
        for &place in steps.inner {
            // SAFETY: both vectors and the M weights of this step are within what the caller promises.
            unsafe {
                let first = x.add(place + starts[0]).cast::<[T; LANES]>().read_unaligned();
                let second = x.add(place + starts[1]).cast::<[T; LANES]>().read_unaligned();
                for (row, sums) in sums.iter_mut().enumerate() {
                    let weight = *weights.add(row);
                    for lane in 0..LANES {
                        sums[0][lane] = first[lane].fma::<I>(weight, sums[0][lane]);
                    }
                    for lane in 0..LANES {
                        sums[1][lane] = second[lane].fma::<I>(weight, sums[1][lane]);
                    }
                }
                weights = weights.add(M);
            }
        }
        x = x.wrapping_add(steps.stride);
    }
    sums
}

/// Cuts `count` rows into blocks of nearly the same size, at most [`ROWS`]: where each begins.
pub(crate) fn blocks(count: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let blocks = count.div_ceil(ROWS);
    (0..blocks).map(move |block| block * count / blocks..(block + 1) * count / blocks)
}

/// Evaluates an expression with a constant for the rows of a tile.
macro_rules! with_rows {
    ($rows:expr, $m:ident => $body:expr) => {
        match $rows {
            1 => with_rows!(@ 1, $m => $body),
            2 => with_rows!(@ 2, $m => $body),
            3 => with_rows!(@ 3, $m => $body),
            4 => with_rows!(@ 4, $m => $body),
            5 => with_rows!(@ 5, $m => $body),
            _ => with_rows!(@ 6, $m => $body),
        }
    };
    (@ $rows:literal, $m:ident => $body:expr) => {{
        const $m: usize = $rows;
        $body
    }};
}
pub(crate) use with_rows;
