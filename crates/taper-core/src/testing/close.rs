//! Closeness of two tensors, measured against the magnitude of the expected one.

use candle_core::{DType, Tensor};

use crate::Result;

/// Panics unless every element of `actual` is within `tolerance * max |expected|` of `expected`.
///
/// Shapes and dtypes must be equal. Infinities and NaN must stand at the same places; they do not
/// count towards the magnitude. Where `expected` holds zeros only, the tolerance is absolute.
///
/// # Panics
/// With the worst element and how many are off.
#[track_caller]
#[allow(clippy::panic)] // It is an assertion, and `track_caller` shows the test's line.
pub fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    match difference(actual, expected, tolerance) {
        Ok(None) => {}
        Ok(Some(report)) => panic!("{report}"),
        Err(error) => panic!("assert_close: {error}"),
    }
}

fn difference(actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<Option<String>> {
    if actual.dims() != expected.dims() || actual.dtype() != expected.dtype() {
        return Ok(Some(format!(
            "expected {:?} of shape {:?}, got {:?} of shape {:?}",
            expected.dtype(),
            expected.dims(),
            actual.dtype(),
            actual.dims()
        )));
    }
    let (actual, dims) = (elements(actual)?, expected.dims());
    let expected = elements(expected)?;
    let magnitude =
        expected.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
    let allowed = tolerance * if magnitude > 0.0 { magnitude } else { 1.0 };
    let errors: Vec<f64> = actual.iter().zip(&expected).map(|(a, e)| distance(*a, *e)).collect();
    let off = errors.iter().filter(|error| **error > allowed).count();
    let worst = errors.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(worst.filter(|_| off > 0).map(|(at, error)| {
        format!(
            "{off} of {} elements are off; the worst is at {:?}: expected {:e}, got {:e}, which is \
             {error:e} away; {allowed:e} is allowed (tolerance {tolerance:e})",
            actual.len(),
            index_of(at, dims),
            expected[at],
            actual[at],
        )
    }))
}

/// 0 for equal infinities and for two NaN; infinite where only one side is such a value.
fn distance(actual: f64, expected: f64) -> f64 {
    if actual == expected || (actual.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let error = (actual - expected).abs();
    if error.is_finite() { error } else { f64::INFINITY }
}

pub(super) fn elements(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The index along each axis of the element at `flat` in row-major order.
pub(super) fn index_of(flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = dims
        .iter()
        .rev()
        .map(|dim| {
            let at = rest % dim;
            rest /= dim;
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn report(actual: &[f64], expected: &[f64], tolerance: f64) -> Option<String> {
        difference(&tensor(actual), &tensor(expected), tolerance).unwrap()
    }

    #[test]
    fn is_relative_to_the_largest_magnitude() {
        assert_eq!(report(&[1000.0, 0.5], &[1000.0, 0.0], 1e-3), None);
        let message = report(&[1000.0, 1.5], &[1000.0, 0.0], 1e-3).unwrap();
        assert!(message.contains("1 of 2") && message.contains("[1]"), "{message}");
    }

    #[test]
    fn non_finite_values_must_agree() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(report(&[inf, nan, 1.0], &[inf, nan, 1.0], 1e-9), None);
        assert!(report(&[inf, 1.0], &[-inf, 1.0], 1.0).is_some());
        assert!(report(&[nan, 1.0], &[1.0, 1.0], 1.0).is_some());
        assert!(report(&[1.0, 1.0], &[nan, 1.0], 1.0).is_some());
    }

    #[test]
    #[should_panic(expected = "shape [2]")]
    fn refuses_another_shape() {
        assert_close(&tensor(&[1.0]), &tensor(&[1.0, 1.0]), 1.0);
    }

    #[test]
    fn the_index_is_row_major() {
        assert_eq!(index_of(5, &[2, 3]), [1, 2]);
        assert_eq!(index_of(0, &[]), [0usize; 0]);
    }
}
