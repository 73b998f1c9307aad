use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradients_reach};
use taper_losses::{
    AsymmetricOptions, BceWithLogitsOptions, LossOptions, Reduction, SigmoidFocalOptions,
    asymmetric, bce_with_logits, sigmoid_focal,
};

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
    let of = |gamma_positive: f64, gamma_negative: f64, clip: f64| {
        let target = (normal("target").abs().unwrap() * 0.3).unwrap();
        Subject {
            name: "asymmetric",
            argument: "logits",
            input: normal("logits"),
            axes: 2,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let loss = loss.clone();
                let options = AsymmetricOptions { gamma_positive, gamma_negative, clip, loss };
                asymmetric(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(0.0, 4.0, 0.05), of(0.5, 0.5, 0.0), of(1.0, 2.0, 0.3)]
}

#[test]
fn agrees_with_its_equation_and_so_with_libraries() -> Result<()> {
    for case in goldens(include_str!("../golden/asymmetric.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let options = AsymmetricOptions {
                gamma_positive: case.f64("gamma_positive")?,
                gamma_negative: case.f64("gamma_negative")?,
                clip: case.f64("clip")?,
                loss: golden::options(&case, dtype)?,
            };
            asymmetric(logits, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn without_a_margin_is_the_focal_loss_or_the_binary_cross_entropy(
        pairs in prop::collection::vec((-30.0..30.0, any::<bool>()), 1..20),
        gamma in 0.0..4.0,
    ) {
        let (logits, target): (Vec<f64>, Vec<f64>) =
            pairs.into_iter().map(|(z, y)| (z, f64::from(y))).unzip();
        let (logits, target) = (tensor(&logits), tensor(&target));
        let of = |gamma| {
            let (gamma_positive, gamma_negative, loss) = (gamma, gamma, unreduced());
            let options = AsymmetricOptions { gamma_positive, gamma_negative, clip: 0.0, loss };
            asymmetric(&logits, &target, &options).unwrap()
        };
        let focal = SigmoidFocalOptions { alpha: None, gamma, loss: unreduced() };
        assert_close(&of(gamma), &sigmoid_focal(&logits, &target, &focal).unwrap(), 1e-13);
        let entropy = BceWithLogitsOptions { loss: unreduced(), ..Default::default() };
        assert_close(&of(0.0), &bce_with_logits(&logits, &target, &entropy).unwrap(), 1e-13);
    }

    #[test]
    fn is_not_negative_and_grows_with_the_error(
        logits in prop::collection::vec(-30.0..30.0, 2..20),
        gammas in (0.0..4.0, 0.0..4.0),
        clip in 0.0..0.9,
    ) {
        let mut logits = logits;
        logits.sort_by(f64::total_cmp);
        let (gamma_positive, gamma_negative) = gammas;
        let options = AsymmetricOptions { gamma_positive, gamma_negative, clip, loss: unreduced() };
        let logits = tensor(&logits);
        let of = |target: Tensor| asymmetric(&logits, &target, &options).unwrap().to_vec1::<f64>().unwrap();
        let negatives = of(logits.zeros_like().unwrap());
        prop_assert!(negatives[0] >= 0.0);
        prop_assert!(negatives.windows(2).all(|pair| pair[0] <= pair[1] * (1.0 + 1e-12)));
        let positives = of(logits.ones_like().unwrap());
        prop_assert!(positives.iter().all(|loss| *loss >= 0.0));
        prop_assert!(positives.windows(2).all(|pair| pair[0] * (1.0 + 1e-12) >= pair[1]));
    }
}

#[test]
fn a_negative_below_the_margin_has_neither_loss_nor_gradient() -> Result<()> {
    // Probabilities of 1/21, 1/2 and 1/5, where the margin is.
    let logits = Var::new(&[0.05f64.ln(), 0.0, 0.25f64.ln()], &CPU)?;
    let target = tensor(&[0.0, 0.0, 0.0]);
    for gamma_negative in [0.0, 0.5, 4.0] {
        let loss = unreduced();
        let options = AsymmetricOptions { gamma_negative, clip: 0.2, loss, ..Default::default() };
        let losses = asymmetric(&logits, &target, &options)?;
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        for values in [losses, gradient] {
            let values: Vec<f64> = values.to_vec1()?;
            assert!(values[0] == 0.0 && values[1] > 0.0 && values[2].is_finite(), "{values:?}");
        }
    }
    Ok(())
}

#[test]
fn a_certain_prediction_is_right_or_wrong_as_far_as_the_margin_goes() -> Result<()> {
    let infinity = f64::INFINITY;
    let far = [infinity, infinity, -infinity, -infinity];
    let target = tensor(&[1.0, 0.0, 1.0, 0.0]);
    for (clip, wrong, slope) in [(0.0, infinity, 1.0), (0.5, 2f64.ln() * 0.25, 0.0)] {
        let logits = Var::new(&far, &CPU)?;
        let options =
            AsymmetricOptions { gamma_positive: 2.0, gamma_negative: 2.0, clip, loss: unreduced() };
        let losses = asymmetric(&logits, &target, &options)?;
        assert_eq!(losses.to_vec1::<f64>()?, [0.0, wrong, infinity, 0.0]);
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        assert_eq!(gradient.to_vec1::<f64>()?, [0.0, slope, -1.0, 0.0]);
    }
    let unknown = asymmetric(&tensor(&[f64::NAN]), &tensor(&[0.0]), &Default::default())?;
    assert!(unknown.to_scalar::<f64>()?.is_nan());
    Ok(())
}

#[test]
fn only_the_logits_have_a_gradient() -> Result<()> {
    let names = ["logits", "target"];
    let variables = names.map(|name| (name.to_owned(), Var::new(&[0.5, 0.25], &CPU).unwrap()));
    let [logits, target] = [0, 1].map(|at| variables[at].1.as_tensor());
    let loss = asymmetric(logits, target, &AsymmetricOptions::default())?;
    gradients_reach(&loss, &variables, &names[1..])
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = tensor(&[1.0]);
    let message =
        |options: &AsymmetricOptions| asymmetric(&x, &x, options).unwrap_err().to_string();
    let plain = AsymmetricOptions::default;
    for gamma in [-1.0, f64::NAN, f64::INFINITY] {
        let of =
            |name: &str| format!("asymmetric: {name} should be at least 0 and finite, got {gamma}");
        let options = AsymmetricOptions { gamma_positive: gamma, ..plain() };
        assert_eq!(message(&options), of("gamma_positive"));
        let options = AsymmetricOptions { gamma_negative: gamma, ..plain() };
        assert_eq!(message(&options), of("gamma_negative"));
    }
    for clip in [-0.1, 1.0, f64::NAN] {
        let expected = format!("asymmetric: clip should be at least 0 and below 1, got {clip}");
        assert_eq!(message(&AsymmetricOptions { clip, ..plain() }), expected);
    }
    Ok(())
}
