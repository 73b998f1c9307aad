use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{ContrastiveOptions, Distance, LossOptions, Reduction, contrastive};

use crate::contract::{Subject, beside, normal};
use crate::distance::{EVERY, distance};
use crate::embeddings::{CPU, embeddings, kinds_are_checked, scalar, views, views_are_checked};
use crate::golden;

fn target() -> Tensor {
    Tensor::new(&[1u8, 0, 0, 1, 0], &CPU).unwrap()
}

fn plain() -> ContrastiveOptions {
    ContrastiveOptions::default()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |distance| {
        let second = normal("second");
        Subject {
            name: "contrastive",
            argument: "first",
            input: normal("first"),
            axes: 1,
            by_row: true,
            // The gradient of the square of a square is too large for half precision.
            unbounded: distance != Distance::SquaredEuclidean,
            loss: Box::new(move |x, loss| {
                let options = ContrastiveOptions { margin: 3.0, distance, loss: loss.clone() };
                contrastive(x, &beside(&second, x)?, &beside(&target(), x)?, &options)
            }),
        }
    };
    EVERY.into_iter().map(subject).collect()
}

#[test]
fn agrees_with_its_equation_and_so_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/contrastive.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let options = ContrastiveOptions {
                margin: case.f64("margin")?,
                distance: distance(&case)?,
                loss: golden::options(&case, dtype)?,
            };
            contrastive(&first, &second, &case.tensor("target", DType::I64)?, &options)
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    let both = [normal("first"), normal("second")];
    for distance in EVERY {
        let options = ContrastiveOptions { margin: 3.0, distance, ..plain() };
        gradcheck(|x| contrastive(&x[0], &x[1], &target(), &options), &both, 1e-6)?;
    }
    Ok(())
}

#[test]
fn embeddings_at_one_place_have_a_value_and_no_gradient() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for distance in EVERY {
            let x = Var::from_tensor(&normal("first").to_dtype(dtype)?)?;
            let same = x.as_tensor().copy()?;
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = ContrastiveOptions { margin: 2.0, distance, loss };
            let losses = contrastive(&x, &same, &target(), &options)?;
            let list = losses.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            assert_eq!(list, [0.0, 2.0, 2.0, 0.0, 2.0], "{distance:?}");
            let gradient = losses.sum_all()?.backward()?.remove(&x).expect("a gradient");
            let list = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            assert!(list.iter().all(|g| g.abs() < 1e-15), "{distance:?}: {list:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn similar_ones_pay_for_distance_and_dissimilar_ones_for_nearness(
        rows in 1usize..9, columns in 1usize..6, margin in 0.5..4.0,
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        for distance in EVERY {
            let losses = |kind: u32, first: &Tensor, second: &Tensor| {
                let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
                let options = ContrastiveOptions { margin, distance, loss };
                let target = Tensor::full(kind, rows, &CPU).unwrap();
                contrastive(first, second, &target, &options).unwrap()
            };
            let d = distance.between(&first, &second).unwrap();
            assert_close(&losses(1, &first, &second), &(d.sqr().unwrap() / 2.0).unwrap(), 1e-14);
            let missing = d.affine(-1.0, margin).unwrap().relu().unwrap();
            let expected = (missing.sqr().unwrap() / 2.0).unwrap();
            assert_close(&losses(0, &first, &second), &expected, 1e-14);
            for kind in [0, 1] {
                assert_close(&losses(kind, &second, &first), &losses(kind, &first, &second), 1e-14);
            }
            prop_assert_eq!(scalar(&losses(1, &first, &first).sum_all().unwrap()), 0.0);
        }
    }
}

#[test]
fn the_target_may_be_of_any_dtype() -> Result<()> {
    let (first, second) = (normal("first"), normal("second"));
    let value = contrastive(&first, &second, &target(), &plain())?;
    for dtype in [DType::U32, DType::I64, DType::F32, DType::F64] {
        let same = contrastive(&first, &second, &target().to_dtype(dtype)?, &plain())?;
        assert_eq!(scalar(&same), scalar(&value));
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("first");
    for margin in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = ContrastiveOptions { margin, ..plain() };
        assert_eq!(
            contrastive(&x, &x, &target(), &options).unwrap_err().to_string(),
            format!("contrastive: margin should be above 0 and finite, got {margin}")
        );
    }
    kinds_are_checked("contrastive", [1.0, 0.0], &[0.5, -1.0, f64::NAN], |target, loss| {
        let options = ContrastiveOptions { loss: loss.clone(), ..plain() };
        contrastive(&x, &x, target, &options)
    })?;
    views_are_checked("contrastive", |first, second| {
        contrastive(first, second, &target(), &plain())
    })
}
