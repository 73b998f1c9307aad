use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{Gaussian, LossOptions, gaussian_kl};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

/// Of the four tensors mean, log-variance and those of the prior, in that order.
fn of(tensors: [&Tensor; 4], has_prior: bool, options: &LossOptions) -> Result<Tensor> {
    let [mean, log_variance, prior_mean, prior_log_variance] = tensors;
    let prior = Gaussian { mean: prior_mean, log_variance: prior_log_variance };
    gaussian_kl(Gaussian { mean, log_variance }, has_prior.then_some(prior), options)
}

const NAMES: [&str; 4] = ["mean", "log_variance", "prior_mean", "prior_log_variance"];

pub(crate) fn subjects() -> Vec<Subject> {
    let of_argument = |at: usize, has_prior: bool| {
        let tensors = NAMES.map(normal);
        Subject {
            name: "gaussian_kl",
            argument: "mean",
            input: tensors[at].clone(),
            axes: 1,
            by_row: true,
            // The logarithm of a variance is not.
            unbounded: at == 0 && !has_prior,
            loss: Box::new(move |x, options| {
                let mut all = tensors.clone();
                for tensor in &mut all {
                    *tensor = beside(tensor, x)?;
                    if !x.dtype().is_float() {
                        *tensor = tensor.to_dtype(x.dtype())?;
                    }
                }
                all[at] = x.clone();
                of([&all[0], &all[1], &all[2], &all[3]], has_prior, options)
            }),
        }
    };
    let alone = [0, 1].map(|at| of_argument(at, false));
    let beside_prior = [0, 1, 2, 3].map(|at| of_argument(at, true));
    alone.into_iter().chain(beside_prior).collect()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/gaussian_kl.json"))? {
        let argument = case.text("argument")?;
        golden::check(&case, "input", |input, dtype| {
            let has_prior = case.bool("has_prior")?;
            let tensor = |at: usize| match NAMES[at] {
                name if name == argument => Ok(input.clone()),
                _ if at > 1 && !has_prior => Ok(input.clone()),
                name => case.tensor(name, dtype),
            };
            let tensors = [tensor(0)?, tensor(1)?, tensor(2)?, tensor(3)?];
            let [a, b, c, d] = &tensors;
            of([a, b, c, d], has_prior, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

#[test]
fn all_have_the_gradient_of_finite_differences() -> Result<()> {
    let loss = |x: &[Tensor]| of([&x[0], &x[1], &x[2], &x[3]], true, &LossOptions::default());
    gradcheck(loss, &NAMES.map(normal), 1e-6)
}

proptest! {
    #[test]
    fn is_a_divergence(
        columns in prop::collection::vec(prop::array::uniform4(-3.0..3.0), 1..8),
        shift in -9.0..9.0, scale in 0.1f64..9.0,
    ) {
        let column = |at: usize| {
            let values: Vec<f64> = columns.iter().map(|column| column[at]).collect();
            Tensor::new(vec![values], &CPU).unwrap()
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(column);
        let between = |tensors, has_prior| {
            of(tensors, has_prior, &LossOptions::default()).unwrap().to_scalar::<f64>().unwrap()
        };
        let value = between([&a, &b, &c, &d], true);
        prop_assert!(value >= -1e-12);
        prop_assert_eq!(between([&a, &b, &a, &b], true), 0.0);
        // Another unit and zero of both change nothing.
        let mean = |x: &Tensor| x.affine(scale, shift).unwrap();
        let log_variance = |x: &Tensor| (x + 2.0 * scale.ln()).unwrap();
        let moved = [&mean(&a), &log_variance(&b), &mean(&c), &log_variance(&d)];
        prop_assert!((between(moved, true) - value).abs() < 1e-10 * (1.0 + value));
        // The default prior is the standard normal.
        let zeros = a.zeros_like().unwrap();
        let expected = between([&a, &b, &zeros, &zeros], true);
        prop_assert!((between([&a, &b, &c, &d], false) - expected).abs() < 1e-13 * (1.0 + expected));
    }
}

#[test]
fn the_dimensions_are_the_last_axis() -> Result<()> {
    let [mean, log_variance] = ["mean", "log_variance"].map(normal);
    let options = || LossOptions { reduction: taper_losses::Reduction::None, ..Default::default() };
    let losses = of([&mean, &log_variance, &mean, &mean], false, &options())?;
    let (m, v) = (mean.reshape((5, 1, 3))?, log_variance.reshape((5, 1, 3))?);
    assert_close(&of([&m, &v, &m, &m], false, &options())?.squeeze(1)?, &losses, 1e-14);
    let (m, v) = (mean.get(0)?, log_variance.get(0)?);
    assert_close(&of([&m, &v, &m, &m], false, &options())?, &losses.get(0)?, 1e-14);
    // A prior for all samples.
    let prior = m.broadcast_as((5, 3))?;
    let value = of([&mean, &log_variance, &prior, &prior], true, &LossOptions::default())?;
    let prior = prior.contiguous()?;
    let expected = of([&mean, &log_variance, &prior, &prior], true, &LossOptions::default())?;
    assert_close(&value, &expected, 1e-14);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (x, row) = (normal("mean"), normal("mean").narrow(0, 0, 1)?);
    let error = |tensors| of(tensors, true, &LossOptions::default()).unwrap_err().to_string();
    for (tensors, name) in [
        ([&x, &row, &x, &x], "log_variance"),
        ([&x, &x, &row, &x], "prior.mean"),
        ([&x, &x, &x, &row], "prior.log_variance"),
    ] {
        let expected = format!("gaussian_kl: {name} should be of shape [5, 3], got [1, 3]");
        assert_eq!(error(tensors), expected);
    }
    let number = Tensor::new(1.0, &CPU)?;
    let expected = "gaussian_kl: mean should be of at least one axis, the dimensions, got []";
    assert_eq!(error([&number; 4]), expected);
    Ok(())
}
