use candle_core::{Device, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::l2_penalty;

use crate::golden;
use crate::penalty::{holds_for_a_sum, scalar};

#[test]
fn agrees_with_pytorch_and_so_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/l2_penalty.json"))? {
        golden::check(&case, "input", |x, dtype| l2_penalty([x, &case.tensor("other", dtype)?]))?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_sum() -> Result<()> {
    holds_for_a_sum("l2_penalty", |tensors| l2_penalty(tensors.iter().copied()))
}

proptest! {
    #[test]
    fn its_gradient_is_the_weight_and_its_scale_a_square(
        weights in prop::collection::vec(-9.0..9.0, 1..20), scale in -5.0f64..5.0,
    ) {
        let x = Var::new(weights, &Device::Cpu).unwrap();
        let value = l2_penalty([x.as_tensor()]).unwrap();
        let gradient = value.backward().unwrap().remove(&x).unwrap();
        assert_close(&gradient, &x, 0.0);
        let scaled = scalar(&l2_penalty([&(x.as_tensor() * scale).unwrap()]).unwrap());
        prop_assert!((scaled - scale * scale * scalar(&value)).abs() <= 1e-12 * (1.0 + scaled));
        prop_assert!(scalar(&value) >= 0.0);
    }
}
