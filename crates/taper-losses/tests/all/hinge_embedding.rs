use candle_core::{DType, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{HingeEmbeddingOptions, LossOptions, Reduction, hinge_embedding};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{CPU, kinds_are_checked};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target").sign().unwrap();
    vec![Subject {
        name: "hinge_embedding",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = HingeEmbeddingOptions { margin: 0.7, loss: loss.clone() };
            hinge_embedding(x, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/hinge_embedding.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (margin, loss) = (case.f64("margin")?, golden::options(&case, dtype)?);
            let options = HingeEmbeddingOptions { margin, loss };
            hinge_embedding(x, &case.tensor("target", DType::I64)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn distances_of_both_kinds_share_the_margin(
        distances in prop::collection::vec(0.0..9.0, 1..20), margin in 0.1..3.0,
    ) {
        let input = Tensor::new(&distances[..], &CPU).unwrap();
        let losses = |kind: f32| {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let target = Tensor::full(kind, distances.len(), &CPU).unwrap();
            let options = HingeEmbeddingOptions { margin, loss };
            hinge_embedding(&input, &target, &options).unwrap().to_vec1::<f64>().unwrap()
        };
        for ((d, similar), other) in distances.iter().zip(losses(1.0)).zip(losses(-1.0)) {
            prop_assert_eq!(similar, *d);
            prop_assert!(other >= 0.0);
            // Up to the margin, what one kind gains the other loses.
            prop_assert!((similar + other - margin.max(*d)).abs() < 1e-12);
        }
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("input");
    for margin in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = HingeEmbeddingOptions { margin, ..Default::default() };
        assert_eq!(
            hinge_embedding(&x, &x.sign()?, &options).unwrap_err().to_string(),
            format!("hinge_embedding: margin should be above 0 and finite, got {margin}")
        );
    }
    let column = x.narrow(1, 0, 1)?.squeeze(1)?;
    kinds_are_checked("hinge_embedding", [1.0, -1.0], &[0.0, 2.0, f64::NAN], |target, loss| {
        let options = HingeEmbeddingOptions { loss: loss.clone(), ..Default::default() };
        hinge_embedding(&column, target, &options)
    })
}
