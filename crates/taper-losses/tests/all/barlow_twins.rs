use candle_core::Tensor;
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{BarlowTwinsOptions, barlow_twins};

use crate::contract::normal;
use crate::embeddings::{embeddings, holds_for_a_batch, scalar, views};
use crate::golden;

#[test]
fn agrees_with_its_equation() -> Result<()> {
    for case in goldens(include_str!("../golden/barlow_twins.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let options = BarlowTwinsOptions { lambda: case.f64("lambda")?, eps: case.f64("eps")? };
            barlow_twins(&first, &second, &options)
        })?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_batch() -> Result<()> {
    holds_for_a_batch("barlow_twins", |first, second| {
        barlow_twins(first, second, &BarlowTwinsOptions { lambda: 0.5, ..Default::default() })
    })
}

#[test]
fn a_dimension_that_does_not_vary_costs_one() -> Result<()> {
    let view = normal("first").zeros_like()?;
    assert_eq!(scalar(&barlow_twins(&view, &view, &BarlowTwinsOptions::default())?), 3.0);
    Ok(())
}

proptest! {
    #[test]
    fn does_not_ask_for_the_scale_and_mean_of_dimensions(
        rows in 3usize..9, columns in 1usize..9, scale in 0.1..10.0, lambda in 0.0..2.0,
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        let options = BarlowTwinsOptions { lambda, eps: 1e-13 };
        let of = |first: &Tensor, second: &Tensor| barlow_twins(first, second, &options).unwrap();
        let value = of(&first, &second);
        prop_assert!(scalar(&value) >= 0.0);
        assert_close(&of(&first.affine(scale, 3.0).unwrap(), &second), &value, 1e-9);
        // Each dimension goes with itself; with λ of 0 nothing else is asked.
        let options = BarlowTwinsOptions { lambda: 0.0, eps: 1e-13 };
        prop_assert!(scalar(&barlow_twins(&first, &first, &options).unwrap()) < 1e-12);
    }
}

#[test]
fn errors_name_the_argument() {
    let view = normal("first");
    let error = |lambda, eps| {
        barlow_twins(&view, &view, &BarlowTwinsOptions { lambda, eps }).unwrap_err().to_string()
    };
    for lambda in [-1.0, f64::NAN, f64::INFINITY] {
        let expected =
            format!("barlow_twins: lambda should be at least 0 and finite, got {lambda}");
        assert_eq!(error(lambda, 1e-5), expected);
    }
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("barlow_twins: eps should be above 0 and finite, got {eps}");
        assert_eq!(error(1.0, eps), expected);
    }
}
