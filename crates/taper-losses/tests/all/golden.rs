//! A loss against its golden file: value and gradient, in f64 and f32.

use candle_core::{DType, Tensor, Var};
use taper_core::Result;
use taper_core::testing::{Case, assert_close};
use taper_losses::{ClassOptions, LossOptions, Reduction, Target};

/// Compares `loss` of the entry `input` with the case's `value` and `gradient`.
pub(crate) fn check(
    case: &Case,
    input: &str,
    loss: impl Fn(&Tensor, DType) -> Result<Tensor>,
) -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let variable = Var::from_tensor(&case.tensor(input, dtype)?)?;
        let value = loss(variable.as_tensor(), dtype)?;
        let upstream = case.tensor("upstream", dtype)?;
        let gradients = (&value * upstream)?.sum_all()?.backward()?;
        let gradient = gradients.get(&variable).expect("a gradient");
        for (name, actual) in [("value", &value), ("gradient", gradient)] {
            let tolerance = match dtype {
                DType::F64 => 1e-10,
                _ => f64::max(4.0 * case.f64(&format!("{name}_f32_error"))?, 1e-5),
            };
            assert_close(actual, &case.tensor(name, dtype)?, tolerance);
        }
    }
    Ok(())
}

/// The reduction as the golden files name it.
pub(crate) fn reduction(case: &Case) -> Result<Reduction> {
    Ok(match case.text("reduction")? {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        "weighted_mean" => Reduction::WeightedMean,
        other => panic!("no reduction is called {other}"),
    })
}

/// The tensor `key`, if the case has one.
pub(crate) fn optional(case: &Case, key: &str, dtype: DType) -> Result<Option<Tensor>> {
    case.has(key).then(|| case.tensor(key, dtype)).transpose()
}

/// What `xtask/goldens/losses.py` chose of the options that every loss has.
pub(crate) fn options(case: &Case, dtype: DType) -> Result<LossOptions> {
    Ok(LossOptions {
        reduction: reduction(case)?,
        sample_weights: optional(case, "sample_weights", dtype)?,
        mask: optional(case, "mask", DType::U8)?,
        ..Default::default()
    })
}

/// The same of the options of losses against classes.
pub(crate) fn class_options(case: &Case, dtype: DType) -> Result<ClassOptions> {
    let ignored = case.has("ignore_index").then(|| case.f64("ignore_index")).transpose()?;
    Ok(ClassOptions {
        class_weights: optional(case, "class_weights", dtype)?,
        ignore_index: ignored.map(|index| index as i64),
        label_smoothing: case.f64("smoothing")?,
        loss: options(case, dtype)?,
        ..Default::default()
    })
}

/// Calls `loss` with the target of a case of classes.
pub(crate) fn against_classes(
    case: &Case,
    dtype: DType,
    loss: impl Fn(Target<'_>) -> Result<Tensor>,
) -> Result<Tensor> {
    match case.bool("soft")? {
        true => loss(Target::Probabilities(&case.tensor("target", dtype)?)),
        false => loss(Target::Indices(&case.tensor("target", DType::I64)?)),
    }
}
