use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{HuberOptions, LossOptions, SmoothL1Options, huber, mae, smooth_l1};

use crate::contract::{Subject, beside, normal};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |beta: f64| {
        let target = normal("target");
        Subject {
            name: "smooth_l1",
            argument: "input",
            input: normal("input"),
            axes: 2,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, options| {
                let options = SmoothL1Options { beta, loss: options.clone() };
                smooth_l1(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(0.0), of(0.7)]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/smooth_l1.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let loss = golden::options(&case, dtype)?;
            let options = SmoothL1Options { beta: case.f64("beta")?, loss };
            smooth_l1(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_huber_in_units_of_beta_and_the_absolute_error_without(
        errors in prop::collection::vec(-9.0..9.0, 1..20),
        beta in 0.1..5.0,
    ) {
        let input = Tensor::new(errors, &Device::Cpu).unwrap();
        let zeros = input.zeros_like().unwrap();
        let of = |beta| {
            smooth_l1(&input, &zeros, &SmoothL1Options { beta, ..Default::default() }).unwrap()
        };
        let of_huber =
            huber(&input, &zeros, &HuberOptions { delta: beta, ..Default::default() }).unwrap();
        assert_close(&(of(beta) * beta).unwrap(), &of_huber, 1e-13);
        let absolute = mae(&input, &zeros, &LossOptions::default()).unwrap();
        assert_close(&of(0.0), &absolute, 0.0);
        let [smooth, absolute] = [of(beta), absolute].map(|x| x.to_scalar::<f64>().unwrap());
        prop_assert!(smooth >= 0.0 && smooth <= absolute && absolute <= smooth + beta / 2.0 + 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let input = Tensor::new(&[1.0], &Device::Cpu)?;
    for beta in [-1.0, f64::NAN, f64::INFINITY] {
        let options = SmoothL1Options { beta, ..Default::default() };
        let message = smooth_l1(&input, &input, &options).unwrap_err().to_string();
        assert_eq!(message, format!("smooth_l1: beta should be at least 0 and finite, got {beta}"));
    }
    Ok(())
}
