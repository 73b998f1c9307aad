use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{GroupNorm, GroupNormConfig, group_norm};

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// Without parameters and nearly without ε.
fn bare(num_groups: usize, num_channels: usize) -> GroupNorm {
    let config = GroupNormConfig { eps: 1e-14, ..Default::default() };
    GroupNorm::new(num_groups, num_channels, None, config).unwrap()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/group_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

/// Loads the case's state dict, and compares all that PyTorch recorded.
fn check(case: &Case, dtype: DType) -> Result<()> {
    let parameters = parameters();
    let config = GroupNormConfig {
        eps: case.f64("eps")?,
        affine: case.bool("affine")?,
        ..Default::default()
    };
    let channels = case.tensor("x", dtype)?.dim(1)?;
    let groups = case.u64("num_groups")? as usize;
    let norm = group_norm(groups, channels, config, parameters.builder(dtype, &CPU))?;
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
        let found = found.remove(name).expect("what PyTorch has");
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, dtype)?, tolerance);
    }
    assert!(found.is_empty(), "PyTorch has no {:?}", found.keys());
    Ok(())
}

/// Samples (N, 4, L) whose groups are no constants.
fn samples() -> impl Strategy<Value = Tensor> {
    (1usize..4, 1usize..20).prop_flat_map(|(n, l)| {
        prop::collection::vec(-1.0..1.0, n * 4 * l).prop_map(move |values| {
            let x = Tensor::from_vec(values, (n, 4, l), &CPU).unwrap();
            let ramp = Tensor::arange(0.0, 4.0, &CPU).unwrap().reshape((1, 4, 1)).unwrap();
            x.broadcast_add(&ramp.affine(3.0, 0.0).unwrap()).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn each_group_has_mean_0_and_variance_1(x in samples()) {
        let n = x.dim(0).unwrap();
        let y = bare(2, 4).forward(&x).unwrap().reshape((2 * n, ())).unwrap();
        let mean = y.mean(1).unwrap();
        assert_close(&mean, &mean.zeros_like().unwrap(), 1e-11);
        let variance = y.sqr().unwrap().mean(1).unwrap();
        assert_close(&variance, &variance.ones_like().unwrap(), 1e-10);
    }

    #[test]
    fn scale_and_shift_of_a_sample_cancel(x in samples(), scale in 0.1..10.0, shift in -9.0..9.0) {
        let y = bare(2, 4).forward(&x).unwrap();
        let changed = bare(2, 4).forward(&x.affine(scale, shift).unwrap()).unwrap();
        assert_close(&changed, &y, 1e-9);
    }

    #[test]
    fn padding_does_not_matter(x in samples(), padding in 0usize..4) {
        let (n, _, l) = x.dims3().unwrap();
        let expected = bare(2, 4).forward(&x).unwrap();
        let nan = Tensor::full(f64::NAN, (n, 4, padding), &CPU).unwrap();
        let padded = Var::from_tensor(&Tensor::cat(&[&x, &nan], 2).unwrap()).unwrap();
        let mask = Tensor::ones((n, l), DType::U8, &CPU).unwrap();
        let mask = mask.pad_with_zeros(1, 0, padding).unwrap();
        let y = bare(2, 4).forward_masked(&padded, &mask).unwrap();
        assert_close(&y.narrow(2, 0, l).unwrap(), &expected, 1e-10);
        let rest = y.narrow(2, l, padding).unwrap();
        assert_close(&rest, &rest.zeros_like().unwrap(), 0.0);
        let gradient = y.sin().unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradient.get(&padded).unwrap().narrow(2, l, padding).unwrap();
        assert_close(&gradient, &gradient.zeros_like().unwrap(), 0.0);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for shape in [vec![3, 4], vec![2, 4, 3], vec![2, 4, 2, 2]] {
        let inputs =
            [normal("x", &shape)?, normal("r", &shape)?, normal("w", &[4])?, normal("b", &[4])?];
        for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
            let config = GroupNormConfig { activation, ..Default::default() };
            let layer =
                |x: &[Tensor]| GroupNorm::new(2, 4, Some((x[2].clone(), x[3].clone())), config);
            let function = |x: &[Tensor]| Ok(layer(x)?.forward_residual(&x[0], &x[1])?);
            gradcheck(function, &inputs, 1e-6)?;
            let bare = |x: &[Tensor]| Ok(GroupNorm::new(2, 4, None, config)?.forward(&x[0])?);
            gradcheck(bare, &inputs[..1], 1e-6)?;
        }
    }
    let inputs = [normal("x", &[3, 4, 3])?, normal("w", &[4])?, normal("b", &[4])?];
    let mask = Tensor::new(&[[1u8, 0, 1], [1, 1, 1], [0, 0, 0]], &CPU)?;
    let function = |x: &[Tensor]| {
        let affine = Some((x[1].clone(), x[2].clone()));
        let norm = GroupNorm::new(2, 4, affine, GroupNormConfig::default())?;
        Ok(norm.forward_masked(&x[0], &mask)?)
    };
    gradcheck(function, &inputs, 1e-6)
}

#[test]
fn gradients_reach_what_is_before_the_layer_contiguous_or_not() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb.pp("fc"))?;
    let norm = group_norm(3, 6, GroupNormConfig::default(), vb.pp("norm"))?;
    let x = stream(3, "x").normal(0.0, 1.0, (2, 5, 4), DType::F64, &CPU)?;
    let view = before.forward(&x)?.transpose(1, 2)?;
    let mask = Tensor::ones((2, 5), DType::U8, &CPU)?;
    for input in [view.contiguous()?, view] {
        let y = norm.forward(&input)?;
        gradients_reach(&y.sin()?.sum_all()?, &parameters.trainable(), &[])?;
        let masked = norm.forward_masked(&input, &mask)?;
        assert_close(&masked, &y, 1e-12);
        gradients_reach(&masked.sin()?.sum_all()?, &parameters.trainable(), &[])?;
    }
    Ok(())
}

#[test]
fn half_precision_has_statistics_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[[300f32, -300.0], [100.0, -100.0]]], &CPU)?.to_dtype(dtype)?;
        let mask = Tensor::ones((1, 2), DType::U8, &CPU)?;
        let norm = group_norm(1, 2, GroupNormConfig::default(), parameters().builder(dtype, &CPU))?;
        for y in [norm.forward(&x)?, norm.forward_masked(&x, &mask)?] {
            assert_eq!(y.dtype(), dtype);
            let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let expected = 300.0 / 50_000f32.sqrt();
            assert!((y[0] - expected).abs() < 0.02 * expected, "{y:?}");
        }
    }
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    let norm = GroupNorm::new(1, 3, None, GroupNormConfig::default())?;
    for values in
        [[1e15f32, -1e15, 3e14], [1e-20, -1e-20, 0.0], [7.0, 7.0, 7.0], [1e4, 10000.01, 9999.99]]
    {
        let x = Var::from_tensor(&Tensor::new(&[values], &CPU)?)?;
        for y in [norm.forward(&x)?, norm.forward_masked(&x, &Tensor::new(&[1u8], &CPU)?)?] {
            let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
            let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
            assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
        }
    }
    let x = Tensor::new(&[[1f32, f32::NAN, 1.0, 2.0]], &CPU)?;
    let y = bare(2, 4).forward(&x)?.to_vec2::<f32>()?;
    assert!(y[0][..2].iter().all(|y| y.is_nan()) && y[0][2..].iter().all(|y| y.is_finite()));
    assert_eq!(norm.forward(&Tensor::zeros((0, 3, 2), DType::F32, &CPU)?)?.dims(), [0, 3, 2]);
    // A group of one value.
    assert_eq!(bare(1, 1).forward(&Tensor::new(&[[5f32]], &CPU)?)?.to_vec2::<f32>()?, [[0.0]]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let norm = bare(2, 4);
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    let shape = "GroupNorm::forward: x should be (N, 4) with up to 3 more axes, got";
    expect(of_input(zeros(&[4], DType::F32)), &format!("{shape} [4]"));
    expect(of_input(zeros(&[2, 3], DType::F32)), &format!("{shape} [2, 3]"));
    expect(of_input(zeros(&[2, 4], DType::U8)), "x should be f64, f32, bf16 or f16, got U8");
    let x = zeros(&[2, 4, 3], DType::F32);
    let of_mask = |mask: Tensor| norm.forward_masked(&x, &mask).unwrap_err().to_string();
    let mask = "GroupNorm::forward_masked: mask should be U8 of shape [2, 3], got";
    expect(of_mask(zeros(&[2, 4, 3], DType::U8)), &format!("{mask} U8 of shape [2, 4, 3]"));
    expect(of_mask(zeros(&[2, 3], DType::F32)), &format!("{mask} F32 of shape [2, 3]"));
    let message = norm.forward_residual(&x, &zeros(&[2, 3], DType::F32)).unwrap_err().to_string();
    expect(message, "residual should be as x, F32 of shape [2, 4, 3], got F32 of shape [2, 3]");

    let of_new = |groups, channels, affine, eps| {
        let config = GroupNormConfig { eps, ..Default::default() };
        GroupNorm::new(groups, channels, affine, config).unwrap_err().to_string()
    };
    expect(of_new(1, 0, None, 1e-5), "GroupNorm: num_channels should be at least 1, got 0");
    let divisor = "num_groups should be a divisor of the 4 channels, got";
    expect(of_new(0, 4, None, 1e-5), &format!("{divisor} 0"));
    expect(of_new(3, 4, None, 1e-5), &format!("{divisor} 3"));
    expect(of_new(2, 4, None, 0.0), "eps should be above 0 and finite, got 0");
    let fit = "bias should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    let affine = (zeros(&[2], DType::F64), zeros(&[3], DType::F64));
    expect(of_new(2, 2, Some(affine), 1e-5), fit);
    Ok(())
}
