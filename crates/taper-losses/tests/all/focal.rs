use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{ClassOptions, FocalOptions, Target, cross_entropy, focal};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |gamma: f64| {
        let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
        Subject {
            name: "focal",
            argument: "logits",
            input: normal("logits"),
            axes: 1,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let classes = ClassOptions { loss: loss.clone(), ..Default::default() };
                let options = FocalOptions { gamma, classes };
                focal(x, Target::Indices(&beside(&labels, x)?), &options)
            }),
        }
    };
    vec![of(0.5), of(2.0)]
}

#[test]
fn agrees_with_its_equation_and_so_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/focal.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let classes = golden::class_options(&case, dtype)?;
            let options = FocalOptions { gamma: case.f64("gamma")?, classes };
            golden::against_classes(&case, dtype, |target| focal(logits, target, &options))
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_cross_entropy_turned_down(
        logits in prop::collection::vec(prop::collection::vec(-9.0..9.0, 3), 1..8),
        gamma in 0.0..5.0,
    ) {
        let labels = Tensor::zeros(logits.len(), candle_core::DType::U32, &CPU).unwrap();
        let logits = Tensor::new(logits, &CPU).unwrap();
        let target = Target::Indices(&labels);
        let of = |gamma| {
            focal(&logits, target, &FocalOptions { gamma, ..Default::default() }).unwrap()
        };
        let entropy = cross_entropy(&logits, target, &ClassOptions::default()).unwrap();
        assert_close(&of(0.0), &entropy, 1e-13);
        let [turned, whole] = [of(gamma), entropy].map(|loss| loss.to_scalar::<f64>().unwrap());
        prop_assert!(turned >= 0.0 && turned <= whole);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (logits, labels) = (Tensor::new(&[[1.0, 2.0]], &CPU)?, Tensor::new(&[0u32], &CPU)?);
    for gamma in [-1.0, f64::NAN, f64::INFINITY] {
        let options = FocalOptions { gamma, ..Default::default() };
        let error = focal(&logits, Target::Indices(&labels), &options).unwrap_err();
        let expected = format!("focal: gamma should be at least 0 and finite, got {gamma}");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}
