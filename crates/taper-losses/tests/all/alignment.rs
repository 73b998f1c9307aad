use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{AlignmentOptions, Distance, LossOptions, Reduction, alignment};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{
    CPU, embeddings, scalar, views, views_are_checked, without_a_direction_is_finite,
};
use crate::golden;

fn of(alpha: f64, reduction: Reduction) -> AlignmentOptions {
    AlignmentOptions { alpha, loss: LossOptions { reduction, ..Default::default() } }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |alpha| {
        let second = normal("second");
        Subject {
            name: "alignment",
            argument: "first",
            input: normal("first"),
            axes: 1,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let options = AlignmentOptions { alpha, loss: loss.clone() };
                alignment(x, &beside(&second, x)?, &options)
            }),
        }
    };
    vec![subject(2.0), subject(1.0)]
}

#[test]
fn agrees_with_its_equation() -> Result<()> {
    for case in goldens(include_str!("../golden/alignment.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let (alpha, loss) = (case.f64("alpha")?, golden::options(&case, dtype)?);
            alignment(&first, &second, &AlignmentOptions { alpha, loss })
        })?;
    }
    Ok(())
}

#[test]
fn both_views_have_the_gradient_of_finite_differences() -> Result<()> {
    for alpha in [0.5, 1.0, 2.0, 3.0] {
        let both = [normal("first"), normal("second")];
        gradcheck(|x| alignment(&x[0], &x[1], &of(alpha, Reduction::None)), &both, 1e-6)?;
    }
    Ok(())
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    for alpha in [1.0, 2.0] {
        without_a_direction_is_finite(&[normal("first"), normal("second")], |x| {
            alignment(&x[0], &x[1], &of(alpha, Reduction::Mean))
        })?;
    }
    Ok(())
}

#[test]
fn what_agrees_costs_nothing_and_has_no_gradient() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for alpha in [0.5, 1.0, 2.0, 3.0] {
            let x = Var::from_tensor(&normal("first").to_dtype(dtype)?)?;
            let same = x.as_tensor().copy()?;
            let value = alignment(&x, &same, &of(alpha, Reduction::Mean))?;
            assert_eq!(scalar(&value.to_dtype(DType::F64)?), 0.0);
            let gradient = value.backward()?.remove(&x).expect("a gradient");
            let list = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            assert!(list.iter().all(|g| *g == 0.0), "{alpha} {dtype:?}: {list:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_twice_the_cosine_distance_at_any_scale(
        rows in 1usize..9, columns in 1usize..9, scale in 1e-3..1e3, alpha in 0.5..4.0,
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        let losses = |alpha, first: &Tensor, second: &Tensor| {
            alignment(first, second, &of(alpha, Reduction::None)).unwrap()
        };
        let squares = losses(2.0, &first, &second);
        let cosine = Distance::Cosine.between(&first, &second).unwrap();
        assert_close(&squares, &(cosine * 2.0).unwrap(), 1e-14);
        let value = losses(alpha, &first, &second);
        assert_close(&losses(alpha, &second, &first), &value, 1e-13);
        assert_close(&losses(alpha, &first.affine(scale, 0.0).unwrap(), &second), &value, 1e-12);
        let squares = squares.to_vec1::<f64>().unwrap();
        for (power, square) in value.to_vec1::<f64>().unwrap().into_iter().zip(squares) {
            prop_assert!((power - square.powf(alpha / 2.0)).abs() < 1e-12);
            prop_assert!(power >= 0.0 && power <= 2f64.powf(alpha) + 1e-12);
        }
    }
}

#[test]
fn all_in_one_direction_is_the_least_loss() -> Result<()> {
    // The collapse that an experiment without negatives shows.
    let lengths = Tensor::new(&[[1.0], [2.0], [0.5]], &CPU)?;
    let point = Tensor::new(&[[3.0, -4.0]], &CPU)?;
    let value = alignment(
        &lengths.matmul(&point)?,
        &point.broadcast_as((3, 2))?,
        &AlignmentOptions::default(),
    )?;
    assert!(scalar(&value) < 1e-30);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("first");
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            alignment(&x, &x, &of(alpha, Reduction::Mean)).unwrap_err().to_string(),
            format!("alignment: alpha should be above 0 and finite, got {alpha}")
        );
    }
    views_are_checked("alignment", |first, second| {
        alignment(first, second, &AlignmentOptions::default())
    })
}
