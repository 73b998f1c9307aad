use candle_core::{DType, Device, Module, Tensor};
use candle_nn::ModuleT;
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, Linear, LinearConfig, Padding2d, Parameters, Result, conv2d,
    linear, stream,
};
use taper_norm::{
    BatchNorm, BatchNormConfig, FrozenBatchNorm, FrozenBatchNormConfig, batch_norm,
    fold_batch_norm, fold_conv2d, fold_linear,
};

const CPU: Device = Device::Cpu;

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/fold.json"))? {
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let tensor = |name: &str| case.tensor(name, dtype);
            let config = FrozenBatchNormConfig { eps: case.f64("eps")?, ..Default::default() };
            let affine = (tensor("gamma")?, tensor("beta")?);
            let norm =
                FrozenBatchNorm::new(affine, (tensor("mean")?, tensor("variance")?), config)?;
            let bias = case.has("bias").then(|| tensor("bias")).transpose()?;
            let (weight, bias) = fold_batch_norm(&tensor("weight")?, bias.as_ref(), &norm)?;
            assert_close(&weight, &tensor("folded weight")?, tolerance);
            assert_close(&bias, &tensor("folded bias")?, tolerance);
        }
    }
    Ok(())
}

/// A norm with weight, bias and running statistics of its own, of channels around `mean`.
fn trained(channels: usize, activation: Activation, mean: f64, dtype: DType) -> Result<BatchNorm> {
    let parameters = Parameters::new(&stream(0, "init"));
    let config = BatchNormConfig { activation, ..Default::default() };
    let norm = batch_norm(channels, config, parameters.builder(dtype, &CPU))?;
    let mut noise = stream(5, "norm");
    for (_, var) in parameters.trainable() {
        var.set(&noise.normal(0.5, 1.0, var.shape(), dtype, &CPU)?)?;
    }
    for _ in 0..5 {
        norm.forward_t(&noise.normal(mean, 2.0, (16, channels), dtype, &CPU)?, true)?;
    }
    Ok(norm)
}

proptest! {
    #[test]
    fn the_output_of_a_linear_layer_stays(
        seed in 0u64..1000,
        channels in 1usize..9,
        bias: bool,
        rectify: bool,
    ) {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let activation = if rectify { Activation::Relu } else { Activation::Identity };
            let norm = trained(channels, activation, 1.0, dtype).unwrap();
            let parameters = Parameters::new(&stream(seed, "init"));
            let config = LinearConfig { bias, ..Default::default() };
            let layer = linear(7, channels, config, parameters.builder(dtype, &CPU)).unwrap();
            let x = stream(seed, "x").normal(0.0, 1.0, (6, 7), dtype, &CPU).unwrap();
            let expected = norm.forward_t(&layer.forward(&x).unwrap(), false).unwrap();
            let frozen = FrozenBatchNorm::freeze(&norm).unwrap();
            let folded = fold_linear(&layer, &frozen).unwrap();
            assert_close(&folded.forward(&x).unwrap(), &expected, tolerance);
        }
    }

    #[test]
    fn the_output_of_a_convolution_stays(
        seed in 0u64..1000,
        groups in 1usize..4,
        bias: bool,
        rectify: bool,
    ) {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let activation = if rectify { Activation::Relu } else { Activation::Identity };
            let (inputs, outputs) = (2 * groups, 3 * groups);
            let norm = trained(outputs, activation, -2.0, dtype).unwrap();
            let parameters = Parameters::new(&stream(seed, "init"));
            let padding = Padding2d::from(1);
            let config = Conv2dConfig { bias, groups, padding, ..Default::default() };
            let vb = parameters.builder(dtype, &CPU);
            let conv = conv2d(inputs, outputs, 3, config, vb).unwrap();
            let x = stream(seed, "x").normal(0.0, 1.0, (2, inputs, 5, 4), dtype, &CPU).unwrap();
            let expected = norm.forward_t(&conv.forward(&x).unwrap(), false).unwrap();
            let folded = fold_conv2d(&conv, &FrozenBatchNorm::freeze(&norm).unwrap()).unwrap();
            assert_close(&folded.forward(&x).unwrap(), &expected, tolerance);
        }
    }
}

#[test]
fn half_precision_keeps_its_dtype() -> Result<()> {
    let norm = trained(2, Activation::Identity, 0.0, DType::BF16)?;
    let weight = Tensor::ones((2, 3), DType::BF16, &CPU)?;
    let (weight, bias) = fold_batch_norm(&weight, None, &FrozenBatchNorm::freeze(&norm)?)?;
    assert_eq!((weight.dtype(), bias.dtype()), (DType::BF16, DType::BF16));
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let norm = FrozenBatchNorm::freeze(&trained(2, Activation::Identity, 0.0, DType::F32)?)?;
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &CPU);
    let of = |weight: &Tensor, bias: Option<&Tensor>| {
        fold_batch_norm(weight, bias, &norm).unwrap_err().to_string()
    };
    let weight = "fold_batch_norm: weight should be floating-point of shape (2, ...), the channels \
                  of norm, got";
    expect(of(&zeros(&[3, 2], DType::F32)?, None), &format!("{weight} F32 of shape [3, 2]"));
    expect(of(&zeros(&[2], DType::F32)?, None), &format!("{weight} F32 of shape [2]"));
    expect(of(&zeros(&[2, 2], DType::U8)?, None), &format!("{weight} U8 of shape [2, 2]"));
    let right = zeros(&[2, 3], DType::F32)?;
    let bias = zeros(&[3], DType::F32)?;
    let expected = "fold_batch_norm: bias should be floating-point of shape [2], got F32 of shape";
    expect(of(&right, Some(&bias)), expected);

    let rectified = Linear::new(right, None)?.with_activation(Activation::Relu);
    let expected = "fold_linear: linear should be without an activation between it and the norm, \
                    got Relu";
    expect(fold_linear(&rectified, &norm).unwrap_err().to_string(), expected);
    let config = Conv2dConfig { bias: false, activation: Activation::Relu, ..Default::default() };
    let conv = Conv2d::new(zeros(&[2, 1, 1, 1], DType::F32)?, None, config)?;
    let expected = "fold_conv2d: conv should be without an activation";
    expect(fold_conv2d(&conv, &norm).unwrap_err().to_string(), expected);
    Ok(())
}
