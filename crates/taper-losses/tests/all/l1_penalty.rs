use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::l1_penalty;

use crate::golden;
use crate::penalty::{holds_for_a_sum, scalar};

#[test]
fn agrees_with_pytorch_and_so_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/l1_penalty.json"))? {
        golden::check(&case, "input", |x, dtype| l1_penalty([x, &case.tensor("other", dtype)?]))?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_sum() -> Result<()> {
    holds_for_a_sum("l1_penalty", |tensors| l1_penalty(tensors.iter().copied()))
}

proptest! {
    #[test]
    fn is_a_norm(
        pairs in prop::collection::vec(prop::array::uniform2(-9.0..9.0), 1..20), scale in -5.0f64..5.0,
    ) {
        let column = |at: usize| {
            Tensor::new(pairs.iter().map(|pair| pair[at]).collect::<Vec<_>>(), &Device::Cpu).unwrap()
        };
        let of = |x: &Tensor| scalar(&l1_penalty([x]).unwrap());
        let (x, y) = (column(0), column(1));
        prop_assert_eq!(of(&x.zeros_like().unwrap()), 0.0);
        prop_assert!(of(&x) > 0.0);
        prop_assert!(of(&(&x + &y).unwrap()) <= of(&x) + of(&y) + 1e-12);
        let scaled = of(&(&x * scale).unwrap());
        prop_assert!((scaled - scale.abs() * of(&x)).abs() <= 1e-12 * (1.0 + scaled));
    }
}

#[test]
fn many_small_weights_are_not_lost_in_f32() -> Result<()> {
    // One by one in f32 the sum would stay at 2²⁴.
    let weights = Tensor::full(1f32, 20_000_000, &Device::Cpu)?;
    assert_eq!(scalar(&l1_penalty([&weights])?), 2e7);
    Ok(())
}
