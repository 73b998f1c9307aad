use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{ClassOptions, Poly1Options, Target, cross_entropy, poly1};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |epsilon: f64| {
        let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
        Subject {
            name: "poly1",
            argument: "logits",
            input: normal("logits"),
            axes: 1,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let classes = ClassOptions { loss: loss.clone(), ..Default::default() };
                let options = Poly1Options { epsilon, classes };
                poly1(x, Target::Indices(&beside(&labels, x)?), &options)
            }),
        }
    };
    vec![of(2.0), of(-1.0)]
}

#[test]
fn agrees_with_its_equation() -> Result<()> {
    for case in goldens(include_str!("../golden/poly1.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let classes = golden::class_options(&case, dtype)?;
            let options = Poly1Options { epsilon: case.f64("epsilon")?, classes };
            golden::against_classes(&case, dtype, |target| poly1(logits, target, &options))
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_cross_entropy_and_what_the_probability_lacks(
        logits in prop::collection::vec(prop::collection::vec(-9.0..9.0, 3), 1..8),
        epsilon in -1.0f64..5.0,
    ) {
        let labels = Tensor::zeros(logits.len(), DType::U32, &CPU).unwrap();
        let logits = Tensor::new(logits, &CPU).unwrap();
        let target = Target::Indices(&labels);
        let of = |epsilon| {
            poly1(&logits, target, &Poly1Options { epsilon, ..Default::default() }).unwrap()
        };
        let entropy = cross_entropy(&logits, target, &ClassOptions::default()).unwrap();
        assert_close(&of(0.0), &entropy, 1e-13);
        let [value, least, entropy, one] = [of(epsilon), of(-1.0), entropy, of(1.0)]
            .map(|loss| loss.to_scalar::<f64>().unwrap());
        // −log p is at least 1 − p.
        prop_assert!(least >= -1e-15);
        let expected = entropy + epsilon * (one - entropy);
        prop_assert!((value - expected).abs() < 1e-12 * (1.0 + entropy));
    }

    #[test]
    fn is_zero_where_the_target_has_all_the_probability(epsilon in -1.0f64..5.0) {
        let logits = Tensor::new(&[[1e3, 0.0, -5.0]], &CPU).unwrap();
        let labels = Tensor::new(&[0u32], &CPU).unwrap();
        let options = Poly1Options { epsilon, ..Default::default() };
        let loss = poly1(&logits, Target::Indices(&labels), &options).unwrap();
        prop_assert_eq!(loss.to_scalar::<f64>().unwrap(), 0.0);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (logits, labels) = (Tensor::new(&[[1.0, 2.0]], &CPU)?, Tensor::new(&[0u32], &CPU)?);
    for epsilon in [-1.5, f64::NAN, f64::INFINITY] {
        let options = Poly1Options { epsilon, ..Default::default() };
        let error = poly1(&logits, Target::Indices(&labels), &options).unwrap_err();
        let expected = format!("poly1: epsilon should be at least -1 and finite, got {epsilon}");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}
