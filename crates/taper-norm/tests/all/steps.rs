//! A layer with state beside what `xtask/goldens/training.py` recorded of the reference.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use taper_core::testing::{Case, assert_close};
use taper_core::{Parameters, Result, stream};

/// Makes a layer, loads the case's state dict into its variables, runs `forward` (layer, x, step, train) for the
/// case's steps and its evaluation, and compares all that the reference recorded.
pub(crate) fn check<L>(
    case: &Case,
    dtype: DType,
    make: impl Fn(usize, VarBuilder) -> Result<L>,
    forward: impl Fn(&L, &Tensor, u64, bool) -> Result<Tensor>,
) -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let features = case.tensor("input 0", dtype)?.dim(1)?;
    let layer = make(features, parameters.builder(dtype, &Device::Cpu))?;
    let state = case.texts("state")?.into_iter().map(|name| {
        let dtype = if name == "num_batches_tracked" { DType::I64 } else { dtype };
        Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?))
    });
    parameters.load(&state.collect::<Result<HashMap<_, _>>>()?)?;

    let mut found = HashMap::new();
    let steps = case.u64("steps")?;
    for step in 0..=steps {
        let train = step < steps;
        let mode = if train { "train" } else { "eval" };
        let x = Var::from_tensor(&case.tensor(&format!("input {step}"), dtype)?)?;
        let y = forward(&layer, &x, step, train)?;
        let upstream = case.tensor(&format!("upstream {step}"), dtype)?;
        let gradients = (&y * upstream)?.sum_all()?.backward()?;
        found.insert(format!("{mode} y"), y);
        let gradient = gradients.get(&x).expect("a gradient").clone();
        found.insert(format!("{mode} x gradient"), gradient);
        for (name, var) in parameters.trainable() {
            let gradient = gradients.get(&var).expect("a gradient").clone();
            found.insert(format!("{mode} {name} gradient"), gradient);
        }
    }
    for (name, buffer) in parameters.buffers() {
        found.insert(name, buffer.as_tensor().clone());
    }
    for name in case.texts("results")? {
        let found = found.remove(name).expect("what the reference has");
        assert_close(&found, &case.tensor(name, found.dtype())?, tolerance(case, name, dtype)?);
    }
    assert!(found.is_empty(), "the reference has no {:?}", found.keys());
    Ok(())
}

/// How far a result may be from the reference's, by the error of the reference's own f32.
pub(crate) fn tolerance(case: &Case, name: &str, dtype: DType) -> Result<f64> {
    match dtype {
        DType::F64 => Ok(1e-10),
        _ => Ok(f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5)),
    }
}
