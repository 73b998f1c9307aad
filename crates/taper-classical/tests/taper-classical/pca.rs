use proptest::prelude::*;
use taper_classical::{Matrix, Pca, PcaConfig, subspace_agreement};

use crate::golden::{assert_close, cases, matrix, numbers};

fn keep(n_components: usize) -> PcaConfig {
    PcaConfig { n_components: Some(n_components), whiten: false }
}

/// A matrix of 2 to 12 rows and 1 to 10 columns: tall, wide or square.
fn data() -> impl Strategy<Value = Matrix> {
    (2usize..13, 1usize..11).prop_flat_map(|(n, d)| of_shape(n, d))
}

fn of_shape(n: usize, d: usize) -> impl Strategy<Value = Matrix> {
    prop::collection::vec(-10.0..10.0f64, n * d)
        .prop_map(move |values| Matrix::new(n, d, values).unwrap())
}

fn map(matrix: &Matrix, f: impl Fn(usize, f64) -> f64) -> Matrix {
    let columns = matrix.columns();
    let values = matrix.values().iter().enumerate().map(|(at, value)| f(at % columns, *value));
    Matrix::new(matrix.rows(), columns, values.collect()).unwrap()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let entry = |i: usize, j: usize| -> f64 {
        (0..a.columns()).map(|k| a.row(i).unwrap()[k] * b.row(k).unwrap()[j]).sum()
    };
    let values = (0..a.rows()).flat_map(|i| (0..b.columns()).map(move |j| (i, j)));
    Matrix::new(a.rows(), b.columns(), values.map(|(i, j)| entry(i, j)).collect()).unwrap()
}

fn sum_of_squares(data: &Matrix) -> f64 {
    data.values().iter().map(|value| value * value).sum()
}

#[test]
fn agrees_with_scikit_learn() {
    for case in cases(include_str!("../golden/pca.json")) {
        let name = case["name"].as_str().unwrap();
        if name == "digits" {
            continue;
        }
        let config = PcaConfig {
            n_components: Some(case["n_components"].as_u64().unwrap() as usize),
            whiten: case["whiten"].as_bool().unwrap(),
        };
        // Far from the origin a millionth of a unit is the last bit of a value.
        let tolerance = if name == "far from the origin" { 1e-9 } else { 1e-12 };
        let pca = Pca::fit(&matrix(&case, "data"), config).unwrap();
        let other = matrix(&case, "other");
        let codes = matrix(&case, "codes");
        for (key, values) in [
            ("mean", pca.mean()),
            ("components", pca.components().values()),
            ("explained_variance", pca.explained_variance()),
            ("explained_variance_ratio", pca.explained_variance_ratio()),
            ("transformed", pca.transform(&other).unwrap().values()),
            ("inverse_transformed", pca.inverse_transform(&codes).unwrap().values()),
        ] {
            assert_close(&format!("{name}: {key}"), values, &numbers(&case, key), tolerance);
        }
        let error = case["reconstruction_error"].as_f64().unwrap();
        let ours = pca.reconstruction_error(&other).unwrap();
        assert!(
            (ours - error).abs() <= tolerance * sum_of_squares(&other),
            "{name}: {ours} for {error}"
        );
    }
}

#[test]
fn agrees_with_scikit_learn_on_the_digits() {
    let cases = cases(include_str!("../golden/pca.json"));
    let golden = cases.iter().find(|case| case["name"] == "digits").unwrap();
    let digits = taper_data::digits().unwrap();
    let values = digits.images().iter().map(|value| f64::from(*value)).collect();
    let data = Matrix::new(digits.len(), 64, values).unwrap();
    let pca = Pca::fit(&data, keep(10)).unwrap();
    assert_close(
        "variance",
        pca.explained_variance(),
        &numbers(golden, "explained_variance"),
        1e-12,
    );
    let ratio = numbers(golden, "explained_variance_ratio");
    assert_close("ratio", pca.explained_variance_ratio(), &ratio, 1e-12);
    assert_close("components", pca.components().values(), &numbers(golden, "components"), 1e-10);
    let error = golden["reconstruction_error"].as_f64().unwrap();
    assert_close("error", &[pca.reconstruction_error(&data).unwrap()], &[error], 1e-12);
}

proptest! {
    #[test]
    fn components_are_orthonormal_and_their_signs_fixed(data in data()) {
        let pca = Pca::fit(&data, PcaConfig::default()).unwrap();
        let w = pca.components();
        for i in 0..w.rows() {
            for j in 0..w.rows() {
                let dot: f64 = w.row(i).unwrap().iter().zip(w.row(j).unwrap()).map(|(a, b)| a * b).sum();
                prop_assert!((dot - f64::from(i == j)).abs() < 1e-12);
            }
            let most = w.row(i).unwrap().iter().copied().reduce(|a, b| if b.abs() > a.abs() { b } else { a });
            prop_assert!(most.unwrap() > 0.0);
        }
    }

    #[test]
    fn the_error_is_the_variance_left_out(data in data()) {
        let n = data.rows() as f64;
        let all = Pca::fit(&data, PcaConfig::default()).unwrap();
        let variances = all.explained_variance();
        prop_assert!(variances.is_sorted_by(|a, b| a >= b) && variances.iter().all(|v| *v >= 0.0));
        prop_assert!((all.explained_variance_ratio().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let scale = sum_of_squares(&data);
        let mut before = f64::INFINITY;
        for k in 1..=variances.len() {
            let error = Pca::fit(&data, keep(k)).unwrap().reconstruction_error(&data).unwrap();
            let left_out: f64 = variances[k..].iter().sum::<f64>() * (n - 1.0) / n;
            prop_assert!((error - left_out).abs() < 1e-12 * scale);
            prop_assert!(error <= before + 1e-12 * scale);
            before = error;
        }
        prop_assert!(before < 1e-12 * scale, "all components leave no error");
    }

    #[test]
    fn a_shift_moves_the_mean_only(data in data(), shift in prop::collection::vec(-100.0..100.0f64, 10)) {
        let pca = Pca::fit(&data, keep(1)).unwrap();
        let moved = map(&data, |column, value| value + shift[column]);
        let of_moved = Pca::fit(&moved, keep(1)).unwrap();
        for (column, (a, b)) in pca.mean().iter().zip(of_moved.mean()).enumerate() {
            prop_assert!((a + shift[column] - b).abs() < 1e-11);
        }
        prop_assert!((pca.explained_variance()[0] - of_moved.explained_variance()[0]).abs() < 1e-9);
        let errors = [(pca, data), (of_moved, moved)].map(|(pca, data)| pca.reconstruction_error(&data).unwrap());
        prop_assert!((errors[0] - errors[1]).abs() < 1e-9);
    }

    #[test]
    fn a_rotation_turns_the_components((data, axes) in (2usize..10, 2usize..7).prop_flat_map(|(n, d)| (of_shape(n, d), of_shape(d + 2, d)))) {
        // The components of other data are as good a rotation as any.
        let rotation = Pca::fit(&axes, PcaConfig::default()).unwrap().components().clone();
        let turned = product(&data, &rotation);
        let pca = Pca::fit(&data, PcaConfig::default()).unwrap();
        let of_turned = Pca::fit(&turned, PcaConfig::default()).unwrap();
        let scale = sum_of_squares(&data);
        for (a, b) in pca.explained_variance().iter().zip(of_turned.explained_variance()) {
            prop_assert!((a - b).abs() < 1e-12 * scale);
        }
        let [first, second] = [0, 1].map(|i| pca.explained_variance()[i]);
        prop_assume!(first - second > 1e-3 * first);
        let leading = product(Pca::fit(&data, keep(1)).unwrap().components(), &rotation);
        let of_turned = Pca::fit(&turned, keep(1)).unwrap();
        prop_assert!(subspace_agreement(&leading, of_turned.components()).unwrap() > 1.0 - 1e-9);
    }

    #[test]
    fn codes_come_back((data, codes, whiten) in data().prop_flat_map(|data| {
        // A component without variance has no whitened code.
        let k = data.columns().min(data.rows() - 1);
        (Just(data), of_shape(3, k), any::<bool>())
    })) {
        let config = PcaConfig { n_components: Some(codes.columns()), whiten };
        let pca = Pca::fit(&data, config).unwrap();
        let least = pca.explained_variance().last().copied().unwrap();
        prop_assume!(least > 1e-6);
        let back = pca.transform(&pca.inverse_transform(&codes).unwrap()).unwrap();
        for (a, b) in codes.values().iter().zip(back.values()) {
            prop_assert!((a - b).abs() < 1e-9);
        }
    }

    #[test]
    fn whitened_codes_have_variance_one((n, data) in (4usize..12).prop_flat_map(|n| (Just(n), of_shape(n, 3)))) {
        let pca = Pca::fit(&data, PcaConfig { n_components: None, whiten: true }).unwrap();
        prop_assume!(pca.explained_variance()[2] > 1e-3);
        let codes = pca.transform(&data).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = codes.values().chunks_exact(3).map(|z| z[i] * z[j]).sum();
                prop_assert!((sum / (n as f64 - 1.0) - f64::from(i == j)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_same_data_gives_the_same_bits(data in data()) {
        let fit = || Pca::fit(&data, PcaConfig::default()).unwrap();
        prop_assert_eq!(fit(), fit());
    }
}

#[test]
fn more_rows_than_a_block() {
    // 1,500 points on the line through (1, 2, 2) / 3, at -749.5, ..., 749.5.
    let values = (0..1500).flat_map(|i| [1.0, 2.0, 2.0].map(|x| x / 3.0 * (f64::from(i) - 749.5)));
    let data = Matrix::new(1500, 3, values.collect()).unwrap();
    let pca = Pca::fit(&data, keep(1)).unwrap();
    assert_close(
        "components",
        pca.components().values(),
        &[1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0],
        1e-12,
    );
    // The variance of n equally spaced numbers: n (n + 1) / 12.
    assert_close("variance", pca.explained_variance(), &[1500.0 * 1501.0 / 12.0], 1e-12);
    let codes: Vec<_> = (0..1500).map(|i| f64::from(i) - 749.5).collect();
    let transformed = pca.transform(&data).unwrap();
    assert_close("codes", transformed.values(), &codes, 1e-12);
    assert_close(
        "back",
        pca.inverse_transform(&transformed).unwrap().values(),
        data.values(),
        1e-12,
    );
    assert!(pca.reconstruction_error(&data).unwrap() < 1e-18 * sum_of_squares(&data));
}

#[test]
fn constant_data_has_no_variance_and_loses_nothing() {
    for (n, d) in [(5, 3), (3, 5)] {
        let data = Matrix::new(n, d, vec![7.5; n * d]).unwrap();
        let pca = Pca::fit(&data, PcaConfig { n_components: None, whiten: true }).unwrap();
        assert_eq!(pca.explained_variance(), [0.0; 3]);
        assert_eq!(pca.explained_variance_ratio(), [0.0; 3]);
        assert_eq!(pca.transform(&data).unwrap().values(), vec![0.0; n * 3]);
        assert_eq!(pca.reconstruction_error(&data).unwrap(), 0.0);
    }
}

#[test]
fn extreme_values_are_right_or_refused() {
    for (n, d) in [(4, 2), (3, 4)] {
        let of = |scale: f64| {
            let values = (0..n * d).map(|i| scale * ((i * i) as f64 % 7.0 - 3.0)).collect();
            Matrix::new(n, d, values).unwrap()
        };
        let expected = Pca::fit(&of(1.0), keep(2)).unwrap();
        for scale in [1e-140, 1e150] {
            let pca = Pca::fit(&of(scale), keep(2)).unwrap();
            assert_close(
                "components",
                pca.components().values(),
                expected.components().values(),
                1e-12,
            );
            let variances = expected.explained_variance().iter().map(|v| v * scale * scale);
            assert_close(
                "variance",
                pca.explained_variance(),
                &variances.collect::<Vec<_>>(),
                1e-12,
            );
        }
        for scale in [1e160, 5e307] {
            let message = Pca::fit(&of(scale), keep(2)).unwrap_err().to_string();
            assert!(
                message.contains("data should be small enough that its variances do not overflow"),
                "{message}"
            );
        }
        let huge = Matrix::new(1, d, vec![1e308; d]).unwrap();
        let message = expected.reconstruction_error(&huge).unwrap_err().to_string();
        assert!(
            message.contains("Pca::reconstruction_error: data should be small enough"),
            "{message}"
        );
    }
}

#[test]
fn what_overflows_in_sum_only_is_refused() {
    // Each variance is 4/3 of 1.21e308, below the largest f64; their sum is above.
    let a = 1.1e154;
    let data = Matrix::new(4, 2, vec![a, a, a, -a, -a, a, -a, -a]).unwrap();
    let message = Pca::fit(&data, keep(1)).unwrap_err().to_string();
    assert!(message.contains("its variances do not overflow"), "{message}");

    // Components (1, 1) / √2 and (1, -1) / √2.
    let data = Matrix::new(4, 2, vec![2.0, 2.0, -2.0, -2.0, 1.0, -1.0, -1.0, 1.0]).unwrap();
    let pca = Pca::fit(&data, keep(2)).unwrap();
    let codes = Matrix::new(1, 2, vec![1.5e308, 1.5e308]).unwrap();
    let message = pca.inverse_transform(&codes).unwrap_err().to_string();
    assert!(message.contains("Pca::inverse_transform: codes should be small"), "{message}");
}

#[test]
fn refusals_name_what_is_wrong() {
    let matrix = |n: usize, d: usize| {
        Matrix::new(n, d, (0..n * d).map(|i| (i * i) as f64).collect()).unwrap()
    };
    let pca = Pca::fit(&matrix(4, 3), keep(2)).unwrap();
    for (error, expected) in [
        (
            Pca::fit(&matrix(1, 3), keep(1)).unwrap_err(),
            "Pca::fit: data should be at least 2 rows, since one has no variance, got 1",
        ),
        (
            Pca::fit(&matrix(4, 3), keep(4)).unwrap_err(),
            "Pca::fit: n_components should be from 1 to 3, the smaller of 4 rows and 3 columns, got 4",
        ),
        (
            Pca::fit(&matrix(4, 3), keep(0)).unwrap_err(),
            "Pca::fit: n_components should be from 1 to 3, the smaller of 4 rows and 3 columns, got 0",
        ),
        (
            pca.transform(&matrix(1, 2)).unwrap_err(),
            "Pca::transform: data should be 3 columns wide, got 2",
        ),
        (
            pca.reconstruction_error(&matrix(1, 4)).unwrap_err(),
            "Pca::reconstruction_error: data should be 3 columns wide, got 4",
        ),
        (
            pca.inverse_transform(&matrix(1, 3)).unwrap_err(),
            "Pca::inverse_transform: codes should be 2 columns wide, got 3",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}
