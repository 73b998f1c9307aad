use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{BceWithLogitsOptions, LossOptions, bce_with_logits, soft_margin};

use crate::contract::{Subject, beside, normal};
use crate::golden;
use crate::hinge::signs;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = signs("target");
    vec![Subject {
        name: "soft_margin",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| soft_margin(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/soft_margin.json"))? {
        golden::check(&case, "input", |input, dtype| {
            soft_margin(input, &case.tensor("target", dtype)?, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_binary_cross_entropy_of_other_labels(
        pairs in prop::collection::vec((-900.0..900.0, any::<bool>()), 1..20),
    ) {
        let (logits, labels): (Vec<f64>, Vec<f64>) =
            pairs.into_iter().map(|(x, right)| (x, f64::from(u8::from(right)))).unzip();
        let (x, target) =
            (Tensor::new(logits, &Device::Cpu).unwrap(), Tensor::new(labels, &Device::Cpu).unwrap());
        let expected = bce_with_logits(&x, &target, &BceWithLogitsOptions::default()).unwrap();
        let signs = target.affine(2.0, -1.0).unwrap();
        let loss = soft_margin(&x, &signs, &LossOptions::default()).unwrap();
        assert_close(&loss, &expected, 1e-13);
        prop_assert!(loss.to_scalar::<f64>().unwrap() >= 0.0);
    }
}
