use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{HuberOptions, LossOptions, huber, mae, mse};

use crate::contract::{Subject, beside, normal};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target");
    vec![Subject {
        name: "huber",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| {
            let options = HuberOptions { delta: 0.7, loss: options.clone() };
            huber(x, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/huber.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let loss = golden::options(&case, dtype)?;
            let options = HuberOptions { delta: case.f64("delta")?, loss };
            huber(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_half_the_square_near_the_target_and_a_line_far_from_it(
        errors in prop::collection::vec(-9.0..9.0, 1..20),
    ) {
        let input = Tensor::new(errors, &Device::Cpu).unwrap();
        let zeros = input.zeros_like().unwrap();
        let scalar = |loss: Result<Tensor>| loss.unwrap().to_scalar::<f64>().unwrap();
        let of = |delta| {
            scalar(huber(&input, &zeros, &HuberOptions { delta, ..Default::default() }))
        };
        let square = scalar(mse(&input, &zeros, &LossOptions::default()));
        let line = scalar(mae(&input, &zeros, &LossOptions::default()));
        prop_assert!((of(9.0) - square / 2.0).abs() < 1e-12 * (1.0 + square));
        prop_assert!((of(1e-9) / 1e-9 - line).abs() < 1e-8);
        prop_assert!(of(1.0) >= 0.0 && of(1.0) <= square / 2.0 + 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let input = Tensor::new(&[1.0], &Device::Cpu)?;
    for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = HuberOptions { delta, ..Default::default() };
        let message = huber(&input, &input, &options).unwrap_err().to_string();
        assert_eq!(message, format!("huber: delta should be above 0 and finite, got {delta}"));
    }
    Ok(())
}
