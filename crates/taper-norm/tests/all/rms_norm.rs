use std::collections::HashMap;

use candle_core::{DType, Device, Module, Shape, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, Gradients, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{RmsNorm, RmsNormConfig, rms_norm};

const CPU: Device = Device::Cpu;

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

fn normalized(x: &Tensor) -> Tensor {
    let last = *x.dims().last().unwrap();
    RmsNorm::new(last, None, RmsNormConfig::default()).unwrap().forward(x).unwrap()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/rms_norm.json"))? {
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
    let config = RmsNormConfig {
        eps: case.has("eps").then(|| case.f64("eps")).transpose()?,
        elementwise_affine: case.bool("elementwise_affine")?,
        ..Default::default()
    };
    let norm = rms_norm(shape, config, parameters.builder(dtype, &CPU))?;
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

proptest! {
    #[test]
    fn each_sample_has_a_mean_square_of_1(
        values in prop::collection::vec(0.1..1.0, 1..70),
        scale in 0.1f64..10.0,
    ) {
        let x = Tensor::new(&values[..], &CPU).unwrap().affine(scale, 0.0).unwrap();
        let square = normalized(&x).sqr().unwrap().mean_all().unwrap();
        assert_close(&square, &square.ones_like().unwrap(), 1e-12);
    }

    #[test]
    fn the_scale_of_a_sample_cancels_and_its_sign_stays(
        values in prop::collection::vec(0.1..1.0, 1..70),
        scale in 0.1f64..10.0,
    ) {
        let x = Tensor::new(&values[..], &CPU).unwrap();
        let changed = normalized(&x.affine(0.0 - scale, 0.0).unwrap());
        assert_close(&changed, &normalized(&x).neg().unwrap(), 1e-10);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for (shape, trailing) in [(vec![4], 1), (vec![5, 3], 1), (vec![2, 3, 2, 2], 2)] {
        let last = &shape[shape.len() - trailing..];
        let inputs = [normal("x", &shape)?, normal("r", &shape)?, normal("weight", last)?];
        for activation in [Activation::Relu, Activation::Identity, Activation::Silu] {
            let config = RmsNormConfig { activation, ..Default::default() };
            let function = |x: &[Tensor]| {
                let norm = RmsNorm::new(last, Some(x[2].clone()), config)?;
                Ok(norm.forward_residual(&x[0], &x[1])?)
            };
            gradcheck(function, &inputs, 1e-6)?;
            let bare = |x: &[Tensor]| Ok(RmsNorm::new(last, None, config)?.forward(&x[0])?);
            gradcheck(bare, &inputs[..1], 1e-6)?;
        }
    }
    Ok(())
}

/// candle's own layer stops every gradient upstream of it.
#[test]
fn gradients_reach_what_is_before_the_layer_contiguous_or_not() -> Result<()> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb.pp("fc"))?;
    let norm = rms_norm(6, RmsNormConfig::default(), vb.pp("norm"))?;
    let square = rms_norm(3, RmsNormConfig::default(), vb.pp("square"))?;
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
    let normal = |name| stream(3, name).normal(0.0, 1.0, (4, 5), DType::F32, &CPU);
    let (x, residual) = (Var::from_tensor(&normal("x")?)?, Var::from_tensor(&normal("r")?)?);
    for activation in [Activation::Identity, Activation::Relu] {
        let parameters = parameters();
        let config = RmsNormConfig { activation, ..Default::default() };
        let norm = rms_norm(5, config, parameters.builder(DType::F32, &CPU))?;
        let y = norm.forward_residual(&x, &residual)?;
        let loss = (y * normal("upstream")?)?.sum_all()?;
        let (first, second) = (loss.backward()?, loss.backward()?);
        let mut variables: Vec<Var> =
            parameters.trainable().into_iter().map(|(_, var)| var).collect();
        variables.extend([x.clone(), residual.clone()]);
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
    Ok(())
}

#[test]
fn half_precision_has_statistics_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[300f32, -300.0, 100.0, -100.0]], &CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let norm = rms_norm(4, RmsNormConfig::default(), parameters().builder(dtype, &CPU))?;
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
    for values in [[1e15f32, -1e15, 3e14], [1e25, -1e25, 0.0], [1e-20, -1e-20, 0.0], [0.0; 3]] {
        let x = Var::from_tensor(&Tensor::new(&[values], &CPU)?)?;
        let y = normalized(&x);
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    let x = Tensor::new(&[[1f32, f32::NAN], [1.0, 2.0]], &CPU)?;
    let y = normalized(&x).to_vec2::<f32>()?;
    assert!(y[0].iter().all(|y| y.is_nan()) && y[1].iter().all(|y| y.is_finite()));
    assert_eq!(normalized(&Tensor::zeros((0, 3), DType::F32, &CPU)?).dims(), [0, 3]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(Shape::from(shape), dtype, &CPU).unwrap();
    let norm = RmsNorm::new((2, 3), None, RmsNormConfig::default())?;
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    let shape = "RmsNorm::forward: x should be of a shape that ends in [2, 3], got";
    expect(of_input(zeros(&[3], DType::F32)), &format!("{shape} [3]"));
    expect(of_input(zeros(&[4, 2, 3], DType::U8)), "x should be f64, f32, bf16 or f16, got U8");
    let x = zeros(&[2, 3], DType::F32);
    let message = norm.forward_residual(&x, &zeros(&[2, 3], DType::F64)).unwrap_err().to_string();
    expect(message, "residual should be as x, F32 of shape [2, 3], got F64 of shape [2, 3]");

    let of_new = |shape: &[usize], weight: Option<Tensor>, eps| {
        let config = RmsNormConfig { eps, ..Default::default() };
        RmsNorm::new(shape, weight, config).unwrap_err().to_string()
    };
    let axes = "RmsNorm: normalized_shape should be at least one axis, none of them empty, got";
    expect(of_new(&[], None, None), axes);
    expect(of_new(&[2, 0], None, None), axes);
    for (eps, name) in [(0.0, "0"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let message = of_new(&[2], None, Some(eps));
        expect(message, &format!("eps should be above 0 and finite, got {name}"));
    }
    let fit = "weight should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    expect(of_new(&[2], Some(zeros(&[3], DType::F64)), None), fit);
    Ok(())
}
