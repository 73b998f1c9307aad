use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{Case, assert_close, goldens};
use taper_losses::{
    ClassOptions, Distribution, KlDirection, KlDivOptions, LossOptions, Reduction, Target,
    cross_entropy, kl_div,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;
const DIRECTIONS: [KlDirection; 2] = [KlDirection::TargetFromInput, KlDirection::InputFromTarget];
pub(crate) const FORMS: [&str; 3] = ["probabilities", "log_probabilities", "logits"];

/// Numbers of this form, as golden files name it.
pub(crate) fn distribution<'a>(form: &str, x: &'a Tensor) -> Distribution<'a> {
    match form {
        "probabilities" => Distribution::Probabilities(x),
        "log_probabilities" => Distribution::LogProbabilities(x),
        _ => Distribution::Logits(x),
    }
}

/// Distributions of this form, whose logarithms are those of the softmax of `logits`.
pub(crate) fn numbers(form: &str, logits: &Tensor) -> Tensor {
    let e = logits.exp().unwrap();
    let p = e.broadcast_div(&e.sum_keepdim(1).unwrap()).unwrap();
    match form {
        "probabilities" => p,
        "log_probabilities" => p.log().unwrap(),
        _ => logits.clone(),
    }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |form: &'static str, direction| {
        let target = numbers("probabilities", &normal("target"));
        Subject {
            name: "kl_div",
            argument: "input",
            input: numbers(form, &normal("input")),
            axes: 1,
            by_row: true,
            // Other numbers than logits have no meaning far away.
            unbounded: form == "logits",
            loss: Box::new(move |x, loss| {
                let options = KlDivOptions { direction, loss: loss.clone(), ..Default::default() };
                let target = beside(&target, x)?;
                kl_div(distribution(form, x), Distribution::Probabilities(&target), &options)
            }),
        }
    };
    FORMS.iter().flat_map(|form| DIRECTIONS.map(|direction| of(form, direction))).collect()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/kl_div.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let target = case.tensor("target", dtype)?;
            let direction = DIRECTIONS[usize::from(case.bool("reverse")?)];
            let loss = golden::options(&case, dtype)?;
            let options = KlDivOptions { direction, loss, ..Default::default() };
            let of = |key: &str, x| Ok(distribution(Case::text(&case, key)?, x));
            let pair: Result<_> =
                of("form", input).and_then(|p| Ok((p, of("target_form", &target)?)));
            let (input, target) = pair?;
            kl_div(input, target, &options)
        })?;
    }
    Ok(())
}

fn scalar(loss: Result<Tensor>) -> f64 {
    loss.unwrap().to_scalar().unwrap()
}

proptest! {
    #[test]
    fn is_a_divergence(
        pairs in prop::collection::vec(prop::array::uniform2(prop::collection::vec(-9.0..9.0, 4)), 1..8),
        shift in -1e3..1e3f64,
    ) {
        let of = |at: usize| {
            let rows: Vec<Vec<f64>> = pairs.iter().map(|pair| pair[at].clone()).collect();
            Tensor::new(rows, &CPU).unwrap()
        };
        let (p, q) = (of(0), of(1));
        for direction in DIRECTIONS {
            let options = KlDivOptions { direction, ..Default::default() };
            let between = |p: &Tensor, q: &Tensor| {
                scalar(kl_div(Distribution::Logits(p), Distribution::Logits(q), &options))
            };
            let value = between(&p, &q);
            prop_assert!(value >= -1e-12);
            prop_assert!(between(&p, &p).abs() < 1e-12);
            let shifted = between(&(&p + shift).unwrap(), &q);
            prop_assert!((value - shifted).abs() < 1e-10 * (1.0 + value));
            let other = DIRECTIONS[usize::from(direction == KlDirection::TargetFromInput)];
            let options = KlDivOptions { direction: other, ..Default::default() };
            let reverse = kl_div(Distribution::Logits(&q), Distribution::Logits(&p), &options);
            prop_assert!((value - scalar(reverse)).abs() < 1e-12 * (1.0 + value));
            for (form, target_form) in FORMS.iter().flat_map(|a| FORMS.map(|b| (a, b))) {
                let (p, q) = (numbers(form, &p), numbers(target_form, &q));
                let options = KlDivOptions { direction, ..Default::default() };
                let same = kl_div(distribution(form, &p), distribution(target_form, &q), &options);
                prop_assert!((value - scalar(same)).abs() < 1e-11 * (1.0 + value));
            }
        }
    }

    #[test]
    fn is_the_cross_entropy_of_a_certain_target(
        logits in prop::collection::vec(prop::collection::vec(-9.0..9.0, 3), 1..8),
    ) {
        let labels = Tensor::zeros(logits.len(), candle_core::DType::U32, &CPU).unwrap();
        let target = Tensor::new(vec![vec![1.0, 0.0, 0.0]; logits.len()], &CPU).unwrap();
        let logits = Tensor::new(logits, &CPU).unwrap();
        let entropy =
            cross_entropy(&logits, Target::Indices(&labels), &ClassOptions::default()).unwrap();
        let target = Distribution::Probabilities(&target);
        let value = kl_div(Distribution::Logits(&logits), target, &KlDivOptions::default());
        assert_close(&value.unwrap(), &entropy, 1e-13);
    }
}

#[test]
fn the_class_axis_may_be_any() -> Result<()> {
    let (p, q) = (numbers("logits", &normal("input")), numbers("probabilities", &normal("target")));
    for direction in DIRECTIONS {
        let of = |p: &Tensor, q: &Tensor, axis| {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = KlDivOptions { direction, class_axis: axis, loss };
            kl_div(Distribution::Logits(p), Distribution::Probabilities(q), &options)
        };
        let losses = of(&p, &q, None)?;
        assert_close(&of(&p.t()?, &q.t()?, Some(0))?, &losses, 1e-14);
        let (p, q) = (p.reshape((5, 1, 3))?, q.reshape((5, 1, 3))?);
        assert_close(&of(&p, &q, Some(2))?.squeeze(1)?, &losses, 1e-14);
        let single = of(&p.get(0)?.get(0)?, &q.get(0)?.get(0)?, None)?;
        assert_close(&single, &losses.get(0)?, 1e-14);
    }
    Ok(())
}

#[test]
fn what_one_distribution_lacks_is_nothing_or_infinite() -> Result<()> {
    let certain = Var::new(&[[1.0, 0.0]], &CPU)?;
    let even = Tensor::new(&[[0.5, 0.5]], &CPU)?;
    for (direction, expected) in DIRECTIONS.into_iter().zip([f64::INFINITY, 2f64.ln()]) {
        let options = KlDivOptions { direction, ..Default::default() };
        let of = |target: &Tensor| {
            kl_div(
                Distribution::Probabilities(&certain),
                Distribution::Probabilities(target),
                &options,
            )
        };
        assert_eq!(of(&even)?.to_scalar::<f64>()?, expected);
        let none = of(&certain)?;
        assert_eq!(none.to_scalar::<f64>()?, 0.0);
        let gradient = none.backward()?.remove(&certain).expect("a gradient");
        let slope = if direction == KlDirection::TargetFromInput { -1.0 } else { 1.0 };
        assert_eq!(gradient.to_vec2::<f64>()?, [[slope, 0.0]]);
    }
    Ok(())
}

#[test]
fn the_target_has_no_gradient() -> Result<()> {
    let (p, q) = (Var::from_tensor(&normal("input"))?, Var::from_tensor(&normal("target"))?);
    for direction in DIRECTIONS {
        let options = KlDivOptions { direction, ..Default::default() };
        let value = kl_div(Distribution::Logits(&p), Distribution::Logits(&q), &options)?;
        let gradients = value.backward()?;
        assert!(gradients.get(&p).is_some() && gradients.get(&q).is_none());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = Tensor::new(&[[0.5, 0.5], [0.25, 0.75]], &CPU)?;
    let bad = Tensor::new(&[[0.5, 1.5], [0.25, -0.75]], &CPU)?;
    let of = |input, target, class_axis, mask: Option<&Tensor>| {
        let loss = LossOptions { mask: mask.cloned(), ..Default::default() };
        let options = KlDivOptions { class_axis, loss, ..Default::default() };
        kl_div(input, target, &options).unwrap_err().to_string()
    };
    let (good, wrong) = (Distribution::Probabilities(&x), Distribution::Probabilities(&bad));
    let rest = "should be a probability from 0 to 1, got";
    assert_eq!(of(good, wrong, None, None), format!("kl_div: target[0, 1] {rest} 1.5"));
    assert_eq!(of(wrong, good, Some(0), None), format!("kl_div: input[0, 1] {rest} 1.5"));
    let mask = Tensor::new(&[0u8, 1], &CPU)?;
    assert_eq!(of(wrong, good, None, Some(&mask)), format!("kl_div: input[1, 1] {rest} -0.75"));
    let row = x.narrow(0, 0, 1)?;
    assert_eq!(
        of(good, Distribution::Logits(&row), None, None),
        "kl_div: target should be of shape [2, 2], got [1, 2]"
    );
    let single = x.to_dtype(candle_core::DType::F32)?;
    assert_eq!(
        of(good, Distribution::Logits(&single), None, None),
        "kl_div: target should be F64, as input, got F32"
    );
    assert_eq!(
        of(good, good, Some(2), None),
        "kl_div: class_axis should be below 2, got 2 for input of shape [2, 2]"
    );
    Ok(())
}
