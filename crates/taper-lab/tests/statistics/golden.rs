//! Against SciPy and NumPy; `tests/golden/statistics.py` made the numbers.

use serde_json::Value;
use taper_lab::stats::{
    Alternative, FlipMethod, RESAMPLES, bca_interval, mean, quantile, sd, seeds_needed, sign_flip,
    student_interval, student_p,
};

fn cases(kind: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("../golden/statistics.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let found: Vec<Value> = cases.iter().filter(|case| case["kind"] == kind).cloned().collect();
    assert!(!found.is_empty(), "no cases of kind {kind}");
    found
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap()
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn alternative(case: &Value) -> Alternative {
    match case["alternative"].as_str().unwrap() {
        "two-sided" => Alternative::TwoSided,
        "greater" => Alternative::Greater,
        _ => Alternative::Less,
    }
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, case: &Value) {
    let allowed = tolerance * expected.abs().max(1e-3);
    assert!((found - expected).abs() <= allowed, "{found} against {expected}: {case}");
}

#[test]
fn mean_and_standard_deviation() {
    for case in cases("summary") {
        let values = numbers(&case, "values");
        close(mean(&values), number(&case, "mean"), 1e-14, &case);
        close(sd(&values), number(&case, "sd"), 1e-12, &case);
    }
}

#[test]
fn quantiles() {
    for case in cases("quantile") {
        let found = quantile(&numbers(&case, "values"), number(&case, "q")).unwrap();
        close(found, number(&case, "quantile"), 1e-12, &case);
    }
}

#[test]
fn student_intervals() {
    for case in cases("interval") {
        let found = student_interval(&numbers(&case, "values"), number(&case, "level")).unwrap();
        let expected = numbers(&case, "interval");
        close(found.low, expected[0], 1e-10, &case);
        close(found.high, expected[1], 1e-10, &case);
    }
}

#[test]
fn student_p_values() {
    for case in cases("student_p") {
        let values = numbers(&case, "values");
        let found = student_p(&values, number(&case, "null"), alternative(&case)).unwrap();
        close(found.unwrap(), number(&case, "p"), 1e-9, &case);
    }
}

#[test]
fn sign_flip_p_values() {
    for case in cases("sign_flip") {
        let (values, null) = (numbers(&case, "values"), number(&case, "null"));
        let stream = &mut taper_core::stream(0, "golden");
        let found = sign_flip(&values, null, alternative(&case), stream).unwrap();
        assert_eq!(found.method, FlipMethod::Exact);
        close(found.p, number(&case, "p"), 1e-12, &case);
    }
}

#[test]
fn bootstrap_intervals_up_to_the_noise_of_resampling() {
    for case in cases("bca") {
        let values = numbers(&case, "values");
        let level = number(&case, "level");
        let stream = &mut taper_core::stream(0, "golden");
        let found = bca_interval(&values, level, RESAMPLES, stream).unwrap();
        let expected = numbers(&case, "interval");
        // The end of a 95% interval from 10,000 resamples has a standard error of about 3% of the
        // standard error of the mean, more in a long tail.
        let noise = 0.15 * sd(&values) / (values.len() as f64).sqrt();
        assert!((found.low - expected[0]).abs() < noise, "{found:?}: {case}");
        assert!((found.high - expected[1]).abs() < noise, "{found:?}: {case}");
    }
}

#[test]
fn seeds_needed_is_within_one_of_the_noncentral_t() {
    for case in cases("seeds") {
        let (level, power) = (number(&case, "level"), number(&case, "power"));
        let found = seeds_needed(&[number(&case, "effect")], 1.0, level, power).unwrap();
        let expected = case["seeds"].as_u64().unwrap();
        assert!(found.unwrap().abs_diff(expected) <= 1, "{found:?}: {case}");
    }
}
