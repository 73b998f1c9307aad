//! What holds for every loss: its gradients, reductions, weights, masks, dtypes, policies and errors.
//!
//! Each test file names its losses as [`Subject`]s; what is said of all of them is tested here, once.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::testing::{assert_close, gradcheck};
use taper_core::{Gradients, Result, stream};
use taper_losses::{Empty, LossOptions, Reduction};

const CPU: Device = Device::Cpu;
const REDUCTIONS: [Reduction; 4] =
    [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::WeightedMean];

/// A loss of an input of at least three rows, and what it is compared with.
pub(crate) struct Subject {
    /// The operation, as errors have it.
    pub(crate) name: &'static str,
    /// The name of the first argument.
    pub(crate) argument: &'static str,
    /// f64; where the loss has a kink, away from it.
    pub(crate) input: Tensor,
    /// The axes of the losses, the leading ones of the input.
    pub(crate) axes: usize,
    /// Whether a row's loss is a matter of that row alone.
    pub(crate) by_row: bool,
    /// Whether the losses are finite at inputs of ±1e4.
    pub(crate) unbounded: bool,
    /// The loss of the first rows of the input, in its dtype.
    pub(crate) loss: Box<Loss>,
}

type Loss = dyn Fn(&Tensor, &LossOptions) -> Result<Tensor>;

impl Subject {
    fn shape(&self) -> &[usize] {
        &self.input.dims()[..self.axes]
    }

    /// With weights and a mask of the rows, in f64.
    fn options(&self, reduction: Reduction) -> LossOptions {
        let rows = self.shape()[0];
        let weights: Vec<f64> = (0..rows).map(|row| 0.5 + row as f64).collect();
        let mask: Vec<u8> = (0..rows).map(|row| u8::from(row != 1)).collect();
        LossOptions {
            reduction,
            sample_weights: Some(Tensor::new(weights, &CPU).unwrap()),
            mask: Some(Tensor::new(mask, &CPU).unwrap()),
            ..Default::default()
        }
    }
}

/// Of (5, 3) numbers of a normal distribution.
pub(crate) fn normal(name: &str) -> Tensor {
    stream(1, name).normal(0.0, 1.0, (5, 3), DType::F64, &CPU).unwrap()
}

/// The first rows of `tensor`, as many as `x` has, in its dtype if it is no index.
pub(crate) fn beside(tensor: &Tensor, x: &Tensor) -> Result<Tensor> {
    let rows = tensor.narrow(0, 0, x.dim(0)?)?;
    Ok(if tensor.dtype().is_float() { rows.to_dtype(x.dtype())? } else { rows })
}

fn every() -> Vec<Subject> {
    crate::subjects().into_iter().flatten().collect()
}

fn list(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn plain(reduction: Reduction) -> LossOptions {
    LossOptions { reduction, ..Default::default() }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for subject in every() {
        for reduction in REDUCTIONS {
            for options in [plain(reduction), subject.options(reduction)] {
                let loss = |x: &[Tensor]| (subject.loss)(&x[0], &options);
                let result = gradcheck(loss, std::slice::from_ref(&subject.input), 1e-6);
                result.unwrap_or_else(|error| panic!("{} {reduction:?}: {error}", subject.name));
            }
        }
    }
}

#[test]
fn reductions_are_those_of_the_losses() -> Result<()> {
    for subject in every() {
        let name = subject.name;
        let losses = (subject.loss)(&subject.input, &plain(Reduction::None))?;
        assert_eq!(losses.dims(), subject.shape(), "{name}");
        let (losses, rows) = (list(&losses), subject.shape()[0]);
        let each = losses.len() / rows;
        let weight = |at: usize| if at / each == 1 { 0.0 } else { 0.5 + (at / each) as f64 };
        let weighted = (subject.loss)(&subject.input, &subject.options(Reduction::None))?;
        if subject.by_row {
            let expected: Vec<f64> =
                losses.iter().enumerate().map(|(at, l)| l * weight(at)).collect();
            let expected = Tensor::from_vec(expected, subject.shape(), &CPU)?;
            assert_close(&weighted, &expected, 1e-13);
        }
        let sum: f64 = list(&weighted).iter().sum();
        let count = (losses.len() - each) as f64;
        let total: f64 = (0..losses.len()).map(weight).sum();
        for (reduction, divisor) in
            [(Reduction::Sum, 1.0), (Reduction::Mean, count), (Reduction::WeightedMean, total)]
        {
            let value = (subject.loss)(&subject.input, &subject.options(reduction))?;
            assert_eq!(value.rank(), 0, "{name}");
            assert_close(&value, &Tensor::new(sum / divisor, &CPU)?, 1e-13);
        }
    }
    Ok(())
}

#[test]
fn what_a_mask_leaves_out_may_be_nan() -> Result<()> {
    for subject in every().into_iter().filter(|subject| subject.by_row) {
        let rows: Vec<u8> = (0..subject.shape()[0]).map(|row| u8::from(row != 1)).collect();
        let kept = Tensor::new(rows, &CPU)?;
        let mut shape = vec![1; subject.input.rank()];
        shape[0] = subject.shape()[0];
        let choice = kept.reshape(shape)?.broadcast_as(subject.input.shape())?;
        for poison in [f64::NAN, f64::INFINITY] {
            let poison = (subject.input.ones_like()? * poison)?;
            let input = Var::from_tensor(&choice.where_cond(&subject.input, &poison)?)?;
            for reduction in REDUCTIONS {
                let options = subject.options(reduction);
                let value = (subject.loss)(&input, &options)?;
                assert_close(&value, &(subject.loss)(&subject.input, &options)?, 1e-14);
                let gradient = value.sum_all()?.backward()?.remove(&input).expect("a gradient");
                let masked = list(&gradient.get(1)?);
                assert!(masked.iter().all(|g| *g == 0.0), "{}: {masked:?}", subject.name);
                assert!(list(&gradient).iter().all(|g| g.is_finite()), "{}", subject.name);
            }
        }
    }
    Ok(())
}

#[test]
fn single_and_half_precision_are_computed_and_returned_in_f32() -> Result<()> {
    for subject in every() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            // What half precision makes of the numbers is where the loss is taken.
            let input = Var::from_tensor(&subject.input.to_dtype(dtype)?)?;
            let value = (subject.loss)(&input, &plain(Reduction::Mean))?;
            assert_eq!(value.dtype(), DType::F32, "{} of {dtype:?}", subject.name);
            let gradient = value.backward()?.remove(&input).expect("a gradient");
            assert_eq!(gradient.dtype(), dtype, "{}", subject.name);
            let wide = Var::from_tensor(&subject.input)?;
            let expected = (subject.loss)(&wide, &plain(Reduction::Mean))?;
            let tolerance = if dtype == DType::F32 { 1e-5 } else { 0.1 };
            assert_close(&value.to_dtype(DType::F64)?, &expected, tolerance);
            let expected = expected.backward()?.remove(&wide).expect("a gradient");
            assert_close(&gradient.to_dtype(DType::F64)?, &expected, tolerance);
        }
    }
    Ok(())
}

#[test]
fn far_away_is_finite() -> Result<()> {
    for subject in every().into_iter().filter(|subject| subject.unbounded) {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let far = (subject.input.sign()? * 1e4)?.to_dtype(dtype)?;
            let input = Var::from_tensor(&far)?;
            let losses = (subject.loss)(&input, &plain(Reduction::None))?;
            assert!(list(&losses).iter().all(|x| x.is_finite()), "{} {dtype:?}", subject.name);
            let gradient = losses.sum_all()?.backward()?.remove(&input).expect("a gradient");
            assert!(list(&gradient).iter().all(|x| x.is_finite()), "{} {dtype:?}", subject.name);
        }
    }
    Ok(())
}

#[test]
fn every_way_of_the_gradient_finds_the_same() -> Result<()> {
    for subject in every() {
        let x = Var::from_tensor(&subject.input)?;
        let loss = (subject.loss)(&x, &plain(Reduction::Mean))?;
        let first = loss.backward()?.remove(&x).expect("a gradient");
        let again = loss.backward()?.remove(&x).expect("a gradient");
        assert_close(&again, &first, 1e-14);
        let mut gradients = Gradients::new([&x])?;
        gradients.backward(&loss)?;
        assert_close(&gradients.gradient(&x)?.expect("a gradient"), &first, 1e-14);
        gradients.accumulate(&loss)?;
        assert_close(&gradients.gradient(&x)?.expect("a gradient"), &(first * 2.0)?, 1e-14);
    }
    Ok(())
}

#[test]
fn nothing_left_is_what_the_policy_says() -> Result<()> {
    for subject in every() {
        let (name, rows) = (subject.name, subject.shape()[0]);
        let mask = Some(Tensor::zeros(rows, DType::U8, &CPU)?);
        let weights = Some(Tensor::zeros(rows, DType::F64, &CPU)?);
        let masked = LossOptions { mask, ..Default::default() };
        let weightless = LossOptions { sample_weights: weights, ..Default::default() };
        let none = subject.input.narrow(0, 0, 0)?;
        let cases = [
            (&subject.input, masked, "mask"),
            (&subject.input, weightless, "sample_weights"),
            (&none, LossOptions::default(), subject.argument),
        ];
        for (input, options, argument) in cases {
            let value = |empty, reduction| {
                (subject.loss)(input, &LossOptions { empty, reduction, ..options.clone() })
            };
            let mean = Reduction::WeightedMean;
            assert_eq!(list(&value(Empty::Zero, mean)?), [0.0], "{name}");
            assert!(list(&value(Empty::Nan, mean)?)[0].is_nan(), "{name}");
            let message = value(Empty::Error, mean).unwrap_err().to_string();
            let expected = format!("{name}: {argument} should be such that a mean has something");
            assert!(message.starts_with(&expected), "{message}");
            assert_eq!(list(&value(Empty::Error, Reduction::Sum)?), [0.0], "{name}");
            let losses = value(Empty::Error, Reduction::None)?;
            assert_eq!(losses.dims()[1..], subject.shape()[1..], "{name}");
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    for subject in every() {
        let name = subject.name;
        let of = |input: &Tensor, options: &LossOptions| match (subject.loss)(input, options) {
            Ok(_) => panic!("{name}: no error"),
            Err(error) => error.to_string(),
        };
        let whole = subject.input.to_dtype(DType::U32)?;
        let expected =
            format!("{name}: {} should be f64, f32, bf16 or f16, got U32", subject.argument);
        assert_eq!(of(&whole, &LossOptions::default()), expected);
        let shape = subject.shape();
        let mut wrong = shape.to_vec();
        wrong[0] += 1;
        let weights =
            |weights: Tensor| LossOptions { sample_weights: Some(weights), ..Default::default() };
        let weights_of =
            |shape: &[usize], value: f64| weights(Tensor::full(value, shape, &CPU).unwrap());
        let leading = format!("should be of the leading part of the losses' shape {shape:?}");
        assert_eq!(
            of(&subject.input, &weights_of(&wrong, 1.0)),
            format!("{name}: sample_weights {leading}, got {wrong:?}")
        );
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                of(&subject.input, &weights_of(&shape[..1], value)),
                format!("{name}: sample_weights[0] should be finite and not negative, got {value}")
            );
        }
        let mask = |dtype| LossOptions {
            mask: Some(Tensor::ones(&wrong[..], dtype, &CPU).unwrap()),
            ..Default::default()
        };
        assert_eq!(
            of(&subject.input, &mask(DType::U8)),
            format!("{name}: mask {leading}, got {wrong:?}")
        );
        let mask = LossOptions {
            mask: Some(Tensor::ones(shape, DType::F64, &CPU)?),
            ..Default::default()
        };
        assert_eq!(
            of(&subject.input, &mask),
            format!(
                "{name}: mask should be u8, as comparisons give it: not 0 where an element counts, got F64"
            )
        );
    }
    Ok(())
}
