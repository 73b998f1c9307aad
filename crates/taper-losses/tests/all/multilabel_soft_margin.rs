use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{
    BceWithLogitsOptions, LossOptions, MultilabelSoftMarginOptions, Reduction, bce_with_logits,
    multilabel_soft_margin,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |weights: Option<[f64; 3]>| {
        let target = normal("target").ge(0.0).unwrap().to_dtype(candle_core::DType::F64).unwrap();
        let class_weights = weights.map(|weights| Tensor::new(&weights, &CPU).unwrap());
        Subject {
            name: "multilabel_soft_margin",
            argument: "logits",
            input: normal("logits"),
            axes: 1,
            by_row: true,
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let (class_weights, loss) = (class_weights.clone(), loss.clone());
                let options =
                    MultilabelSoftMarginOptions { class_weights, loss, ..Default::default() };
                multilabel_soft_margin(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(None), of(Some([0.5, 2.0, 0.0]))]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/multilabel_soft_margin.json"))? {
        golden::check(&case, "input", |logits, dtype| {
            let options = MultilabelSoftMarginOptions {
                class_axis: Some(logits.rank() - 1),
                class_weights: golden::optional(&case, "class_weights", dtype)?,
                loss: golden::options(&case, dtype)?,
            };
            multilabel_soft_margin(logits, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_the_binary_cross_entropy_where_nothing_is_weighed(
        logits in prop::collection::vec(prop::collection::vec(-9.0..9.0, 3), 1..8),
    ) {
        let logits = Tensor::new(logits, &CPU).unwrap();
        let target = logits.gt(1.0).unwrap().to_dtype(candle_core::DType::F64).unwrap();
        let loss = multilabel_soft_margin(&logits, &target, &Default::default()).unwrap();
        let expected = bce_with_logits(&logits, &target, &BceWithLogitsOptions::default());
        assert_close(&loss, &expected.unwrap(), 1e-13);
    }
}

#[test]
fn the_class_axis_may_be_any() -> Result<()> {
    let (logits, target) = (normal("logits"), normal("target").ge(0.0)?);
    let target = target.to_dtype(logits.dtype())?;
    let of = |logits: &Tensor, target: &Tensor, class_axis| {
        let class_weights = Some(Tensor::new(&[1.0, 2.0, 3.0], &CPU)?);
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = MultilabelSoftMarginOptions { class_axis, class_weights, loss };
        multilabel_soft_margin(logits, target, &options)
    };
    let losses = of(&logits, &target, None)?;
    assert_close(&of(&logits.t()?, &target.t()?, Some(0))?, &losses, 1e-14);
    assert_close(&of(&logits.get(0)?, &target.get(0)?, None)?, &losses.get(0)?, 1e-14);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("logits");
    let of = |class_axis, weights: &[f64]| {
        let class_weights = Some(Tensor::new(weights, &CPU).unwrap());
        let options =
            MultilabelSoftMarginOptions { class_axis, class_weights, ..Default::default() };
        multilabel_soft_margin(&x, &x, &options).unwrap_err().to_string()
    };
    let name = "multilabel_soft_margin";
    assert_eq!(
        of(None, &[1.0, 2.0]),
        format!("{name}: class_weights should be of shape [3], got [2]")
    );
    assert_eq!(
        of(None, &[1.0, 2.0, -1.0]),
        format!("{name}: class_weights[2] should be finite and not negative, got -1")
    );
    assert_eq!(
        of(Some(2), &[1.0]),
        format!("{name}: class_axis should be below 2, got 2 for logits of shape [5, 3]")
    );
    Ok(())
}
