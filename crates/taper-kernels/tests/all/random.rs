//! Random input and the comparison with what it should give.

use proptest::prelude::*;
use taper_kernels::Element;

/// Lengths around the widths of vectors and the edges of blocks.
pub(crate) fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..4usize, 14..19usize, 30..35usize, 62..67usize, 1..150usize]
}

/// `length` numbers between −2 and 2 that depend on the seed alone.
pub(crate) fn numbers<T: Element>(seed: u64, length: usize) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * 4.0 - 2.0
    };
    (0..length).map(|_| T::of(next())).collect()
}

/// The values as f64.
pub(crate) fn wide<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// That `values` are within `tolerance` of `expected`, relative to 1 or the largest magnitude expected.
pub(crate) fn assert_close<T: Element>(values: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len());
    let scale = expected.iter().fold(1.0, |scale: f64, value| scale.max(value.abs()));
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (value.to_f64() - expected).abs();
        assert!(error <= tolerance * scale, "element {at}: {value:?} for {expected}");
    }
}

/// The rounding that a kernel of `T` may show.
pub(crate) fn tolerance<T: Element>() -> f64 {
    if size_of::<T>() == 4 { 1e-5 } else { 1e-12 }
}
