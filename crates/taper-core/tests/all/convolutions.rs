//! Convolutions and their transposes: PyTorch's values and gradients, composed twins, errors.

use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Gradients,
    Initializer, Padding2d, Parameters, Result, Size2d, conv_transpose2d, conv2d, stream,
};

const CPU: &Device = &Device::Cpu;

fn noise(name: &str, shape: &[usize]) -> Tensor {
    stream(1, name).normal(0.0, 1.0, shape, DType::F64, CPU).unwrap()
}

fn size(case: &Case, key: &str) -> Result<Size2d> {
    let sizes = case.f64s(key)?;
    Ok((sizes[0] as usize, sizes[1] as usize).into())
}

fn padding(case: &Case) -> Result<Padding2d> {
    let Size2d { height, width } = size(case, "padding")?;
    Ok((height, width).into())
}

type Layer = Box<dyn Fn(Tensor, Option<Tensor>) -> Result<Box<dyn Module>>>;

fn forward_layer(case: &Case) -> Result<Layer> {
    let config = Conv2dConfig {
        stride: size(case, "stride")?,
        padding: padding(case)?,
        dilation: size(case, "dilation")?,
        groups: case.u64("groups")? as usize,
        ..Default::default()
    };
    Ok(Box::new(move |weight, bias| Ok(Box::new(Conv2d::new(weight, bias, config)?))))
}

fn transposed_layer(case: &Case) -> Result<Layer> {
    let config = ConvTranspose2dConfig {
        stride: size(case, "stride")?,
        padding: padding(case)?,
        output_padding: size(case, "output_padding")?,
        dilation: size(case, "dilation")?,
        groups: case.u64("groups")? as usize,
        ..Default::default()
    };
    Ok(Box::new(move |weight, bias| Ok(Box::new(ConvTranspose2d::new(weight, bias, config)?))))
}

fn agrees(case: &Case, layer: &Layer, dtype: DType, tolerance: f64) -> Result<()> {
    let var = |key| -> Result<_> { Ok(Var::from_tensor(&case.tensor(key, dtype)?)?) };
    let (x, weight) = (var("x")?, var("weight")?);
    let bias = if case.has("bias") { Some(var("bias")?) } else { None };
    let bias_tensor = bias.as_ref().map(|bias| bias.as_tensor().clone());
    let y = layer(weight.as_tensor().clone(), bias_tensor)?.forward(&x)?;
    assert_close(&y, &case.tensor("y", dtype)?, tolerance);

    let loss = (y * case.tensor("cotangent", dtype)?)?.sum_all()?;
    let store = loss.backward()?;
    let mut slots = Gradients::new([&x, &weight].into_iter().chain(&bias))?;
    // Over what is there, and added to it: both paths of a registered parameter.
    slots.backward(&loss)?;
    slots.accumulate(&loss)?;
    let agrees = |var: &Var, key| -> Result<()> {
        let expected = case.tensor(key, dtype)?;
        assert_close(store.get(var).unwrap(), &expected, tolerance);
        assert_close(&slots.gradient(var)?.unwrap(), &(expected * 2.0)?, tolerance);
        Ok(())
    };
    agrees(&x, "dx")?;
    agrees(&weight, "dweight")?;
    bias.iter().try_for_each(|bias| agrees(bias, "dbias"))
}

#[test]
fn convolutions_agree_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/conv2d.json"))? {
        agrees(&case, &forward_layer(&case)?, DType::F64, 1e-14)?;
        agrees(&case, &forward_layer(&case)?, DType::F32, 1e-6)?;
    }
    Ok(())
}

#[test]
fn transposed_convolutions_agree_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/conv_transpose2d.json"))? {
        agrees(&case, &transposed_layer(&case)?, DType::F64, 1e-14)?;
        agrees(&case, &transposed_layer(&case)?, DType::F32, 1e-6)?;
    }
    Ok(())
}

#[test]
fn convolutions_have_right_gradients() -> Result<()> {
    for activation in [Activation::Identity, Activation::Tanh, Activation::Silu] {
        let config = Conv2dConfig {
            stride: (1, 2).into(),
            padding: Padding2d { top: 2, bottom: 0, left: 1, right: 3 },
            dilation: (2, 1).into(),
            groups: 2,
            activation,
            ..Default::default()
        };
        let inputs = [noise("x", &[2, 4, 5, 9]), noise("w", &[6, 2, 2, 3]), noise("b", &[6])];
        let layer = |x: &[Tensor]| -> Result<Tensor> {
            Ok(Conv2d::new(x[1].clone(), Some(x[2].clone()), config)?.forward(&x[0])?)
        };
        gradcheck(layer, &inputs, 1e-6)?;
    }
    Ok(())
}

#[test]
fn transposed_convolutions_have_right_gradients() -> Result<()> {
    for activation in [Activation::Identity, Activation::Tanh, Activation::Silu] {
        let config = ConvTranspose2dConfig {
            stride: (1, 2).into(),
            padding: Padding2d { top: 2, bottom: 0, left: 1, right: 3 },
            output_padding: (1, 1).into(),
            dilation: (2, 1).into(),
            groups: 2,
            activation,
            ..Default::default()
        };
        let inputs = [noise("x", &[2, 4, 5, 6]), noise("w", &[4, 3, 2, 3]), noise("b", &[6])];
        let layer = |x: &[Tensor]| -> Result<Tensor> {
            Ok(ConvTranspose2d::new(x[1].clone(), Some(x[2].clone()), config)?.forward(&x[0])?)
        };
        gradcheck(layer, &inputs, 1e-6)?;
    }
    Ok(())
}

#[test]
fn every_parameter_of_an_autoencoder_receives_a_gradient() -> Result<()> {
    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F64, CPU);
    let down = Conv2dConfig {
        stride: 2.into(),
        padding: 1.into(),
        activation: Activation::Tanh,
        ..Default::default()
    };
    let up = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
    let layers: [Box<dyn Module>; 2] = [
        Box::new(conv2d(1, 5, 3, down, vb.pp("down"))?),
        Box::new(conv_transpose2d(5, 1, 4, up, vb.pp("up"))?),
    ];
    let x = noise("x", &[3, 1, 10, 10]);
    let y = layers[1].forward(&layers[0].forward(&x)?)?;
    assert_eq!(y.dims(), x.dims());
    gradients_reach(&(y - x)?.sqr()?.mean_all()?, &parameters.trainable(), &[])
}

#[test]
fn an_input_that_is_data_needs_no_gradient() -> Result<()> {
    let weight = Var::from_tensor(&noise("w", &[2, 3, 3, 3]))?;
    let x = noise("x", &[2, 3, 5, 5]);
    let layer = Conv2d::new(weight.as_tensor().clone(), None, Conv2dConfig::default())?;
    let gradients = layer.forward(&x)?.sum_all()?.backward()?;
    assert!(gradients.get(&weight).is_some() && gradients.get(&x).is_none());
    Ok(())
}

#[test]
fn half_precision_is_computed_in_single() -> Result<()> {
    let (x, weight) = (noise("x", &[2, 3, 6, 6]), noise("w", &[4, 3, 3, 3]));
    let bias = noise("b", &[4]);
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let round = |x: &Tensor| x.to_dtype(dtype);
        let weight = Var::from_tensor(&round(&weight)?)?;
        let layer = Conv2d::new(
            weight.as_tensor().clone(),
            Some(round(&bias)?),
            Conv2dConfig { activation: Activation::Relu, ..Default::default() },
        )?;
        let y = layer.forward(&round(&x)?)?;
        assert_eq!(y.dtype(), dtype);
        let wide = |x: &Tensor| round(x)?.to_dtype(DType::F64);
        let exact = Conv2d::new(wide(&weight)?, Some(wide(&bias)?), *layer.config())?;
        let exact = exact.forward(&wide(&x)?)?;
        assert_close(&y.to_dtype(DType::F64)?, &exact, tolerance);
        assert_eq!(y.sum_all()?.backward()?.get(&weight).unwrap().dtype(), dtype);
    }
    Ok(())
}

#[test]
fn a_convolution_names_what_does_not_fit() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU).unwrap();
    let config = Conv2dConfig::default();
    let new = |weight: &[usize], bias: Option<&[usize]>, config| {
        Conv2d::new(zeros(weight), bias.map(zeros), config).unwrap_err().to_string()
    };
    assert!(new(&[3, 2, 3], None, config).contains("weight should be (out_channels"));
    assert!(new(&[3, 0, 3, 3], None, config).contains("none of them 0"));
    assert!(new(&[3, 2, 3, 3], Some(&[2]), config).contains("shape [3]"));
    let groups = |groups| new(&[3, 2, 3, 3], None, Conv2dConfig { groups, ..config });
    assert!(groups(0).contains("groups should be at least 1"));
    assert!(groups(2).contains("a divisor of out_channels (3)"));
    let flat = (0, 1).into();
    assert!(new(&[3, 2, 3, 3], None, Conv2dConfig { stride: flat, ..config }).contains("stride"));
    let config = Conv2dConfig { dilation: flat, ..config };
    assert!(new(&[3, 2, 3, 3], None, config).contains("dilation should be at least 1"));

    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    let made = |inputs, outputs, kernel: Size2d, groups| {
        let config = Conv2dConfig { groups, ..Default::default() };
        conv2d(inputs, outputs, kernel, config, vb.clone()).unwrap_err().to_string()
    };
    assert!(made(0, 1, 3.into(), 1).contains("in_channels should be at least 1"));
    assert!(made(1, 0, 3.into(), 1).contains("out_channels should be at least 1"));
    assert!(made(1, 1, (3, 0).into(), 1).contains("kernel_size"));
    assert!(made(3, 2, 3.into(), 2).contains("a divisor of in_channels (3)"));
    assert!(parameters.all().is_empty());

    let layer = Conv2d::new(zeros(&[3, 2, 3, 3]), None, Conv2dConfig::default())?;
    let forward = |x: &Tensor| layer.forward(x).unwrap_err().to_string();
    for shape in [&[1, 3, 5, 5][..], &[2, 5, 5], &[1, 2, 0, 5]] {
        assert!(forward(&zeros(shape)).contains("(batch, 2, height, width)"));
    }
    assert!(forward(&zeros(&[0, 2, 5, 5])).contains("an empty batch has no result"));
    assert!(forward(&zeros(&[1, 2, 5, 5]).to_dtype(DType::F64)?).contains("F32 of shape"));
    assert!(forward(&zeros(&[1, 2, 5, 2])).contains("at least 3 with its padding"));
    Ok(())
}

#[test]
fn a_transposed_convolution_names_what_does_not_fit() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU).unwrap();
    let config = ConvTranspose2dConfig::default();
    let new = |weight: &[usize], bias: Option<&[usize]>, config| {
        ConvTranspose2d::new(zeros(weight), bias.map(zeros), config).unwrap_err().to_string()
    };
    assert!(new(&[3, 2, 3], None, config).contains("weight should be (in_channels"));
    assert!(new(&[3, 2, 3, 3], Some(&[3]), config).contains("shape [2]"));
    let groups = |groups| new(&[3, 2, 3, 3], None, ConvTranspose2dConfig { groups, ..config });
    assert!(groups(0).contains("groups should be at least 1"));
    assert!(groups(2).contains("a divisor of in_channels (3)"));
    let added = |output_padding: Size2d| {
        let config = ConvTranspose2dConfig { output_padding, stride: (2, 1).into(), ..config };
        new(&[3, 2, 3, 3], None, config)
    };
    assert!(added((2, 0).into()).contains("stride and dilation, 2 and 1"));
    assert!(added((0, 1).into()).contains("output_padding"));
    let flat = ConvTranspose2dConfig { stride: (1, 0).into(), ..config };
    assert!(new(&[3, 2, 3, 3], None, flat).contains("stride should be at least 1"));
    let flat = ConvTranspose2dConfig { dilation: (1, 0).into(), ..config };
    assert!(new(&[3, 2, 3, 3], None, flat).contains("dilation should be at least 1"));

    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    let made = |inputs, outputs, kernel: Size2d, groups| {
        let config = ConvTranspose2dConfig { groups, ..Default::default() };
        conv_transpose2d(inputs, outputs, kernel, config, vb.clone()).unwrap_err().to_string()
    };
    assert!(made(0, 1, 3.into(), 1).contains("in_channels should be at least 1"));
    assert!(made(2, 3, 3.into(), 2).contains("a divisor of out_channels (3)"));
    assert!(made(1, 1, (0, 3).into(), 1).contains("kernel_size"));
    assert!(parameters.all().is_empty());

    let config = ConvTranspose2dConfig { padding: 2.into(), ..config };
    let layer = ConvTranspose2d::new(zeros(&[3, 2, 3, 3]), None, config)?;
    let forward = |x: &Tensor| layer.forward(x).unwrap_err().to_string();
    for shape in [&[1, 2, 5, 5][..], &[3, 5, 5], &[0, 3, 5, 5]] {
        assert!(forward(&zeros(shape)).contains("(batch, 3, height, width)"));
    }
    assert!(forward(&zeros(&[1, 3, 2, 5])).contains("larger than the padding of 2 + 2"));
    assert_eq!(layer.forward(&zeros(&[1, 3, 3, 5]))?.dims(), [1, 2, 1, 3]);
    Ok(())
}

#[test]
fn convolutions_follow_their_configuration() -> Result<()> {
    let parameters = Parameters::new(&stream(1, "init"));
    let vb = parameters.builder(DType::F64, CPU);
    let plain = Conv2dConfig { bias: false, groups: 2, ..Default::default() };
    let layer = conv2d(8, 4, (3, 5), plain, vb.pp("plain"))?;
    assert_eq!((layer.weight().dims(), layer.bias().is_none()), (&[4, 4, 3, 5][..], true));
    let constant = Some(Initializer::Constant(0.5));
    let set = ConvTranspose2dConfig { bias_init: constant, groups: 2, ..Default::default() };
    let layer = conv_transpose2d(8, 4, (3, 5), set, vb.pp("set"))?;
    assert_eq!(layer.weight().dims(), [8, 2, 3, 5]);
    assert_eq!(layer.bias().unwrap().to_vec1::<f64>()?, [0.5; 4]);
    assert_eq!(layer.config(), &set);
    let names: Vec<_> = parameters.all().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["plain.weight", "set.bias", "set.weight"]);
    Ok(())
}

#[test]
fn convolutions_begin_as_pytorch_s() -> Result<()> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, CPU);
    let forward = conv2d(30, 80, 5, Conv2dConfig::default(), vb.pp("a"))?;
    let config = ConvTranspose2dConfig::default();
    let transposed = conv_transpose2d(80, 30, 5, config, vb.pp("b"))?;
    // The fan is that of the second dimension: 30 · 25 for both.
    let bound = 1.0 / 750f64.sqrt();
    let tensors = [forward.weight(), forward.bias().unwrap(), transposed.weight()];
    for tensor in tensors.into_iter().chain(transposed.bias()) {
        let largest = tensor.abs()?.max_all()?.to_scalar::<f64>()?;
        let near = if tensor.rank() == 1 { 0.8 } else { 0.999 };
        assert!(largest <= bound && largest > near * bound, "{largest} {bound}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_convolution_is_linear_and_its_transpose_the_adjoint(
        (groups, inputs, outputs) in (1usize..3, 1usize..4, 1usize..4),
        (height, width) in (1usize..10, 1usize..10),
        (kernel, stride, dilation) in ((1usize..4, 1usize..4), (1usize..4, 1usize..4), 1usize..3),
        padding in 0usize..5,
        seed in 0u64..1000,
    ) {
        let covered = |kernel: usize| dilation * (kernel - 1) + 1;
        prop_assume!(height + 2 * padding >= covered(kernel.0));
        prop_assume!(width + 2 * padding >= covered(kernel.1));
        let normal = |name: &str, shape: &[usize]| {
            stream(seed, name).normal(0.0, 1.0, shape, DType::F64, CPU).unwrap()
        };
        let weight = normal("w", &[groups * outputs, inputs, kernel.0, kernel.1]);
        let x = normal("x", &[2, groups * inputs, height, width]);
        let config = Conv2dConfig {
            stride: stride.into(),
            padding: padding.into(),
            dilation: dilation.into(),
            groups,
            ..Default::default()
        };
        let y = Conv2d::new(weight.clone(), None, config).unwrap().forward(&x).unwrap();
        // <conv x, g> = <x, conv' g>; what the stride does not reach is padded on to the transpose.
        let g = normal("g", y.dims());
        let rest = |length: usize, kernel: usize, stride: usize| {
            (length + 2 * padding - covered(kernel)) % stride
        };
        let config = ConvTranspose2dConfig {
            stride: stride.into(),
            padding: padding.into(),
            output_padding: (rest(height, kernel.0, stride.0), rest(width, kernel.1, stride.1)).into(),
            dilation: dilation.into(),
            groups,
            ..Default::default()
        };
        let back = ConvTranspose2d::new(weight, None, config).unwrap().forward(&g).unwrap();
        prop_assert_eq!(back.dims(), x.dims());
        let inner = |a: &Tensor, b: &Tensor| {
            (a * b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let (left, right) = (inner(&y, &g), inner(&x, &back));
        prop_assert!((left - right).abs() < 1e-9 * left.abs().max(1.0), "{} {}", left, right);
    }
}
