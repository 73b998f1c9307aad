use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens};
use taper_losses::{ClassOptions, LossOptions, MultiMarginOptions, Reduction, multi_margin};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |p: u32, margin: f64| {
        let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
        Subject {
            name: "multi_margin",
            argument: "input",
            input: normal("input"),
            axes: 1,
            by_row: true,
            // Squares of 1e4 are.
            unbounded: true,
            loss: Box::new(move |x, loss| {
                let classes = ClassOptions { loss: loss.clone(), ..Default::default() };
                let options = MultiMarginOptions { p, margin, classes };
                multi_margin(x, &beside(&labels, x)?, &options)
            }),
        }
    };
    vec![of(1, 1.0), of(2, 0.5)]
}

fn options(p: u32, margin: f64, reduction: Reduction) -> MultiMarginOptions {
    let loss = LossOptions { reduction, ..Default::default() };
    MultiMarginOptions { p, margin, classes: ClassOptions { loss, ..Default::default() } }
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/multi_margin.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = MultiMarginOptions {
                p: case.f64("p")? as u32,
                margin: case.f64("margin")?,
                classes: golden::class_options(&case, dtype)?,
            };
            multi_margin(input, &case.tensor("target", candle_core::DType::I64)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn counts_what_is_not_behind_by_the_margin(
        rows in prop::collection::vec((prop::array::uniform3(-9.0f64..9.0), 0u32..3), 1..8),
        margin in -1.0f64..3.0,
        p in 1u32..=2,
        shift in -5.0f64..5.0,
    ) {
        let (scores, labels): (Vec<_>, Vec<u32>) =
            rows.iter().map(|(row, label)| (row.to_vec(), *label)).unzip();
        let scores = Tensor::new(scores, &CPU).unwrap();
        let labels = Tensor::new(labels, &CPU).unwrap();
        let options = options(p, margin, Reduction::None);
        let losses = multi_margin(&scores, &labels, &options).unwrap();
        let shifted = multi_margin(&(&scores + shift).unwrap(), &labels, &options).unwrap();
        for ((row, label), loss) in rows.iter().zip(losses.to_vec1::<f64>().unwrap()) {
            let label = *label as usize;
            let lacks = (0..3).filter(|class| *class != label);
            let lacks = lacks.map(|class| (margin - row[label] + row[class]).max(0.0));
            let expected: f64 = lacks.map(|lack| lack.powi(p as i32)).sum::<f64>() / 3.0;
            prop_assert!((loss - expected).abs() < 1e-12 * (1.0 + expected));
        }
        assert_close(&shifted, &losses, 1e-11);
    }
}

#[test]
fn a_class_that_is_behind_by_just_the_margin_has_no_gradient() -> Result<()> {
    for p in [1, 2] {
        let input = Var::new(&[[1.0, 0.0, f64::NEG_INFINITY]], &CPU)?;
        let labels = Tensor::new(&[0u32], &CPU)?;
        let loss = multi_margin(&input, &labels, &options(p, 1.0, Reduction::Mean))?;
        assert_eq!(loss.to_scalar::<f64>()?, 0.0);
        let gradient = loss.backward()?.remove(&input).expect("a gradient");
        assert_eq!(gradient.to_vec2::<f64>()?, [[0.0, 0.0, 0.0]]);
    }
    Ok(())
}

#[test]
fn other_class_axes_are_the_same() -> Result<()> {
    let x = normal("input").reshape((1, 5, 3))?;
    let labels = Tensor::new(&[[0u32, 2, 1, 1, 0]], &CPU)?;
    let mut last = MultiMarginOptions::default();
    last.classes.class_axis = Some(2);
    let last = multi_margin(&x, &labels, &last)?;
    let first = multi_margin(&x.transpose(1, 2)?, &labels, &MultiMarginOptions::default())?;
    assert_close(&first, &last, 1e-15);
    let one = multi_margin(&x.get(0)?.get(1)?, &Tensor::new(2u32, &CPU)?, &Default::default())?;
    let all = multi_margin(&x.get(0)?, &labels.get(0)?, &options(1, 1.0, Reduction::None))?;
    assert_close(&one, &all.get(1)?, 1e-15);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (x, labels) = (Tensor::new(&[[1.0, 2.0]], &CPU)?, Tensor::new(&[0u32], &CPU)?);
    let message = |labels: &Tensor, options: &MultiMarginOptions| {
        let message = multi_margin(&x, labels, options).unwrap_err().to_string();
        message.strip_prefix("multi_margin: ").expect("the operation").to_owned()
    };
    for p in [0, 3] {
        let options = options(p, 1.0, Reduction::Mean);
        assert_eq!(message(&labels, &options), format!("p should be 1 or 2, got {p}"));
    }
    for margin in [f64::NAN, f64::INFINITY] {
        let options = options(1, margin, Reduction::Mean);
        assert_eq!(message(&labels, &options), format!("margin should be finite, got {margin}"));
    }
    let mut smoothed = MultiMarginOptions::default();
    smoothed.classes.label_smoothing = 0.1;
    assert_eq!(
        message(&labels, &smoothed),
        "label_smoothing should be 0: a label is one class, got 0.1"
    );
    assert_eq!(
        message(&Tensor::new(&[2u32], &CPU)?, &MultiMarginOptions::default()),
        "target[0] should be a class, from 0 to below 2 (`ignore_index` leaves a label out), got 2"
    );
    assert_eq!(
        message(&x, &MultiMarginOptions::default()),
        "target should be of an integer dtype (soft targets are Target::Probabilities), got F64"
    );
    Ok(())
}
