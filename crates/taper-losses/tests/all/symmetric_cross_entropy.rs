use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{
    ClassOptions, LossOptions, Reduction, SymmetricCrossEntropyOptions, Target, cross_entropy,
    symmetric_cross_entropy,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    [false, true].map(subject).into()
}

fn subject(is_soft: bool) -> Subject {
    let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
    let probabilities = (normal("target").abs().unwrap() * 0.3).unwrap();
    Subject {
        name: "symmetric_cross_entropy",
        argument: "logits",
        input: normal("logits"),
        axes: 1,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let classes = ClassOptions { loss: loss.clone(), ..Default::default() };
            let options = SymmetricCrossEntropyOptions { classes, ..Default::default() };
            let target = beside(if is_soft { &probabilities } else { &labels }, x)?;
            let target = match is_soft {
                true => Target::Probabilities(&target),
                false => Target::Indices(&target),
            };
            symmetric_cross_entropy(x, target, &options)
        }),
    }
}

#[test]
fn agrees_with_its_equation_and_so_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/symmetric_cross_entropy.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let options = SymmetricCrossEntropyOptions {
                alpha: case.f64("alpha")?,
                beta: case.f64("beta")?,
                log_zero: case.f64("log_zero")?,
                classes: golden::class_options(&case, dtype)?,
            };
            golden::against_classes(&case, dtype, |target| {
                symmetric_cross_entropy(logits, target, &options)
            })
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_a_cross_entropy_and_a_bounded_one(
        rows in prop::collection::vec((prop::array::uniform3(-9.0..9.0), 0u32..3), 1..8),
        weights in prop::array::uniform3(0.1..3.0),
        (alpha, beta, log_zero) in (0.0..5.0, 0.0..5.0, -9.0..0.0),
    ) {
        let (logits, labels): (Vec<_>, Vec<u32>) =
            rows.into_iter().map(|(row, label)| (row.to_vec(), label)).unzip();
        let (logits, labels) = (Tensor::new(logits, &CPU).unwrap(), Tensor::new(labels, &CPU).unwrap());
        let target = Target::Indices(&labels);
        let classes = ClassOptions {
            class_weights: Some(Tensor::new(&weights, &CPU).unwrap()),
            ..Default::default()
        };
        let of = |alpha, beta| {
            let options =
                SymmetricCrossEntropyOptions { alpha, beta, log_zero, classes: classes.clone() };
            symmetric_cross_entropy(&logits, target, &options).unwrap()
        };
        let scalar = |loss: Tensor| loss.to_scalar::<f64>().unwrap();
        // To an absolute error: either side rounds a number near 1 where p is near 1.
        let entropy = scalar(cross_entropy(&logits, target, &classes).unwrap());
        prop_assert!((scalar(of(1.0, 0.0)) - entropy).abs() < 1e-13 * (1.0 + entropy));
        let (value, forward, reverse) = (of(alpha, beta), of(1.0, 0.0), of(0.0, 1.0));
        let [value, forward, reverse] = [value, forward, reverse].map(scalar);
        prop_assert!((value - alpha * forward - beta * reverse).abs() < 1e-12 * (1.0 + value));
        prop_assert!(reverse >= 0.0 && reverse <= -log_zero * (1.0 + 1e-12));
        // Classes and logits that are shifted or in another order are the same.
        let order = Tensor::new(&[2u32, 0, 1], &CPU).unwrap();
        let hot = |labels: &Tensor| {
            let all = Tensor::arange(0u32, 3, &CPU).unwrap();
            labels.unsqueeze(1).unwrap().broadcast_eq(&all).unwrap().to_dtype(DType::F64).unwrap()
        };
        let shifted = (logits.index_select(&order, 1).unwrap() + 3.0).unwrap();
        let hot = hot(&labels).index_select(&order, 1).unwrap();
        let weights = Tensor::new(&[weights[2], weights[0], weights[1]], &CPU).unwrap();
        let classes = ClassOptions { class_weights: Some(weights), ..Default::default() };
        let options = SymmetricCrossEntropyOptions { alpha, beta, log_zero, classes };
        let other = symmetric_cross_entropy(&shifted, Target::Probabilities(&hot), &options);
        prop_assert!((scalar(other.unwrap()) - value).abs() < 1e-12 * (1.0 + value));
    }
}

#[test]
fn a_class_without_probability_costs_the_bound_in_reverse() -> Result<()> {
    let logits = Var::new(&[[0.0, f64::NEG_INFINITY], [0.0, f64::NEG_INFINITY]], &CPU)?;
    let labels = Tensor::new(&[0u32, 1], &CPU)?;
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    let classes = ClassOptions { loss, ..Default::default() };
    let options = SymmetricCrossEntropyOptions { classes, ..Default::default() };
    let losses = symmetric_cross_entropy(&logits, Target::Indices(&labels), &options)?;
    assert_eq!(losses.to_vec1::<f64>()?, [0.0, f64::INFINITY]);
    let options = SymmetricCrossEntropyOptions { alpha: 0.0, ..options };
    let far = Tensor::new(&[[0.0, -1e4], [0.0, -1e4]], &CPU)?;
    let losses = symmetric_cross_entropy(&far, Target::Indices(&labels), &options)?;
    assert_eq!(losses.to_vec1::<f64>()?, [0.0, 4.0]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (logits, labels) = (Tensor::new(&[[1.0, 2.0]], &CPU)?, Tensor::new(&[0u32], &CPU)?);
    let message = |options: &SymmetricCrossEntropyOptions| {
        let target = Target::Indices(&labels);
        symmetric_cross_entropy(&logits, target, options).unwrap_err().to_string()
    };
    let plain = SymmetricCrossEntropyOptions::default;
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        let of = |name: &str| {
            format!("symmetric_cross_entropy: {name} should be at least 0 and finite, got {value}")
        };
        let options = SymmetricCrossEntropyOptions { alpha: value, ..plain() };
        assert_eq!(message(&options), of("alpha"));
        let options = SymmetricCrossEntropyOptions { beta: value, ..plain() };
        assert_eq!(message(&options), of("beta"));
    }
    for log_zero in [1.0, f64::NAN, f64::NEG_INFINITY] {
        let options = SymmetricCrossEntropyOptions { log_zero, ..plain() };
        let expected = format!(
            "symmetric_cross_entropy: log_zero should be at most 0 and finite, got {log_zero}"
        );
        assert_eq!(message(&options), expected);
    }
    Ok(())
}
