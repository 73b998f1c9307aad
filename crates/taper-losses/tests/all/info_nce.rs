use candle_core::{DType, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{InfoNceOptions, LossOptions, Reduction, info_nce};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{
    CPU, a_mask_makes_the_batch_smaller, embeddings, scalar, without_a_direction_is_finite,
};
use crate::golden;

fn of(temperature: f64, symmetric: bool, loss: &LossOptions) -> InfoNceOptions {
    InfoNceOptions { temperature, symmetric, loss: loss.clone() }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |symmetric: bool| {
        let keys = normal("keys");
        Subject {
            name: "info_nce",
            argument: "queries",
            input: normal("queries"),
            axes: 1,
            by_row: false,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                info_nce(x, &beside(&keys, x)?, &of(0.5, symmetric, loss))
            }),
        }
    };
    vec![subject(false), subject(true)]
}

#[test]
fn agrees_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/info_nce.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let other = case.tensor("other", dtype)?;
            let (queries, keys) =
                if case.text("role")? == "queries" { (x, &other) } else { (&other, x) };
            let loss = golden::options(&case, dtype)?;
            info_nce(queries, keys, &of(case.f64("temperature")?, case.bool("symmetric")?, &loss))
        })?;
    }
    Ok(())
}

#[test]
fn queries_and_keys_have_the_gradient_of_finite_differences() -> Result<()> {
    for (symmetric, keys) in [(false, 5), (false, 8), (true, 5)] {
        for reduction in [Reduction::None, Reduction::Mean] {
            let options = of(0.5, symmetric, &LossOptions { reduction, ..Default::default() });
            let both = [embeddings("queries", 5, 3), embeddings("keys", keys, 3)];
            gradcheck(|x| info_nce(&x[0], &x[1], &options), &both, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn a_mask_is_the_batch_without_the_query_and_its_key() -> Result<()> {
    for (symmetric, keys) in [(false, 5), (false, 8), (true, 5)] {
        let both = [embeddings("queries", 5, 3), embeddings("keys", keys, 3)];
        a_mask_makes_the_batch_smaller(&both, |x, _, loss| {
            info_nce(&x[0], &x[1], &of(0.5, symmetric, loss))
        })?;
    }
    Ok(())
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    for symmetric in [false, true] {
        without_a_direction_is_finite(&[normal("queries"), normal("keys")], |x| {
            info_nce(&x[0], &x[1], &of(0.5, symmetric, &LossOptions::default()))
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn symmetric_is_the_mean_of_both_directions(
        rows in 1usize..9, columns in 1usize..9, temperature in 0.05..2.0,
    ) {
        let (queries, keys) = (embeddings("queries", rows, columns), embeddings("keys", rows, columns));
        let value = |queries, keys, symmetric| {
            let options = of(temperature, symmetric, &LossOptions::default());
            info_nce(queries, keys, &options).unwrap()
        };
        let (there, back) = (value(&queries, &keys, false), value(&keys, &queries, false));
        let both = value(&queries, &keys, true);
        prop_assert!(scalar(&there) >= 0.0);
        assert_close(&both, &((there + back).unwrap() / 2.0).unwrap(), 1e-12);
        assert_close(&value(&keys, &queries, true), &both, 1e-12);
    }

    #[test]
    fn does_not_ask_for_scale_and_grows_with_keys(rows in 1usize..9, scale in 1e-3..1e3) {
        let (queries, keys) = (embeddings("queries", rows, 5), embeddings("keys", rows + 1, 5));
        let options = of(0.5, false, &LossOptions::default());
        let value = info_nce(&queries, &keys, &options).unwrap();
        let scaled = info_nce(&queries.affine(scale, 0.0).unwrap(), &keys, &options).unwrap();
        assert_close(&scaled, &value, 1e-12);
        let fewer = info_nce(&queries, &keys.narrow(0, 0, rows).unwrap(), &options).unwrap();
        prop_assert!(scalar(&fewer) < scalar(&value));
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let queries = normal("queries");
    let error = |queries: &Tensor, keys: &Tensor, temperature, symmetric| {
        let options = of(temperature, symmetric, &LossOptions::default());
        info_nce(queries, keys, &options).unwrap_err().to_string()
    };
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            error(&queries, &queries, temperature, false),
            format!("info_nce: temperature should be above 0 and finite, got {temperature}")
        );
    }
    let keys = |shape: (usize, usize)| Tensor::ones(shape, DType::F64, &CPU).unwrap();
    for shape in [(4, 3), (5, 2)] {
        assert_eq!(
            error(&queries, &keys(shape), 1.0, false),
            format!(
                "info_nce: keys should be of shape [M, 3] with M at least 5, got [{}, {}]",
                shape.0, shape.1
            )
        );
    }
    assert_eq!(
        error(&queries, &keys((6, 3)), 1.0, true),
        "info_nce: keys should be of shape [5, 3], got [6, 3]"
    );
    assert_eq!(
        error(&queries, &queries.to_dtype(DType::F32)?, 1.0, false),
        "info_nce: keys should be F64, as queries, got F32"
    );
    assert_eq!(
        error(&queries.get(0)?, &queries, 1.0, false),
        "info_nce: queries should be of shape (N, D) with at least one dimension D, got [3]"
    );
    Ok(())
}
