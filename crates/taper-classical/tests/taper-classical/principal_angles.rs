use std::f64::consts::FRAC_PI_2;

use proptest::prelude::*;
use taper_classical::{Matrix, principal_angles, subspace_agreement};

use crate::golden::{cases, matrix, numbers};

#[test]
fn agrees_with_scipy() {
    for case in cases(include_str!("../golden/principal_angles.json")) {
        let (a, b) = (matrix(&case, "a"), matrix(&case, "b"));
        let angles = principal_angles(&a, &b).unwrap();
        let expected = numbers(&case, "angles");
        assert_eq!(angles.len(), expected.len(), "{}", case["name"]);
        for (angle, expected) in angles.iter().zip(&expected) {
            assert!((angle - expected).abs() < 1e-14, "{}: {angle} for {expected}", case["name"]);
        }
        let squares: f64 = expected.iter().map(|angle| angle.cos().powi(2)).sum();
        let agreement = subspace_agreement(&a, &b).unwrap();
        assert!((agreement - squares / expected.len() as f64).abs() < 1e-14, "{}", case["name"]);
    }
}

/// Two bases in the same space, of 1 to 3 vectors each.
fn bases() -> impl Strategy<Value = (Matrix, Matrix)> {
    (1usize..4, 1usize..4, 3usize..8).prop_flat_map(|(p, q, d)| {
        let basis = |k: usize| {
            prop::collection::vec(-1.0..1.0f64, k * d).prop_map(move |mut values| {
                // Far from dependent: each vector points mostly along an axis of its own.
                (0..k).for_each(|i| values[i * d + i] += 4.0);
                Matrix::new(k, d, values).unwrap()
            })
        };
        (basis(p), basis(q))
    })
}

proptest! {
    #[test]
    fn angles_are_symmetric_and_in_order((a, b) in bases()) {
        let angles = principal_angles(&a, &b).unwrap();
        prop_assert_eq!(angles.len(), a.rows().min(b.rows()));
        prop_assert!(angles.is_sorted() && angles.iter().all(|angle| (0.0..=FRAC_PI_2).contains(angle)));
        let other_way = principal_angles(&b, &a).unwrap();
        prop_assert!(angles.iter().zip(&other_way).all(|(x, y)| (x - y).abs() < 1e-12));
        let agreement = subspace_agreement(&a, &b).unwrap();
        prop_assert!((agreement - subspace_agreement(&b, &a).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn the_basis_of_a_space_does_not_matter((a, b) in bases(), scale in 0.01..100.0f64) {
        // Each vector is scaled, and has the one before it added.
        let d = a.columns();
        let mut values: Vec<f64> = a.values().iter().map(|value| value * scale).collect();
        for at in (d..values.len()).rev() {
            values[at] += values[at - d];
        }
        let same = Matrix::new(a.rows(), d, values).unwrap();
        prop_assert!(principal_angles(&a, &same).unwrap().iter().all(|angle| *angle < 1e-12));
        let (angles, of_same) = (principal_angles(&a, &b).unwrap(), principal_angles(&same, &b).unwrap());
        prop_assert!(angles.iter().zip(&of_same).all(|(x, y)| (x - y).abs() < 1e-12));
    }

    #[test]
    fn lines_have_the_angle_of_their_vectors(x in prop::array::uniform3(-1.0..1.0f64), y in prop::array::uniform3(-1.0..1.0f64)) {
        let dot = |a: &[f64; 3], b: &[f64; 3]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        prop_assume!(dot(&x, &x) > 1e-3 && dot(&y, &y) > 1e-3);
        let cosine = dot(&x, &y).abs() / (dot(&x, &x) * dot(&y, &y)).sqrt();
        let line = |vector: [f64; 3]| Matrix::new(1, 3, vector.to_vec()).unwrap();
        let angles = principal_angles(&line(x), &line(y)).unwrap();
        prop_assert!((angles[0].cos() - cosine).abs() < 1e-12);
    }
}

#[test]
fn extreme_lengths_do_not_matter() {
    let line = |scale: f64| Matrix::new(1, 2, vec![3.0 * scale, 4.0 * scale]).unwrap();
    for scale in [1e-300, 1e300] {
        assert!(principal_angles(&line(scale), &line(-1.0)).unwrap()[0] < 1e-15);
    }
}

#[test]
fn refusals_name_what_is_wrong() {
    let matrix = |n: usize, d: usize, values: &[f64]| Matrix::new(n, d, values.to_vec()).unwrap();
    let plane = matrix(2, 3, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    for (other, expected) in [
        (matrix(1, 2, &[1.0, 0.0]), "principal_angles: b should be 3 columns wide, as a, got 2"),
        (
            matrix(2, 3, &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0]),
            "principal_angles: b should be linearly independent rows, got row 1 in the span of those before it",
        ),
        (
            matrix(1, 3, &[0.0; 3]),
            "b should be linearly independent rows, got row 0 in the span of those before it",
        ),
        (matrix(4, 3, &[1.0; 12]), "b should be linearly independent rows, got 4 rows of 3"),
    ] {
        let message = principal_angles(&plane, &other).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        let message = subspace_agreement(&plane, &other).unwrap_err().to_string();
        assert!(message.starts_with("subspace_agreement: b should be"), "{message}");
    }
}
