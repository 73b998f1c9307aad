use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{
    BatchNormConfig, FrozenBatchNorm, FrozenBatchNormConfig, batch_norm, frozen_batch_norm,
};

use crate::steps::tolerance;

const CPU: Device = Device::Cpu;

#[test]
fn agrees_with_torchvision() -> Result<()> {
    for case in goldens(include_str!("../golden/frozen_batch_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

fn check(case: &Case, dtype: DType) -> Result<()> {
    let state = case.texts("state")?.into_iter();
    let state =
        state.map(|name| Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?)));
    let state = state.collect::<Result<HashMap<_, _>>>()?;
    let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
    let residual = Var::from_tensor(&case.tensor("residual", dtype)?)?;
    let upstream = case.tensor("upstream", dtype)?;
    let layer = |activation| {
        let vb = VarBuilder::from_tensors(state.clone(), dtype, &CPU);
        let config = FrozenBatchNormConfig { eps: case.f64("eps")?, activation };
        frozen_batch_norm(x.dim(1)?, config, vb)
    };
    let y = layer(Activation::Identity)?.forward(&x)?;
    let gradients = (&y * &upstream)?.sum_all()?.backward()?;
    let mut found = HashMap::from([("y", y)]);
    found.insert("x gradient", gradients.get(&x).expect("a gradient").clone());
    let y = layer(Activation::Relu)?.forward_residual(&x, &residual)?;
    let gradients = (&y * &upstream)?.sum_all()?.backward()?;
    found.insert("relu y", y);
    found.insert("relu x gradient", gradients.get(&x).expect("a gradient").clone());
    found.insert("relu residual gradient", gradients.get(&residual).expect("a gradient").clone());
    for name in case.texts("results")? {
        let found = found.remove(name).expect("what torchvision has");
        assert_close(&found, &case.tensor(name, dtype)?, tolerance(case, name, dtype)?);
    }
    assert!(found.is_empty());
    Ok(())
}

/// Two channels: weight, bias, mean and variance.
fn tensors() -> Result<[Tensor; 4]> {
    let two = |a: f64, b: f64| Tensor::new(&[a, b], &CPU);
    Ok([two(2.0, 3.0)?, two(1.0, -1.0)?, two(3.0, 0.5)?, two(4.0, 0.25)?])
}

#[test]
fn hand_numbers_for_any_number_of_axes() -> Result<()> {
    let [weight, bias, mean, variance] = tensors()?;
    let config = FrozenBatchNormConfig { eps: 1e-14, ..Default::default() };
    let norm = FrozenBatchNorm::new((weight, bias), (mean, variance), config)?;
    for shape in [vec![1, 2], vec![1, 2, 1], vec![1, 2, 1, 1, 1]] {
        let x = Tensor::new(&[5.0, 1.5], &CPU)?.reshape(shape.as_slice())?;
        let expected = Tensor::new(&[3.0, 5.0], &CPU)?.reshape(shape.as_slice())?;
        assert_close(&norm.forward(&x)?, &expected, 1e-12);
    }
    assert_eq!(norm.forward(&Tensor::zeros((0, 2, 3), DType::F32, &CPU)?)?.dims(), [0, 2, 3]);
    Ok(())
}

#[test]
fn only_the_input_and_the_residual_get_a_gradient() -> Result<()> {
    let variables = tensors()?.map(|tensor| Var::from_tensor(&tensor).unwrap());
    let [weight, bias, mean, variance] = &variables;
    let pair = |a: &Var, b: &Var| (a.as_tensor().clone(), b.as_tensor().clone());
    let config = FrozenBatchNormConfig { activation: Activation::Silu, ..Default::default() };
    let norm = FrozenBatchNorm::new(pair(weight, bias), pair(mean, variance), config)?;
    let normal = |name| stream(1, name).normal(0.5, 1.0, (2, 2, 3), DType::F64, &CPU);
    let inputs = [normal("x")?, normal("residual")?];
    let gradients =
        norm.forward(Var::from_tensor(&inputs[0])?.as_tensor())?.sum_all()?.backward()?;
    assert!(variables.iter().all(|variable| gradients.get(variable).is_none()));
    gradcheck(|x| Ok(norm.forward_residual(&x[0], &x[1])?), &inputs, 1e-6)
}

#[test]
fn a_layer_is_frozen_as_it_is() -> Result<()> {
    for affine in [true, false] {
        let parameters = Parameters::new(&stream(0, "init"));
        let config = BatchNormConfig {
            eps: 1e-3,
            affine,
            activation: Activation::Relu,
            ..Default::default()
        };
        let norm = batch_norm(2, config, parameters.builder(DType::F32, &CPU))?;
        let x = stream(1, "x").normal(3.0, 2.0, (4, 2, 3), DType::F32, &CPU)?;
        norm.forward_t(&x, true)?;
        let frozen = FrozenBatchNorm::try_from(&norm)?;
        let expected = norm.forward_t(&x, false)?;
        norm.forward_t(&x, true)?;
        for (_, var) in parameters.trainable() {
            var.set(&(var.as_tensor() + 1.0)?)?;
        }
        assert_close(&frozen.forward(&x)?, &expected, 0.0);
        let half = frozen.forward(&x.to_dtype(DType::F16)?)?;
        assert_eq!(half.dtype(), DType::F16);
        assert_close(&half.to_dtype(DType::F32)?, &expected, 2e-3);
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        let message = message.lines().next().unwrap_or_default();
        assert_eq!(message, expected);
    };
    let of_new = |at: usize, tensor: Tensor, eps| {
        let mut tensors = tensors().unwrap();
        tensors[at] = tensor;
        let [weight, bias, mean, variance] = tensors;
        let config = FrozenBatchNormConfig { eps, ..Default::default() };
        FrozenBatchNorm::new((weight, bias), (mean, variance), config).unwrap_err().to_string()
    };
    let three = Tensor::zeros(3, DType::F64, &CPU)?;
    for (at, name) in [(1, "bias"), (2, "mean"), (3, "variance")] {
        let fit = "should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
        expect(of_new(at, three.clone(), 1e-5), &format!("FrozenBatchNorm: {name} {fit}"));
    }
    let whole = Tensor::zeros(2, DType::U32, &CPU)?;
    let fit = "should be f64, f32, bf16 or f16 of shape [2], got U32 of shape [2]";
    expect(of_new(0, whole, 1e-5), &format!("FrozenBatchNorm: weight {fit}"));
    let none = Tensor::zeros(0, DType::F32, &CPU)?;
    let least = "FrozenBatchNorm: weight should be of at least 1 channel, got 0";
    expect(of_new(0, none, 1e-5), least);
    let finite = "FrozenBatchNorm: eps should be above 0 and finite, got 0";
    expect(of_new(1, tensors()?[1].clone(), 0.0), finite);

    let vb = Parameters::new(&stream(0, "init"));
    let vb = vb.builder(DType::F32, &CPU);
    let norm = frozen_batch_norm(2, FrozenBatchNormConfig::default(), vb.clone())?;
    let x = Tensor::zeros((1, 2), DType::F32, &CPU)?;
    expect(
        norm.forward(&Tensor::zeros((1, 3), DType::F32, &CPU)?).unwrap_err().to_string(),
        "FrozenBatchNorm::forward: x should be (N, 2) with up to 3 more axes, got [1, 3]",
    );
    expect(
        norm.forward_residual(&x, &x.to_dtype(DType::F64)?).unwrap_err().to_string(),
        "FrozenBatchNorm::forward: residual should be as x, F32 of shape [1, 2], got F64 of shape [1, 2]",
    );
    let config = BatchNormConfig { track_running_stats: false, ..Default::default() };
    expect(
        FrozenBatchNorm::freeze(&batch_norm(2, config, vb)?).unwrap_err().to_string(),
        "FrozenBatchNorm: norm should be a layer with running statistics (`track_running_stats`), got one without",
    );
    Ok(())
}
