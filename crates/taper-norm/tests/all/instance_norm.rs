use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use candle_nn::ModuleT;
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{InstanceNorm, InstanceNormConfig, Momentum, instance_norm};

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// Without parameters and nearly without ε.
fn bare(num_features: usize) -> InstanceNorm {
    let config = InstanceNormConfig { eps: 1e-14, ..Default::default() };
    InstanceNorm::new(num_features, None, None, config).unwrap()
}

#[test]
fn agrees_with_pytorch_over_steps_and_in_evaluation() -> Result<()> {
    for case in goldens(include_str!("../golden/instance_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

fn config(case: &Case) -> Result<InstanceNormConfig> {
    Ok(InstanceNormConfig {
        eps: case.f64("eps")?,
        momentum: Momentum::Exponential(case.f64("momentum")?),
        affine: case.bool("affine")?,
        track_running_stats: case.bool("track_running_stats")?,
        ..Default::default()
    })
}

/// Loads the case's state dict, runs its steps, and compares all that PyTorch recorded.
fn check(case: &Case, dtype: DType) -> Result<()> {
    let parameters = parameters();
    let features = case.tensor("input 0", dtype)?.dim(1)?;
    let norm = instance_norm(features, config(case)?, parameters.builder(dtype, &CPU))?;
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
        let y = norm.forward_t(&x, train)?;
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
    // PyTorch does not count batches here.
    if let Some(batches) = found.remove("num_batches_tracked") {
        assert_eq!(batches.to_scalar::<i64>()? as u64, steps);
    }
    for name in case.texts("results")? {
        let found = found.remove(name).expect("what PyTorch has");
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, found.dtype())?, tolerance);
    }
    assert!(found.is_empty(), "PyTorch has no {:?}", found.keys());
    Ok(())
}

proptest! {
    #[test]
    fn scale_and_shift_of_a_channel_cancel(
        values in prop::collection::vec(-1.0..1.0, 2 * 2 * 6),
        scale in 0.1..10.0,
        shift in -9.0..9.0,
    ) {
        let x = Tensor::from_vec(values, (2, 2, 6), &CPU).unwrap();
        let ramp = Tensor::arange(0.0, 6.0, &CPU).unwrap();
        let x = x.broadcast_add(&ramp).unwrap();
        let y = bare(2).forward_t(&x, true).unwrap();
        let changed = bare(2).forward_t(&x.affine(scale, shift).unwrap(), true).unwrap();
        assert_close(&changed, &y, 1e-9);
        let mean = y.mean(2).unwrap();
        assert_close(&mean, &mean.zeros_like().unwrap(), 1e-11);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    let inputs = [
        normal("x", &[2, 3, 4])?,
        normal("r", &[2, 3, 4])?,
        normal("w", &[3])?,
        normal("b", &[3])?,
    ];
    let mask = Tensor::new(&[[1u8, 0, 1, 1], [1, 1, 0, 0]], &CPU)?;
    for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
        let config = InstanceNormConfig { activation, ..Default::default() };
        let layer =
            |x: &[Tensor]| InstanceNorm::new(3, Some((x[2].clone(), x[3].clone())), None, config);
        let function = |x: &[Tensor]| Ok(layer(x)?.forward_residual_t(&x[0], &x[1], true)?);
        gradcheck(function, &inputs, 1e-6)?;
        let bare = |x: &[Tensor]| {
            Ok(InstanceNorm::new(3, None, None, config)?.forward_masked_t(&x[0], &mask, true)?)
        };
        gradcheck(bare, &inputs[..1], 1e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_reach_every_parameter_but_a_bias_before_the_norm() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb.pp("fc"))?;
    let config =
        InstanceNormConfig { affine: true, track_running_stats: true, ..Default::default() };
    let norm = instance_norm(6, config, vb.pp("norm"))?;
    let x = stream(3, "x").normal(0.0, 1.0, (2, 5, 4), DType::F64, &CPU)?;
    let view = before.forward(&x)?.transpose(1, 2)?;
    for input in [view.contiguous()?, view] {
        let loss = norm.forward_t(&input, true)?.sin()?.sum_all()?;
        gradients_reach(&loss, &parameters.trainable(), &["fc.bias"])?;
        let loss = norm.forward_t(&input, false)?.sin()?.sum_all()?;
        gradients_reach(&loss, &parameters.trainable(), &[])?;
    }
    Ok(())
}

#[test]
fn running_statistics_are_state_in_f32_and_half_precision_too() -> Result<()> {
    // Mean 1e4 and standard deviation near 1e-2, as f32 holds it.
    let x = stream(5, "test").normal(1e4, 1e-2, (3, 2, 256), DType::F32, &CPU)?;
    let parameters = parameters();
    let config = InstanceNormConfig {
        track_running_stats: true,
        momentum: Momentum::Exponential(1.0),
        ..Default::default()
    };
    let norm = instance_norm(2, config, parameters.builder(DType::F32, &CPU))?;
    assert!(parameters.trainable().is_empty() && parameters.buffers().len() == 3);
    norm.forward_t(&x, true)?;
    let wide = x.to_dtype(DType::F64)?;
    let running = norm.running_statistics().expect("running statistics");
    let variance = running.variance.to_dtype(DType::F64)?;
    assert_close(&variance, &wide.var(2)?.mean(0)?, 1e-5);
    assert_close(&running.mean.to_dtype(DType::F64)?, &wide.mean(2)?.mean(0)?, 1e-7);
    // An empty batch and half precision.
    norm.forward_t(&x.narrow(0, 0, 0)?, true)?;
    assert_close(&running.variance.to_dtype(DType::F64)?, &variance, 0.0);
    let y = norm.forward_t(&x.to_dtype(DType::BF16)?, true)?;
    assert_eq!(y.dtype(), DType::BF16);
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    let norm = InstanceNorm::new(1, None, None, InstanceNormConfig::default())?;
    for values in [[1e15f32, -1e15, 3e14], [1e-20, -1e-20, 0.0], [7.0, 7.0, 7.0]] {
        let x = Var::from_tensor(&Tensor::new(&[[values]], &CPU)?)?;
        let y = norm.forward_t(&x, true)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    let x = Tensor::new(&[[[1f32, f32::NAN], [1.0, 2.0]]], &CPU)?;
    let y = bare(2).forward_t(&x, true)?.to_vec3::<f32>()?;
    assert!(y[0][0].iter().all(|y| y.is_nan()) && y[0][1].iter().all(|y| y.is_finite()));
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let norm = bare(2);
    let of_input = |x: Tensor| norm.forward_t(&x, true).unwrap_err().to_string();
    let shape = "InstanceNorm::forward_t: x should be (N, 2) with up to 3 more axes, got";
    expect(of_input(zeros(&[4, 3], DType::F32)), &format!("{shape} [4, 3]"));
    let places = "x should be of at least 2 places a channel to have a variance (a larger input, or \
                  `train` false with running statistics), got shape";
    expect(of_input(zeros(&[4, 2, 1], DType::F32)), &format!("{places} [4, 2, 1]"));
    expect(of_input(zeros(&[4, 2], DType::F32)), &format!("{places} [4, 2]"));
    let x = zeros(&[4, 2, 3], DType::F32);
    let message = norm.forward_masked_t(&x, &x, true).unwrap_err().to_string();
    expect(message, "mask should be U8 of shape [4, 3], that of x without its channels, got F32");
    let of_new = |features, affine, eps| {
        let config = InstanceNormConfig { eps, ..Default::default() };
        InstanceNorm::new(features, affine, None, config).unwrap_err().to_string()
    };
    expect(of_new(0, None, 1e-5), "InstanceNorm: num_features should be at least 1, got 0");
    expect(of_new(2, None, 0.0), "eps should be above 0 and finite, got 0");
    let fit = "weight should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    let affine = (zeros(&[3], DType::F64), zeros(&[2], DType::F64));
    expect(of_new(2, Some(affine), 1e-5), fit);
    Ok(())
}

#[test]
fn a_momentum_out_of_range_is_an_error_with_and_without_running_statistics() {
    for track_running_stats in [true, false] {
        let momentum = Momentum::Decay(1.1);
        let config = InstanceNormConfig { momentum, track_running_stats, ..Default::default() };
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let message = instance_norm(2, config, vb).unwrap_err().to_string();
        let expected = "InstanceNorm: momentum should be from 0 to 1, got 1.1";
        assert!(message.contains(expected), "{message}");
    }
}
