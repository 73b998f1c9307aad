use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{GaussianNllOptions, LossOptions, Reduction, gaussian_nll, mse};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn var() -> Tensor {
    (normal("var").abs().unwrap() + 0.2).unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let (target, var) = (normal("target"), var());
    vec![Subject {
        name: "gaussian_nll",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| {
            let options =
                GaussianNllOptions { full: true, loss: options.clone(), ..Default::default() };
            gaussian_nll(x, &beside(&target, x)?, &beside(&var, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/gaussian_nll.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let options = GaussianNllOptions {
                full: case.bool("full")?,
                eps: case.f64("eps")?,
                loss: golden::options(&case, dtype)?,
            };
            let (other, target) = (case.tensor("other", dtype)?, case.tensor("target", dtype)?);
            match case.text("role")? {
                "mean" => gaussian_nll(x, &target, &other, &options),
                _ => gaussian_nll(&other, &target, x, &options),
            }
        })?;
    }
    Ok(())
}

#[test]
fn mean_and_variance_have_gradients() -> Result<()> {
    let target = normal("target");
    for full in [false, true] {
        let options = GaussianNllOptions { full, ..Default::default() };
        let loss = |x: &[Tensor]| gaussian_nll(&x[0], &target, &x[1], &options);
        gradcheck(loss, &[normal("input"), var()], 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_variance_that_a_mask_leaves_out_may_be_nan() -> Result<()> {
    let input = Tensor::new(&[1.0, 2.0], &CPU)?;
    let var = Var::new(&[1.0, f64::NAN], &CPU)?;
    let mask = Some(Tensor::new(&[1u8, 0], &CPU)?);
    let loss = LossOptions { mask, ..Default::default() };
    let options = GaussianNllOptions { loss, ..Default::default() };
    let loss = gaussian_nll(&input, &input, &var, &options)?;
    assert_eq!(loss.to_scalar::<f64>()?, 0.0);
    let gradient = loss.backward()?.remove(&var).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f64>()?, [0.5, 0.0]);
    Ok(())
}

proptest! {
    #[test]
    fn of_variance_one_is_half_the_squared_error_and_least_at_the_square(
        errors in prop::collection::vec(0.1..9.0, 1..20),
        factor in 0.2..5.0,
    ) {
        let input = Tensor::new(errors, &CPU).unwrap();
        let zeros = input.zeros_like().unwrap();
        let of = |var: &Tensor| {
            gaussian_nll(&input, &zeros, var, &GaussianNllOptions::default()).unwrap()
        };
        let squared = mse(&input, &zeros, &LossOptions::default()).unwrap();
        assert_close(&of(&input.ones_like().unwrap()), &(squared * 0.5).unwrap(), 1e-13);
        let best = input.sqr().unwrap();
        let [least, other] =
            [of(&best), of(&best.affine(factor, 0.0).unwrap())].map(|x| x.to_scalar::<f64>().unwrap());
        prop_assert!(least <= other + 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = Tensor::new(&[1.0, 2.0], &CPU)?;
    let message = |var: &Tensor, options: &GaussianNllOptions| {
        gaussian_nll(&x, &x, var, options).unwrap_err().to_string()
    };
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = GaussianNllOptions { eps, ..Default::default() };
        let expected = format!("gaussian_nll: eps should be above 0 and finite, got {eps}");
        assert_eq!(message(&x, &options), expected);
    }
    let options = GaussianNllOptions::default();
    for wrong in [-1.0, f64::NAN] {
        let expected = format!("gaussian_nll: var[1] should be at least 0, got {wrong}");
        assert_eq!(message(&Tensor::new(&[1.0, wrong], &CPU)?, &options), expected);
    }
    let expected = "gaussian_nll: var should be of shape [2], got [1]";
    assert_eq!(message(&Tensor::new(&[1.0], &CPU)?, &options), expected);
    let expected = "gaussian_nll: var should be F64, as input, got F32";
    assert_eq!(message(&x.to_dtype(DType::F32)?, &options), expected);
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    let options = GaussianNllOptions { loss, ..Default::default() };
    let none = Tensor::zeros(0, DType::F64, &CPU)?;
    assert_eq!(gaussian_nll(&none, &none, &none, &options)?.dims(), [0]);
    Ok(())
}
