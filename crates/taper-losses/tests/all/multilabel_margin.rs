use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradients_reach};
use taper_losses::{LossOptions, MultiMarginOptions, Reduction, multi_margin, multilabel_margin};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn unreduced() -> LossOptions {
    LossOptions { reduction: Reduction::None, ..Default::default() }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let target = normal("target").ge(0.0).unwrap().to_dtype(DType::F64).unwrap();
    vec![Subject {
        name: "multilabel_margin",
        argument: "input",
        input: normal("input"),
        axes: 1,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| multilabel_margin(x, &beside(&target, x)?, options)),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/multilabel_margin.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = golden::options(&case, dtype)?;
            multilabel_margin(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn with_one_label_is_the_margin_loss_of_classes(
        rows in prop::collection::vec((prop::array::uniform4(-3.0..3.0), 0u32..4), 1..8),
    ) {
        let (scores, labels): (Vec<_>, Vec<u32>) =
            rows.into_iter().map(|(row, label)| (row.to_vec(), label)).unzip();
        let (scores, labels) = (Tensor::new(scores, &CPU).unwrap(), Tensor::new(labels, &CPU).unwrap());
        let all = Tensor::arange(0u32, 4, &CPU).unwrap();
        let hot = labels.unsqueeze(1).unwrap().broadcast_eq(&all).unwrap();
        let hot = hot.to_dtype(DType::F64).unwrap();
        let several = multilabel_margin(&scores, &hot, &LossOptions::default()).unwrap();
        let one = multi_margin(&scores, &labels, &MultiMarginOptions::default()).unwrap();
        assert_close(&several, &one, 1e-13);
    }

    #[test]
    fn knows_neither_the_order_of_the_classes_nor_a_shift(
        rows in prop::collection::vec(prop::array::uniform4((-3.0..3.0, any::<bool>())), 1..8),
        shift in -5.0f64..5.0,
    ) {
        let column = |of: fn(&(f64, bool)) -> f64| {
            let values: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(of).collect()).collect();
            Tensor::new(values, &CPU).unwrap()
        };
        let (scores, target) = (column(|pair| pair.0), column(|pair| f64::from(pair.1)));
        let losses = multilabel_margin(&scores, &target, &unreduced()).unwrap();
        prop_assert!(losses.to_vec1::<f64>().unwrap().iter().all(|loss| *loss >= 0.0));
        let order = Tensor::new(&[2u32, 0, 3, 1], &CPU).unwrap();
        let ordered = |tensor: &Tensor| tensor.index_select(&order, 1).unwrap();
        let scores = (ordered(&scores) + shift).unwrap();
        let others = multilabel_margin(&scores, &ordered(&target), &unreduced()).unwrap();
        assert_close(&others, &losses, 1e-11);
    }
}

#[test]
fn a_class_that_is_behind_by_just_the_margin_has_no_gradient() -> Result<()> {
    let input = Var::new(&[1.0, 0.0, f64::NEG_INFINITY, 2.0], &CPU)?;
    let target = Tensor::new(&[1.0, 0.0, 0.0, 1.0], &CPU)?;
    let loss = multilabel_margin(&input, &target, &LossOptions::default())?;
    assert_eq!(loss.to_scalar::<f64>()?, 0.0);
    let gradient = loss.backward()?.remove(&input).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f64>()?, [0.0; 4]);
    Ok(())
}

#[test]
fn leading_axes_are_samples() -> Result<()> {
    let (input, target) = (normal("input"), normal("target").ge(0.0)?.to_dtype(DType::F64)?);
    let losses = multilabel_margin(&input, &target, &unreduced())?;
    let (input, target) = (input.reshape((1, 5, 3))?, target.reshape((1, 5, 3))?);
    let others = multilabel_margin(&input, &target, &unreduced())?;
    assert_eq!(others.dims(), [1, 5]);
    assert_close(&others.get(0)?, &losses, 1e-15);
    Ok(())
}

#[test]
fn only_the_input_has_a_gradient() -> Result<()> {
    let names = ["input", "target"];
    let variables = names.map(|name| (name.to_owned(), Var::new(&[1.0, 0.0], &CPU).unwrap()));
    let input = (variables[0].1.as_tensor() * 0.5)?;
    let loss = multilabel_margin(&input, &variables[1].1, &LossOptions::default())?;
    gradients_reach(&loss, &variables, &names[1..])
}

#[test]
fn errors_name_the_element() -> Result<()> {
    let input = Tensor::new(&[[1.0, 2.0], [0.5, 0.0]], &CPU)?;
    let message = |input: &Tensor, target: &Tensor| {
        let message = multilabel_margin(input, target, &LossOptions::default());
        message.unwrap_err().to_string()
    };
    for value in [-1.0, 0.5, f64::NAN] {
        let target = Tensor::new(&[[1.0, 0.0], [0.0, value]], &CPU)?;
        let expected = format!("multilabel_margin: target[1, 1] should be 0 or 1, got {value}");
        assert_eq!(message(&input, &target), expected);
        let mask = Some(Tensor::new(&[1u8, 0], &CPU)?);
        let options = LossOptions { mask, ..Default::default() };
        assert!(multilabel_margin(&input, &target, &options).is_ok());
    }
    for empty in [Tensor::zeros((2, 0), DType::F64, &CPU)?, Tensor::new(1.0, &CPU)?] {
        let expected = "multilabel_margin: input should be of at least one class, got ";
        assert_eq!(message(&empty, &empty), format!("{expected}{:?}", empty.dims()));
    }
    Ok(())
}
