use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradients_reach};
use taper_losses::{BceWithLogitsOptions, LossOptions, Reduction, bce, bce_with_logits};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &CPU).unwrap()
}

fn unreduced() -> LossOptions {
    LossOptions { reduction: Reduction::None, ..Default::default() }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let inside = |name: &str| normal(name).tanh().unwrap().affine(0.45, 0.5).unwrap();
    let target = inside("target");
    vec![Subject {
        name: "bce",
        argument: "input",
        input: inside("input"),
        axes: 2,
        by_row: true,
        unbounded: false,
        loss: Box::new(move |x, options| bce(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/bce.json"))? {
        golden::check(&case, "input", |input, dtype| {
            bce(input, &case.tensor("target", dtype)?, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn of_sigmoids_is_that_of_logits(pairs in prop::collection::vec((-9.0..9.0, 0.0..1.0), 1..20)) {
        let (logits, target): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let (logits, target) = (Var::from_tensor(&tensor(&logits)).unwrap(), tensor(&target));
        let p = (logits.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap();
        let of_p = bce(&p, &target, &unreduced()).unwrap();
        let options = BceWithLogitsOptions { loss: unreduced(), ..Default::default() };
        let of_logits = bce_with_logits(&logits, &target, &options).unwrap();
        assert_close(&of_p, &of_logits, 1e-11);
        let gradient = |losses: Tensor| losses.backward().unwrap().remove(&logits).unwrap();
        assert_close(&gradient(of_p), &gradient(of_logits), 1e-11);
    }

    #[test]
    fn is_positive_symmetric_and_least_at_the_target(p in 0.0f64..=1.0, y in 0.0f64..=1.0) {
        let of = |p: f64, y: f64| {
            bce(&tensor(&[p]), &tensor(&[y]), &LossOptions::default()).unwrap().to_scalar::<f64>().unwrap()
        };
        prop_assert!(of(p, y) >= 0.0 && of(y, y) <= of(p, y) + 1e-12);
        // 1 − p has few digits where p is near 0.
        prop_assert!((of(p, y) - of(1.0 - p, 1.0 - y)).abs() < 1e-9 || !(1e-6..1.0 - 1e-6).contains(&p));
    }
}

#[test]
fn only_the_input_has_a_gradient() -> Result<()> {
    let names = ["input", "target"];
    let variables = names.map(|name| (name.to_owned(), Var::new(&[0.5, 0.75], &CPU).unwrap()));
    let target = (variables[1].1.as_tensor() * 0.5)?;
    gradients_reach(
        &bce(&variables[0].1, &target, &LossOptions::default())?,
        &variables,
        &names[1..],
    )
}

#[test]
fn a_certain_prediction_is_limited_as_in_pytorch() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let input = Var::from_tensor(&tensor(&[0.0, 1.0, 0.0, 1.0, 0.0]).to_dtype(dtype)?)?;
        let target = tensor(&[0.0, 1.0, 1.0, 0.0, 0.5]).to_dtype(dtype)?;
        let losses = bce(&input, &target, &unreduced())?;
        let expected = tensor(&[0.0, 0.0, 100.0, 100.0, 50.0]);
        assert_close(&losses.to_dtype(DType::F64)?, &expected, 1e-15);
        let gradient = losses.sum_all()?.backward()?.remove(&input).expect("a gradient");
        let expected = tensor(&[0.0, 0.0, -1e12, 1e12, -5e11]);
        assert_close(&gradient.to_dtype(DType::F64)?, &expected, 1e-7);
    }
    Ok(())
}

#[test]
fn errors_name_the_element() -> Result<()> {
    let right = Tensor::new(&[[0.5, 0.5], [0.5, 0.5]], &CPU)?;
    for value in [-0.5, 1.5, f64::NAN, f64::INFINITY] {
        let wrong = Tensor::new(&[[0.5, 0.5], [value, 0.5]], &CPU)?;
        let message = |input, target, options: &LossOptions| {
            bce(input, target, options).map_err(|error| error.to_string())
        };
        let plain = LossOptions::default();
        assert_eq!(
            message(&wrong, &right, &plain).unwrap_err(),
            format!("bce: input[1, 0] should be a probability, from 0 to 1, got {value}")
        );
        assert_eq!(
            message(&right, &wrong, &plain).unwrap_err(),
            format!("bce: target[1, 0] should be from 0 to 1, got {value}")
        );
        let mask = Some(Tensor::new(&[1u8, 0], &CPU)?);
        let masked = LossOptions { mask, ..Default::default() };
        assert!(
            message(&wrong, &right, &masked).is_ok() && message(&right, &wrong, &masked).is_ok()
        );
    }
    Ok(())
}
