use candle_core::{DType, Tensor};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_core::{Result, stream};
use taper_losses::orthogonality;

use crate::golden;
use crate::penalty::{CPU, holds_for_a_penalty, scalar};

fn normal(shape: &[usize]) -> Tensor {
    stream(5, "weight").normal(0.0, 1.0, shape, DType::F64, &CPU).unwrap()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/orthogonality.json"))? {
        golden::check(&case, "input", |weight, _| orthogonality(weight))?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_penalty() -> Result<()> {
    for shape in [[5, 3], [3, 5], [1, 4], [4, 1]] {
        let name = ("orthogonality", "weight");
        holds_for_a_penalty(name, &normal(&shape), 1e4, orthogonality)?;
    }
    gradcheck(|x| orthogonality(&x[0]), &[normal(&[4, 2, 2, 3])], 1e-6)
}

proptest! {
    #[test]
    fn rows_and_columns_are_alike_and_rotations_change_nothing(
        rows in 1usize..7, columns in 1usize..7, angle in -3.0f64..3.0,
    ) {
        let weight = normal(&[rows, columns]);
        let value = orthogonality(&weight).unwrap();
        prop_assert!(scalar(&value) >= 0.0);
        assert_close(&orthogonality(&weight.t().unwrap()).unwrap(), &value, 1e-12);
        if rows > 1 {
            let (first, second) = (weight.get(0).unwrap(), weight.get(1).unwrap());
            let (sin, cos) = angle.sin_cos();
            let mix = |a: f64, b: f64| ((&first * a).unwrap() + (&second * b).unwrap()).unwrap();
            let mixed = [mix(cos, sin), mix(-sin, cos)].map(|row| row.unsqueeze(0).unwrap());
            let rest = weight.narrow(0, 2, rows - 2).unwrap();
            let rotated = match rows {
                2 => Tensor::cat(&mixed, 0).unwrap(),
                _ => Tensor::cat(&[&mixed[0], &mixed[1], &rest], 0).unwrap(),
            };
            assert_close(&orthogonality(&rotated).unwrap(), &value, 1e-12);
        }
    }

    #[test]
    fn is_0_at_orthogonal_directions_and_scales_as_their_length(
        rows in 1usize..7, columns in 1usize..7, length in 0.0f64..3.0,
    ) {
        // An identity with more rows or columns, filled up with 0.
        let large = Tensor::eye(7, DType::F64, &CPU).unwrap();
        let weight = large.narrow(0, 0, rows).unwrap().narrow(1, 0, columns).unwrap();
        prop_assert_eq!(scalar(&orthogonality(&weight).unwrap()), 0.0);
        let scaled = scalar(&orthogonality(&(weight * length).unwrap()).unwrap());
        let expected = rows.min(columns) as f64 * (length * length - 1.0).powi(2);
        prop_assert!((scaled - expected).abs() <= 1e-12 * (1.0 + expected));
    }
}

#[test]
fn the_gradient_is_that_of_rows_and_of_columns() -> Result<()> {
    let weight = candle_core::Var::from_tensor(&normal(&[2, 4]))?;
    let by_rows = orthogonality(&weight)?;
    let by_columns = (weight.t()?.matmul(&weight)? - Tensor::eye(4, DType::F64, &CPU)?)?;
    let by_columns = by_columns.sqr()?.sum_all()?;
    assert!((scalar(&by_columns) - scalar(&by_rows) - 2.0).abs() < 1e-12);
    let gradient = |value: Tensor| value.backward().unwrap().remove(&weight).unwrap();
    assert_close(&gradient(by_rows), &gradient(by_columns), 1e-12);
    Ok(())
}

#[test]
fn errors_name_the_argument_and_nothing_is_orthogonal() -> Result<()> {
    for shape in [&[][..], &[3]] {
        let message = orthogonality(&normal(shape)).unwrap_err().to_string();
        let expected = "orthogonality: weight should be of at least two axes";
        assert_eq!(message, format!("{expected}, got {shape:?}"));
    }
    for shape in [[0, 3], [3, 0], [0, 0]] {
        assert_eq!(scalar(&orthogonality(&Tensor::zeros(&shape, DType::F64, &CPU)?)?), 0.0);
    }
    Ok(())
}
