use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{UniformityOptions, uniformity};

use crate::contract::normal;
use crate::embeddings::{CPU, embeddings, scalar, without_a_direction_is_finite};
use crate::golden;

fn plain() -> UniformityOptions {
    UniformityOptions::default()
}

#[test]
fn agrees_with_its_equation() -> Result<()> {
    for case in goldens(include_str!("../golden/uniformity.json"))? {
        golden::check(&case, "input", |x, _| {
            uniformity(x, &UniformityOptions { t: case.f64("t")? })
        })?;
    }
    Ok(())
}

#[test]
fn the_gradient_is_that_of_finite_differences() -> Result<()> {
    for t in [0.5, 2.0, 20.0] {
        let options = UniformityOptions { t };
        gradcheck(|x| uniformity(&x[0], &options), &[normal("embeddings")], 1e-6)?;
    }
    Ok(())
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    without_a_direction_is_finite(&[normal("embeddings")], |x| uniformity(&x[0], &plain()))
}

#[test]
fn single_and_half_precision_are_computed_and_returned_in_f32() -> Result<()> {
    let expected = uniformity(&normal("embeddings"), &plain())?;
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let x = Var::from_tensor(&normal("embeddings").to_dtype(dtype)?)?;
        let value = uniformity(&x, &plain())?;
        assert_eq!((value.rank(), value.dtype()), (0, DType::F32));
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 0.1 };
        assert_close(&value.to_dtype(DType::F64)?, &expected, tolerance);
        assert_eq!(value.backward()?.get(&x).expect("a gradient").dtype(), dtype);
    }
    Ok(())
}

#[test]
fn extremes_are_finite() -> Result<()> {
    // Opposite directions, where each term of a large t underflows, and all at one place.
    let opposite = Tensor::new(&[[1e4f32, 0.0], [-1e4, 0.0]], &CPU)?;
    let one_place = Tensor::new(&[[1e4f32, 1e-4], [1e4, 1e-4], [1e4, 1e-4]], &CPU)?;
    for (x, t, expected) in [
        (&opposite, 1e3, -4e3),
        (&opposite, 2.0, -8.0),
        (&one_place, 1e3, 0.0),
        (&one_place, 2.0, 0.0),
    ] {
        let x = Var::from_tensor(x)?;
        let value = uniformity(&x, &UniformityOptions { t })?;
        let error = f64::from(value.to_scalar::<f32>()?) - expected;
        assert!(error.abs() < 1e-6 * t, "{t}: {error}");
        let gradient = value.backward()?.remove(&x).expect("a gradient");
        let list = gradient.flatten_all()?.to_vec1::<f32>()?;
        assert!(list.iter().all(|g| g.is_finite()), "{list:?}");
    }
    Ok(())
}

#[test]
fn directions_that_are_spread_out_repel_each_other_less() -> Result<()> {
    let corners = Tensor::new(&[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], &CPU)?;
    let narrow = Tensor::new(&[[1.0, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 1.0]], &CPU)?;
    let of = |x: &Tensor| -> Result<f64> { Ok(scalar(&uniformity(x, &plain())?)) };
    assert!(of(&corners)? < of(&narrow)?);
    // Evenly spread is where the gradient ends.
    let corners = Var::from_tensor(&corners)?;
    let gradient =
        uniformity(&corners, &plain())?.backward()?.remove(&corners).expect("a gradient");
    let list = gradient.flatten_all()?.to_vec1::<f64>()?;
    assert!(list.iter().all(|g| g.abs() < 1e-15), "{list:?}");
    Ok(())
}

proptest! {
    #[test]
    fn does_not_ask_for_scale_or_order(
        rows in 2usize..9, columns in 1usize..9, scale in 1e-3..1e3, t in 0.1..9.0,
    ) {
        let x = embeddings("embeddings", rows, columns);
        let of = |x: &Tensor| uniformity(x, &UniformityOptions { t }).unwrap();
        let value = scalar(&of(&x));
        prop_assert!(value <= 1e-12 && value >= -4.0 * t - 1e-12);
        let scaled = scalar(&of(&x.affine(scale, 0.0).unwrap()));
        prop_assert!((scaled - value).abs() < 1e-12 * (1.0 + t));
        let back = Tensor::from_iter((0..rows as u32).rev(), &CPU).unwrap();
        let moved = scalar(&of(&x.index_select(&back, 0).unwrap()));
        prop_assert!((moved - value).abs() < 1e-12 * (1.0 + t));
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("embeddings");
    let error = |x: &Tensor, t| uniformity(x, &UniformityOptions { t }).unwrap_err().to_string();
    for t in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("uniformity: t should be above 0 and finite, got {t}");
        assert_eq!(error(&x, t), expected);
    }
    for rows in [0, 1] {
        assert_eq!(
            error(&x.narrow(0, 0, rows)?, 2.0),
            format!("uniformity: embeddings should be of at least two rows, got [{rows}, 3]")
        );
    }
    assert_eq!(
        error(&x.get(0)?, 2.0),
        "uniformity: embeddings should be of shape (N, D) with at least one dimension D, got [3]"
    );
    assert_eq!(
        error(&x.to_dtype(DType::U32)?, 2.0),
        "uniformity: embeddings should be f64, f32, bf16 or f16, got U32"
    );
    Ok(())
}
