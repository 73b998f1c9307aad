use crate::isa::{Isa, dispatch};
use crate::lanes::{LANES, total};
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Σ x², each square and all sums in f64.
pub fn sum_of_squares<T: Element>(x: &[T]) -> f64 {
    let size = work::block(x.len());
    let mut sums = vec![0.0; x.len().div_ceil(size)];
    threads::each(sums.len(), Chunks::new(&mut sums, 1), |block, sum| {
        let x = &x[block * size..];
        let x = &x[..x.len().min(size)];
        sum[0] = dispatch!(I => squares::<I, T>(x));
    });
    sums.into_iter().sum()
}

#[inline(always)]
fn squares<I: Isa, T: Element>(x: &[T]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for at in 0..LANES {
            let x = block[at].to_f64();
            lanes[at] = x.fma::<I>(x, lanes[at]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        let x = x.to_f64();
        *lane = x.fma::<I>(x, *lane);
    }
    total(lanes)
}

/// x ← factor · x.
pub fn scale<T: Element>(x: &mut [T], factor: f64) {
    let factor = T::of(factor);
    each(x, |x| x * factor);
}

/// x ← min(max(x, −limit), limit); NaN stays.
pub fn clamp<T: Element>(x: &mut [T], limit: f64) {
    let limit = T::of(limit);
    each(x, |x| {
        let x = if x > limit { limit } else { x };
        if x < -limit { -limit } else { x }
    });
}

fn each<T: Element>(x: &mut [T], f: impl Fn(T) -> T + Sync) {
    let size = work::block(x.len());
    threads::each(x.len().div_ceil(size), Chunks::new(x, size), |_, x| {
        dispatch!(_I => x.iter_mut().for_each(|x| *x = f(*x)));
    });
}
