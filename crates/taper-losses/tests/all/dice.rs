use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{DiceOptions, LossOptions, Reduction, TverskyOptions, dice, tversky};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

/// Probabilities (5, 3, 2).
pub(crate) fn probabilities(name: &str) -> Tensor {
    let halves = ["first", "second"].map(|half| normal(&format!("{name} {half}")));
    let [first, second] = halves.map(|x| (x.neg().unwrap().exp().unwrap() + 1.0).unwrap());
    Tensor::stack(&[first, second], 2).unwrap().recip().unwrap()
}

/// 0 or 1 for each of (5, 3, 2).
pub(crate) fn certain(name: &str) -> Tensor {
    probabilities(name).ge(0.5).unwrap().to_dtype(DType::F64).unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |squared, class_axis, smoothing| {
        let target = certain("target");
        Subject {
            name: "dice",
            argument: "input",
            input: probabilities("input"),
            axes: if class_axis == Some(1) { 2 } else { 1 },
            by_row: true,
            unbounded: false,
            loss: Box::new(move |x, loss| {
                let options = DiceOptions { smoothing, squared, class_axis, loss: loss.clone() };
                dice(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![
        of(false, Some(1), 0.5),
        of(true, Some(1), 0.25),
        of(false, None, 0.0),
        of(true, None, 1.0),
    ]
}

#[test]
fn agrees_with_its_equation_and_so_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/dice.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = DiceOptions {
                smoothing: case.f64("smoothing")?,
                squared: case.bool("squared")?,
                class_axis: Some(1).filter(|_| case.bool("by_class").is_ok_and(|by| by)),
                loss: golden::options(&case, dtype)?,
            };
            dice(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

fn plain(squared: bool, smoothing: f64) -> DiceOptions {
    DiceOptions { squared, smoothing, ..Default::default() }
}

fn scalar(loss: Result<Tensor>) -> f64 {
    loss.unwrap().to_scalar().unwrap()
}

/// Regions (1, 1, places).
pub(crate) fn regions(pairs: &[(f64, f64)]) -> (Tensor, Tensor) {
    let of = |values: Vec<f64>| {
        let places = values.len();
        Tensor::from_vec(values, (1, 1, places), &CPU).unwrap()
    };
    let (p, g) = pairs.iter().copied().unzip();
    (of(p), of(g))
}

proptest! {
    #[test]
    fn is_from_0_for_the_same_to_1_for_what_has_nothing_in_common(
        pairs in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..20),
        squared: bool,
        smoothing in prop_oneof![Just(0.0), 0.0..2.0],
    ) {
        let (p, g) = regions(&pairs);
        let options = plain(squared, smoothing);
        let of = |p: &Tensor, g: &Tensor| scalar(dice(p, g, &options));
        prop_assert!((0.0..=1.0 + 1e-12).contains(&of(&p, &g)));
        prop_assert!((of(&p, &g) - of(&g, &p)).abs() < 1e-12);
        let [hard, others] = [p.ge(0.5), p.lt(0.5)].map(|x| x.unwrap().to_dtype(DType::F64).unwrap());
        prop_assert_eq!(of(&hard, &hard), 0.0);
        if squared {
            prop_assert_eq!(of(&p, &p), 0.0);
        }
        let apart = dice(&hard, &others, &plain(squared, 0.0));
        prop_assert_eq!(scalar(apart), 1.0);
    }

    #[test]
    fn is_tversky_of_even_weights(
        pairs in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..20),
        smoothing in 0.0..2.0,
    ) {
        let (p, g) = regions(&pairs);
        let options = TverskyOptions { alpha: 0.5, beta: 0.5, smoothing, ..Default::default() };
        let expected = tversky(&p, &g, &options).unwrap();
        assert_close(&dice(&p, &g, &plain(false, 2.0 * smoothing)).unwrap(), &expected, 1e-12);
    }
}

#[test]
fn the_class_axis_may_be_any_but_the_first() -> Result<()> {
    let (p, g) = (probabilities("input"), certain("target"));
    let of = |p: &Tensor, g: &Tensor, class_axis| {
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        dice(p, g, &DiceOptions { class_axis, loss, ..Default::default() })
    };
    let losses = of(&p, &g, Some(1))?;
    assert_eq!(losses.dims(), [5, 3]);
    assert_close(&of(&p.transpose(1, 2)?, &g.transpose(1, 2)?, Some(2))?, &losses, 1e-14);
    let whole = of(&p, &g, None)?;
    let flat = of(&p.reshape((5, 1, 6))?, &g.reshape((5, 1, 6))?, Some(1))?;
    assert_close(&whole, &flat.squeeze(1)?, 1e-14);
    Ok(())
}

#[test]
fn nothing_anywhere_is_no_loss() -> Result<()> {
    for (squared, smoothing) in [(false, 0.0), (true, 0.0), (false, 1.0), (true, 1.0)] {
        let nothing = Var::zeros((2, 1, 3), DType::F64, &CPU)?;
        let loss = dice(&nothing, &nothing, &plain(squared, smoothing))?;
        let gradient = loss.backward()?.remove(&nothing).expect("a gradient");
        assert_eq!(loss.to_scalar::<f64>()?, 0.0);
        assert!(gradient.flatten_all()?.to_vec1::<f64>()?.iter().all(|g| g.is_finite()));
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let good = Tensor::full(0.5, (2, 3, 4), &CPU)?;
    let bad = Tensor::cat(&[&good, &Tensor::full(1.5, (2, 3, 1), &CPU)?], 2)?;
    let good = Tensor::full(0.5, (2, 3, 5), &CPU)?;
    let error = |p: &Tensor, g: &Tensor, options: DiceOptions| {
        dice(p, g, &options).unwrap_err().to_string()
    };
    let plain = DiceOptions::default;
    let rest = "should be a probability from 0 to 1, got 1.5";
    assert_eq!(error(&bad, &good, plain()), format!("dice: input[0, 0, 4] {rest}"));
    let last = || DiceOptions { class_axis: Some(2), ..plain() };
    assert_eq!(error(&good, &bad, last()), format!("dice: target[0, 0, 4] {rest}"));
    let mask = Some(Tensor::new(&[0u8, 1], &CPU)?);
    let masked = DiceOptions { loss: LossOptions { mask, ..Default::default() }, ..last() };
    assert_eq!(error(&good, &bad, masked), format!("dice: target[1, 0, 4] {rest}"));
    for axis in [0, 3] {
        let options = DiceOptions { class_axis: Some(axis), ..plain() };
        let expected = format!(
            "dice: class_axis should be none, or from 1 and below 3, got {axis} for input of shape [2, 3, 5]"
        );
        assert_eq!(error(&good, &good, options), expected);
    }
    let number = Tensor::new(0.5, &CPU)?;
    assert_eq!(
        error(&number, &number, DiceOptions { class_axis: None, ..plain() }),
        "dice: input should be of at least one axis, got []"
    );
    for smoothing in [-1.0, f64::NAN, f64::INFINITY] {
        let options = DiceOptions { smoothing, ..plain() };
        let expected = format!("dice: smoothing should be at least 0 and finite, got {smoothing}");
        assert_eq!(error(&good, &good, options), expected);
    }
    Ok(())
}
