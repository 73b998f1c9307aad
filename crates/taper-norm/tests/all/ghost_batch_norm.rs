use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{
    BatchNorm, BatchNormConfig, GhostBatchNorm, GhostBatchNormConfig, OneValue, ghost_batch_norm,
};

use crate::batch_norm::config;
use crate::steps::check;

const CPU: Device = Device::Cpu;

fn layer(features: usize, config: GhostBatchNormConfig, dtype: DType) -> Result<GhostBatchNorm> {
    let parameters = Parameters::new(&stream(0, "init"));
    ghost_batch_norm(features, config, parameters.builder(dtype, &CPU))
}

fn of(virtual_batch_size: usize) -> GhostBatchNormConfig {
    GhostBatchNormConfig { virtual_batch_size, ..Default::default() }
}

#[test]
fn agrees_with_pytorch_on_one_virtual_batch_after_the_other() -> Result<()> {
    for case in goldens(include_str!("../golden/ghost_batch_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            let make = |features, vb: VarBuilder| {
                let virtual_batch_size = case.u64("virtual_batch_size")? as usize;
                let config = GhostBatchNormConfig { virtual_batch_size, norm: config(&case)? };
                ghost_batch_norm(features, config, vb)
            };
            check(&case, dtype, make, |norm, x, _, train| Ok(norm.forward_t(x, train)?))?;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_virtual_batch_does_not_see_the_others(
        sizes in (2usize..5, 2usize..4),
        scale in 0.5..20.0,
        seed in 0u64..1000,
    ) {
        let (size, parts) = sizes;
        let shape = (size * parts, 2, 3);
        let x = stream(seed, "x").normal(0.0, 1.0, shape, DType::F64, &CPU).unwrap();
        let norm = layer(2, of(size), DType::F64).unwrap();
        let y = norm.forward_t(&x, true).unwrap();
        let first = x.narrow(0, 0, size).unwrap();
        let rest = x.narrow(0, size, size * (parts - 1)).unwrap();
        let rest = rest.affine(scale, 0.0).unwrap();
        let changed = Tensor::cat(&[&first, &rest], 0).unwrap();
        let changed = norm.forward_t(&changed, true).unwrap();
        let (y, changed) = (y.narrow(0, 0, size).unwrap(), changed.narrow(0, 0, size).unwrap());
        assert_close(&changed, &y, 0.0);
        assert_close(&y, &norm.norm().forward_t(&first, true).unwrap(), 1e-12);
    }
}

#[test]
fn a_virtual_batch_as_large_as_the_batch_is_batch_norm() -> Result<()> {
    let x = stream(1, "x").normal(3.0, 2.0, (6, 3, 2), DType::F32, &CPU)?;
    for size in [6, 7, usize::MAX] {
        let (ghost, plain) = (layer(3, of(size), DType::F32)?, layer(3, of(1), DType::F32)?);
        let y = ghost.forward_t(&x, true)?;
        assert_close(&y, &plain.norm().forward_t(&x, true)?, 0.0);
        let [ghost, plain] =
            [&ghost, &plain].map(|it| it.norm().running_statistics().expect("kept").clone());
        assert_close(&ghost.mean, &plain.mean, 0.0);
        assert_eq!(ghost.num_batches_tracked.to_scalar::<i64>()?, 1);
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for (shape, size) in [(vec![8, 2], 3), (vec![3, 2, 2, 2], 2)] {
        let inputs =
            [normal("x", &shape)?, normal("r", &shape)?, normal("w", &[2])?, normal("b", &[2])?];
        for activation in [Activation::Relu, Activation::Silu] {
            let config =
                BatchNormConfig { activation, track_running_stats: false, ..Default::default() };
            let function = |x: &[Tensor]| {
                let affine = Some((x[2].clone(), x[3].clone()));
                let norm = GhostBatchNorm::new(BatchNorm::new(2, affine, None, config)?, size)?;
                Ok(norm.forward_residual_t(&x[0], &x[1], true)?)
            };
            gradcheck(function, &inputs, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_reach_every_parameter_and_the_input() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let norm = ghost_batch_norm(3, of(4), parameters.builder(DType::F64, &CPU))?;
    let x = Var::from_tensor(&stream(3, "x").normal(0.0, 1.0, (3, 8), DType::F64, &CPU)?)?;
    let mut variables = parameters.trainable();
    variables.push(("x".to_owned(), x.clone()));
    for input in [x.t()?, x.t()?.contiguous()?] {
        let loss = norm.forward_t(&input, true)?.sin()?.sum_all()?;
        gradients_reach(&loss, &variables, &[])?;
    }
    Ok(())
}

#[test]
fn nan_stays_in_its_virtual_batch_and_extremes_are_finite() -> Result<()> {
    let norm = layer(1, of(2), DType::F32)?;
    let x = Tensor::new(&[[1f32], [f32::NAN], [2.0], [5.0], [7.0], [7.0], [1e15], [-1e15]], &CPU)?;
    let x = Var::from_tensor(&x)?;
    let y = norm.forward_t(&x, true)?;
    let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
    for result in [y, gradient] {
        let result = result.flatten_all()?.to_vec1::<f32>()?;
        assert!(result[..2].iter().all(|it| it.is_nan()), "{result:?}");
        assert!(result[2..].iter().all(|it| it.is_finite()), "{result:?}");
    }
    let half = x.as_tensor().narrow(0, 2, 4)?.to_dtype(DType::BF16)?;
    assert_eq!(norm.forward_t(&half, true)?.dtype(), DType::BF16);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let first = |message: String| message.lines().next().unwrap_or_default().to_owned();
    let norm = layer(3, of(4), DType::F32)?;
    let of_x = |shape: &[usize]| {
        let x = Tensor::zeros(shape, DType::F32, &CPU).unwrap();
        first(norm.forward_t(&x, true).unwrap_err().to_string())
    };
    let few = "GhostBatchNorm::forward_t: x should be of virtual batches of at least 2 values a channel to have a \
               variance (another size of the batch or of the virtual batches), got shape";
    let last = "1 a channel in the last virtual batch, of 1 of 9 samples";
    assert_eq!(of_x(&[9, 3]), format!("{few} [9, 3], {last}"));
    assert_eq!(of_x(&[9, 3, 1]), format!("{few} [9, 3, 1], {last}"));
    assert!(
        of_x(&[1, 3]).starts_with("GhostBatchNorm::forward_t: x should be of at least 2 values a")
    );
    assert!(
        of_x(&[4, 2]).starts_with("GhostBatchNorm::forward_t: x should be (N, 3) with up to 3")
    );
    let x = Tensor::zeros((9, 3, 2), DType::F32, &CPU)?;
    norm.forward_t(&x, true)?;
    let residual = Tensor::zeros((9, 3, 1), DType::F32, &CPU)?;
    let message = first(norm.forward_residual_t(&x, &residual, true).unwrap_err().to_string());
    let fit = "residual should be as x, F32 of shape [9, 3, 2], got F32 of shape [9, 3, 1]";
    assert_eq!(message, format!("GhostBatchNorm::forward_t: {fit}"));

    let of_config = |config| first(layer(3, config, DType::F32).unwrap_err().to_string());
    assert_eq!(of_config(of(0)), "GhostBatchNorm: virtual_batch_size should be at least 1, got 0");
    let norm = BatchNormConfig { one_value: OneValue::Running, ..Default::default() };
    let message = of_config(GhostBatchNormConfig { norm, ..of(4) });
    let expected =
        "`OneValue::Error` (choose sizes that leave no virtual batch of one value), got Running";
    assert_eq!(message, format!("GhostBatchNorm: norm.one_value should be {expected}"));
    Ok(())
}
