use candle_core::Tensor;
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{TverskyOptions, tversky};

use crate::contract::{Subject, beside};
use crate::dice::{certain, probabilities, regions};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |class_axis, smoothing| {
        let target = certain("target");
        Subject {
            name: "tversky",
            argument: "input",
            input: probabilities("input"),
            axes: if class_axis == Some(1) { 2 } else { 1 },
            by_row: true,
            unbounded: false,
            loss: Box::new(move |x, loss| {
                let loss = loss.clone();
                let options = TverskyOptions { smoothing, class_axis, loss, ..Default::default() };
                tversky(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(Some(1), 0.5), of(None, 0.0)]
}

#[test]
fn agrees_with_its_equation_and_so_with_keras_exchanged() -> Result<()> {
    for case in goldens(include_str!("../golden/tversky.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = TverskyOptions {
                alpha: case.f64("alpha")?,
                beta: case.f64("beta")?,
                smoothing: case.f64("smoothing")?,
                class_axis: Some(1).filter(|_| case.bool("by_class").is_ok_and(|by| by)),
                loss: golden::options(&case, dtype)?,
            };
            tversky(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

fn of(p: &Tensor, g: &Tensor, options: &TverskyOptions) -> f64 {
    tversky(p, g, options).unwrap().to_scalar().unwrap()
}

proptest! {
    #[test]
    fn alpha_weighs_what_is_too_much_and_beta_what_is_missed(
        pairs in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..20),
        weights in [0.01..2.0, 0.01..2.0],
    ) {
        let (p, g) = regions(&pairs);
        let [alpha, beta] = weights;
        let options = TverskyOptions { alpha, beta, ..Default::default() };
        let value = of(&p, &g, &options);
        prop_assert!((0.0..=1.0).contains(&value));
        let exchanged = TverskyOptions { alpha: beta, beta: alpha, ..Default::default() };
        prop_assert!((value - of(&g, &p, &exchanged)).abs() < 1e-12);
        // Where all that is found is there, false positives have no part, and the reverse.
        let within = (&p * &g).unwrap();
        let hard = g.gt(0.0).unwrap().to_dtype(candle_core::DType::F64).unwrap();
        let other = TverskyOptions { alpha: 5.0 * alpha, ..options.clone() };
        prop_assert_eq!(of(&within, &hard, &options), of(&within, &hard, &other));
        let other = TverskyOptions { beta: 5.0 * beta, ..options.clone() };
        prop_assert_eq!(of(&hard, &within, &options), of(&hard, &within, &other));
    }
}

#[test]
fn errors_name_the_argument() {
    let (p, g) = regions(&[(0.5, 1.0)]);
    let plain = TverskyOptions::default;
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        for (name, options) in [
            ("alpha", TverskyOptions { alpha: value, ..plain() }),
            ("beta", TverskyOptions { beta: value, ..plain() }),
            ("smoothing", TverskyOptions { smoothing: value, ..plain() }),
        ] {
            let message = tversky(&p, &g, &options).unwrap_err().to_string();
            let expected = format!("tversky: {name} should be at least 0 and finite, got {value}");
            assert_eq!(message, expected);
        }
    }
}
