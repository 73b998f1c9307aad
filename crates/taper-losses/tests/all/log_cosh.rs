use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{LossOptions, log_cosh};

use crate::contract::{Subject, beside, normal};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target");
    vec![Subject {
        name: "log_cosh",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| log_cosh(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_its_equation_and_so_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/log_cosh.json"))? {
        golden::check(&case, "input", |input, dtype| {
            log_cosh(input, &case.tensor("target", dtype)?, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn lies_between_a_parabola_and_the_magnitude(d in -30.0..30.0) {
        let of = |d: f64| {
            let input = Tensor::new(&[d], &Device::Cpu).unwrap();
            let loss = log_cosh(&input, &input.zeros_like().unwrap(), &LossOptions::default());
            loss.unwrap().to_scalar::<f64>().unwrap()
        };
        let loss = of(d);
        prop_assert!(loss >= 0.0 && loss <= d * d / 2.0 && loss <= d.abs());
        prop_assert!(loss >= d.abs() - 2f64.ln());
        prop_assert_eq!(of(-d), loss);
        prop_assert_eq!(of(0.0), 0.0);
    }
}
