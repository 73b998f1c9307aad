use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{LossOptions, PoissonNllOptions, Reduction, poisson_nll};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |log_input: bool, full: bool, input: Tensor| {
        let target = (normal("target").abs().unwrap() * 2.0).unwrap().round().unwrap();
        Subject {
            name: "poisson_nll",
            argument: "input",
            input,
            axes: 2,
            by_row: true,
            // The exponential of 1e4 is infinite.
            unbounded: !log_input,
            loss: Box::new(move |x, options| {
                let options = PoissonNllOptions {
                    log_input,
                    full,
                    loss: options.clone(),
                    ..Default::default()
                };
                poisson_nll(x, &beside(&target, x)?, &options)
            }),
        }
    };
    let rate = (normal("input").abs().unwrap() + 0.1).unwrap();
    vec![of(true, false, normal("input")), of(false, true, rate)]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/poisson_nll.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = PoissonNllOptions {
                log_input: case.bool("log_input")?,
                full: case.bool("full")?,
                eps: case.f64("eps")?,
                loss: golden::options(&case, dtype)?,
            };
            poisson_nll(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn of_a_rate_is_that_of_its_logarithm_and_least_at_the_target(
        pairs in prop::collection::vec(prop::array::uniform2(0.01..9.0), 1..20),
        full: bool,
    ) {
        let column = |at: usize| {
            let values: Vec<f64> = pairs.iter().map(|pair| pair[at]).collect();
            Tensor::new(values, &CPU).unwrap()
        };
        let (rate, target) = (column(0), column(1));
        let of = |x: &Tensor, log_input| {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            poisson_nll(x, &target, &PoissonNllOptions { log_input, full, eps: 0.0, loss }).unwrap()
        };
        assert_close(&of(&rate.log().unwrap(), true), &of(&rate, false), 1e-12);
        let above = (of(&rate, false) - of(&target, false)).unwrap().to_vec1::<f64>().unwrap();
        prop_assert!(above.iter().all(|above| *above >= -1e-12), "{above:?}");
    }
}

#[test]
fn the_full_loss_is_nearly_the_likelihood() -> Result<()> {
    // The probability of 20 at a rate of 20 is 0.088835; Stirling's part is off by 1 / (12 · 20).
    let x = Tensor::new(&[20.0], &CPU)?;
    let options = PoissonNllOptions { log_input: false, full: true, ..Default::default() };
    let loss = poisson_nll(&x, &x, &options)?.to_scalar::<f64>()?;
    assert!((loss + 0.088_835_317_392_084_8f64.ln() + 1.0 / 240.0).abs() < 1e-6, "{loss}");
    Ok(())
}

#[test]
fn no_rate_at_all_is_certain_of_nothing() -> Result<()> {
    let x = Var::new(&[f64::NEG_INFINITY, -1e4], &CPU)?;
    let loss = poisson_nll(&x, &x.zeros_like()?, &PoissonNllOptions::default())?;
    assert_eq!(loss.to_scalar::<f64>()?, 0.0);
    let gradient = loss.backward()?.remove(&x).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f64>()?, [0.0, 0.0]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (x, y) = (Tensor::new(&[1.0, -1.0], &CPU)?, Tensor::new(&[1.0, 1.0], &CPU)?);
    let message = |x: &Tensor, y: &Tensor, options: &PoissonNllOptions| {
        poisson_nll(x, y, options).unwrap_err().to_string()
    };
    for eps in [-1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("poisson_nll: eps should be at least 0 and finite, got {eps}");
        assert_eq!(message(&x, &y, &PoissonNllOptions { eps, ..Default::default() }), expected);
    }
    assert_eq!(
        message(&y, &x, &PoissonNllOptions::default()),
        "poisson_nll: target[1] should be at least 0, got -1"
    );
    let rate = PoissonNllOptions { log_input: false, ..Default::default() };
    assert_eq!(
        message(&x, &y, &rate),
        "poisson_nll: input[1] should be at least 0 (`log_input` takes its logarithm), got -1"
    );
    let y = y.to_dtype(DType::F32)?;
    let expected = "poisson_nll: target should be F64, as input, got F32";
    assert_eq!(message(&x, &y, &PoissonNllOptions::default()), expected);
    Ok(())
}
