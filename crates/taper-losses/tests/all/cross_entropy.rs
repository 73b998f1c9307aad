use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck, gradients_reach};
use taper_losses::{
    ClassOptions, Empty, FocalOptions, GeneralizedCrossEntropyOptions, LossOptions,
    MultiMarginOptions, Poly1Options, Reduction, SymmetricCrossEntropyOptions, Target,
    cross_entropy, focal, generalized_cross_entropy, multi_margin, nll, poly1,
    symmetric_cross_entropy,
};

use crate::contract::{Subject, beside, normal};
use crate::golden;

const CPU: Device = Device::Cpu;
const REDUCTIONS: [Reduction; 4] =
    [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::WeightedMean];

fn unreduced() -> ClassOptions {
    reduced(Reduction::None)
}

fn reduced(reduction: Reduction) -> ClassOptions {
    let loss = LossOptions { reduction, ..Default::default() };
    ClassOptions { loss, ..Default::default() }
}

fn one_hot(labels: &Tensor, classes: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros((labels.dim(0)?, classes), DType::F64, &CPU)?;
    let ones = Tensor::ones((labels.dim(0)?, 1), DType::F64, &CPU)?;
    Ok(zeros.scatter_add(&labels.unsqueeze(1)?, &ones, 1)?)
}

/// The largest difference, absolute: a loss or gradient near 0 is a difference of larger numbers.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let labels = Tensor::new(&[0u32, 2, 1, 1, 0], &CPU).unwrap();
    vec![Subject {
        name: "cross_entropy",
        argument: "logits",
        input: normal("logits"),
        axes: 1,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, loss| {
            let options = ClassOptions { loss: loss.clone(), ..Default::default() };
            cross_entropy(x, Target::Indices(&beside(&labels, x)?), &options)
        }),
    }]
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/cross_entropy.json"))? {
        golden::check(&case, "logits", |logits, dtype| {
            let options = ClassOptions {
                class_axis: case
                    .has("class_axis")
                    .then(|| case.u64("class_axis"))
                    .transpose()?
                    .map(|axis| axis as usize),
                ..golden::class_options(&case, dtype)?
            };
            golden::against_classes(&case, dtype, |target| cross_entropy(logits, target, &options))
        })?;
    }
    Ok(())
}

/// Logits (N, 4) and labels (N).
fn batches() -> impl Strategy<Value = (Tensor, Tensor)> {
    prop::collection::vec((prop::array::uniform4(-20.0..20.0), 0u32..4), 1..8).prop_map(|rows| {
        let (logits, labels): (Vec<_>, Vec<u32>) =
            rows.into_iter().map(|(row, label)| (row.to_vec(), label)).unzip();
        (Tensor::new(logits, &CPU).unwrap(), Tensor::new(labels, &CPU).unwrap())
    })
}

proptest! {
    #[test]
    fn is_not_negative_and_shift_invariant((logits, labels) in batches(), shift in -100.0..100.0) {
        let losses = cross_entropy(&logits, Target::Indices(&labels), &unreduced()).unwrap();
        prop_assert!(losses.to_vec1::<f64>().unwrap().iter().all(|loss| *loss >= 0.0));
        let shifted = cross_entropy(&logits.affine(1.0, shift).unwrap(), Target::Indices(&labels), &unreduced());
        prop_assert!(apart(&shifted.unwrap(), &losses) < 1e-11);
    }

    #[test]
    fn is_zero_where_the_target_has_all_the_probability((logits, labels) in batches()) {
        let certain = (logits + (one_hot(&labels, 4).unwrap() * 1e3).unwrap()).unwrap();
        let loss = cross_entropy(&certain, Target::Indices(&labels), &ClassOptions::default());
        prop_assert_eq!(loss.unwrap().to_scalar::<f64>().unwrap(), 0.0);
    }

    #[test]
    fn renaming_the_classes_changes_nothing((logits, labels) in batches()) {
        let order = Tensor::new(&[2u32, 0, 3, 1], &CPU).unwrap();
        let renamed = Tensor::new(&[1u32, 3, 0, 2], &CPU).unwrap().index_select(&labels, 0).unwrap();
        let reordered = logits.index_select(&order, 1).unwrap();
        let losses = cross_entropy(&logits, Target::Indices(&labels), &unreduced()).unwrap();
        let same = cross_entropy(&reordered, Target::Indices(&renamed), &unreduced()).unwrap();
        prop_assert!(apart(&same, &losses) < 1e-12);
    }

    #[test]
    fn indices_are_one_hot_probabilities(
        (logits, labels) in batches(),
        weights in prop::array::uniform4(0.1..3.0),
        label_smoothing in 0.0..1.0,
    ) {
        let probabilities = one_hot(&labels, 4).unwrap();
        for reduction in REDUCTIONS {
            let options = ClassOptions {
                class_weights: Some(Tensor::new(&weights, &CPU).unwrap()),
                label_smoothing,
                ..reduced(reduction)
            };
            let hard = cross_entropy(&logits, Target::Indices(&labels), &options).unwrap();
            let soft = cross_entropy(&logits, Target::Probabilities(&probabilities), &options).unwrap();
            prop_assert!(apart(&soft, &hard) < 1e-12);
        }
    }

    #[test]
    fn the_gradient_is_p_minus_y((logits, labels) in batches()) {
        let logits = Var::from_tensor(&logits).unwrap();
        let options = reduced(Reduction::Sum);
        let loss = cross_entropy(&logits, Target::Indices(&labels), &options).unwrap();
        let gradient = loss.backward().unwrap().remove(&logits).unwrap();
        let exponentials = logits.exp().unwrap();
        let p = exponentials.broadcast_div(&exponentials.sum_keepdim(1).unwrap()).unwrap();
        prop_assert!(apart(&gradient, &(p - one_hot(&labels, 4).unwrap()).unwrap()) < 1e-12);
    }

    #[test]
    fn the_class_axis_may_be_any(values in prop::collection::vec(-5.0..5.0, 24), axis in 0usize..3) {
        let last = Tensor::from_vec(values, (2, 3, 4), &CPU).unwrap();
        let labels = Tensor::new(&[[0u8, 3, 1], [2, 2, 0]], &CPU).unwrap();
        let moved = match axis {
            0 => last.permute((2, 0, 1)),
            1 => last.permute((0, 2, 1)),
            _ => Ok(last.clone()),
        };
        let at = |class_axis| ClassOptions { class_axis: Some(class_axis), ..unreduced() };
        let expected = cross_entropy(&last, Target::Indices(&labels), &at(2)).unwrap();
        let losses = cross_entropy(&moved.unwrap(), Target::Indices(&labels), &at(axis)).unwrap();
        prop_assert!(apart(&losses, &expected) < 1e-14);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    // A tie for the maximum in the first row.
    let logits = Tensor::new(&[[1.5, 1.5, -0.3], [0.2, -1.0, 0.4], [2.0, 0.0, 1.0]], &CPU)?;
    let labels = Tensor::new(&[0i64, 2, -1], &CPU)?;
    let probabilities = Tensor::new(&[[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.4, 0.6]], &CPU)?;
    for reduction in REDUCTIONS {
        let options = ClassOptions {
            class_weights: Some(Tensor::new(&[1.0, 0.5, 2.0], &CPU)?),
            label_smoothing: 0.1,
            ..reduced(reduction)
        };
        let hard = ClassOptions { ignore_index: Some(-1), ..options.clone() };
        let check = |target, options: &ClassOptions| {
            gradcheck(
                |x| cross_entropy(&x[0], target, options),
                std::slice::from_ref(&logits),
                1e-6,
            )
        };
        check(Target::Indices(&labels), &hard)?;
        check(Target::Indices(&labels), &ClassOptions { label_smoothing: 0.0, ..hard.clone() })?;
        check(Target::Probabilities(&probabilities), &options)?;
    }
    Ok(())
}

#[test]
fn only_the_logits_have_a_gradient() -> Result<()> {
    let named = |name: &str, values: &[[f64; 2]; 2]| -> Result<(String, Var)> {
        Ok((name.to_owned(), Var::new(values, &CPU)?))
    };
    let variables = [
        named("logits", &[[1.0, 2.0], [0.0, 1.0]])?,
        named("target", &[[0.5, 0.5], [0.1, 0.9]])?,
        ("class_weights".to_owned(), Var::new(&[1.0, 3.0], &CPU)?),
    ];
    let [logits, target, weights] = [0, 1, 2].map(|at| variables[at].1.as_tensor());
    let options = ClassOptions { class_weights: Some(weights.clone()), ..Default::default() };
    let loss = cross_entropy(logits, Target::Probabilities(target), &options)?;
    gradients_reach(&loss, &variables, &["target", "class_weights"])
}

#[test]
fn is_finite_at_extreme_logits() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        let logits =
            Tensor::new(&[[1e4f32, -1e4, 0.0], [1e4, 1e4, -1e4]], &CPU)?.to_dtype(dtype)?;
        let far = (logits.to_dtype(DType::F64)?.get(0)?.get(0)? * 2.0)?.to_scalar::<f64>()?;
        let logits = Var::from_tensor(&logits)?;
        let labels = Tensor::new(&[1u32, 0], &CPU)?;
        let losses = cross_entropy(&logits, Target::Indices(&labels), &unreduced())?;
        let expected = Tensor::new(&[far, 2f64.ln()], &CPU)?;
        assert_close(&losses.to_dtype(DType::F64)?, &expected, 1e-6);
        let gradient = losses.sum_all()?.backward()?.remove(&logits).expect("a gradient");
        let expected = Tensor::new(&[[1.0, -1.0, 0.0], [-0.5, 0.5, 0.0]], &CPU)?;
        assert_eq!(gradient.dtype(), dtype);
        assert_close(&gradient.to_dtype(DType::F64)?, &expected, 1e-6);
    }
    Ok(())
}

#[test]
fn classes_masked_by_infinity_have_no_part() -> Result<()> {
    let logits = Var::new(&[[0.0, f64::NEG_INFINITY, 0.0]], &CPU)?;
    let labels = Tensor::new(&[2u32], &CPU)?;
    let target = Tensor::new(&[[0.0, 0.0, 1.0]], &CPU)?;
    for target in [Target::Indices(&labels), Target::Probabilities(&target)] {
        let loss = cross_entropy(&logits, target, &ClassOptions::default())?;
        assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
        let gradient = loss.backward()?.remove(&logits).expect("a gradient");
        assert_eq!(gradient.to_vec2::<f64>()?, [[0.5, 0.0, -0.5]]);
    }
    let labels = Tensor::new(&[1u32], &CPU)?;
    let loss = cross_entropy(&logits, Target::Indices(&labels), &ClassOptions::default())?;
    assert_eq!(loss.to_scalar::<f64>()?, f64::INFINITY);
    Ok(())
}

#[test]
fn what_is_left_out_may_be_nan() -> Result<()> {
    let logits = Var::new(&[[0.0, 0.0], [f64::NAN, f64::INFINITY]], &CPU)?;
    let labels = Tensor::new(&[1i64, 7], &CPU)?;
    let target = Tensor::new(&[[0.0, 1.0], [f64::NAN, 0.0]], &CPU)?;
    let mask = Some(Tensor::new(&[1u8, 0], &CPU)?);
    let ignoring = ClassOptions { ignore_index: Some(7), ..Default::default() };
    let loss = LossOptions { mask, ..Default::default() };
    let masking = ClassOptions { loss, ..Default::default() };
    for (target, options) in
        [(Target::Indices(&labels), ignoring), (Target::Probabilities(&target), masking)]
    {
        let loss = cross_entropy(&logits, target, &options)?;
        assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
        let gradient = loss.backward()?.remove(&logits).expect("a gradient");
        assert_eq!(gradient.to_vec2::<f64>()?, [[0.5, -0.5], [0.0, 0.0]]);
    }
    Ok(())
}

#[test]
fn labels_may_have_any_integer_dtype() -> Result<()> {
    let logits = Tensor::new(&[[0.3, 1.0, -2.0], [0.0, 0.5, 0.1]], &CPU)?;
    let labels = Tensor::new(&[2u32, 1], &CPU)?;
    let options = ClassOptions::default();
    let expected = cross_entropy(&logits, Target::Indices(&labels), &options)?;
    for dtype in [DType::U8, DType::I16, DType::I32, DType::I64] {
        let loss = cross_entropy(&logits, Target::Indices(&labels.to_dtype(dtype)?), &options)?;
        assert_close(&loss, &expected, 0.0);
    }
    Ok(())
}

#[test]
fn nothing_left_is_what_the_policy_says() -> Result<()> {
    let logits = Tensor::zeros((1, 2), DType::F64, &CPU)?;
    let label = Tensor::new(&[-100i64], &CPU)?;
    let zero = Tensor::new(&[0i64], &CPU)?;
    let none = (Tensor::zeros((0, 2), DType::F64, &CPU)?, Tensor::zeros(0, DType::I64, &CPU)?);
    let ignoring = ClassOptions { ignore_index: Some(-100), ..Default::default() };
    let weightless =
        ClassOptions { class_weights: Some(Tensor::new(&[0.0, 1.0], &CPU)?), ..Default::default() };
    let cases = [
        (&logits, &label, ignoring.clone(), "target"),
        (&logits, &zero, weightless, "class_weights"),
        (&none.0, &none.1, ignoring, "logits"),
    ];
    for (logits, labels, options, argument) in cases {
        let value = |empty, reduction| {
            let loss = LossOptions { empty, reduction, ..Default::default() };
            let options = ClassOptions { loss, ..options.clone() };
            cross_entropy(logits, Target::Indices(labels), &options)
        };
        let mean = Reduction::WeightedMean;
        assert_eq!(value(Empty::Zero, mean)?.to_scalar::<f64>()?, 0.0);
        assert!(value(Empty::Nan, mean)?.to_scalar::<f64>()?.is_nan());
        let message = value(Empty::Error, mean).unwrap_err().to_string();
        let expected = format!("cross_entropy: {argument} should be such that");
        assert!(message.starts_with(&expected), "{message}");
        assert_eq!(value(Empty::Error, Reduction::Sum)?.to_scalar::<f64>()?, 0.0);
        assert_eq!(value(Empty::Error, Reduction::None)?.dims(), labels.dims());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let logits = Tensor::zeros((2, 3), DType::F32, &CPU)?;
    let labels = Tensor::new(&[0u32, 2], &CPU)?;
    let soft = Tensor::zeros((2, 3), DType::F32, &CPU)?;
    let plain = ClassOptions::default();
    let message = |logits: &Tensor, target: Target, options: &ClassOptions| {
        let message = cross_entropy(logits, target, options).unwrap_err().to_string();
        message.strip_prefix("cross_entropy: ").expect("the operation").to_owned()
    };
    let of_logits = |logits: &Tensor| message(logits, Target::Indices(&labels), &plain);
    assert_eq!(
        of_logits(&logits.to_dtype(DType::U8)?),
        "logits should be f64, f32, bf16 or f16, got U8"
    );
    assert_eq!(
        of_logits(&Tensor::zeros((), DType::F32, &CPU)?),
        "class_axis should be below 0, got 1 for logits of shape []"
    );
    assert_eq!(
        of_logits(&Tensor::zeros((2, 0), DType::F32, &CPU)?),
        "logits should be of at least one class along axis 1, got [2, 0]"
    );
    let of_labels = |labels: Tensor| message(&logits, Target::Indices(&labels), &plain);
    assert_eq!(
        of_labels(Tensor::new(&[0i64, 3], &CPU)?),
        "target[1] should be a class, from 0 to below 3 (`ignore_index` leaves a label out), got 3"
    );
    assert_eq!(of_labels(Tensor::new(&[0i64], &CPU)?), "target should be of shape [2], got [1]");
    assert_eq!(
        of_labels(Tensor::new(&[0f32, 1.0], &CPU)?),
        "target should be of an integer dtype (soft targets are Target::Probabilities), got F32"
    );
    let of_soft = |target: &Tensor| message(&logits, Target::Probabilities(target), &plain);
    assert_eq!(of_soft(&soft.t()?), "target should be of shape [2, 3], got [3, 2]");
    assert_eq!(of_soft(&soft.to_dtype(DType::F64)?), "target should be F32, as logits, got F64");
    let of_options = |options| message(&logits, Target::Indices(&labels), &options);
    let ignoring = ClassOptions { ignore_index: Some(9), ..Default::default() };
    assert_eq!(
        message(&logits, Target::Indices(&Tensor::new(&[-1i64, 9], &CPU)?), &ignoring),
        "target[0] should be a class, from 0 to below 3, or 9 to be ignored, got -1"
    );
    assert_eq!(
        message(&logits, Target::Probabilities(&soft), &ignoring),
        "ignore_index should be none with Target::Probabilities (use a mask), got 9"
    );
    let weights = |weights: &[f32]| ClassOptions {
        class_weights: Some(Tensor::new(weights, &CPU).unwrap()),
        ..Default::default()
    };
    assert_eq!(of_options(weights(&[1.0])), "class_weights should be of shape [3], got [1]");
    assert_eq!(
        of_options(weights(&[1.0, 0.0, f32::INFINITY])),
        "class_weights[2] should be finite and not negative, got inf"
    );
    let smoothing = |label_smoothing| ClassOptions { label_smoothing, ..Default::default() };
    assert_eq!(of_options(smoothing(1.5)), "label_smoothing should be from 0 to 1, got 1.5");
    assert_eq!(of_options(smoothing(f64::NAN)), "label_smoothing should be from 0 to 1, got NaN");
    let axis = ClassOptions { class_axis: Some(2), ..Default::default() };
    assert_eq!(of_options(axis), "class_axis should be below 2, got 2 for logits of shape [2, 3]");
    Ok(())
}

/// Of every loss of logits against labels: padding has labels that are no class.
#[test]
fn a_label_under_the_mask_may_be_no_class() -> Result<()> {
    let logits = Tensor::new(&[[1.0, 2.0, 0.5], [0.5, -1.0, 0.0]], &CPU)?;
    let mask = Some(Tensor::new(&[0u8, 1], &CPU)?);
    let masked = ClassOptions {
        class_weights: Some(Tensor::new(&[0.5, 1.0, 2.0], &CPU)?),
        loss: LossOptions { mask, ..Default::default() },
        ..Default::default()
    };
    let plain = ClassOptions { loss: LossOptions::default(), ..masked.clone() };
    type Loss = fn(&Tensor, &Tensor, &ClassOptions) -> Result<Tensor>;
    let losses: [Loss; 7] = [
        |x, y, classes| cross_entropy(x, Target::Indices(y), classes),
        |x, y, classes| nll(x, Target::Indices(y), classes),
        |x, y, classes| {
            let options = FocalOptions { classes: classes.clone(), ..Default::default() };
            focal(x, Target::Indices(y), &options)
        },
        |x, y, classes| {
            let options = Poly1Options { classes: classes.clone(), ..Default::default() };
            poly1(x, Target::Indices(y), &options)
        },
        |x, y, classes| {
            let classes = classes.clone();
            let options = GeneralizedCrossEntropyOptions { classes, ..Default::default() };
            generalized_cross_entropy(x, Target::Indices(y), &options)
        },
        |x, y, classes| {
            let classes = classes.clone();
            let options = SymmetricCrossEntropyOptions { classes, ..Default::default() };
            symmetric_cross_entropy(x, Target::Indices(y), &options)
        },
        |x, y, classes| {
            let options = MultiMarginOptions { classes: classes.clone(), ..Default::default() };
            multi_margin(x, y, &options)
        },
    ];
    for loss in losses {
        for padding in [255i64, -100] {
            let variable = Var::from_tensor(&logits)?;
            let value = loss(&variable, &Tensor::new(&[padding, 1], &CPU)?, &masked)?;
            let alone = Var::from_tensor(&logits.narrow(0, 1, 1)?)?;
            let expected = loss(&alone, &Tensor::new(&[1i64], &CPU)?, &plain)?;
            assert_close(&value, &expected, 1e-12);
            let gradient = value.backward()?.remove(&variable).expect("a gradient");
            let expected = expected.backward()?.remove(&alone).expect("a gradient");
            assert_eq!(gradient.get(0)?.to_vec1::<f64>()?, [0.0; 3]);
            assert_close(&gradient.narrow(0, 1, 1)?, &expected, 1e-12);
        }
    }
    Ok(())
}
