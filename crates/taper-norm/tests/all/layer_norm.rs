use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, Gradients, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{LayerNorm, LayerNormConfig, layer_norm};

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// Without parameters and nearly without ε.
fn normalized(x: &Tensor) -> Tensor {
    let last = *x.dims().last().unwrap();
    let config = LayerNormConfig { eps: 1e-14, ..Default::default() };
    LayerNorm::new(last, None, None, config).unwrap().forward(x).unwrap()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/layer_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

/// Loads the case's state dict, and compares all that PyTorch recorded.
fn check(case: &Case, dtype: DType) -> Result<()> {
    let parameters = parameters();
    let shape: Vec<usize> =
        case.f64s("normalized_shape")?.into_iter().map(|dim| dim as usize).collect();
    let config = LayerNormConfig {
        eps: case.f64("eps")?,
        elementwise_affine: case.bool("elementwise_affine")?,
        bias: case.bool("bias")?,
        ..Default::default()
    };
    let norm = layer_norm(shape, config, parameters.builder(dtype, &CPU))?;
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

/// Samples whose features are no constants.
fn samples() -> impl Strategy<Value = Tensor> {
    (1usize..5, 2usize..70).prop_flat_map(|(n, d)| {
        prop::collection::vec(-1.0..1.0, n * d).prop_map(move |values| {
            let x = Tensor::from_vec(values, (n, d), &CPU).unwrap();
            let ramp = Tensor::arange(0.0, d as f64, &CPU).unwrap();
            x.broadcast_add(&(ramp * 3.0).unwrap()).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn each_sample_has_mean_0_and_variance_1(x in samples()) {
        let y = normalized(&x);
        let mean = y.mean(1).unwrap();
        assert_close(&mean, &mean.zeros_like().unwrap(), 1e-11);
        let variance = y.sqr().unwrap().mean(1).unwrap();
        assert_close(&variance, &variance.ones_like().unwrap(), 1e-10);
    }

    #[test]
    fn scale_and_shift_of_a_sample_cancel(
        x in samples(),
        scale in 0.1..10.0,
        shift in -9.0..9.0,
    ) {
        let changed = x.affine(scale, shift).unwrap();
        assert_close(&normalized(&changed), &normalized(&x), 1e-9);
    }

    #[test]
    fn a_sample_does_not_see_the_others(x in samples()) {
        let alone = normalized(&x.narrow(0, 0, 1).unwrap());
        assert_close(&normalized(&x).narrow(0, 0, 1).unwrap(), &alone, 0.0);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for (shape, trailing) in [(vec![4], 1), (vec![5, 3], 1), (vec![2, 3, 2, 2], 2)] {
        let last = &shape[shape.len() - trailing..];
        let inputs = [normal("x", &shape)?, normal("weight", last)?, normal("bias", last)?];
        let layer = |weight: Option<&Tensor>, bias: Option<&Tensor>| {
            LayerNorm::new(last, weight.cloned(), bias.cloned(), LayerNormConfig::default())
        };
        let all = |x: &[Tensor]| Ok(layer(Some(&x[1]), Some(&x[2]))?.forward(&x[0])?);
        gradcheck(all, &inputs, 1e-6)?;
        gradcheck(|x| Ok(layer(Some(&x[1]), None)?.forward(&x[0])?), &inputs[..2], 1e-6)?;
        gradcheck(|x| Ok(layer(None, Some(&x[1]))?.forward(&x[0])?), &inputs[..2], 1e-6)?;
        gradcheck(|x| Ok(layer(None, None)?.forward(&x[0])?), &inputs[..1], 1e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_with_a_residual_and_an_activation_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    let inputs =
        [normal("x", &[5, 3])?, normal("r", &[5, 3])?, normal("w", &[3])?, normal("b", &[3])?];
    for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
        let config = LayerNormConfig { activation, ..Default::default() };
        let function = |x: &[Tensor]| {
            let norm = LayerNorm::new(3, Some(x[2].clone()), Some(x[3].clone()), config)?;
            Ok(norm.forward_residual(&x[0], &x[1])?)
        };
        gradcheck(function, &inputs, 1e-6)?;
    }
    Ok(())
}

#[test]
fn the_activation_comes_after_the_residual() -> Result<()> {
    let activation = Activation::Relu;
    let config = LayerNormConfig { eps: 1e-14, activation, ..Default::default() };
    let norm = LayerNorm::new(2, None, None, config)?;
    let x = Tensor::new(&[[1.0, 5.0]], &CPU)?;
    let y = norm.forward_residual(&x, &Tensor::new(&[[3.0, -7.0]], &CPU)?)?;
    assert_close(&y, &Tensor::new(&[[2.0, 0.0]], &CPU)?, 1e-12);
    assert_close(&norm.forward(&x)?, &Tensor::new(&[[0.0, 1.0]], &CPU)?, 1e-12);
    let message = norm.forward_residual(&x, &x.get(0)?).unwrap_err().to_string();
    let expected = "residual should be as x, F64 of shape [1, 2], got F64 of shape [2]";
    assert!(message.contains(expected), "{message}");
    Ok(())
}

/// candle's own layer stops every gradient upstream of it on contiguous input.
#[test]
fn gradients_reach_what_is_before_the_layer_contiguous_or_not() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb.pp("fc"))?;
    let norm = layer_norm(6, LayerNormConfig::default(), vb.pp("norm"))?;
    let square = layer_norm(3, LayerNormConfig::default(), vb.pp("square"))?;
    let x = stream(3, "x").normal(0.0, 1.0, (8, 4), DType::F64, &CPU)?;
    let y = norm.forward(&before.forward(&x)?)?;
    let view = y.reshape((8, 3, 2))?.transpose(1, 2)?;
    for input in [view.contiguous()?, view] {
        let loss = square.forward(&input)?.sin()?.sum_all()?;
        gradients_reach(&loss, &parameters.trainable(), &[])?;
    }
    Ok(())
}

#[test]
fn a_graph_can_be_gone_back_twice_and_in_place() -> Result<()> {
    let parameters = parameters();
    let norm = layer_norm(5, LayerNormConfig::default(), parameters.builder(DType::F32, &CPU))?;
    let x = Var::from_tensor(&stream(3, "x").normal(0.0, 1.0, (4, 5), DType::F32, &CPU)?)?;
    let loss = norm.forward(&x)?.sin()?.sum_all()?;
    let (first, second) = (loss.backward()?, loss.backward()?);
    let variables = parameters.trainable();
    let mut in_place = Gradients::new(variables.iter().map(|(_, var)| var))?;
    in_place.backward(&loss)?;
    in_place.accumulate(&loss)?;
    for (name, var) in &variables {
        let gradient = first.get(var).expect("a gradient");
        assert_close(second.get(var).expect("a gradient"), gradient, 0.0);
        let twice = in_place.gradient(var)?.expect("a gradient");
        assert_close(&twice, &(gradient * 2.0)?, 1e-6);
        assert!(name == "weight" || name == "bias");
    }
    assert_close(second.get(&x).expect("a gradient"), first.get(&x).expect("a gradient"), 0.0);
    Ok(())
}

#[test]
fn parameters_have_the_names_of_pytorch() -> Result<()> {
    let tensors = [("weight", 2.0), ("bias", 1.0)]
        .map(|(name, value)| (name.to_owned(), Tensor::new(&[value, value], &CPU).unwrap()));
    let vb = VarBuilder::from_tensors(HashMap::from(tensors), DType::F64, &CPU);
    let norm = layer_norm(2, LayerNormConfig { eps: 1e-14, ..Default::default() }, vb)?;
    let y = norm.forward(&Tensor::new(&[[5.0, 3.0]], &CPU)?)?;
    assert_close(&y, &Tensor::new(&[[3.0, -1.0]], &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn half_precision_has_statistics_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[300f32, -300.0, 100.0, -100.0]], &CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let norm = layer_norm(4, LayerNormConfig::default(), parameters().builder(dtype, &CPU))?;
        let y = norm.forward(&x)?;
        assert_eq!(y.dtype(), dtype);
        let gradients = y.sqr()?.sum_all()?.backward()?;
        for variable in [x.as_tensor(), norm.weight().expect("a weight")] {
            assert_eq!(gradients.get(variable).expect("a gradient").dtype(), dtype);
        }
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let expected = 300.0 / 50_000f32.sqrt();
        assert!((y[0] - expected).abs() < 0.02 * expected, "{y:?}");
    }
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    for values in
        [[1e15f32, -1e15, 3e14], [1e-20, -1e-20, 0.0], [7.0, 7.0, 7.0], [1e4, 10000.01, 9999.99]]
    {
        let x = Var::from_tensor(&Tensor::new(&[values], &CPU)?)?;
        let norm =
            layer_norm(3, LayerNormConfig::default(), parameters().builder(DType::F32, &CPU))?;
        let y = norm.forward(&x)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    let x = Tensor::new(&[[1f32, f32::NAN], [1.0, 2.0]], &CPU)?;
    let y = normalized(&x).to_vec2::<f32>()?;
    assert!(y[0].iter().all(|y| y.is_nan()) && y[1].iter().all(|y| y.is_finite()));
    Ok(())
}

#[test]
fn no_samples_are_no_samples() -> Result<()> {
    let norm = layer_norm(3, LayerNormConfig::default(), parameters().builder(DType::F32, &CPU))?;
    let x = Var::zeros((0, 3), DType::F32, &CPU)?;
    assert_eq!(norm.forward(&x)?.dims(), [0, 3]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let norm = LayerNorm::new((2, 3), None, None, LayerNormConfig::default())?;
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    let shape = "LayerNorm::forward: x should be of a shape that ends in [2, 3], got";
    expect(of_input(zeros(&[3], DType::F32)), &format!("{shape} [3]"));
    expect(of_input(zeros(&[2, 3, 2], DType::F32)), &format!("{shape} [2, 3, 2]"));
    expect(of_input(zeros(&[4, 2, 3], DType::U8)), "x should be f64, f32, bf16 or f16, got U8");

    let of_new = |shape: &[usize], weight: Option<Tensor>, bias: Option<Tensor>, eps| {
        let config = LayerNormConfig { eps, ..Default::default() };
        LayerNorm::new(shape, weight, bias, config).unwrap_err().to_string()
    };
    let axes = "LayerNorm: normalized_shape should be at least one axis, none of them empty, got";
    expect(of_new(&[], None, None, 1e-5), axes);
    expect(of_new(&[2, 0], None, None, 1e-5), axes);
    for (eps, name) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let message = of_new(&[2], None, None, eps);
        expect(message, &format!("eps should be above 0 and finite, got {name}"));
    }
    let fit = "should be f64, f32, bf16 or f16 of shape [2], got";
    let wrong = || Some(zeros(&[3], DType::F64));
    expect(of_new(&[2], wrong(), None, 1e-5), &format!("weight {fit} F64 of shape [3]"));
    expect(of_new(&[2], None, wrong(), 1e-5), &format!("bias {fit} F64 of shape [3]"));
    let whole = Some(zeros(&[2], DType::U32));
    expect(of_new(&[2], whole, None, 1e-5), &format!("weight {fit} U32 of shape [2]"));
    Ok(())
}
