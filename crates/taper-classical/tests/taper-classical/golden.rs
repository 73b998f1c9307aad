//! Reads golden files, and compares with them.

use serde_json::Value;
use taper_classical::Matrix;

pub(crate) fn cases(json: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(json).unwrap();
    let cases = file["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

pub(crate) fn numbers(case: &Value, key: &str) -> Vec<f64> {
    serde_json::from_value(case[key]["data"].clone()).unwrap()
}

pub(crate) fn matrix(case: &Value, key: &str) -> Matrix {
    let [rows, columns]: [usize; 2] = serde_json::from_value(case[key]["shape"].clone()).unwrap();
    Matrix::new(rows, columns, numbers(case, key)).unwrap()
}

/// Asserts that all values are within `tolerance` of the expected, in units of the largest expected
/// magnitude.
#[track_caller]
pub(crate) fn assert_close(name: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        let difference = (value - expected).abs();
        assert!(difference <= tolerance * largest, "{name}: {value} for {expected} at {at}");
    }
}
