use candle_core::{DType, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{Empty, LossOptions, Reduction, SupConOptions, sup_con};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{
    CPU, a_mask_makes_the_batch_smaller, embeddings, scalar, without_a_direction_is_finite,
    without_row_1,
};
use crate::golden;

fn of(temperature: f64, loss: &LossOptions) -> SupConOptions {
    SupConOptions { temperature, loss: loss.clone() }
}

/// Each has a positive, also without row 1.
fn labels() -> Tensor {
    Tensor::new(&[4i64, -1, 4, -1, -1], &CPU).unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    vec![Subject {
        name: "sup_con",
        argument: "embeddings",
        input: normal("embeddings"),
        axes: 1,
        by_row: false,
        unbounded: true,
        loss: Box::new(move |x, loss| sup_con(x, &beside(&labels(), x)?, &of(0.5, loss))),
    }]
}

#[test]
fn agrees_with_its_equation_and_so_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/sup_con.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let options = of(case.f64("temperature")?, &golden::options(&case, dtype)?);
            sup_con(x, &case.tensor("labels", DType::I64)?, &options)
        })?;
    }
    Ok(())
}

#[test]
fn a_mask_is_the_batch_without_the_embedding() -> Result<()> {
    a_mask_makes_the_batch_smaller(&[normal("embeddings")], |x, is_small, loss| {
        let labels = if is_small { without_row_1(&labels())? } else { labels() };
        sup_con(&x[0], &labels, &of(0.5, loss))
    })
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    without_a_direction_is_finite(&[normal("embeddings")], |x| {
        sup_con(&x[0], &labels(), &of(0.5, &LossOptions::default()))
    })
}

#[test]
fn an_anchor_without_a_positive_does_not_count_and_still_is_a_negative() -> Result<()> {
    let rows = embeddings("embeddings", 4, 3);
    let labels = Tensor::new(&[0u8, 0, 1, 2], &CPU)?;
    let value = |reduction| {
        let loss = LossOptions { reduction, ..Default::default() };
        sup_con(&rows, &labels, &of(0.5, &loss))
    };
    let losses = value(Reduction::None)?.to_vec1::<f64>()?;
    assert_eq!(losses[2..], [0.0, 0.0]);
    assert!((scalar(&value(Reduction::Mean)?) - (losses[0] + losses[1]) / 2.0).abs() < 1e-14);
    // The two of a label alone would find each other for nothing.
    assert!(losses[0] > 0.0 && losses[1] > 0.0);
    Ok(())
}

#[test]
fn without_any_positive_there_is_nothing_to_average() -> Result<()> {
    let rows = candle_core::Var::from_tensor(&embeddings("embeddings", 3, 2))?;
    let labels = Tensor::new(&[0u32, 1, 2], &CPU)?;
    let value = |reduction, empty| {
        sup_con(&rows, &labels, &of(0.5, &LossOptions { reduction, empty, ..Default::default() }))
    };
    let message = value(Reduction::Mean, Empty::Error).unwrap_err().to_string();
    assert!(message.starts_with("sup_con: labels should be such that a mean has something"));
    assert_eq!(scalar(&value(Reduction::Mean, Empty::Zero)?), 0.0);
    assert_eq!(value(Reduction::None, Empty::Error)?.to_vec1::<f64>()?, [0.0; 3]);
    let sum = value(Reduction::Sum, Empty::Error)?;
    let gradient = sum.backward()?.remove(&rows).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[0.0; 2]; 3]);
    Ok(())
}

proptest! {
    #[test]
    fn does_not_ask_for_scale_order_or_the_names_of_labels(
        labels in prop::collection::vec(0i64..3, 4..12), scale in 1e-3..1e3, temperature in 0.05..2.0,
    ) {
        let rows = embeddings("embeddings", labels.len(), 4);
        let of = |rows: &Tensor, labels: &[i64]| {
            // Four embeddings of three labels have a positive among them.
            let labels = Tensor::new(labels, &CPU).unwrap();
            sup_con(rows, &labels, &of(temperature, &LossOptions::default())).unwrap()
        };
        let value = of(&rows, &labels);
        prop_assert!(scalar(&value) >= 0.0);
        assert_close(&of(&rows.affine(scale, 0.0).unwrap(), &labels), &value, 1e-12);
        let renamed: Vec<i64> = labels.iter().map(|label| 100 - 7 * label).collect();
        assert_close(&of(&rows, &renamed), &value, 1e-12);
        let back = Tensor::from_iter((0..labels.len() as u32).rev(), &CPU).unwrap();
        let reversed: Vec<i64> = labels.iter().rev().copied().collect();
        assert_close(&of(&rows.index_select(&back, 0).unwrap(), &reversed), &value, 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let rows = normal("embeddings");
    let error = |rows: &Tensor, labels: &Tensor, temperature| {
        sup_con(rows, labels, &of(temperature, &LossOptions::default())).unwrap_err().to_string()
    };
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            error(&rows, &labels(), temperature),
            format!("sup_con: temperature should be above 0 and finite, got {temperature}")
        );
    }
    assert_eq!(
        error(&rows, &labels().narrow(0, 0, 4)?, 1.0),
        "sup_con: labels should be of shape [5], got [4]"
    );
    assert_eq!(
        error(&rows, &labels().to_dtype(DType::F32)?, 1.0),
        "sup_con: labels should be of an integer dtype, got F32"
    );
    assert_eq!(
        error(&rows.get(0)?, &labels(), 1.0),
        "sup_con: embeddings should be of shape (N, D) with at least one dimension D, got [3]"
    );
    Ok(())
}
