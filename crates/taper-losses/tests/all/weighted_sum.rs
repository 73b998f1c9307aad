use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{LossOptions, Reduction, WeightedSum, mae, mse};

use crate::contract::normal;
use crate::golden;
use crate::penalty::scalar;

const CPU: Device = Device::Cpu;

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/weighted_sum.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let mut sum = WeightedSum::new();
            for (name, weight) in
                ["first", "second", "third"].into_iter().zip(case.f64s("weights")?)
            {
                let part = case.tensor(name, dtype)?;
                let part = if case.text("role")? == name { input } else { &part };
                sum = sum.with(name, weight, part)?;
            }
            Ok(sum.total()?.sum_all()?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_linear_in_its_parts_whatever_their_order(
        parts in prop::collection::vec((-9.0..9.0, prop::array::uniform3(-9.0..9.0)), 1..6),
    ) {
        let of = |parts: &[(f64, [f64; 3])]| {
            let mut sum = WeightedSum::new();
            for (at, (weight, losses)) in parts.iter().enumerate() {
                let losses = Tensor::new(losses, &CPU).unwrap();
                sum = sum.with(format!("part {at}"), *weight, &losses).unwrap();
            }
            sum
        };
        let sum = of(&parts);
        for (row, total) in sum.total().unwrap().to_vec1::<f64>().unwrap().into_iter().enumerate() {
            let by_hand: f64 = parts.iter().map(|(weight, losses)| weight * losses[row]).sum();
            prop_assert!((total - by_hand).abs() <= 1e-12, "{total} is not {by_hand}");
        }
        for ((_, losses), (_, reported)) in parts.iter().zip(sum.parts()) {
            prop_assert_eq!(reported.to_vec1::<f64>().unwrap(), losses);
        }
        let reversed: Vec<_> = parts.iter().rev().copied().collect();
        assert_close(&of(&reversed).total().unwrap(), &sum.total().unwrap(), 1e-13);
    }
}

#[test]
fn each_part_has_its_gradient_and_one_tensor_may_be_in_several() -> Result<()> {
    let [target, third] = ["target", "third"].map(normal);
    for reduction in [Reduction::Mean, Reduction::None] {
        let options = LossOptions { reduction, ..Default::default() };
        let loss = |x: &[Tensor]| {
            WeightedSum::new()
                .with("squares", 0.5, &mse(&x[0], &target, &options)?)?
                .with("magnitudes", -2.0, &mae(&x[0], &third, &options)?)?
                .with("second", 3.0, &mse(&x[1], &target, &options)?)?
                .total()
        };
        gradcheck(loss, &[normal("first"), normal("second")], 1e-6)?;
    }
    Ok(())
}

#[test]
fn parts_of_weight_0_spoil_nothing() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for poison in [f64::NAN, f64::INFINITY] {
            let usual = Var::from_tensor(&Tensor::new(2.0, &CPU)?.to_dtype(dtype)?)?;
            let poisoned = Var::from_tensor(&Tensor::new(poison, &CPU)?.to_dtype(dtype)?)?;
            let sum = WeightedSum::new().with("bad", 0.0, &poisoned)?.with("good", 3.0, &usual)?;
            assert_eq!(scalar(&sum.total()?), 6.0);
            let gradients = sum.total()?.backward()?;
            assert_eq!(scalar(gradients.get(&usual).expect("a gradient")), 3.0);
            assert!(gradients.get(&poisoned).is_none());
            assert_eq!(sum.parts()[0].0, "bad");
            assert!(!scalar(&sum.parts()[0].1).is_finite());
            let neither = WeightedSum::new().with("bad", -0.0, &poisoned)?;
            assert_eq!(scalar(&neither.total()?), 0.0);
            assert!(neither.total()?.backward()?.get(&poisoned).is_none());
        }
    }
    Ok(())
}

#[test]
fn half_precision_is_summed_in_f32() -> Result<()> {
    // In f16 the sum is 2048, and the second part is lost.
    let [large, small] =
        [2048.0, 0.5].map(|value| Tensor::new(value, &CPU).unwrap().to_dtype(DType::F16).unwrap());
    let large = Var::from_tensor(&large)?;
    let single = small.to_dtype(DType::F32)?;
    let sum = WeightedSum::new().with("large", 1.0, &large)?.with("small", 1.0, &small)?;
    let sum = sum.with("single", 1.0, &single)?;
    assert_eq!(sum.total()?.dtype(), DType::F32);
    assert_eq!(scalar(&sum.total()?), 2049.0);
    assert_eq!(sum.total()?.backward()?.get(&large).expect("a gradient").dtype(), DType::F16);
    Ok(())
}

#[test]
fn empty_parts_have_an_empty_total() -> Result<()> {
    let nothing = Tensor::zeros((0, 2), DType::F64, &CPU)?;
    let sum = WeightedSum::new().with("a", 1.0, &nothing)?.with("b", 2.0, &nothing)?;
    assert_eq!(sum.total()?.dims(), [0, 2]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let value = Tensor::new(1.0, &CPU)?;
    let of = |name: &str, weight: f64, losses: &Tensor| {
        let sum = WeightedSum::new().with("first", 1.0, &value).unwrap();
        sum.with(name, weight, losses).unwrap_err().to_string()
    };
    for name in ["", "first"] {
        let expected = "name should be not empty and that of no other part";
        assert_eq!(of(name, 1.0, &value), format!("WeightedSum::with: {expected}, got {name:?}"));
    }
    for weight in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let expected =
            format!("WeightedSum::with: weight of \"kl\" should be finite, got {weight}");
        assert_eq!(of("kl", weight, &value), expected);
    }
    for (losses, expected) in [
        (value.reshape(1)?, "of shape [], got [1]"),
        (value.to_dtype(DType::F32)?, "computed in F64, as \"first\" is, got F32"),
        (value.to_dtype(DType::U32)?, "f64, f32, bf16 or f16, got U32"),
    ] {
        let expected = format!("WeightedSum::with: losses of \"kl\" should be {expected}");
        assert_eq!(of("kl", 1.0, &losses), expected);
    }
    let message = WeightedSum::new().total().unwrap_err().to_string();
    assert_eq!(message, "WeightedSum::total: parts should be at least one, got none");
    Ok(())
}
