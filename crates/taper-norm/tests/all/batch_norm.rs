use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, Gradients, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{
    BatchNorm, BatchNormConfig, Momentum, OneValue, RunningStatistics, Variance, batch_norm,
};

use crate::steps::check;

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// A layer with the default initial values.
fn layer(num_features: usize, config: BatchNormConfig, dtype: DType) -> Result<BatchNorm> {
    batch_norm(num_features, config, parameters().builder(dtype, &CPU))
}

/// Without running statistics and nearly without ε.
const BARE: BatchNormConfig = BatchNormConfig {
    eps: 1e-14,
    momentum: Momentum::Exponential(0.1),
    affine: false,
    track_running_stats: false,
    batch_variance: Variance::Biased,
    running_variance: Variance::Unbiased,
    one_value: OneValue::Error,
    activation: Activation::Identity,
};

#[test]
fn agrees_with_pytorch_over_steps_and_in_evaluation() -> Result<()> {
    for case in goldens(include_str!("../golden/batch_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            let make = |features, vb: VarBuilder| batch_norm(features, config(&case)?, vb);
            check(&case, dtype, make, |norm, x, _, train| Ok(norm.forward_t(x, train)?))?;
        }
    }
    Ok(())
}

/// That of a golden case.
pub(crate) fn config(case: &Case) -> Result<BatchNormConfig> {
    Ok(BatchNormConfig {
        eps: case.f64("eps")?,
        momentum: match case.has("momentum") {
            true => Momentum::Exponential(case.f64("momentum")?),
            false => Momentum::Cumulative,
        },
        affine: case.bool("affine")?,
        track_running_stats: case.bool("track_running_stats")?,
        ..Default::default()
    })
}

/// Batches (N, 2, L) whose channels are no constants: neighbours are at least 1 apart.
fn batches() -> impl Strategy<Value = Tensor> {
    (2usize..5, 1usize..4).prop_flat_map(|(n, l)| {
        prop::collection::vec(-1.0..1.0, n * 2 * l).prop_map(move |values| {
            let x = Tensor::from_vec(values, (n, 2, l), &CPU).unwrap();
            let ramp = Tensor::arange(0.0, n as f64, &CPU).unwrap().reshape((n, 1, 1)).unwrap();
            x.broadcast_add(&(ramp * 3.0).unwrap()).unwrap()
        })
    })
}

fn normalized(x: &Tensor) -> Tensor {
    layer(2, BARE, DType::F64).unwrap().forward_t(x, true).unwrap()
}

proptest! {
    #[test]
    fn the_output_has_mean_0_and_variance_1(x in batches()) {
        let y = normalized(&x).transpose(0, 1).unwrap().flatten_from(1).unwrap();
        let mean = y.mean(1).unwrap();
        assert_close(&mean, &mean.zeros_like().unwrap(), 1e-12);
        let variance = y.sqr().unwrap().mean(1).unwrap();
        assert_close(&variance, &variance.ones_like().unwrap(), 1e-10);
    }

    #[test]
    fn scale_and_shift_of_the_input_cancel(x in batches(), scale in 0.1..10.0, shift in -9.0..9.0) {
        let changed = x.affine(scale, shift).unwrap();
        assert_close(&normalized(&changed), &normalized(&x), 1e-9);
    }

    #[test]
    fn the_order_of_the_samples_does_not_matter(x in batches()) {
        let reverse: Vec<u32> = (0..x.dim(0).unwrap() as u32).rev().collect();
        let reverse = Tensor::new(reverse, &CPU).unwrap();
        let reversed = x.index_select(&reverse, 0).unwrap();
        let expected = normalized(&x).index_select(&reverse, 0).unwrap();
        assert_close(&normalized(&reversed), &expected, 1e-12);
    }

    #[test]
    fn the_gradient_of_scaled_weights_is_the_inverse(scale in 0.2..5.0) {
        let x = stream(1, "x").normal(0.0, 1.0, (6, 3), DType::F64, &CPU).unwrap();
        let weights = stream(1, "weights").normal(0.0, 1.0, (3, 2), DType::F64, &CPU).unwrap();
        let gradient = |scale: f64| {
            let weights = Var::from_tensor(&(&weights * scale).unwrap()).unwrap();
            let y = normalized(&x.matmul(&weights).unwrap());
            let loss = y.sin().unwrap().sum_all().unwrap();
            loss.backward().unwrap().remove(&weights).unwrap()
        };
        assert_close(&(gradient(scale) * scale).unwrap(), &gradient(1.0), 1e-9);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for shape in [vec![5, 2], vec![3, 2, 2], vec![2, 2, 1, 3]] {
        let inputs = [normal("x", &shape)?, normal("weight", &[2])?, normal("bias", &[2])?];
        for batch_variance in [Variance::Biased, Variance::Unbiased] {
            let config = BatchNormConfig {
                batch_variance,
                track_running_stats: false,
                ..Default::default()
            };
            let function = |x: &[Tensor]| {
                let affine = Some((x[1].clone(), x[2].clone()));
                Ok(BatchNorm::new(2, affine, None, config)?.forward_t(&x[0], true)?)
            };
            gradcheck(function, &inputs, 1e-6)?;
        }
        let function = |x: &[Tensor]| {
            let affine = Some((x[1].clone(), x[2].clone()));
            let norm = BatchNorm::new(2, affine, Some(running()?), BatchNormConfig::default())?;
            Ok(norm.forward_t(&x[0], false)?)
        };
        gradcheck(function, &inputs, 1e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_with_a_residual_and_an_activation_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for shape in [vec![5, 2], vec![2, 2, 3, 7]] {
        let inputs =
            [normal("x", &shape)?, normal("r", &shape)?, normal("w", &[2])?, normal("b", &[2])?];
        for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
            for (train, affine) in [(true, true), (true, false), (false, true), (false, false)] {
                let config = BatchNormConfig { activation, affine, ..Default::default() };
                let function = |x: &[Tensor]| {
                    let affine = affine.then(|| (x[2].clone(), x[3].clone()));
                    let norm = BatchNorm::new(2, affine, Some(running()?), config)?;
                    Ok(norm.forward_residual_t(&x[0], &x[1], train)?)
                };
                gradcheck(function, &inputs[..if affine { 4 } else { 2 }], 1e-6)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_activation_comes_after_the_residual() -> Result<()> {
    let config = BatchNormConfig { eps: 1e-14, activation: Activation::Relu, ..Default::default() };
    let norm = layer(1, config, DType::F64)?;
    let x = Tensor::new(&[[1.0], [5.0]], &CPU)?;
    let residual = Tensor::new(&[[3.0], [-7.0]], &CPU)?;
    let y = norm.forward_residual_t(&x, &residual, true)?;
    assert_close(&y, &Tensor::new(&[[2.0], [0.0]], &CPU)?, 1e-12);
    assert_close(&norm.forward_t(&x, true)?, &Tensor::new(&[[0.0], [1.0]], &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn a_graph_can_be_gone_back_twice_and_in_place() -> Result<()> {
    let parameters = parameters();
    let config = BatchNormConfig { activation: Activation::Relu, ..Default::default() };
    let norm = batch_norm(3, config, parameters.builder(DType::F32, &CPU))?;
    let normal = |name| stream(3, name).normal(0.0, 1.0, (4, 3), DType::F32, &CPU);
    let (x, residual) = (Var::from_tensor(&normal("x")?)?, Var::from_tensor(&normal("r")?)?);
    for add in [false, true] {
        for train in [true, false] {
            let y = match add {
                true => norm.forward_residual_t(&x, &residual, train)?,
                false => norm.forward_t(&x, train)?,
            };
            let loss = (&y * normal("upstream")?)?.sum_all()?;
            let (first, second) = (loss.backward()?, loss.backward()?);
            let mut variables: Vec<Var> =
                parameters.trainable().into_iter().map(|(_, var)| var).collect();
            variables.push(x.clone());
            variables.extend(add.then(|| residual.clone()));
            let mut in_place = Gradients::new(&variables)?;
            in_place.backward(&loss)?;
            in_place.accumulate(&loss)?;
            for variable in &variables {
                let gradient = first.get(variable).expect("a gradient");
                assert_close(second.get(variable).expect("a gradient"), gradient, 0.0);
                let twice = in_place.gradient(variable)?.expect("a gradient");
                assert_close(&twice, &(gradient * 2.0)?, 1e-6);
            }
        }
    }
    Ok(())
}

/// Two channels.
fn running() -> Result<RunningStatistics> {
    Ok(RunningStatistics {
        mean: Var::new(&[0.5, -1.0], &CPU)?,
        variance: Var::new(&[2.0, 0.25], &CPU)?,
        num_batches_tracked: Var::new(3i64, &CPU)?,
    })
}

#[test]
fn gradients_reach_every_parameter_but_a_bias_before_the_norm() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 3, LinearConfig::default(), vb.pp("fc"))?;
    let norm = batch_norm(3, BatchNormConfig::default(), vb.pp("bn"))?;
    let x = stream(3, "x").normal(0.0, 1.0, (8, 4), DType::F64, &CPU)?;
    let loss = norm.forward_t(&before.forward(&x)?, true)?.sin()?.sum_all()?;
    gradients_reach(&loss, &parameters.trainable(), &["fc.bias"])?;
    let loss = norm.forward_t(&before.forward(&x)?, false)?.sin()?.sum_all()?;
    gradients_reach(&loss, &parameters.trainable(), &[])
}

#[test]
fn running_statistics_are_state_and_have_no_gradient() -> Result<()> {
    let parameters = parameters();
    let norm = batch_norm(2, BatchNormConfig::default(), parameters.builder(DType::F64, &CPU))?;
    let names = |list: Vec<(String, Var)>| -> Vec<String> {
        list.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(parameters.trainable()), ["bias", "weight"]);
    assert_eq!(names(parameters.buffers()), ["num_batches_tracked", "running_mean", "running_var"]);
    let x = Tensor::new(&[[1.0, 2.0], [3.0, 5.0]], &CPU)?;
    for train in [true, false] {
        let gradients = norm.forward_t(&x, train)?.sum_all()?.backward()?;
        for (name, buffer) in parameters.buffers() {
            assert!(gradients.get(&buffer).is_none(), "{name}");
        }
    }
    // The layer moved the parameters' own variables, and once: evaluation leaves them alone.
    let tracked = &parameters.buffers()[0].1;
    assert_eq!(tracked.to_scalar::<i64>()?, 1);
    Ok(())
}

#[test]
fn a_plain_candle_builder_works() -> Result<()> {
    let tensors = [("weight", 2.0), ("bias", 1.0), ("running_mean", 3.0), ("running_var", 4.0)]
        .map(|(name, value)| (name.to_owned(), Tensor::new(&[value], &CPU).unwrap()));
    let mut tensors = HashMap::from(tensors);
    tensors.insert("num_batches_tracked".to_owned(), Tensor::new(7i64, &CPU)?);
    let vb = VarBuilder::from_tensors(tensors, DType::F64, &CPU);
    let norm = batch_norm(1, BatchNormConfig { eps: 1e-14, ..Default::default() }, vb)?;
    let y = norm.forward_t(&Tensor::new(&[[5.0]], &CPU)?, false)?;
    assert_close(&y, &Tensor::new(&[[3.0]], &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn views_give_the_numbers_of_contiguous_memory() -> Result<()> {
    let x = stream(4, "x").normal(0.0, 1.0, (3, 4, 2), DType::F32, &CPU)?;
    let view = x.transpose(0, 1)?;
    for train in [true, false] {
        let config = BatchNormConfig::default();
        let y = layer(3, config, DType::F32)?.forward_t(&view, train)?;
        let expected = layer(3, config, DType::F32)?.forward_t(&view.contiguous()?, train)?;
        assert_close(&y, &expected, 0.0);
    }
    Ok(())
}

#[test]
fn half_precision_has_statistics_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[300f32], [-300.0], [100.0], [-100.0]], &CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let norm = layer(1, BatchNormConfig::default(), DType::F32)?;
        for train in [true, false] {
            let y = norm.forward_t(&x, train)?;
            assert_eq!(y.dtype(), dtype);
            let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
            assert_eq!(gradient.dtype(), dtype);
            let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let expected = if train { 300.0 / 50_000f32.sqrt() } else { 300.0 / 6667.57f32.sqrt() };
            assert!((y[0] - expected).abs() < 0.02 * expected, "{y:?}");
        }
    }
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    for values in
        [[1e15f32, -1e15, 3e14], [1e-20, -1e-20, 0.0], [7.0, 7.0, 7.0], [1e4, 10000.01, 9999.99]]
    {
        let x = Var::from_tensor(&Tensor::new(&values, &CPU)?.unsqueeze(1)?)?;
        let norm = layer(1, BatchNormConfig::default(), DType::F32)?;
        let y = norm.forward_t(&x, true)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    Ok(())
}

#[test]
fn decay_is_the_part_that_stays() -> Result<()> {
    let x = stream(4, "x").normal(3.0, 2.0, (5, 3), DType::F64, &CPU)?;
    let after = |momentum| -> Result<[Tensor; 2]> {
        let norm = layer(3, BatchNormConfig { momentum, ..Default::default() }, DType::F64)?;
        for _ in 0..2 {
            norm.forward_t(&x, true)?;
        }
        let running = norm.running_statistics().expect("kept");
        Ok([&running.mean, &running.variance].map(|var| var.as_tensor().clone()))
    };
    let (keras, torch) = (after(Momentum::Decay(0.75))?, after(Momentum::Exponential(0.25))?);
    for (keras, torch) in keras.iter().zip(&torch) {
        assert_close(keras, torch, 1e-15);
    }
    Ok(())
}

#[test]
fn one_value_a_channel_can_go_by_the_running_statistics() -> Result<()> {
    let config = BatchNormConfig { one_value: OneValue::Running, ..Default::default() };
    let (norm, usual) = (layer(3, config, DType::F64)?, layer(3, config, DType::F64)?);
    let x = stream(4, "x").normal(3.0, 2.0, (5, 3), DType::F64, &CPU)?;
    for norm in [&norm, &usual] {
        norm.forward_t(&x, true)?;
    }
    let one = Var::from_tensor(&x.narrow(0, 0, 1)?)?;
    let y = norm.forward_t(&one, true)?;
    assert_close(&y, &usual.forward_t(&one, false)?, 0.0);
    assert!(y.sum_all()?.backward()?.get(&one).is_some());
    let state = |norm: &BatchNorm| norm.running_statistics().expect("kept").clone();
    let (after, before) = (state(&norm), state(&usual));
    assert_close(&after.mean, &before.mean, 0.0);
    assert_close(&after.variance, &before.variance, 0.0);
    assert_eq!(after.num_batches_tracked.to_scalar::<i64>()?, 1);
    // Two values have a variance: the batch's own, again.
    let two = x.narrow(0, 0, 2)?;
    let mean = norm.forward_t(&two, true)?.mean(0)?;
    assert_close(&mean, &mean.zeros_like()?, 1e-12);
    assert!(norm.forward_t(&x.narrow(0, 0, 0)?, true).is_err());
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let norm = layer(3, BatchNormConfig::default(), DType::F32)?;
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let of_input = |x: Tensor, train| norm.forward_t(&x, train).unwrap_err().to_string();
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let shape = "x should be (N, 3) with up to 3 more axes, got";
    expect(of_input(zeros(&[3], DType::F32), true), &format!("BatchNorm::forward_t: {shape} [3]"));
    expect(of_input(zeros(&[2, 4], DType::F32), false), &format!("{shape} [2, 4]"));
    expect(of_input(zeros(&[2, 3, 1, 1, 1, 1], DType::F32), true), shape);
    expect(of_input(zeros(&[2, 3], DType::U8), true), "x should be f64, f32, bf16 or f16, got U8");
    let few = "x should be of at least 2 values a channel to have a variance (a larger batch, one \
               that is left out, `OneValue::Running`, or `train` false with running statistics), got shape";
    expect(of_input(zeros(&[1, 3], DType::F32), true), &format!("{few} [1, 3], 1 a channel"));
    expect(of_input(zeros(&[0, 3, 5], DType::F32), true), &format!("{few} [0, 3, 5], 0 a channel"));
    let of_residual = |residual: Tensor| {
        let x = zeros(&[2, 3], DType::F32);
        norm.forward_residual_t(&x, &residual, true).unwrap_err().to_string()
    };
    let fit = "BatchNorm::forward_t: residual should be as x, F32 of shape [2, 3], got";
    expect(of_residual(zeros(&[3, 2], DType::F32)), &format!("{fit} F32 of shape [3, 2]"));
    expect(of_residual(zeros(&[2, 3], DType::F64)), &format!("{fit} F64 of shape [2, 3]"));
    assert_eq!(norm.running_statistics().expect("kept").num_batches_tracked.to_scalar::<i64>()?, 0);

    let of_config = |features, config| layer(features, config, DType::F32).unwrap_err().to_string();
    let plain = BatchNormConfig::default();
    expect(of_config(0, plain), "BatchNorm: num_features should be at least 1, got 0");
    for (eps, name) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let message = of_config(3, BatchNormConfig { eps, ..plain });
        expect(message, &format!("eps should be above 0 and finite, got {name}"));
    }
    let parts = [-0.1, 1.1, f64::NAN];
    for momentum in parts.map(Momentum::Exponential).into_iter().chain(parts.map(Momentum::Decay)) {
        let message = of_config(3, BatchNormConfig { momentum, ..plain });
        expect(message, "momentum should be from 0 to 1, got");
    }

    expect(
        of_config(3, BatchNormConfig { one_value: OneValue::Running, ..BARE }),
        "BatchNorm: one_value should be `OneValue::Error` where `track_running_stats` is false, got Running",
    );

    let of_new = |affine: Option<(Tensor, Tensor)>, running: Option<RunningStatistics>, config| {
        BatchNorm::new(2, affine, running, config).unwrap_err().to_string()
    };
    let pair = |weight: &[usize], bias: &[usize]| {
        Some((zeros(weight, DType::F64), zeros(bias, DType::F64)))
    };
    expect(
        of_new(None, Some(running()?), plain),
        "affine should be given, as the config says, got none",
    );
    expect(
        of_new(pair(&[2], &[2]), None, plain),
        "running should be given, as the config says, got none",
    );
    expect(
        of_new(pair(&[2], &[2]), None, BARE),
        "affine should be none, as the config says, got given",
    );
    let shape = "should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    expect(of_new(pair(&[3], &[2]), Some(running()?), plain), &format!("weight {shape}"));
    expect(of_new(pair(&[2], &[3]), Some(running()?), plain), &format!("bias {shape}"));
    let three = Var::zeros(3, DType::F64, &CPU)?;
    let mean = RunningStatistics { mean: three.clone(), ..running()? };
    expect(of_new(pair(&[2], &[2]), Some(mean), plain), &format!("running.mean {shape}"));
    let variance = RunningStatistics { variance: three, ..running()? };
    expect(of_new(pair(&[2], &[2]), Some(variance), plain), &format!("running.variance {shape}"));
    let tracked = RunningStatistics { num_batches_tracked: Var::new(1u32, &CPU)?, ..running()? };
    expect(
        of_new(pair(&[2], &[2]), Some(tracked), plain),
        "running.num_batches_tracked should be I64 of shape [], got U32 of shape []",
    );
    Ok(())
}

#[test]
fn a_file_of_candles_own_layer_loads() -> Result<()> {
    let names = ["weight", "bias", "running_mean", "running_var"];
    let tensors = names.map(|name| (name.to_owned(), Tensor::new(&[2.0, 3.0], &CPU).unwrap()));
    let vb = VarBuilder::from_tensors(HashMap::from(tensors), DType::F64, &CPU);
    let norm = batch_norm(2, BatchNormConfig::default(), vb)?;
    let running = norm.running_statistics().expect("running statistics");
    assert_eq!(running.num_batches_tracked.to_scalar::<i64>()?, 0);
    assert_eq!(running.mean.to_vec1::<f64>()?, [2.0, 3.0]);
    Ok(())
}
