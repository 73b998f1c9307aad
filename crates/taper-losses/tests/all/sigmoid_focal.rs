use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradients_reach};
use taper_losses::{
    BceWithLogitsOptions, ClassOptions, FocalOptions, LossOptions, Reduction, SigmoidFocalOptions,
    Target, bce_with_logits, focal, sigmoid_focal,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &CPU).unwrap()
}

fn unreduced(alpha: Option<f64>, gamma: f64) -> SigmoidFocalOptions {
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    SigmoidFocalOptions { alpha, gamma, loss }
}

/// The losses of two lists.
fn losses(logits: &[f64], target: &[f64], options: &SigmoidFocalOptions) -> Vec<f64> {
    sigmoid_focal(&tensor(logits), &tensor(target), options).unwrap().to_vec1().unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |alpha: Option<f64>, gamma: f64| {
        let target = (normal("target").abs().unwrap() * 0.3).unwrap();
        Subject {
            name: "sigmoid_focal",
            argument: "logits",
            input: normal("logits"),
            axes: 2,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let options = SigmoidFocalOptions { alpha, gamma, loss: loss.clone() };
                sigmoid_focal(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(Some(0.25), 2.0), of(None, 0.5)]
}

#[test]
fn agrees_with_torchvision() -> Result<()> {
    for case in goldens(include_str!("../golden/sigmoid_focal.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let options = SigmoidFocalOptions {
                alpha: case.has("alpha").then(|| case.f64("alpha")).transpose()?,
                gamma: case.f64("gamma")?,
                loss: golden::options(&case, dtype)?,
            };
            sigmoid_focal(logits, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_binary_cross_entropy_turned_down(
        pairs in prop::collection::vec((-30.0..30.0, 0.0..1.0), 1..70),
        gamma in 0.0..5.0,
        alpha in 0.0..1.0,
    ) {
        let (logits, target): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let of = |alpha, gamma| losses(&logits, &target, &unreduced(alpha, gamma));
        let entropy = BceWithLogitsOptions { loss: unreduced(None, 0.0).loss, ..Default::default() };
        let entropy = bce_with_logits(&tensor(&logits), &tensor(&target), &entropy).unwrap();
        assert_close(&tensor(&of(None, 0.0)), &entropy, 1e-13);
        let (turned, balanced) = (of(None, gamma), of(Some(alpha), gamma));
        let entropy: Vec<f64> = entropy.to_vec1().unwrap();
        for (at, turned) in turned.iter().enumerate() {
            prop_assert!(*turned >= 0.0 && *turned <= entropy[at]);
            let balance = alpha * target[at] + (1.0 - alpha) * (1.0 - target[at]);
            prop_assert!((balanced[at] - balance * turned).abs() < 1e-13 * (1.0 + turned));
        }
    }

    #[test]
    fn a_negative_is_a_positive_of_the_opposite_logit(
        logits in prop::collection::vec(-30.0..30.0, 1..20),
        gamma in prop_oneof![Just(2.0), 0.0..4.0],
        // Of a smaller α, 1 − (1 − α) has fewer digits.
        alpha in 0.01..1.0,
    ) {
        let negated: Vec<f64> = logits.iter().map(|z| -z).collect();
        let (ones, zeros) = (vec![1.0; logits.len()], vec![0.0; logits.len()]);
        let positives = losses(&logits, &ones, &unreduced(Some(alpha), gamma));
        let negatives = losses(&negated, &zeros, &unreduced(Some(1.0 - alpha), gamma));
        for (a, b) in positives.iter().zip(negatives) {
            prop_assert!((a - b).abs() <= 1e-12 * a);
        }
    }

    #[test]
    fn is_the_focal_loss_of_two_classes(
        pairs in prop::collection::vec((-9.0..9.0, any::<bool>()), 1..20),
        gamma in prop_oneof![Just(2.0), 0.0..4.0],
    ) {
        let logits = tensor(&pairs.iter().map(|pair| pair.0).collect::<Vec<f64>>());
        let labels: Vec<u32> = pairs.iter().map(|pair| u32::from(pair.1)).collect();
        let labels = Tensor::new(labels, &CPU).unwrap();
        let two = Tensor::stack(&[&logits.zeros_like().unwrap(), &logits], 1).unwrap();
        let classes = ClassOptions { loss: unreduced(None, gamma).loss, ..Default::default() };
        let classes =
            focal(&two, Target::Indices(&labels), &FocalOptions { gamma, classes }).unwrap();
        let target = labels.to_dtype(DType::F64).unwrap();
        let binary = sigmoid_focal(&logits, &target, &unreduced(None, gamma)).unwrap();
        let lists = [classes, binary].map(|losses| losses.to_vec1::<f64>().unwrap());
        for (a, b) in lists[0].iter().zip(&lists[1]) {
            prop_assert!((a - b).abs() < 1e-13 * (1.0 + a));
        }
    }
}

#[test]
fn only_the_logits_have_a_gradient() -> Result<()> {
    let names = ["logits", "target"];
    let variables = names.map(|name| (name.to_owned(), Var::new(&[0.5, 0.25], &CPU).unwrap()));
    let [logits, target] = [0, 1].map(|at| variables[at].1.as_tensor());
    let loss = sigmoid_focal(logits, target, &SigmoidFocalOptions::default())?;
    gradients_reach(&loss, &variables, &names[1..])
}

#[test]
fn keeps_its_relative_precision_where_the_prediction_is_right() -> Result<()> {
    for gamma in [0.5, 2.0] {
        let logits = Var::new(&[-15f32, 15.0], &CPU)?;
        let target = Tensor::new(&[0f32, 1.0], &CPU)?;
        let losses = sigmoid_focal(&logits, &target, &unreduced(None, gamma))?;
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        let tail = (-15f64).exp().powf(gamma + 1.0);
        for loss in losses.to_vec1::<f32>()? {
            assert!((f64::from(loss) / tail - 1.0).abs() < 1e-5, "{loss}");
        }
        for slope in gradient.to_vec1::<f32>()? {
            let expected = (gamma + 1.0) * tail;
            assert!((f64::from(slope).abs() / expected - 1.0).abs() < 1e-5, "{slope}");
        }
    }
    Ok(())
}

#[test]
fn a_certain_prediction_is_right_or_infinitely_wrong() -> Result<()> {
    let infinity = f64::INFINITY;
    for gamma in [0.0, 0.5, 2.0] {
        let options = unreduced(Some(0.5), gamma);
        let logits = Var::new(&[infinity, infinity, -infinity, -infinity], &CPU)?;
        let losses = sigmoid_focal(&logits, &tensor(&[1.0, 0.0, 1.0, 0.0]), &options)?;
        assert_eq!(losses.to_vec1::<f64>()?, [0.0, infinity, infinity, 0.0]);
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        assert_eq!(gradient.to_vec1::<f64>()?, [0.0, 0.5, -0.5, 0.0]);
        assert!(self::losses(&[f64::NAN], &[1.0], &options)[0].is_nan());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = tensor(&[1.0]);
    let message = |options: &SigmoidFocalOptions| {
        let message = sigmoid_focal(&x, &x, options).unwrap_err().to_string();
        message.strip_prefix("sigmoid_focal: ").expect("the operation").to_owned()
    };
    for alpha in [-1.0, 1.5, f64::NAN] {
        let expected = format!("alpha should be from 0 to 1, or None, got {alpha}");
        assert_eq!(message(&unreduced(Some(alpha), 2.0)), expected);
    }
    for gamma in [-1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("gamma should be at least 0 and finite, got {gamma}");
        assert_eq!(message(&unreduced(None, gamma)), expected);
    }
    let other = sigmoid_focal(&x, &tensor(&[1.0, 2.0]), &SigmoidFocalOptions::default());
    let expected = "sigmoid_focal: target should be of shape [1], got [2]";
    assert_eq!(other.unwrap_err().to_string(), expected);
    Ok(())
}
