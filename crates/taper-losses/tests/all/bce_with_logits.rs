use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradients_reach};
use taper_losses::{
    BceWithLogitsOptions, ClassOptions, LossOptions, Reduction, Target, bce_with_logits,
    cross_entropy,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &CPU).unwrap()
}

fn unreduced() -> BceWithLogitsOptions {
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    BceWithLogitsOptions { loss, ..Default::default() }
}

/// The losses of two lists.
fn losses(logits: &[f64], target: &[f64], options: &BceWithLogitsOptions) -> Vec<f64> {
    bce_with_logits(&tensor(logits), &tensor(target), options).unwrap().to_vec1().unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let target = (normal("target").abs().unwrap() * 0.3).unwrap();
    let pos_weight = Some(tensor(&[0.5, 2.0, 1.0]));
    vec![Subject {
        name: "bce_with_logits",
        argument: "logits",
        input: normal("logits"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options =
                BceWithLogitsOptions { pos_weight: pos_weight.clone(), loss: loss.clone() };
            bce_with_logits(x, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/bce_with_logits.json"))? {
        golden::check(&case, "logits", |logits, dtype| {
            let options = BceWithLogitsOptions {
                pos_weight: golden::optional(&case, "pos_weight", dtype)?,
                loss: golden::options(&case, dtype)?,
            };
            bce_with_logits(logits, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_positive_and_symmetric(pairs in prop::collection::vec((-30.0..30.0, 0.0..1.0), 1..70)) {
        let (logits, target): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let here = losses(&logits, &target, &unreduced());
        prop_assert!(here.iter().all(|loss| *loss > 0.0));
        let negated: Vec<f64> = logits.iter().map(|z| -z).collect();
        let others: Vec<f64> = target.iter().map(|y| 1.0 - y).collect();
        for (loss, mirrored) in here.iter().zip(losses(&negated, &others, &unreduced())) {
            prop_assert!((loss - mirrored).abs() < 1e-13 * (1.0 + loss));
        }
    }

    #[test]
    fn is_least_where_the_prediction_is_the_target(y in 0.01f64..0.99, off in 0.01f64..3.0) {
        let z = (y / (1.0 - y)).ln();
        let [least, below, above] =
            losses(&[z, z - off, z + off], &[y; 3], &unreduced()).try_into().unwrap();
        prop_assert!(least < below && least < above);
    }

    #[test]
    fn is_the_cross_entropy_of_two_classes(pairs in prop::collection::vec((-9.0..9.0, any::<bool>()), 1..20)) {
        let logits = tensor(&pairs.iter().map(|pair| pair.0).collect::<Vec<f64>>());
        let labels: Vec<u32> = pairs.iter().map(|pair| u32::from(pair.1)).collect();
        let labels = Tensor::new(labels, &CPU).unwrap();
        let two = Tensor::stack(&[&logits.zeros_like().unwrap(), &logits], 1).unwrap();
        let classes = cross_entropy(&two, Target::Indices(&labels), &ClassOptions::default());
        let target = labels.to_dtype(DType::F64).unwrap();
        let binary = bce_with_logits(&logits, &target, &BceWithLogitsOptions::default());
        let [a, b] = [classes, binary].map(|loss| loss.unwrap().to_scalar::<f64>().unwrap());
        prop_assert!((a - b).abs() < 1e-13);
    }

    #[test]
    fn a_positive_weight_is_a_weight_of_positives(
        pairs in prop::collection::vec((-9.0..9.0, any::<bool>()), 1..20),
        weight in 0.0..4.0,
    ) {
        let logits: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
        let target: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.1)).collect();
        let weights: Vec<f64> = pairs.iter().map(|pair| if pair.1 { weight } else { 1.0 }).collect();
        let pos_weight = Some(Tensor::new(weight, &CPU).unwrap());
        let positives = losses(&logits, &target, &BceWithLogitsOptions { pos_weight, ..unreduced() });
        let mut samples = unreduced();
        samples.loss.sample_weights = Some(tensor(&weights));
        let samples = losses(&logits, &target, &samples);
        for (a, b) in positives.iter().zip(samples) {
            prop_assert!((a - b).abs() < 1e-13);
        }
    }
}

#[test]
fn only_the_logits_have_a_gradient() -> Result<()> {
    let names = ["logits", "target", "pos_weight", "sample_weights"];
    let variables = names.map(|name| (name.to_owned(), Var::new(&[0.5, 0.25], &CPU).unwrap()));
    let [logits, target, positive, samples] = [0, 1, 2, 3].map(|at| variables[at].1.as_tensor());
    let options = BceWithLogitsOptions {
        pos_weight: Some(positive.clone()),
        loss: LossOptions { sample_weights: Some(samples.clone()), ..Default::default() },
    };
    gradients_reach(&bce_with_logits(logits, target, &options)?, &variables, &names[1..])
}

#[test]
fn is_finite_at_extreme_logits() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        let logits = Tensor::new(&[1e4f32, 1e4, -1e4, -1e4], &CPU)?.to_dtype(dtype)?;
        let far = logits.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?;
        let logits = Var::from_tensor(&logits)?;
        let target = Tensor::new(&[1f32, 0.0, 1.0, 0.0], &CPU)?.to_dtype(dtype)?;
        let losses = bce_with_logits(&logits, &target, &unreduced())?;
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        assert_eq!(losses.dtype(), wide);
        assert_close(&losses.to_dtype(DType::F64)?, &tensor(&[0.0, far, far, 0.0]), 1e-12);
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        assert_eq!(gradient.dtype(), dtype);
        assert_close(&gradient.to_dtype(DType::F64)?, &tensor(&[0.0, 1.0, -1.0, 0.0]), 1e-12);
    }
    Ok(())
}

#[test]
fn a_certain_prediction_is_right_or_infinitely_wrong() {
    let infinity = f64::INFINITY;
    let here =
        losses(&[infinity, infinity, -infinity, -infinity], &[1.0, 0.0, 1.0, 0.0], &unreduced());
    assert_eq!(here, [0.0, infinity, infinity, 0.0]);
    assert!(losses(&[f64::NAN], &[1.0], &unreduced())[0].is_nan());
    assert!(losses(&[0.0], &[f64::NAN], &unreduced())[0].is_nan());
}

#[test]
fn half_precision_is_computed_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let logits = Tensor::new(&[[0.3f32, -2.0], [5.0, 0.7]], &CPU)?.to_dtype(dtype)?;
        let target = Tensor::new(&[[0.25f32, 1.0], [0.5, 0.0]], &CPU)?.to_dtype(dtype)?;
        let options = BceWithLogitsOptions {
            pos_weight: Some(Tensor::new(&[2f32, 0.5], &CPU)?.to_dtype(dtype)?),
            ..Default::default()
        };
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F32);
        let narrow = bce_with_logits(&logits, &target, &options)?;
        let expected = bce_with_logits(&wide(&logits)?, &wide(&target)?, &options)?;
        assert_eq!(narrow.to_scalar::<f32>()?, expected.to_scalar::<f32>()?);
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let logits = Tensor::zeros((2, 3), DType::F64, &CPU)?;
    let plain = BceWithLogitsOptions::default();
    let message = |logits: &Tensor, target: &Tensor, options: &BceWithLogitsOptions| {
        let message = bce_with_logits(logits, target, options).unwrap_err().to_string();
        message.strip_prefix("bce_with_logits: ").expect("the operation").to_owned()
    };
    assert_eq!(
        message(&logits, &logits.t()?, &plain),
        "target should be of shape [2, 3], got [3, 2]"
    );
    assert_eq!(
        message(&logits, &logits.to_dtype(DType::F32)?, &plain),
        "target should be F64, as logits, got F32"
    );
    let positive = |weights: &[f64]| {
        let pos_weight = Some(tensor(weights));
        message(&logits, &logits, &BceWithLogitsOptions { pos_weight, ..Default::default() })
    };
    assert_eq!(
        positive(&[1.0, 1.0]),
        "pos_weight should be of the trailing part of the logits' shape [2, 3], got [2]"
    );
    assert_eq!(
        positive(&[1.0, -2.0, 1.0]),
        "pos_weight[1] should be finite and not negative, got -2"
    );
    Ok(())
}
