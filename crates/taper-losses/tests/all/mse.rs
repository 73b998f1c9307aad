use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{goldens, gradcheck, gradients_reach};
use taper_losses::{Empty, MseOptions, Reduction, mse};

use crate::golden;

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &CPU).unwrap()
}

/// The mean squared error of two lists.
fn mean(input: &[f64], target: &[f64]) -> f64 {
    let loss = mse(&tensor(input), &tensor(target), &MseOptions::default()).unwrap();
    loss.to_scalar().unwrap()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/mse.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = MseOptions {
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
                let options = MseOptions { reduction, sample_weights, mask, ..Default::default() };
                mse(&column(0), &column(1), &options).unwrap().to_scalar().unwrap()
            };
            let expected = value(&kept, None);
            let masked = value(&all, Some(Tensor::new(mask.as_slice(), &CPU).unwrap()));
            prop_assert!((masked - expected).abs() <= 1e-12 * (1.0 + expected));
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let input = Tensor::new(&[[0.3, -1.2, 2.0], [0.1, 0.0, -0.7]], &CPU)?;
    let target = Tensor::new(&[[0.5, 1.0, 2.0], [-0.4, 0.9, 0.2]], &CPU)?;
    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::WeightedMean] {
        let options = MseOptions {
            reduction,
            sample_weights: Some(tensor(&[0.5, 2.0])),
            mask: Some(Tensor::new(&[[1u8, 0, 1], [1, 1, 1]], &CPU)?),
            ..Default::default()
        };
        gradcheck(|x| mse(&x[0], &target, &options), std::slice::from_ref(&input), 1e-6)?;
    }
    Ok(())
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
    let options = MseOptions { sample_weights: Some(weights.clone()), ..Default::default() };
    gradients_reach(&mse(input, target, &options)?, &variables, &["target", "weights"])
}

#[test]
fn what_a_mask_leaves_out_may_be_nan() -> Result<()> {
    let input = Var::new(&[1.0, f64::NAN, f64::INFINITY], &CPU)?;
    let mask = Some(Tensor::new(&[1u8, 0, 0], &CPU)?);
    let options = MseOptions { mask, ..Default::default() };
    let loss = mse(&input, &tensor(&[3.0, 0.0, f64::NAN]), &options)?;
    assert_eq!(loss.to_scalar::<f64>()?, 4.0);
    let gradient = loss.backward()?.remove(&input).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f64>()?, [-4.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn half_precision_is_computed_and_returned_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // 300 squared is beyond f16.
        let input = Var::from_tensor(&Tensor::new(&[300f32, 1.0], &CPU)?.to_dtype(dtype)?)?;
        let loss = mse(&input, &input.zeros_like()?, &MseOptions::default())?;
        let expected = (input.to_dtype(DType::F32)?.to_vec1::<f32>()?[0].powi(2) + 1.0) / 2.0;
        assert_eq!(loss.to_scalar::<f32>()?, expected);
        assert_eq!(loss.backward()?.get(&input).expect("a gradient").dtype(), dtype);
    }
    Ok(())
}

#[test]
fn nothing_left_is_what_the_policy_says() -> Result<()> {
    let (one, none) = (tensor(&[1.0]), Tensor::zeros((0, 3), DType::F64, &CPU)?);
    let masked = |empty| MseOptions {
        empty,
        mask: Some(Tensor::new(&[0u8], &CPU).unwrap()),
        ..Default::default()
    };
    let weightless =
        |empty| MseOptions { empty, sample_weights: Some(tensor(&[0.0])), ..Default::default() };
    let plain = |empty| MseOptions { empty, ..Default::default() };
    type Options = fn(Empty) -> MseOptions;
    let cases: [(&Tensor, Options, &str); 3] =
        [(&one, masked, "mask"), (&one, weightless, "sample_weights"), (&none, plain, "input")];
    for (input, options, argument) in cases {
        let value = |empty| mse(input, input, &options(empty));
        assert_eq!(value(Empty::Zero)?.to_scalar::<f64>()?, 0.0);
        assert!(value(Empty::Nan)?.to_scalar::<f64>()?.is_nan());
        let message = value(Empty::Error).unwrap_err().to_string();
        assert!(message.starts_with(&format!("mse: {argument} should be such that")), "{message}");
        let sum = MseOptions { reduction: Reduction::Sum, ..options(Empty::Error) };
        assert_eq!(mse(input, input, &sum)?.to_scalar::<f64>()?, 0.0);
        let each = MseOptions { reduction: Reduction::None, ..options(Empty::Error) };
        assert_eq!(mse(input, input, &each)?.dims(), input.dims());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let input = Tensor::zeros((2, 3), DType::F64, &CPU)?;
    let whole = Tensor::zeros((2, 3), DType::U32, &CPU)?;
    let weights = |weights: &[f64]| MseOptions {
        sample_weights: Some(tensor(weights)),
        ..Default::default()
    };
    let mask = |mask: Tensor| MseOptions { mask: Some(mask), ..Default::default() };
    let plain = MseOptions::default();
    let cases = [
        (mse(&whole, &whole, &plain), "mse: input should be f64, f32, bf16 or f16, got U32"),
        (mse(&input, &tensor(&[0.0; 3]), &plain), "mse: target should be of shape [2, 3], got [3]"),
        (
            mse(&input, &input.to_dtype(DType::F32)?, &plain),
            "mse: target should be F64, as input, got F32",
        ),
        (
            mse(&input, &input, &weights(&[1.0, f64::NAN])),
            "mse: sample_weights[1] should be finite and not negative, got NaN",
        ),
        (
            mse(&input, &input, &weights(&[-1.0, 1.0])),
            "mse: sample_weights[0] should be finite and not negative, got -1",
        ),
        (
            mse(&input, &input, &weights(&[1.0; 3])),
            "mse: sample_weights should be of the leading part of the losses' shape [2, 3], got [3]",
        ),
        (
            mse(&input, &input, &mask(tensor(&[1.0, 1.0]))),
            "mse: mask should be u8, as comparisons give it: not 0 where an element counts, got F64",
        ),
        (
            mse(&input, &input, &mask(Tensor::new(&[1u8; 3], &CPU)?)),
            "mse: mask should be of the leading part of the losses' shape [2, 3], got [3]",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    Ok(())
}
