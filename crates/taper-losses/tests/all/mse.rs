use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{goldens, gradients_reach};
use taper_losses::{LossOptions, Reduction, mse};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &CPU).unwrap()
}

/// The mean squared error of two lists.
fn mean(input: &[f64], target: &[f64]) -> f64 {
    let loss = mse(&tensor(input), &tensor(target), &LossOptions::default()).unwrap();
    loss.to_scalar().unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target");
    vec![Subject {
        name: "mse",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| mse(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/mse.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = LossOptions {
                reduction: golden::reduction(&case)?,
                sample_weights: golden::optional(&case, "sample_weights", dtype)?,
                ..Default::default()
            };
            mse(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_zero_only_at_the_target(pairs in prop::collection::vec((-9.0..9.0, -9.0..9.0), 1..20)) {
        let (input, target): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        prop_assert_eq!(mean(&input, &input), 0.0);
        prop_assert!(input == target || mean(&input, &target) > 0.0);
    }

    #[test]
    fn is_symmetric_shift_invariant_and_quadratic(
        pairs in prop::collection::vec((-9.0..9.0, -9.0..9.0), 1..20),
        shift in -5.0..5.0,
    ) {
        let (input, target): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let value = mean(&input, &target);
        let each = |values: &[f64], change: &dyn Fn(f64) -> f64| -> Vec<f64> {
            values.iter().map(|x| change(*x)).collect()
        };
        let shifted = mean(&each(&input, &|x| x + shift), &each(&target, &|x| x + shift));
        let doubled = mean(&each(&input, &|x| 2.0 * x), &each(&target, &|x| 2.0 * x));
        prop_assert_eq!(mean(&target, &input), value);
        prop_assert!((shifted - value).abs() <= 1e-12 * (1.0 + value));
        prop_assert_eq!(doubled, 4.0 * value);
    }

    #[test]
    fn a_mask_is_as_if_the_rest_were_not_there(
        rows in prop::collection::vec((prop::array::uniform3(0.1..9.0), any::<bool>()), 1..20),
    ) {
        let all: Vec<[f64; 3]> = rows.iter().map(|row| row.0).collect();
        let kept: Vec<[f64; 3]> = rows.iter().filter(|row| row.1).map(|row| row.0).collect();
        prop_assume!(!kept.is_empty());
        let mask: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::WeightedMean] {
            let value = |rows: &[[f64; 3]], mask: Option<Tensor>| -> f64 {
                let column = |at: usize| tensor(&rows.iter().map(|row| row[at]).collect::<Vec<_>>());
                let sample_weights = Some(column(2));
                let options = LossOptions { reduction, sample_weights, mask, ..Default::default() };
                mse(&column(0), &column(1), &options).unwrap().to_scalar().unwrap()
            };
            let expected = value(&kept, None);
            let masked = value(&all, Some(Tensor::new(mask.as_slice(), &CPU).unwrap()));
            prop_assert!((masked - expected).abs() <= 1e-12 * (1.0 + expected));
        }
    }
}

#[test]
fn only_the_input_has_a_gradient() -> Result<()> {
    let variable = |name: &str, values: &[f64]| -> Result<(String, Var)> {
        Ok((name.to_owned(), Var::new(values, &CPU)?))
    };
    let variables = [
        variable("input", &[1.0, 2.0])?,
        variable("target", &[0.0, 5.0])?,
        variable("weights", &[1.0, 3.0])?,
    ];
    let [input, target, weights] = [0, 1, 2].map(|at| variables[at].1.as_tensor());
    let options = LossOptions { sample_weights: Some(weights.clone()), ..Default::default() };
    gradients_reach(&mse(input, target, &options)?, &variables, &["target", "weights"])
}

#[test]
fn half_precision_is_computed_and_returned_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // 300 squared is beyond f16.
        let input = Var::from_tensor(&Tensor::new(&[300f32, 1.0], &CPU)?.to_dtype(dtype)?)?;
        let loss = mse(&input, &input.zeros_like()?, &LossOptions::default())?;
        let expected = (input.to_dtype(DType::F32)?.to_vec1::<f32>()?[0].powi(2) + 1.0) / 2.0;
        assert_eq!(loss.to_scalar::<f32>()?, expected);
        assert_eq!(loss.backward()?.get(&input).expect("a gradient").dtype(), dtype);
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let input = Tensor::zeros((2, 3), DType::F64, &CPU)?;
    let message =
        |target: &Tensor| mse(&input, target, &LossOptions::default()).unwrap_err().to_string();
    assert_eq!(message(&tensor(&[0.0; 3])), "mse: target should be of shape [2, 3], got [3]");
    let narrow = input.to_dtype(DType::F32)?;
    assert_eq!(message(&narrow), "mse: target should be F64, as input, got F32");
    Ok(())
}
