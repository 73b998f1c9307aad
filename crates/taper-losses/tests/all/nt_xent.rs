use candle_core::{Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{
    InfoNceOptions, LossOptions, NtXentOptions, Reduction, SupConOptions, info_nce, nt_xent,
    sup_con,
};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{
    CPU, a_mask_makes_the_batch_smaller, embeddings, scalar, views, views_are_checked,
    without_a_direction_is_finite,
};
use crate::golden;

fn plain(temperature: f64) -> NtXentOptions {
    NtXentOptions { temperature, ..Default::default() }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let second = normal("second");
    vec![Subject {
        name: "nt_xent",
        argument: "first",
        input: normal("first"),
        axes: 1,
        by_row: false,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = NtXentOptions { temperature: 0.5, loss: loss.clone() };
            nt_xent(x, &beside(&second, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/nt_xent.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let temperature = case.f64("temperature")?;
            let options = NtXentOptions { temperature, loss: golden::options(&case, dtype)? };
            nt_xent(&first, &second, &options)
        })?;
    }
    Ok(())
}

#[test]
fn both_views_have_the_gradient_of_finite_differences() -> Result<()> {
    for reduction in [Reduction::None, Reduction::Mean] {
        let loss = LossOptions { reduction, ..Default::default() };
        let options = NtXentOptions { temperature: 0.5, loss };
        let both = [normal("first"), normal("second")];
        gradcheck(|x| nt_xent(&x[0], &x[1], &options), &both, 1e-6)?;
        gradcheck(|x| nt_xent(&x[0], &x[0], &options), &both[..1], 1e-6)?;
    }
    Ok(())
}

#[test]
fn one_view_may_have_no_gradient() -> Result<()> {
    let (first, second) = (Var::from_tensor(&normal("first"))?, normal("second"));
    let alone = nt_xent(&first, &second, &plain(0.5))?.backward()?;
    let second = Var::from_tensor(&second)?;
    let both = nt_xent(&first, &second, &plain(0.5))?.backward()?;
    let of = |gradients: &candle_core::backprop::GradStore| {
        gradients.get(&first).expect("a gradient").clone()
    };
    assert_close(&of(&alone), &of(&both), 1e-15);
    Ok(())
}

#[test]
fn a_mask_is_the_batch_without_the_pair() -> Result<()> {
    a_mask_makes_the_batch_smaller(&[normal("first"), normal("second")], |x, _, loss| {
        nt_xent(&x[0], &x[1], &NtXentOptions { temperature: 0.5, loss: loss.clone() })
    })
}

#[test]
fn embeddings_without_a_direction_are_finite() -> Result<()> {
    without_a_direction_is_finite(&[normal("first"), normal("second")], |x| {
        nt_xent(&x[0], &x[1], &plain(0.5))
    })
}

#[test]
fn a_pair_without_negatives_costs_nothing() -> Result<()> {
    let loss = nt_xent(&embeddings("first", 1, 4), &embeddings("second", 1, 4), &plain(0.1))?;
    assert_eq!(scalar(&loss), 0.0);
    Ok(())
}

proptest! {
    #[test]
    fn is_the_supervised_loss_of_a_label_for_each_pair(
        rows in 2usize..9, columns in 1usize..20, temperature in 0.05..2.0,
    ) {
        let (first, second) = (embeddings("first", rows, columns), embeddings("second", rows, columns));
        let labels = Tensor::arange(0, rows as u32, &CPU).unwrap();
        let all = Tensor::cat(&[&first, &second], 0).unwrap();
        let labels = Tensor::cat(&[&labels, &labels], 0).unwrap();
        let options = SupConOptions { temperature, ..Default::default() };
        let expected = sup_con(&all, &labels, &options).unwrap();
        assert_close(&nt_xent(&first, &second, &plain(temperature)).unwrap(), &expected, 1e-12);
    }

    #[test]
    fn does_not_ask_for_scale_order_or_the_order_of_views(
        rows in 1usize..9, scale in 1e-3..1e3, temperature in 0.05..2.0,
    ) {
        let (first, second) = (embeddings("first", rows, 5), embeddings("second", rows, 5));
        let of = |first: &Tensor, second: &Tensor| nt_xent(first, second, &plain(temperature)).unwrap();
        let value = of(&first, &second);
        prop_assert!(scalar(&value) >= 0.0);
        assert_close(&of(&first.affine(scale, 0.0).unwrap(), &second), &value, 1e-12);
        assert_close(&of(&second, &first), &value, 1e-12);
        let back = Tensor::from_iter((0..rows as u32).rev(), &CPU).unwrap();
        let moved = |view: &Tensor| view.index_select(&back, 0).unwrap();
        assert_close(&of(&moved(&first), &moved(&second)), &value, 1e-12);
    }

    #[test]
    fn has_more_negatives_than_info_nce(rows in 2usize..9, temperature in 0.05..2.0) {
        let (first, second) = (embeddings("first", rows, 5), embeddings("second", rows, 5));
        let options = InfoNceOptions { temperature, symmetric: true, ..Default::default() };
        let fewer = scalar(&info_nce(&first, &second, &options).unwrap());
        prop_assert!(scalar(&nt_xent(&first, &second, &plain(temperature)).unwrap()) >= fewer);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let view = normal("first");
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = nt_xent(&view, &view, &plain(temperature)).unwrap_err();
        let expected =
            format!("nt_xent: temperature should be above 0 and finite, got {temperature}");
        assert_eq!(error.to_string(), expected);
    }
    views_are_checked("nt_xent", |first, second| nt_xent(first, second, &plain(0.5)))
}
