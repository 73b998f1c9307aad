use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{
    ClassOptions, GeneralizedCrossEntropyOptions, Target, cross_entropy, generalized_cross_entropy,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |q: f64| {
        let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
        Subject {
            name: "generalized_cross_entropy",
            argument: "logits",
            input: normal("logits"),
            axes: 1,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let classes = ClassOptions { loss: loss.clone(), ..Default::default() };
                let options = GeneralizedCrossEntropyOptions { q, classes };
                generalized_cross_entropy(x, Target::Indices(&beside(&labels, x)?), &options)
            }),
        }
    };
    vec![of(0.7), of(1.0)]
}

#[test]
fn agrees_with_its_equation() -> Result<()> {
    for case in goldens(include_str!("../golden/generalized_cross_entropy.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let classes = golden::class_options(&case, dtype)?;
            let options = GeneralizedCrossEntropyOptions { q: case.f64("q")?, classes };
            golden::against_classes(&case, dtype, |target| {
                generalized_cross_entropy(logits, target, &options)
            })
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn lies_between_the_error_and_the_cross_entropy(
        logits in prop::collection::vec(prop::collection::vec(-9.0..9.0, 3), 1..8),
        q in 0.01f64..1.0,
    ) {
        let labels = Tensor::zeros(logits.len(), DType::U32, &CPU).unwrap();
        let logits = Tensor::new(logits, &CPU).unwrap();
        let target = Target::Indices(&labels);
        let of = |q| {
            let options = GeneralizedCrossEntropyOptions { q, ..Default::default() };
            generalized_cross_entropy(&logits, target, &options).unwrap()
        };
        let entropy = cross_entropy(&logits, target, &ClassOptions::default()).unwrap();
        assert_close(&of(1e-12), &entropy, 1e-10);
        let right = logits.exp().unwrap();
        let sum = right.sum(1).unwrap();
        let error = (right.get_on_dim(1, 0).unwrap() / sum).unwrap().affine(-1.0, 1.0).unwrap();
        // To an absolute error: either side rounds a number near 1 where p is near 1.
        let expected = error.mean_all().unwrap().to_scalar::<f64>().unwrap();
        prop_assert!((of(1.0).to_scalar::<f64>().unwrap() - expected).abs() < 1e-14);
        let [value, error, entropy] =
            [of(q), of(1.0), entropy].map(|loss| loss.to_scalar::<f64>().unwrap());
        prop_assert!(value >= error * (1.0 - 1e-12) && value <= entropy * (1.0 + 1e-12));
        prop_assert!(value < 1.0 / q);
    }
}

#[test]
fn a_class_without_probability_costs_the_most_and_has_no_gradient() -> Result<()> {
    let logits = Var::new(&[[0.0, f64::NEG_INFINITY]], &CPU)?;
    let labels = Tensor::new(&[1u32], &CPU)?;
    let options = GeneralizedCrossEntropyOptions { q: 0.5, ..Default::default() };
    let loss = generalized_cross_entropy(&logits, Target::Indices(&labels), &options)?;
    assert_eq!(loss.to_scalar::<f64>()?, 2.0);
    let gradient = loss.backward()?.remove(&logits).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[0.0, 0.0]]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (logits, labels) = (Tensor::new(&[[1.0, 2.0]], &CPU)?, Tensor::new(&[0u32], &CPU)?);
    for q in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
        let options = GeneralizedCrossEntropyOptions { q, ..Default::default() };
        let error =
            generalized_cross_entropy(&logits, Target::Indices(&labels), &options).unwrap_err();
        let expected =
            format!("generalized_cross_entropy: q should be above 0 and at most 1, got {q}");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}
