use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{LossOptions, Reduction, mse, msle};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target").abs().unwrap();
    vec![Subject {
        name: "msle",
        argument: "input",
        input: normal("input").abs().unwrap(),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| msle(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_its_equation_and_so_with_keras_and_scikit_learn() -> Result<()> {
    for case in goldens(include_str!("../golden/msle.json"))? {
        golden::check(&case, "input", |input, dtype| {
            msle(input, &case.tensor("target", dtype)?, &golden::options(&case, dtype)?)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_squared_error_of_logarithms_and_sees_factors_only(
        pairs in prop::collection::vec(prop::array::uniform2(-3.0..3.0), 1..20),
        factor in 0.1..9.0,
    ) {
        let column = |at: usize| {
            let values: Vec<f64> = pairs.iter().map(|pair| pair[at]).collect();
            Tensor::new(values, &CPU).unwrap()
        };
        let (x, y) = (column(0), column(1));
        let of = |x: &Tensor, y: &Tensor, factor: f64| {
            let grown = |x: &Tensor| ((x.exp().unwrap() * factor).unwrap() - 1.0).unwrap();
            msle(&grown(x), &grown(y), &LossOptions::default()).unwrap()
        };
        let squared = mse(&x, &y, &LossOptions::default()).unwrap();
        assert_close(&of(&x, &y, 1.0), &squared, 1e-11);
        assert_close(&of(&x, &y, factor), &squared, 1e-11);
        assert_close(&of(&x, &y, 1.0), &of(&y, &x, 1.0), 1e-13);
        prop_assert_eq!(of(&x, &x, 1.0).to_scalar::<f64>().unwrap(), 0.0);
    }
}

#[test]
fn errors_name_the_element() -> Result<()> {
    let right = Tensor::new(&[[1.0, 0.0], [2.0, -0.5]], &CPU)?;
    for value in [-1.0, -2.0, f64::NAN] {
        let wrong = Tensor::new(&[[1.0, 0.0], [value, 3.0]], &CPU)?;
        let expected = |name: &str| format!("msle: {name}[1, 0] should be above -1, got {value}");
        let of = |x: &Tensor, y: &Tensor, options: &LossOptions| msle(x, y, options);
        let message = |x, y| of(x, y, &LossOptions::default()).unwrap_err().to_string();
        assert_eq!(message(&wrong, &right), expected("input"));
        assert_eq!(message(&right, &wrong), expected("target"));
        let mask = Some(Tensor::new(&[1u8, 0], &CPU)?);
        let options = LossOptions { mask, reduction: Reduction::Sum, ..Default::default() };
        assert_eq!(of(&wrong, &wrong, &options)?.to_scalar::<f64>()?, 0.0);
    }
    Ok(())
}
