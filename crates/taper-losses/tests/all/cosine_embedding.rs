use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{CosineEmbeddingOptions, Distance, LossOptions, Reduction, cosine_embedding};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{
    CPU, embeddings, kinds_are_checked, scalar, views, views_are_checked,
    without_a_direction_is_finite,
};
use crate::golden;

fn target() -> Tensor {
    Tensor::new(&[1i64, -1, -1, 1, -1], &CPU).unwrap()
}

fn of(margin: f64, reduction: Reduction) -> CosineEmbeddingOptions {
    let loss = LossOptions { reduction, ..Default::default() };
    CosineEmbeddingOptions { margin, loss }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let second = normal("second");
    vec![Subject {
        name: "cosine_embedding",
        argument: "first",
        input: normal("first"),
        axes: 1,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = CosineEmbeddingOptions { margin: -0.5, loss: loss.clone() };
            cosine_embedding(x, &beside(&second, x)?, &beside(&target(), x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/cosine_embedding.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let (margin, loss) = (case.f64("margin")?, golden::options(&case, dtype)?);
            let options = CosineEmbeddingOptions { margin, loss };
            cosine_embedding(&first, &second, &case.tensor("target", DType::I64)?, &options)
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    let both = [normal("first"), normal("second")];
    let options = of(-0.5, Reduction::None);
    gradcheck(|x| cosine_embedding(&x[0], &x[1], &target(), &options), &both, 1e-6)
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    without_a_direction_is_finite(&[normal("first"), normal("second")], |x| {
        cosine_embedding(&x[0], &x[1], &target(), &of(-0.5, Reduction::Mean))
    })
}

#[test]
fn a_cosine_at_the_margin_has_no_gradient() -> Result<()> {
    let first = Var::from_tensor(&Tensor::new(&[[2.0, 0.0]], &CPU)?)?;
    let second = Tensor::new(&[[0.0, 1.0]], &CPU)?;
    let target = Tensor::new(&[-1f32], &CPU)?;
    let value = cosine_embedding(&first, &second, &target, &of(0.0, Reduction::Mean))?;
    assert_eq!(scalar(&value), 0.0);
    let gradient = value.backward()?.remove(&first).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[0.0, 0.0]]);
    Ok(())
}

proptest! {
    #[test]
    fn asks_for_the_angle_only(
        rows in 1usize..9, columns in 1usize..9, margin in -1.0..1.0, scale in 1e-3..1e3,
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        let losses = |kind: i64, first: &Tensor, second: &Tensor| {
            let target = Tensor::full(kind, rows, &CPU).unwrap();
            cosine_embedding(first, second, &target, &of(margin, Reduction::None)).unwrap()
        };
        for kind in [1, -1] {
            let value = losses(kind, &first, &second);
            assert_close(&losses(kind, &first.affine(scale, 0.0).unwrap(), &second), &value, 1e-12);
            assert_close(&losses(kind, &second, &first), &value, 1e-13);
            let least = value.min(0).unwrap().to_scalar::<f64>().unwrap();
            prop_assert!(least >= 0.0);
        }
        assert_close(
            &losses(1, &first, &second), &Distance::Cosine.between(&first, &second).unwrap(), 1e-15,
        );
        prop_assert_eq!(scalar(&losses(1, &first, &first).sum_all().unwrap()), 0.0);
        let same = losses(-1, &first, &first).to_vec1::<f64>().unwrap();
        prop_assert!(same.iter().all(|loss| (loss - (1.0 - margin)).abs() < 1e-14));
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("first");
    for margin in [-1.5, 1.5, f64::NAN, f64::INFINITY] {
        assert_eq!(
            cosine_embedding(&x, &x, &target(), &of(margin, Reduction::Mean))
                .unwrap_err()
                .to_string(),
            format!("cosine_embedding: margin should be from -1 to 1, got {margin}")
        );
    }
    kinds_are_checked("cosine_embedding", [1.0, -1.0], &[0.0, 2.0, f64::NAN], |target, loss| {
        cosine_embedding(
            &x,
            &x,
            target,
            &CosineEmbeddingOptions { margin: 0.0, loss: loss.clone() },
        )
    })?;
    views_are_checked("cosine_embedding", |first, second| {
        cosine_embedding(first, second, &target(), &of(0.0, Reduction::Mean))
    })
}
