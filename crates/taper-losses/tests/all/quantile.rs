use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{LossOptions, QuantileOptions, mae, quantile};

use crate::contract::{Subject, beside, normal};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target");
    vec![Subject {
        name: "quantile",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| {
            let options = QuantileOptions { quantile: 0.8, loss: options.clone() };
            quantile(x, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_its_equation_and_so_with_scikit_learn() -> Result<()> {
    for case in goldens(include_str!("../golden/quantile.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let loss = golden::options(&case, dtype)?;
            let options = QuantileOptions { quantile: case.f64("quantile")?, loss };
            quantile(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

fn of(input: &Tensor, target: &Tensor, tau: f64) -> f64 {
    let options = QuantileOptions { quantile: tau, ..Default::default() };
    quantile(input, target, &options).unwrap().to_scalar().unwrap()
}

proptest! {
    #[test]
    fn of_the_median_is_half_the_absolute_error_and_mirrors(
        pairs in prop::collection::vec(prop::array::uniform2(-9.0..9.0), 1..20),
        tau in 0.01..0.99,
    ) {
        let column = |at: usize| {
            let values: Vec<f64> = pairs.iter().map(|pair| pair[at]).collect();
            Tensor::new(values, &Device::Cpu).unwrap()
        };
        let (x, y) = (column(0), column(1));
        let absolute = mae(&x, &y, &LossOptions::default()).unwrap().to_scalar::<f64>().unwrap();
        prop_assert!((of(&x, &y, 0.5) - absolute / 2.0).abs() < 1e-12);
        prop_assert!((of(&x, &y, tau) - of(&y, &x, 1.0 - tau)).abs() < 1e-12);
        prop_assert!((of(&x, &y, tau) + of(&y, &x, tau) - absolute).abs() < 1e-12);
        prop_assert!(of(&x, &y, tau) >= 0.0);
        prop_assert_eq!(of(&x, &x, tau), 0.0);
    }

    #[test]
    fn is_least_at_the_quantile(
        mut targets in prop::collection::vec(-9.0f64..9.0, 1..20),
        tau in 0.01f64..0.99,
        elsewhere in -10.0..10.0,
    ) {
        let target = Tensor::new(targets.clone(), &Device::Cpu).unwrap();
        targets.sort_by(f64::total_cmp);
        let best = targets[((tau * targets.len() as f64).ceil() as usize).max(1) - 1];
        let at = |x: f64| of(&(target.ones_like().unwrap() * x).unwrap(), &target, tau);
        prop_assert!(at(best) <= at(elsewhere) + 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let input = Tensor::new(&[1.0], &Device::Cpu)?;
    for tau in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = QuantileOptions { quantile: tau, ..Default::default() };
        let message = quantile(&input, &input, &options).unwrap_err().to_string();
        let expected = format!("quantile: quantile should be above 0 and below 1, got {tau}");
        assert_eq!(message, expected);
    }
    Ok(())
}
