use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{
    HingeOptions, LossOptions, Reduction, SquaredHingeOptions, hinge, soft_margin, squared_hinge,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

/// Labels of −1 and 1.
pub(crate) fn signs(name: &str) -> Tensor {
    normal(name).sign().unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |margin| {
        let target = signs("target");
        Subject {
            name: "hinge",
            argument: "input",
            input: normal("input"),
            axes: 2,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, options| {
                let options = HingeOptions { margin, loss: options.clone() };
                hinge(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(0.3), of(1.0)]
}

#[test]
fn agrees_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/hinge.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let loss = golden::options(&case, dtype)?;
            let options = HingeOptions { margin: case.f64("margin")?, loss };
            hinge(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

/// The unreduced losses of scores, whose labels are 1 or −1.
fn losses(scores: &[f64], label: f64, margin: f64) -> Vec<f64> {
    let x = Tensor::new(scores, &CPU).unwrap();
    let target = (x.ones_like().unwrap() * label).unwrap();
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    hinge(&x, &target, &HingeOptions { margin, loss }).unwrap().to_vec1().unwrap()
}

proptest! {
    #[test]
    fn is_a_line_within_the_margin_and_nothing_beyond_it(
        scores in prop::collection::vec(-9.0..9.0, 1..20),
        margin in 0.0..3.0,
    ) {
        let negated: Vec<f64> = scores.iter().map(|x| -x).collect();
        let right = losses(&scores, 1.0, margin);
        prop_assert_eq!(&right, &losses(&negated, -1.0, margin));
        for (x, loss) in scores.iter().zip(&right) {
            prop_assert_eq!(*loss, f64::max(0.0, margin - x));
        }
        let x = Tensor::new(scores, &CPU).unwrap();
        let target = x.ones_like().unwrap();
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = SquaredHingeOptions { margin, loss: loss.clone() };
        let squared = squared_hinge(&x, &target, &options).unwrap().to_vec1::<f64>().unwrap();
        for (squared, loss) in squared.iter().zip(&right) {
            prop_assert!((squared - loss * loss).abs() < 1e-12 * (1.0 + squared));
        }
        // The soft margin is above the hinge of margin 0, by log 2 at most.
        let soft = soft_margin(&x, &target, &loss).unwrap().to_vec1::<f64>().unwrap();
        for (soft, loss) in soft.iter().zip(losses(&x.to_vec1().unwrap(), 1.0, 0.0)) {
            prop_assert!(*soft >= loss && *soft <= loss + 2f64.ln());
        }
    }
}

#[test]
fn the_slope_at_the_margin_is_0() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&Tensor::new(&[1.0, -1.0, f64::NAN], &CPU)?.to_dtype(dtype)?)?;
        let target = Tensor::new(&[1.0, -1.0, 1.0], &CPU)?.to_dtype(dtype)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let losses = hinge(&x, &target, &HingeOptions { loss, ..Default::default() })?;
        let gradient = losses.backward()?.remove(&x).expect("a gradient");
        let losses = losses.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        assert_eq!(losses[..2], [0.0, 0.0]);
        assert!(losses[2].is_nan(), "NaN is not a score beyond the margin");
        assert_eq!(gradient.to_dtype(DType::F64)?.to_vec1::<f64>()?[..2], [0.0, 0.0]);
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (x, target) = (Tensor::new(&[1.0, 2.0], &CPU)?, Tensor::new(&[1.0, 0.0], &CPU)?);
    let options = LossOptions::default;
    let each = |target: &Tensor, loss: LossOptions| {
        let squared = SquaredHingeOptions { loss: loss.clone(), ..Default::default() };
        let plain = HingeOptions { loss: loss.clone(), ..Default::default() };
        [
            ("hinge", hinge(&x, target, &plain)),
            ("squared_hinge", squared_hinge(&x, target, &squared)),
            ("soft_margin", soft_margin(&x, target, &loss)),
        ]
    };
    for (name, loss) in each(&target, options()) {
        let expected = format!("{name}: target[1] should be -1 or 1, got 0");
        assert_eq!(loss.unwrap_err().to_string(), expected);
    }
    let mask = LossOptions { mask: Some(Tensor::new(&[1u8, 0], &CPU)?), ..options() };
    assert!(each(&target, mask).into_iter().all(|(_, loss)| loss.is_ok()));
    for margin in [-1.0, f64::NAN, f64::INFINITY] {
        let rest = format!("margin should be at least 0 and finite, got {margin}");
        let error = hinge(&x, &x, &HingeOptions { margin, ..Default::default() }).unwrap_err();
        assert_eq!(error.to_string(), format!("hinge: {rest}"));
        let squared = SquaredHingeOptions { margin, ..Default::default() };
        let error = squared_hinge(&x, &x, &squared).unwrap_err();
        assert_eq!(error.to_string(), format!("squared_hinge: {rest}"));
    }
    Ok(())
}
