use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{
    ChannelLayerNorm, ChannelLayerNormConfig, LayerNorm, LayerNormConfig, channel_layer_norm,
};

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// Without parameters and nearly without ε.
fn bare(num_channels: usize) -> ChannelLayerNorm {
    let config = ChannelLayerNormConfig { eps: 1e-14, ..Default::default() };
    ChannelLayerNorm::new(num_channels, None, config).unwrap()
}

#[test]
fn agrees_with_timm() -> Result<()> {
    for case in goldens(include_str!("../golden/channel_layer_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

/// Loads the case's state dict, and compares all that timm recorded.
fn check(case: &Case, dtype: DType) -> Result<()> {
    let parameters = parameters();
    let config = ChannelLayerNormConfig {
        eps: case.f64("eps")?,
        affine: case.bool("affine")?,
        ..Default::default()
    };
    let channels = case.tensor("x", dtype)?.dim(1)?;
    let norm = channel_layer_norm(channels, config, parameters.builder(dtype, &CPU))?;
    let state = case
        .texts("state")?
        .into_iter()
        .map(|name| Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?)));
    parameters.load(&state.collect::<Result<HashMap<_, _>>>()?)?;

    let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
    let y = norm.forward(&x)?;
    let gradients = (&y * case.tensor("upstream", dtype)?)?.sum_all()?.backward()?;
    let mut found = HashMap::from([("y".to_owned(), y)]);
    let named = [("x".to_owned(), x)].into_iter().chain(parameters.trainable());
    for (name, var) in named {
        let gradient = gradients.get(&var).expect("a gradient").clone();
        found.insert(format!("{name} gradient"), gradient);
    }
    for name in case.texts("results")? {
        let found = found.remove(name).expect("what timm has");
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, dtype)?, tolerance);
    }
    assert!(found.is_empty(), "timm has no {:?}", found.keys());
    Ok(())
}

proptest! {
    #[test]
    fn it_is_layer_norm_with_the_channels_at_the_end(
        (n, c, l) in (0usize..4, 2usize..40, 1usize..70),
        seed in 0u64..1000,
    ) {
        let x = stream(seed, "x").normal(1.0, 2.0, (n, c, l), DType::F64, &CPU).unwrap();
        let y = bare(c).forward(&x).unwrap();
        let config = LayerNormConfig { eps: 1e-14, ..Default::default() };
        let norm = LayerNorm::new(c, None, None, config).unwrap();
        let expected = norm.forward(&x.transpose(1, 2).unwrap()).unwrap().transpose(1, 2).unwrap();
        assert_close(&y, &expected, 1e-7);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for shape in [vec![3, 4], vec![2, 4, 3], vec![2, 4, 2, 2]] {
        let inputs =
            [normal("x", &shape)?, normal("r", &shape)?, normal("w", &[4])?, normal("b", &[4])?];
        for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
            let config = ChannelLayerNormConfig { activation, ..Default::default() };
            let layer =
                |x: &[Tensor]| ChannelLayerNorm::new(4, Some((x[2].clone(), x[3].clone())), config);
            let function = |x: &[Tensor]| Ok(layer(x)?.forward_residual(&x[0], &x[1])?);
            gradcheck(function, &inputs, 1e-6)?;
            let bare = |x: &[Tensor]| Ok(ChannelLayerNorm::new(4, None, config)?.forward(&x[0])?);
            gradcheck(bare, &inputs[..1], 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_reach_what_is_before_the_layer_contiguous_or_not() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb.pp("fc"))?;
    let norm = channel_layer_norm(6, ChannelLayerNormConfig::default(), vb.pp("norm"))?;
    let x = stream(3, "x").normal(0.0, 1.0, (2, 5, 4), DType::F64, &CPU)?;
    let view = before.forward(&x)?.transpose(1, 2)?;
    for input in [view.contiguous()?, view] {
        let y = norm.forward(&input)?;
        gradients_reach(&y.sin()?.sum_all()?, &parameters.trainable(), &[])?;
    }
    Ok(())
}

#[test]
fn half_precision_has_statistics_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[[300f32, 0.0], [-300.0, 1.0], [100.0, 2.0], [-100.0, 3.0]]], &CPU)?;
        let config = ChannelLayerNormConfig::default();
        let norm = channel_layer_norm(4, config, parameters().builder(dtype, &CPU))?;
        let y = norm.forward(&x.to_dtype(dtype)?)?;
        assert_eq!(y.dtype(), dtype);
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let expected = 300.0 / 50_000f32.sqrt();
        assert!((y[0] - expected).abs() < 0.02 * expected, "{y:?}");
    }
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    let norm = ChannelLayerNorm::new(3, None, ChannelLayerNormConfig::default())?;
    for values in [
        [1e15f32, -1e15, 3e14],
        [1e25, -1e25, 3e24],
        [1e-20, -1e-20, 0.0],
        [7.0, 7.0, 7.0],
        [1e4, 10000.01, 9999.99],
    ] {
        let x = Tensor::new(&[values], &CPU)?.unsqueeze(2)?.repeat((1, 1, 2))?;
        let x = Var::from_tensor(&x)?;
        let y = norm.forward(&x)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    let x = Tensor::new(&[[[1f32, f32::NAN], [2.0, 1.0]]], &CPU)?;
    let y = bare(2).forward(&x)?.to_vec3::<f32>()?;
    assert!(y[0][0][0].is_finite() && y[0][1][0].is_finite());
    assert!(y[0][0][1].is_nan() && y[0][1][1].is_nan());
    assert_eq!(norm.forward(&Tensor::zeros((0, 3, 2), DType::F32, &CPU)?)?.dims(), [0, 3, 2]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let norm = bare(4);
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    let shape = "ChannelLayerNorm::forward: x should be (N, 4) with up to 3 more axes, got";
    expect(of_input(zeros(&[4], DType::F32)), &format!("{shape} [4]"));
    expect(of_input(zeros(&[2, 3], DType::F32)), &format!("{shape} [2, 3]"));
    expect(of_input(zeros(&[2, 4], DType::U8)), "x should be f64, f32, bf16 or f16, got U8");
    let x = zeros(&[2, 4, 3], DType::F32);
    let message = norm.forward_residual(&x, &zeros(&[2, 3], DType::F32)).unwrap_err().to_string();
    expect(message, "residual should be as x, F32 of shape [2, 4, 3], got F32 of shape [2, 3]");

    let of_new = |channels, affine, eps| {
        let config = ChannelLayerNormConfig { eps, ..Default::default() };
        ChannelLayerNorm::new(channels, affine, config).unwrap_err().to_string()
    };
    expect(of_new(0, None, 1e-5), "ChannelLayerNorm: num_channels should be at least 1, got 0");
    expect(of_new(4, None, 0.0), "eps should be above 0 and finite, got 0");
    let fit = "bias should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    let affine = (zeros(&[2], DType::F64), zeros(&[3], DType::F64));
    expect(of_new(2, Some(affine), 1e-5), fit);
    Ok(())
}
