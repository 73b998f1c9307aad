//! What holds for every kind of [`Norm`]: its gradients, dtypes, edges, state, errors and its form in a file.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::{assert_close, gradcheck, gradients_reach};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{
    BatchNormConfig, BatchRenormConfig, ChannelLayerNormConfig, FrozenBatchNormConfig,
    GhostBatchNormConfig, InstanceNormConfig, LocalResponseNormConfig, Norm, NormConfig,
    RmsNormConfig, norm,
};

const CPU: Device = Device::Cpu;
const CHANNELS: usize = 4;
/// Of one to four axes beside the channels'.
const SHAPES: [&[usize]; 4] = [&[6, 4], &[6, 4, 3], &[6, 4, 2, 3], &[6, 4, 2, 1, 3]];

fn ghost(norm: BatchNormConfig) -> NormConfig {
    NormConfig::GhostBatch(GhostBatchNormConfig { virtual_batch_size: 3, norm })
}

/// Every kind, with this activation where it has one.
fn every(activation: Activation) -> Vec<NormConfig> {
    let batch = BatchNormConfig { activation, ..Default::default() };
    let NormConfig::Group { groups, eps, affine, .. } = NormConfig::group(2) else {
        unreachable!("group makes a group")
    };
    vec![
        NormConfig::None,
        NormConfig::Batch(batch),
        NormConfig::BatchRenorm(BatchRenormConfig { activation, ..Default::default() }),
        ghost(batch),
        NormConfig::FrozenBatch(FrozenBatchNormConfig { activation, ..Default::default() }),
        NormConfig::Layer(ChannelLayerNormConfig { activation, ..Default::default() }),
        NormConfig::Rms(RmsNormConfig { activation, ..Default::default() }),
        NormConfig::Group { groups, eps, affine, activation },
        NormConfig::Instance(InstanceNormConfig {
            affine: true,
            track_running_stats: true,
            activation,
            ..Default::default()
        }),
        NormConfig::LocalResponse(LocalResponseNormConfig { size: 3, ..Default::default() }),
    ]
}

fn plain() -> Vec<NormConfig> {
    every(Activation::Identity)
}

fn layer(config: NormConfig, dtype: DType) -> Result<(Norm, Parameters)> {
    let parameters = Parameters::new(&stream(0, "init"));
    let norm = norm(CHANNELS, config, parameters.builder(dtype, &CPU))?;
    Ok((norm, parameters))
}

fn normal(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    stream(1, name).normal(0.5, 1.5, shape, dtype, &CPU).unwrap()
}

/// Whether the kind can train on x of this shape: a channel of a sample needs places to have a variance.
fn fits(config: NormConfig, shape: &[usize]) -> bool {
    !matches!(config, NormConfig::Instance(_)) || shape.len() > 2
}

/// Whether a sample's result is a matter of that sample alone, in training too.
fn by_sample(config: NormConfig) -> bool {
    use NormConfig::{Batch, BatchRenorm, GhostBatch};
    !matches!(config, Batch(_) | BatchRenorm(_) | GhostBatch(_))
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_finite(tensor: &Tensor, of: NormConfig) {
    assert!(numbers(tensor).iter().all(|it| it.is_finite()), "{of:?}: {tensor}");
}

#[test]
fn gradients_reach_the_input_and_every_parameter_contiguous_or_not() -> Result<()> {
    for config in plain() {
        for (shape, view) in [(vec![6, 4, 3], 0), (vec![6, 3, 4], 1), (vec![6, 6, 3], 2)] {
            for train in [true, false] {
                let (norm, parameters) = layer(config, DType::F64)?;
                let var = Var::from_tensor(&normal("x", &shape, DType::F64))?;
                let x = match view {
                    0 => var.as_tensor().clone(),
                    1 => var.transpose(1, 2)?,
                    _ => var.narrow(1, 1, CHANNELS)?,
                };
                let loss = norm.forward_t(&x, train)?.sin()?.sum_all()?;
                let mut variables = vec![("x".to_owned(), var)];
                if !matches!(config, NormConfig::FrozenBatch(_)) {
                    variables.extend(parameters.trainable());
                }
                gradients_reach(&loss, &variables, &[])?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    for config in plain() {
        for shape in SHAPES.into_iter().filter(|shape| fits(config, shape)) {
            for train in [true, false] {
                let (_, parameters) = layer(config, DType::F64)?;
                let mut names: Vec<String> =
                    parameters.trainable().into_iter().map(|(name, _)| name).collect();
                if matches!(config, NormConfig::FrozenBatch(_)) {
                    names.clear();
                }
                let mut inputs = vec![normal("x", shape, DType::F64)];
                inputs.extend(names.iter().map(|name| normal(name, &[CHANNELS], DType::F64)));
                let loss = |inputs: &[Tensor]| {
                    let mut tensors: HashMap<String, Tensor> = parameters
                        .all()
                        .into_iter()
                        .map(|(name, var)| (name, var.as_detached_tensor()))
                        .collect();
                    tensors.extend(names.iter().cloned().zip(inputs[1..].iter().cloned()));
                    let vb = VarBuilder::from_tensors(tensors, DType::F64, &CPU);
                    Ok(norm(CHANNELS, config, vb)?.forward_t(&inputs[0], train)?)
                };
                let result = gradcheck(loss, &inputs, 1e-6);
                result.unwrap_or_else(|error| panic!("{config:?} {shape:?} {train}: {error}"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_result_has_the_dtype_and_shape_of_the_input() -> Result<()> {
    for config in plain() {
        for shape in SHAPES.into_iter().filter(|shape| fits(config, shape)) {
            let expected = layer(config, DType::F64)?.0;
            let expected = expected.forward_t(&normal("x", shape, DType::F64), true)?;
            for (dtype, tolerance) in
                [(DType::F64, 0.0), (DType::F32, 1e-6), (DType::BF16, 2e-2), (DType::F16, 3e-3)]
            {
                let x = normal("x", shape, DType::F64).to_dtype(dtype)?;
                let y = layer(config, dtype)?.0.forward_t(&x, true)?;
                assert_eq!((y.dtype(), y.dims()), (dtype, shape), "{config:?}");
                assert_close(&y.to_dtype(DType::F64)?, &expected, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn constant_inputs_have_finite_results_and_gradients() -> Result<()> {
    for config in plain() {
        for value in [0.0f32, 7.0, -1e4] {
            for train in [true, false] {
                let x = Var::from_tensor(&Tensor::full(value, (6, 4, 3), &CPU)?)?;
                let y = layer(config, DType::F32)?.0.forward_t(&x, train)?;
                let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
                assert_finite(&y, config);
                assert_finite(&gradient, config);
            }
        }
    }
    Ok(())
}

#[test]
fn a_sample_alone_and_no_sample_are_evaluated() -> Result<()> {
    for config in plain() {
        for samples in [0, 1] {
            let shape = [samples, CHANNELS, 3];
            let (norm, _) = layer(config, DType::F32)?;
            let x = normal("x", &shape, DType::F32);
            assert_eq!(norm.forward_t(&x, false)?.dims(), shape, "{config:?}");
            if by_sample(config) {
                assert_eq!(norm.forward_t(&x, true)?.dims(), shape, "{config:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_no_number_stays_in_its_sample() -> Result<()> {
    for config in plain() {
        for train in [false, true] {
            if train && !by_sample(config) {
                continue;
            }
            let norm = layer(config, DType::F32)?.0;
            let x = normal("x", &[3, CHANNELS, 2], DType::F32);
            let bad = x.narrow(0, 1, 1)?.affine(f64::NAN, 0.0)?;
            let x = Tensor::cat(&[&x.narrow(0, 0, 1)?, &bad, &x.narrow(0, 2, 1)?], 0)?;
            let y = norm.forward_t(&x, train)?;
            assert_finite(&y.get(0)?, config);
            assert_finite(&y.get(2)?, config);
            assert!(numbers(&y.get(1)?).iter().all(|it| it.is_nan()), "{config:?}");
        }
    }
    Ok(())
}

#[test]
fn a_residual_is_added_before_the_activation() -> Result<()> {
    for (config, plain) in every(Activation::Relu).into_iter().zip(plain()) {
        for shape in SHAPES.into_iter().filter(|shape| fits(config, shape)) {
            let (x, residual) = (normal("x", shape, DType::F64), normal("r", shape, DType::F64));
            let y = layer(plain, DType::F64)?.0.forward_t(&x, true)?;
            let mut expected = (y + &residual)?;
            if !matches!(config, NormConfig::None | NormConfig::LocalResponse(_)) {
                expected = expected.relu()?;
            }
            let norm = layer(config, DType::F64)?.0;
            assert_close(&norm.forward_residual_t(&x, &residual, true)?, &expected, 1e-12);
            let message = norm.forward_residual_t(&x, &x.narrow(0, 0, 1)?, true).unwrap_err();
            let message = message.to_string();
            assert!(message.contains("residual should be as x"), "{config:?}: {message}");
        }
    }
    Ok(())
}

#[test]
fn state_moves_in_training_only_and_has_the_names_of_pytorch() -> Result<()> {
    for config in plain() {
        let (norm, parameters) = layer(config, DType::F64)?;
        let state = || -> Result<Vec<(String, Vec<f64>)>> {
            let variables = parameters.all().into_iter();
            Ok(variables.map(|(name, var)| (name, numbers(&var))).collect())
        };
        let names: Vec<String> = state()?.into_iter().map(|(name, _)| name).collect();
        let kept = matches!(
            config,
            NormConfig::Batch(_)
                | NormConfig::BatchRenorm(_)
                | NormConfig::GhostBatch(_)
                | NormConfig::Instance(_)
        );
        let expected: &[&str] = match config {
            NormConfig::None | NormConfig::LocalResponse(_) => &[],
            NormConfig::Rms(_) => &["weight"],
            NormConfig::FrozenBatch(_) => &["bias", "running_mean", "running_var", "weight"],
            _ if kept => &["bias", "num_batches_tracked", "running_mean", "running_var", "weight"],
            _ => &["bias", "weight"],
        };
        assert_eq!(names, expected, "{config:?}");
        assert_eq!(norm.running_statistics().is_some(), kept, "{config:?}");

        let (x, before) = (normal("x", &[6, CHANNELS, 3], DType::F64), state()?);
        norm.forward_t(&x, false)?;
        assert_eq!(state()?, before, "{config:?}");
        norm.forward_t(&x, true)?;
        assert_eq!(state()? != before, kept, "{config:?}");
    }
    Ok(())
}

/// That of the whole input: each unit's own tests have those of what it averages over.
#[test]
fn scale_and_shift_of_the_input_cancel_where_they_should() -> Result<()> {
    for config in plain() {
        use NormConfig::{FrozenBatch, LocalResponse, None, Rms};
        if matches!(config, None | LocalResponse(_) | FrozenBatch(_)) {
            continue;
        }
        let of = |x: &Tensor| layer(config, DType::F64)?.0.forward_t(x, true);
        let x = (normal("x", &[6, CHANNELS, 3], DType::F64) * 100.0)?;
        assert_close(&of(&(&x * 3.0)?)?, &of(&x)?, 1e-5);
        if !matches!(config, Rms(_)) {
            assert_close(&of(&(&x + 50.0)?)?, &of(&x)?, 1e-10);
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error_that_names_it() -> Result<()> {
    for config in plain().into_iter().filter(|config| *config != NormConfig::None) {
        let norm = layer(config, DType::F32)?.0;
        let mut wrong = vec![vec![4]];
        // Which has no channels of its own.
        if !matches!(config, NormConfig::LocalResponse(_)) {
            wrong.extend([vec![2, 5, 3], vec![2, 4, 1, 1, 1, 2]]);
        }
        for shape in wrong {
            let x = Tensor::zeros(shape.as_slice(), DType::F32, &CPU)?;
            let message = norm.forward_t(&x, false).unwrap_err().to_string();
            assert!(message.contains(": x should be "), "{config:?} {shape:?}: {message}");
        }
        let x = Tensor::zeros((2, CHANNELS, 3), DType::U8, &CPU)?;
        let message = norm.forward_t(&x, true).unwrap_err().to_string();
        let expected = "x should be f64, f32, bf16 or f16, got U8";
        assert!(message.contains(expected), "{config:?}: {message}");
    }
    Ok(())
}

#[test]
fn every_kind_has_a_form_in_a_file() {
    let kinds = [
        "none",
        "batch",
        "batch-renorm",
        "ghost-batch",
        "frozen-batch",
        "layer",
        "rms",
        "group",
        "instance",
        "local-response",
    ];
    for (config, kind) in every(Activation::Relu).into_iter().zip(kinds) {
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains(&format!("kind = \"{kind}\"")), "{text}");
        assert_eq!(toml::from_str::<NormConfig>(&text).unwrap(), config, "{text}");
        let error = toml::from_str::<NormConfig>(&format!("shape = 3\n{text}")).unwrap_err();
        assert!(error.to_string().contains("unknown field `shape`"), "{kind}: {error}");
    }
    let config: NormConfig = toml::from_str("kind = \"batch\"").unwrap();
    assert_eq!(config, NormConfig::Batch(BatchNormConfig::default()));
    let error = toml::from_str::<NormConfig>("kind = \"bach\"").unwrap_err().to_string();
    assert!(error.contains("`batch-renorm`") && error.contains("bach"), "{error}");
}

#[test]
fn every_kind_becomes_every_other_with_the_same_tensors() -> Result<()> {
    let x = normal("x", &[6, CHANNELS, 3], DType::F64);
    for from in plain() {
        let (first, _) = layer(from, DType::F64)?;
        for to in plain() {
            let without =
                |config| matches!(config, NormConfig::None | NormConfig::LocalResponse(_));
            let lacks = matches!(to, NormConfig::FrozenBatch(_))
                && first.running_statistics().is_none()
                && !matches!(from, NormConfig::FrozenBatch(_));
            let converted = first.convert(to);
            if without(from) && !without(to) || lacks {
                let message = converted.unwrap_err().to_string();
                assert!(message.contains("Norm::convert: config should be"), "{message}");
                continue;
            }
            let converted = converted?;
            let data = matches!(to, NormConfig::FrozenBatch(_) | NormConfig::None)
                || matches!(from, NormConfig::FrozenBatch(_));
            if let (Some(before), Some(after), false) = (first.weight(), converted.weight(), data) {
                assert_eq!(before.id(), after.id(), "{from:?} to {to:?}");
            }
            assert_eq!(converted.forward_t(&x, true)?.dims(), x.dims());
        }
    }
    Ok(())
}

#[test]
fn a_frozen_batch_norm_gives_what_it_gave() -> Result<()> {
    let x = normal("x", &[6, CHANNELS, 3], DType::F64);
    let (batch, _) = layer(NormConfig::Batch(BatchNormConfig::default()), DType::F64)?;
    batch.forward_t(&x, true)?;
    let frozen = batch.convert(NormConfig::FrozenBatch(FrozenBatchNormConfig::default()))?;
    assert_close(&frozen.forward_t(&x, true)?, &batch.forward_t(&x, false)?, 1e-14);
    let back = frozen.convert(NormConfig::Batch(BatchNormConfig::default()))?;
    assert_close(&back.forward_t(&x, false)?, &batch.forward_t(&x, false)?, 1e-14);
    // The statistics of a copy are its own.
    back.forward_t(&(&x * 5.0)?, true)?;
    assert_close(&frozen.forward_t(&x, false)?, &batch.forward_t(&x, false)?, 1e-14);
    Ok(())
}
