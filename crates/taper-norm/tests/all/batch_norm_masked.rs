use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{BatchNorm, BatchNormConfig, Momentum, OneValue, batch_norm};

use crate::batch_norm::config;
use crate::steps::check;

const CPU: Device = Device::Cpu;

fn layer(features: usize, config: BatchNormConfig) -> Result<BatchNorm> {
    let parameters = Parameters::new(&stream(0, "init"));
    batch_norm(features, config, parameters.builder(DType::F64, &CPU))
}

/// `value` at the places that a mask (N, places...) leaves out of x.
fn padded(x: &Tensor, mask: &Tensor, value: f64) -> Result<Tensor> {
    let mask = mask.unsqueeze(1)?.broadcast_as(x.shape())?;
    let padding = Tensor::full(value, x.shape(), &CPU)?.to_dtype(x.dtype())?;
    Ok(mask.where_cond(x, &padding)?)
}

#[test]
fn agrees_with_pytorch_on_what_is_there_whatever_the_padding() -> Result<()> {
    for case in goldens(include_str!("../golden/batch_norm_masked.json"))? {
        for (dtype, value) in [(DType::F64, f64::NAN), (DType::F32, f64::NAN), (DType::F64, 1e300)]
        {
            let make = |features, vb: VarBuilder| batch_norm(features, config(&case)?, vb);
            check(&case, dtype, make, |norm, x, step, train| {
                let mask = case.tensor(&format!("mask {step}"), DType::U8)?;
                Ok(norm.forward_masked_t(&padded(x, &mask, value)?, &mask, train)?)
            })?;
        }
    }
    Ok(())
}

#[test]
fn hand_numbers() -> Result<()> {
    let config = BatchNormConfig {
        eps: 1e-14,
        momentum: Momentum::Exponential(1.0),
        activation: Activation::Sigmoid,
        ..Default::default()
    };
    let norm = layer(1, config)?;
    // Of 1 and 5: mean 3, standard deviation 2, unbiased variance 8.
    let x = Tensor::new(&[[[1.0, 99.0]], [[f64::NAN, 5.0]]], &CPU)?;
    let mask = Tensor::new(&[[1u8, 0], [0, 7]], &CPU)?;
    let y = norm.forward_masked_t(&x, &mask, true)?;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    // The activation of 0 is one half, which is no padding.
    let expected = Tensor::new(&[[[sigmoid(-1.0), 0.0]], [[0.0, sigmoid(1.0)]]], &CPU)?;
    assert_close(&y, &expected, 1e-12);
    let x = Var::from_tensor(&x)?;
    let y = norm.forward_masked_t(&x, &mask, true)?;
    let gradients = y.sqr()?.sum_all()?.backward()?;
    let of_x = gradients.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f64>()?;
    assert!(of_x[1] == 0.0 && of_x[2] == 0.0 && of_x.iter().all(|it| it.is_finite()), "{of_x:?}");
    let weight = norm.weight().expect("a weight");
    let of_weight = gradients.get(weight).expect("a gradient").to_vec1::<f64>()?;
    assert!(of_weight[0].is_finite() && of_weight[0] != 0.0);
    let running = norm.running_statistics().expect("kept");
    assert_close(&running.mean, &Tensor::new(&[3.0], &CPU)?, 1e-12);
    assert_close(&running.variance, &Tensor::new(&[8.0], &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn a_mask_of_ones_is_no_mask() -> Result<()> {
    let x = stream(1, "x").normal(3.0, 2.0, (4, 3, 2, 5), DType::F64, &CPU)?;
    let mask = Tensor::ones((4, 2, 5), DType::U8, &CPU)?;
    for train in [true, false] {
        let (masked, plain) = (layer(3, Default::default())?, layer(3, Default::default())?);
        let y = masked.forward_masked_t(&x, &mask, train)?;
        assert_close(&y, &plain.forward_t(&x, train)?, 1e-12);
        let [masked, plain] =
            [&masked, &plain].map(|norm| norm.running_statistics().expect("kept"));
        assert_close(&masked.variance, &plain.variance, 1e-14);
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    let inputs = [normal("x", &[3, 2, 4])?, normal("weight", &[2])?, normal("bias", &[2])?];
    let mask = Tensor::new(&[[1u8, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], &CPU)?;
    let config = BatchNormConfig { track_running_stats: false, ..Default::default() };
    let function = |x: &[Tensor]| {
        let norm = BatchNorm::new(2, Some((x[1].clone(), x[2].clone())), None, config)?;
        Ok(norm.forward_masked_t(&x[0], &mask, true)?)
    };
    gradcheck(function, &inputs, 1e-6)
}

#[test]
fn half_precision_and_one_value() -> Result<()> {
    let config = BatchNormConfig { one_value: OneValue::Running, ..Default::default() };
    let norm = layer(1, config)?;
    for dtype in [DType::F16, DType::BF16] {
        let x = Tensor::new(&[[3f32], [5.0], [100.0]], &CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let y = norm.forward_masked_t(&x, &Tensor::new(&[1u8, 1, 0], &CPU)?, true)?;
        assert_eq!(y.dtype(), dtype);
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        assert_eq!(gradient.to_dtype(DType::F32)?.to_vec2::<f32>()?[2], [0.0]);
        assert_eq!(y.to_dtype(DType::F32)?.to_vec2::<f32>()?, [[-1.0], [1.0], [0.0]]);
        let y = norm.forward_masked_t(&x, &Tensor::new(&[1u8, 0, 0], &CPU)?, true)?;
        assert!(y.to_dtype(DType::F32)?.to_vec2::<f32>()?[0][0].is_finite());
    }
    assert_eq!(norm.running_statistics().expect("kept").num_batches_tracked.to_scalar::<i64>()?, 2);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let norm = layer(2, Default::default())?;
    let x = Tensor::zeros((3, 2, 4), DType::F32, &CPU)?;
    let of_mask = |mask: Tensor, train| {
        let message = norm.forward_masked_t(&x, &mask, train).unwrap_err().to_string();
        message.lines().next().unwrap_or_default().to_owned()
    };
    let of = "BatchNorm::forward_masked_t: mask should be";
    let fit = format!("{of} U8 of shape [3, 4], that of x without its channels, got");
    let zeros = |dtype| Tensor::zeros((3, 4), dtype, &CPU);
    assert_eq!(of_mask(zeros(DType::F32)?, true), format!("{fit} F32 of shape [3, 4]"));
    let mask = Tensor::ones((3, 2, 4), DType::U8, &CPU)?;
    assert_eq!(of_mask(mask, true), format!("{fit} U8 of shape [3, 2, 4]"));
    for train in [true, false] {
        let message = of_mask(zeros(DType::U8)?, train);
        let what = "not 0 somewhere (leave out a batch that is only padding), got zeros only";
        assert_eq!(message, format!("{of} {what}"));
    }
    let one = Tensor::new(&[[1u8, 0, 0, 0], [0; 4], [0; 4]], &CPU)?;
    let message = of_mask(one, true);
    assert!(message.contains("x should be of at least 2 values a channel"), "{message}");
    assert!(message.ends_with("got shape [1, 2], 1 a channel"), "{message}");
    let wrong = Tensor::zeros((3, 3), DType::F32, &CPU)?;
    let mask = Tensor::ones(3, DType::U8, &CPU)?;
    assert!(norm.forward_masked_t(&wrong, &mask, true).is_err());
    Ok(())
}
