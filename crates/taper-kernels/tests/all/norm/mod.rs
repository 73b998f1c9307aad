//! Normalization against an oracle, on sizes around the widths of strips and lanes.

mod batch;
mod channels;
mod group;
mod local_response;
mod oracle;
mod rows;
mod weight;

use taper_kernels::Element;

/// Numbers without a pattern, from −1 to 1 around `mean`.
fn noise(seed: u64, length: usize, mean: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..length).map(|_| mean + 2.0 * next() - 1.0).collect()
}

fn narrow<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|value| T::of(*value)).collect()
}

fn widen<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Within `tolerance` of the largest expected magnitude, or of 1.
#[track_caller]
fn assert_near<T: Element>(what: &str, actual: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0, |most: f64, it| most.max(it.abs()));
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let off = (actual.to_f64() - expected).abs();
        assert!(off <= tolerance * largest, "{what} {at}: {actual:?}, not {expected:?}");
    }
}
