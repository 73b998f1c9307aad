//! Linear, activations and dropout: PyTorch's values and gradients, extremes, errors.

use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{
    Activation, Dropout, Initializer, Linear, LinearConfig, Parameters, Result, Snapshot, linear,
    stream,
};

const CPU: &Device = &Device::Cpu;
const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { negative_slope: 0.2 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Gelu,
    Activation::Silu,
    Activation::Softplus,
];

fn linear_agrees(case: &Case, dtype: DType, tolerance: f64) -> Result<()> {
    let var = |key| -> Result<_> { Ok(Var::from_tensor(&case.tensor(key, dtype)?)?) };
    let (x, weight) = (var("x")?, var("weight")?);
    let bias = if case.has("bias") { Some(var("bias")?) } else { None };
    let bias_tensor = bias.as_ref().map(|bias| bias.as_tensor().clone());
    let y = Linear::new(weight.as_tensor().clone(), bias_tensor)?.forward(&x)?;
    assert_close(&y, &case.tensor("y", dtype)?, tolerance);

    let gradients = (y * case.tensor("cotangent", dtype)?)?.sum_all()?.backward()?;
    let agrees = |var: &Var, key| -> Result<()> {
        assert_close(gradients.get(var).unwrap(), &case.tensor(key, dtype)?, tolerance);
        Ok(())
    };
    agrees(&x, "dx")?;
    agrees(&weight, "dweight")?;
    bias.iter().try_for_each(|bias| agrees(bias, "dbias"))
}

#[test]
fn linear_agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/linear.json"))? {
        linear_agrees(&case, DType::F64, 1e-14)?;
        linear_agrees(&case, DType::F32, 1e-6)?;
    }
    Ok(())
}

#[test]
fn linear_has_right_gradients() -> Result<()> {
    let mut noise = stream(1, "linear");
    let mut normal = |shape: &[usize]| noise.normal(0.0, 1.0, shape, DType::F64, CPU);
    let inputs = [normal(&[2, 3, 4])?, normal(&[5, 4])?, normal(&[5])?];
    gradcheck(|x| Ok(Linear::new(x[1].clone(), Some(x[2].clone()))?.forward(&x[0])?), &inputs, 1e-7)
}

#[test]
fn every_parameter_of_a_network_receives_a_gradient() -> Result<()> {
    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F64, CPU);
    let first = linear(6, 5, LinearConfig::default(), vb.pp("first"))?;
    let second = linear(5, 2, LinearConfig::default(), vb.pp("second"))?;
    let x = stream(1, "x").normal(0.0, 1.0, (8, 6), DType::F64, CPU)?;
    let hidden = Activation::Tanh.forward(&first.forward(&x)?)?;
    let loss = second.forward(&hidden)?.sqr()?.mean_all()?;
    gradients_reach(&loss, &parameters.trainable(), &[])
}

#[test]
fn linear_takes_no_rows_and_views() -> Result<()> {
    let weight = Tensor::new(&[[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], CPU)?;
    let layer = Linear::new(weight, None)?;
    assert_eq!(layer.forward(&Tensor::zeros((0, 3), DType::F64, CPU)?)?.dims(), [0, 2]);
    let view = Tensor::new(&[[1.0], [2.0], [3.0]], CPU)?.t()?;
    assert_eq!(layer.forward(&view)?.to_vec2::<f64>()?, [[14.0, 2.0]]);
    Ok(())
}

#[test]
fn linear_names_what_does_not_fit() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU);
    let message = |result: Result<Linear>| result.unwrap_err().to_string();
    assert!(message(Linear::new(zeros(&[3])?, None)).contains("weight should be"));
    assert!(message(Linear::new(zeros(&[3, 2])?, Some(zeros(&[2])?))).contains("shape [3]"));
    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    for (inputs, outputs) in [(0, 1), (1, 0)] {
        let config = LinearConfig::default();
        assert!(message(linear(inputs, outputs, config, vb.clone())).contains("at least 1"));
    }
    assert!(parameters.all().is_empty());
    let layer = Linear::new(zeros(&[3, 2])?, None)?;
    for shape in [&[4, 3][..], &[], &[3]] {
        let error = layer.forward(&zeros(shape)?).unwrap_err().to_string();
        assert!(error.contains("(..., 2)"), "{error}");
    }
    Ok(())
}

#[test]
fn linear_follows_its_configuration() -> Result<()> {
    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    let plain = LinearConfig { bias: false, ..Default::default() };
    assert!(linear(3, 2, plain, vb.pp("plain"))?.bias().is_none());
    let constant = Some(Initializer::Constant(0.5));
    let set = LinearConfig { bias_init: constant, ..Default::default() };
    let layer = linear(3, 2, set, vb.pp("set"))?;
    assert_eq!(layer.bias().unwrap().to_vec1::<f32>()?, [0.5, 0.5]);
    let names: Vec<_> = parameters.all().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["plain.weight", "set.bias", "set.weight"]);
    Ok(())
}

fn activation_called(name: &str) -> Activation {
    match name {
        "leaky_relu" => Activation::LeakyRelu { negative_slope: 0.2 },
        name => serde_json::from_str(&format!("{name:?}")).unwrap(),
    }
}

#[test]
fn activations_agree_with_pytorch_also_far_out() -> Result<()> {
    for case in goldens(include_str!("../golden/activation.json"))? {
        let activation = activation_called(case.text("name")?);
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 5e-7)] {
            let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
            let y = activation.forward(&x)?;
            assert_close(&y, &case.tensor("y", dtype)?, tolerance);
            let gradients = y.backward()?;
            assert_close(gradients.get(&x).unwrap(), &case.tensor("dx", dtype)?, tolerance);
        }
    }
    Ok(())
}

#[test]
fn activations_are_finite_far_out_in_half_precision() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let x =
            Var::from_tensor(&Tensor::new(&[-1e4f32, -90.0, 90.0, 1e4], CPU)?.to_dtype(dtype)?)?;
        for activation in ACTIVATIONS {
            let y = activation.forward(&x)?;
            let gradients = y.backward()?;
            for tensor in [&y, gradients.get(&x).unwrap()] {
                let values = tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                assert!(
                    values.iter().all(|x| x.is_finite()),
                    "{activation:?} {dtype:?} {values:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn activations_have_right_gradients() -> Result<()> {
    // Away from 0 and 6, where the rectifiers have a kink.
    let x = Tensor::new(&[[-3.0, -1.2, -0.4, 5.9], [0.3, 1.1, 2.9, 6.1]], CPU)?;
    for activation in ACTIVATIONS {
        gradcheck(|x| Ok(activation.forward(&x[0])?), std::slice::from_ref(&x), 1e-7)?;
    }
    Ok(())
}

#[test]
fn activations_let_nan_through_and_refuse_whole_numbers() -> Result<()> {
    let nan = Tensor::new(&[f32::NAN], CPU)?;
    let whole = Tensor::new(&[1i64], CPU)?;
    for activation in ACTIVATIONS {
        assert!(activation.forward(&nan)?.to_vec1::<f32>()?[0].is_nan(), "{activation:?}");
        let error = activation.forward(&whole).unwrap_err().to_string();
        assert!(error.contains("x should be floating-point, got I64"), "{error}");
    }
    let infinite = Tensor::new(&[f32::INFINITY, f32::NEG_INFINITY], CPU)?;
    assert_eq!(Activation::Relu.forward(&infinite)?.to_vec1::<f32>()?, [f32::INFINITY, 0.0]);
    assert_eq!(Activation::Relu6.forward(&infinite)?.to_vec1::<f32>()?, [6.0, 0.0]);
    assert_eq!(Activation::Softplus.forward(&infinite)?.to_vec1::<f32>()?, [f32::INFINITY, 0.0]);
    Ok(())
}

#[test]
fn activations_are_written_by_name() {
    let parse = |text: &str| serde_json::from_str::<Activation>(text);
    assert_eq!(parse(r#""softplus""#).unwrap(), Activation::Softplus);
    let leaky = r#"{"leaky_relu":{"negative_slope":0.2}}"#;
    assert_eq!(parse(leaky).unwrap(), Activation::LeakyRelu { negative_slope: 0.2 });
    assert!(parse(r#""rleu""#).is_err());
}

proptest! {
    #[test]
    fn activations_obey_their_symmetries(x in -30.0..30.0) {
        let at = |activation: Activation, x: f64| -> f64 {
            activation.forward(&Tensor::new(x, CPU).unwrap()).unwrap().to_scalar().unwrap()
        };
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-14 * a.abs().max(1.0);
        prop_assert!(close(at(Activation::Sigmoid, x) + at(Activation::Sigmoid, -x), 1.0));
        prop_assert!(close(at(Activation::Tanh, x), -at(Activation::Tanh, -x)));
        for f in [Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Softplus] {
            prop_assert!(close(at(f, x) - at(f, -x), x), "{f:?}");
        }
    }

    #[test]
    fn dropout_keeps_the_mean(seed: u64, p in 0.0..0.9) {
        let x = Tensor::ones(4000, DType::F64, CPU).unwrap();
        let y = Dropout::new(p).unwrap().forward_t(&x, true, &mut stream(seed, "d")).unwrap();
        let mean: f64 = y.mean_all().unwrap().to_scalar().unwrap();
        // Six standard errors of an element's p / (1 - p).
        prop_assert!((mean - 1.0).abs() <= 6.0 * (p / (1.0 - p) / 4000.0).sqrt());
    }
}

#[test]
fn dropout_scales_its_gradient_like_its_values() -> Result<()> {
    let x = Var::ones(100, DType::F32, CPU)?;
    let y = Dropout::new(0.5)?.forward_t(&x, true, &mut stream(1, "dropout"))?;
    let gradients = y.backward()?;
    assert_close(gradients.get(&x).unwrap(), &y, 0.0);
    Ok(())
}

#[test]
fn dropout_has_right_gradients() -> Result<()> {
    let x = stream(1, "x").normal(0.0, 1.0, (3, 4), DType::F64, CPU)?;
    let dropout = Dropout::new(0.3)?;
    // The same mask in each evaluation.
    gradcheck(|x| dropout.forward_t(&x[0], true, &mut stream(1, "mask")), &[x], 1e-7)
}

#[test]
fn dropout_draws_in_training_only() -> Result<()> {
    let x = Tensor::new(&[1.0, f64::NAN], CPU)?;
    let mut noise = stream(1, "dropout");
    let before = position(&noise)?;
    assert_close(&Dropout::new(0.5)?.forward_t(&x, false, &mut noise)?, &x, 0.0);
    assert_close(&Dropout::new(0.0)?.forward_t(&x, true, &mut noise)?, &x, 0.0);
    assert_eq!(position(&noise)?, before);
    Dropout::new(0.5)?.forward_t(&x, true, &mut noise)?;
    assert_ne!(position(&noise)?, before);
    Ok(())
}

fn position(stream: &taper_core::Stream) -> Result<u64> {
    let mut snapshot = Snapshot::new();
    taper_core::Stateful::save(stream, &mut snapshot)?;
    snapshot.get_u64("position_low")
}

#[test]
fn dropout_refuses_what_leaves_nothing() -> Result<()> {
    for p in [-0.1, 1.0, f64::NAN] {
        let error = Dropout::new(p).unwrap_err().to_string();
        assert!(error.contains("p should be in [0, 1)"), "{error}");
    }
    let whole = Tensor::new(&[1i64], CPU)?;
    assert!(Dropout::new(0.5)?.forward_t(&whole, true, &mut stream(1, "d")).is_err());
    Ok(())
}
