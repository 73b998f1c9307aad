use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{LossOptions, mae};

use crate::contract::{Subject, beside, normal};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target");
    vec![Subject {
        name: "mae",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| mae(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/mae.json"))? {
        golden::check(&case, "input", |input, dtype| {
            mae(input, &case.tensor("target", dtype)?, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_a_distance(
        triples in prop::collection::vec(prop::array::uniform3(-9.0..9.0), 1..20),
        scale in 0.1f64..5.0,
    ) {
        let column = |at: usize| {
            let values: Vec<f64> = triples.iter().map(|triple| triple[at]).collect();
            Tensor::new(values, &Device::Cpu).unwrap()
        };
        let mean = |a: &Tensor, b: &Tensor| {
            mae(a, b, &LossOptions::default()).unwrap().to_scalar::<f64>().unwrap()
        };
        let [a, b, c] = [0, 1, 2].map(column);
        prop_assert_eq!(mean(&a, &a), 0.0);
        prop_assert!(mean(&a, &b) >= 0.0);
        prop_assert_eq!(mean(&a, &b), mean(&b, &a));
        prop_assert!(mean(&a, &c) <= mean(&a, &b) + mean(&b, &c) + 1e-12);
        let scaled = mean(&(&a * scale).unwrap(), &(&b * scale).unwrap());
        prop_assert!((scaled - scale * mean(&a, &b)).abs() < 1e-12 * (1.0 + scaled));
    }
}
