use candle_core::Tensor;
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{VicReg, VicRegOptions, vicreg};

use crate::contract::normal;
use crate::embeddings::{embeddings, holds_for_a_batch, scalar, views};
use crate::golden;

#[test]
fn agrees_with_its_authors_and_so_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/vicreg.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let (deviation, eps) = (case.f64("deviation")?, case.f64("eps")?);
            let options = VicRegOptions { deviation, eps, ..Default::default() };
            let VicReg { total, invariance, variance, covariance } =
                vicreg(&first, &second, &options)?;
            Ok(match case.text("part")? {
                "total" => total,
                "invariance" => invariance,
                "variance" => variance,
                _ => covariance,
            })
        })?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_batch() -> Result<()> {
    holds_for_a_batch("vicreg", |first, second| {
        Ok(vicreg(first, second, &VicRegOptions::default())?.total)
    })
}

#[test]
fn each_part_has_the_gradient_of_finite_differences() -> Result<()> {
    let both = [normal("first"), normal("second")];
    let options = VicRegOptions { deviation: 3.0, ..Default::default() };
    for part in
        [(|all| all.invariance) as fn(VicReg) -> Tensor, |all| all.variance, |all| all.covariance]
    {
        gradcheck(|x| Ok(part(vicreg(&x[0], &x[1], &options)?)), &both, 1e-6)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_total_is_the_weighted_sum_of_parts_that_are_not_negative(
        rows in 2usize..9, columns in 1usize..9, weights in [0.0..9.0, 0.0..9.0, 0.0..9.0],
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        let [invariance, variance, covariance] = weights;
        let options = VicRegOptions { invariance, variance, covariance, ..Default::default() };
        let all = vicreg(&first, &second, &options).unwrap();
        let parts = [&all.invariance, &all.variance, &all.covariance].map(scalar);
        prop_assert!(parts.iter().all(|part| *part >= 0.0));
        let total: f64 = parts.iter().zip(weights).map(|(part, weight)| part * weight).sum();
        prop_assert!((scalar(&all.total) - total).abs() <= 1e-12 * (1.0 + total));
        // The same view twice agrees with itself, and what moves both leaves all as it is.
        let same = vicreg(&first, &first, &options).unwrap();
        prop_assert_eq!(scalar(&same.invariance), 0.0);
        let moved = |view: &Tensor| (view + 3.0).unwrap();
        let moved = vicreg(&moved(&first), &moved(&second), &options).unwrap();
        assert_close(&moved.total, &all.total, 1e-11);
    }
}

#[test]
fn wide_dimensions_have_no_variance_to_gain() -> Result<()> {
    let view = (normal("first") * 100.0)?;
    let all = vicreg(&view, &view, &VicRegOptions::default())?;
    assert_eq!(scalar(&all.variance), 0.0);
    Ok(())
}

#[test]
fn errors_name_the_argument() {
    let view = normal("first");
    let plain = VicRegOptions::default;
    let error = |options: VicRegOptions| vicreg(&view, &view, &options).unwrap_err().to_string();
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        for (name, options) in [
            ("invariance", VicRegOptions { invariance: value, ..plain() }),
            ("variance", VicRegOptions { variance: value, ..plain() }),
            ("covariance", VicRegOptions { covariance: value, ..plain() }),
            ("deviation", VicRegOptions { deviation: value, ..plain() }),
        ] {
            let expected = format!("vicreg: {name} should be at least 0 and finite, got {value}");
            assert_eq!(error(options), expected);
        }
    }
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("vicreg: eps should be above 0 and finite, got {eps}");
        assert_eq!(error(VicRegOptions { eps, ..plain() }), expected);
    }
}
