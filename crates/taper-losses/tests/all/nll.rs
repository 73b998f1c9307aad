use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{ClassOptions, LossOptions, Reduction, Target, cross_entropy, nll};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    [false, true].map(subject).into()
}

fn subject(is_soft: bool) -> Subject {
    let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
    let probabilities = (normal("target").abs().unwrap() * 0.3).unwrap();
    Subject {
        name: "nll",
        argument: "log_probabilities",
        input: normal("log_probabilities"),
        axes: 1,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = ClassOptions { loss: loss.clone(), ..Default::default() };
            match is_soft {
                true => nll(x, Target::Probabilities(&beside(&probabilities, x)?), &options),
                false => nll(x, Target::Indices(&beside(&labels, x)?), &options),
            }
        }),
    }
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/nll.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = golden::class_options(&case, dtype)?;
            golden::against_classes(&case, dtype, |target| nll(input, target, &options))
        })?;
    }
    Ok(())
}

/// The logarithm of the softmax over the second axis.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.broadcast_sub(&logits.exp()?.sum_keepdim(1)?.log()?)?)
}

proptest! {
    #[test]
    fn of_the_log_softmax_is_the_cross_entropy(
        rows in prop::collection::vec((prop::array::uniform3(-9.0..9.0), 0i64..3), 1..8),
        weights in prop::array::uniform3(0.1..3.0),
        label_smoothing in 0.0..1.0,
        ignored: bool,
    ) {
        let (logits, mut labels): (Vec<_>, Vec<i64>) =
            rows.into_iter().map(|(row, label)| (row.to_vec(), label)).unzip();
        labels.push(0);
        let logits = Tensor::new([logits, vec![vec![1.0, 0.0, 2.0]]].concat(), &CPU).unwrap();
        let labels = Tensor::new(labels, &CPU).unwrap();
        for reduction in [Reduction::None, Reduction::Mean, Reduction::WeightedMean] {
            let options = ClassOptions {
                class_weights: Some(Tensor::new(&weights, &CPU).unwrap()),
                ignore_index: ignored.then_some(1),
                label_smoothing,
                loss: LossOptions { reduction, ..Default::default() },
                ..Default::default()
            };
            let target = Target::Indices(&labels);
            let value = nll(&log_softmax(&logits).unwrap(), target, &options).unwrap();
            prop_assert!(value.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|l| *l >= 0.0));
            assert_close(&value, &cross_entropy(&logits, target, &options).unwrap(), 1e-12);
        }
    }
}

#[test]
fn other_class_axes_are_the_same() -> Result<()> {
    let x = normal("input").reshape((1, 5, 3))?;
    let labels = Tensor::new(&[[0u32, 2, 1, 1, 0]], &CPU)?;
    let options = ClassOptions { class_axis: Some(2), ..Default::default() };
    let last = nll(&x, Target::Indices(&labels), &options)?;
    let first = nll(&x.transpose(1, 2)?, Target::Indices(&labels), &ClassOptions::default())?;
    assert_close(&first, &last, 1e-15);
    Ok(())
}

#[test]
fn impossible_classes_count_where_they_are_the_target_only() -> Result<()> {
    let input = Var::new(&[[0.0, f64::NEG_INFINITY], [0.0, f64::NEG_INFINITY]], &CPU)?;
    let labels = Tensor::new(&[0u32, 1], &CPU)?;
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    let options = ClassOptions { loss, ..Default::default() };
    let losses = nll(&input, Target::Indices(&labels), &options)?;
    assert_eq!(losses.to_vec1::<f64>()?, [0.0, f64::INFINITY]);
    let gradient = losses.sum_all()?.backward()?.remove(&input).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[-1.0, 0.0], [0.0, -1.0]]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = Tensor::new(&[[-1.0, -2.0], [-0.5, -3.0]], &CPU)?;
    let labels = Tensor::new(&[0i64, -100], &CPU)?;
    let message = nll(&x, Target::Indices(&labels), &ClassOptions::default()).unwrap_err();
    assert_eq!(
        message.to_string(),
        "nll: target[1] should be a class, from 0 to below 2 (`ignore_index` leaves a label out), got -100"
    );
    let probabilities = Tensor::new(&[[1f32, 0.0], [0.5, 0.5]], &CPU)?;
    let target = Target::Probabilities(&probabilities);
    let message = nll(&x, target, &ClassOptions::default()).unwrap_err().to_string();
    assert_eq!(message, "nll: target should be F64, as log_probabilities, got F32");
    Ok(())
}
