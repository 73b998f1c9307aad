use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{goldens, gradcheck};
use taper_losses::{LossOptions, MarginRankingOptions, Reduction, margin_ranking};

use crate::contract::{Subject, beside, normal};
use crate::embeddings::{CPU, kinds_are_checked, scalar, views};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let (second, target) = (normal("second"), normal("target").sign().unwrap());
    vec![Subject {
        name: "margin_ranking",
        argument: "first",
        input: normal("first"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = MarginRankingOptions { margin: 0.7, loss: loss.clone() };
            margin_ranking(x, &beside(&second, x)?, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/margin_ranking.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            let (margin, loss) = (case.f64("margin")?, golden::options(&case, dtype)?);
            let target = case.tensor("target", DType::I64)?;
            margin_ranking(&first, &second, &target, &MarginRankingOptions { margin, loss })
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    let both = [normal("first"), normal("second")];
    let options = MarginRankingOptions { margin: 0.7, ..Default::default() };
    gradcheck(|x| margin_ranking(&x[0], &x[1], &normal("target").sign()?, &options), &both, 1e-6)
}

#[test]
fn equal_scores_without_a_margin_have_no_gradient() -> Result<()> {
    let first = Var::from_tensor(&Tensor::new(&[1.0, 2.0], &CPU)?)?;
    let target = Tensor::new(&[1.0, -1.0], &CPU)?;
    let same = first.as_tensor().copy()?;
    let value = margin_ranking(&first, &same, &target, &MarginRankingOptions::default())?;
    assert_eq!(scalar(&value), 0.0);
    let gradient = value.backward()?.remove(&first).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f64>()?, [0.0, 0.0]);
    Ok(())
}

proptest! {
    #[test]
    fn asks_for_the_difference_and_its_order(
        scores in prop::collection::vec(prop::array::uniform2(-9.0..9.0), 1..20),
        margin in 0.0..3.0, shift in -9.0..9.0,
    ) {
        let column = |at: usize| {
            Tensor::from_iter(scores.iter().map(|pair| pair[at]), &CPU).unwrap()
        };
        let (first, second) = (column(0), column(1));
        let losses = |first: &Tensor, second: &Tensor, kind: i64| {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let target = Tensor::full(kind, scores.len(), &CPU).unwrap();
            let options = MarginRankingOptions { margin, loss };
            margin_ranking(first, second, &target, &options).unwrap().to_vec1::<f64>().unwrap()
        };
        let value = losses(&first, &second, 1);
        prop_assert_eq!(&losses(&second, &first, -1), &value);
        let moved = |x: &Tensor| x.affine(1.0, shift).unwrap();
        let other = losses(&first, &second, -1);
        for (at, moved) in losses(&moved(&first), &moved(&second), 1).into_iter().enumerate() {
            prop_assert!((moved - value[at]).abs() < 1e-12);
            let [first, second] = scores[at];
            prop_assert!((value[at] - f64::max(0.0, margin - (first - second))).abs() < 1e-12);
            // Only one of the two orders can be kept.
            prop_assert!(value[at] + other[at] >= 2.0 * margin - 1e-12);
        }
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("first");
    let error = |second: &Tensor, margin| {
        let options = MarginRankingOptions { margin, ..Default::default() };
        margin_ranking(&x, second, &x.sign().unwrap(), &options).unwrap_err().to_string()
    };
    for margin in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            error(&x, margin),
            format!("margin_ranking: margin should be at least 0 and finite, got {margin}")
        );
    }
    assert_eq!(
        error(&x.narrow(0, 0, 1)?, 0.0),
        "margin_ranking: second should be of shape [5, 3], got [1, 3]"
    );
    assert_eq!(
        error(&x.to_dtype(DType::F32)?, 0.0),
        "margin_ranking: second should be F64, as first, got F32"
    );
    let column = x.narrow(1, 0, 1)?.squeeze(1)?;
    kinds_are_checked("margin_ranking", [1.0, -1.0], &[0.0, 2.0, f64::NAN], |target, loss| {
        let options = MarginRankingOptions { loss: loss.clone(), ..Default::default() };
        margin_ranking(&column, &column, target, &options)
    })
}
