//! Initialisers by the statistics of what they draw.

use candle_core::{DType, Device};
use taper_core::testing::assert_close;
use taper_core::{
    FanMode, Initializer, LinearConfig, Nonlinearity, Parameters, Result, linear, stream,
};

/// 400 x 250 draws: the standard error of the standard deviation is at most 0.3%.
const SHAPE: (usize, usize) = (400, 250);

fn draw(initializer: Initializer) -> Result<Vec<f64>> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let weight = vb.get_with_hints(SHAPE, "weight", initializer.hint(&SHAPE.into())?)?;
    Ok(weight.flatten_all()?.to_vec1()?)
}

/// Mean, standard deviation and the largest magnitude.
fn statistics(values: &[f64]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt(), values.iter().fold(0.0, |most: f64, x| most.max(x.abs())))
}

#[test]
fn draws_have_the_standard_deviation_of_the_formula() -> Result<()> {
    let (relu, mode) = (Nonlinearity::Relu, FanMode::FanIn);
    let tanh = Nonlinearity::Tanh;
    let (out_mode, selu) = (FanMode::FanOut, Nonlinearity::Selu);
    let cases = [
        (Initializer::Uniform { low: -0.3, high: 0.3 }, 0.3 / 3f64.sqrt()),
        (Initializer::Normal { mean: 0.0, std: 0.02 }, 0.02),
        (Initializer::XavierUniform { gain: 1.5 }, 1.5 * (2.0 / 650.0f64).sqrt()),
        (Initializer::XavierNormal { gain: 1.5 }, 1.5 * (2.0 / 650.0f64).sqrt()),
        (Initializer::KaimingUniform { mode, nonlinearity: relu }, (2.0 / 250.0f64).sqrt()),
        (Initializer::KaimingNormal { mode, nonlinearity: tanh }, 5.0 / 3.0 / 250f64.sqrt()),
        (Initializer::KaimingNormal { mode: out_mode, nonlinearity: selu }, 0.75 / 20.0),
    ];
    for (initializer, expected) in cases {
        let (mean, std, largest) = statistics(&draw(initializer)?);
        assert!((std / expected - 1.0).abs() < 0.015, "{initializer:?}: {std} {expected}");
        assert!(mean.abs() < 5.0 * expected / 1e5f64.sqrt(), "{initializer:?}: {mean}");
        let sigmas = largest / expected;
        // A uniform ends at sqrt(3) deviations; 100,000 normal draws pass 4 and stay below 6.
        let uniform = (1.73..1.7321).contains(&sigmas);
        assert!(uniform || (4.0..6.0).contains(&sigmas), "{initializer:?}: {sigmas}");
    }
    assert!(draw(Initializer::Constant(0.25))?.iter().all(|x| *x == 0.25));
    Ok(())
}

#[test]
fn a_linear_layer_begins_as_pytorch_s() -> Result<()> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let layer = linear(400, 250, LinearConfig::default(), vb)?;
    for tensor in [layer.weight(), layer.bias().unwrap()] {
        let (_, std, largest) = statistics(&tensor.flatten_all()?.to_vec1()?);
        assert!(largest <= 0.05 && largest > 0.049, "{largest}");
        // 250 draws of the bias: a standard error of about 3%.
        assert!((std / (0.05 / 3f64.sqrt()) - 1.0).abs() < 0.1, "{std}");
    }
    Ok(())
}

#[test]
fn single_and_double_precision_begin_alike() -> Result<()> {
    let make = |dtype| -> Result<_> {
        let parameters = Parameters::new(&stream(11, "init"));
        let vb = parameters.builder(dtype, &Device::Cpu);
        Ok(linear(7, 5, LinearConfig::default(), vb)?.weight().to_dtype(DType::F32)?)
    };
    assert_close(&make(DType::F64)?, &make(DType::F32)?, 0.0);
    Ok(())
}
