//! Initialisers by the statistics of what they draw, and against PyTorch and SciPy on given draws.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens};
use taper_core::{
    FanMode, Initializer, LinearConfig, Nonlinearity, Parameters, Result, linear, stream,
};

/// 400 x 250 draws: the standard error of the standard deviation is at most 0.3%.
const SHAPE: (usize, usize) = (400, 250);

const TRUNCATED: Initializer =
    Initializer::TruncatedNormal { mean: 0.1, std: 0.5, low: -0.4, high: 1.6 };
const ORTHOGONAL: Initializer = Initializer::Orthogonal { gain: 1.5 };

fn draw(initializer: Initializer) -> Result<Vec<f64>> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let weight = initializer.parameter(SHAPE, "weight", &vb)?;
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
    let initializers = [LinearConfig::default().weight_init, TRUNCATED, ORTHOGONAL];
    for initializer in initializers {
        let make = |dtype| -> Result<_> {
            let parameters = Parameters::new(&stream(11, "init"));
            let vb = parameters.builder(dtype, &Device::Cpu);
            Ok(initializer.parameter((7, 5), "weight", &vb)?.to_dtype(DType::F32)?)
        };
        assert_close(&make(DType::F64)?, &make(DType::F32)?, 0.0);
    }
    Ok(())
}

#[test]
fn a_linear_layer_takes_every_initialiser() -> Result<()> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let config =
        LinearConfig { weight_init: ORTHOGONAL, bias_init: Some(TRUNCATED), ..Default::default() };
    let layer = linear(6, 3, config, vb)?;
    let expected = (Tensor::eye(3, DType::F64, &Device::Cpu)? * 2.25)?;
    assert_close(&layer.weight().matmul(&layer.weight().t()?)?, &expected, 1e-14);
    let bias = layer.bias().unwrap().to_vec1::<f64>()?;
    assert!(bias.iter().all(|value| (-0.4..=1.6).contains(value)), "{bias:?}");
    Ok(())
}

/// A builder whose normal numbers are given.
struct Draws(Tensor);

impl SimpleBackend for Draws {
    fn get(
        &self,
        shape: Shape,
        _: &str,
        init: Init,
        dtype: DType,
        _: &Device,
    ) -> candle_core::Result<Tensor> {
        assert!(matches!(init, Init::Randn { mean: 0.0, stdev: 1.0 }), "{init:?}");
        self.0.to_dtype(dtype)?.reshape(shape)?.copy()
    }

    fn get_unchecked(&self, _: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        self.0.copy()
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

fn of_draws(initializer: Initializer, draws: &Tensor) -> Result<Tensor> {
    let backend = Box::new(Draws(draws.clone()));
    let vb = VarBuilder::from_backend(backend, DType::F64, Device::Cpu);
    initializer.parameter(draws.shape(), "weight", &vb)
}

#[test]
fn the_same_draws_give_the_values_of_pytorch_and_scipy() -> Result<()> {
    for case in goldens(include_str!("../golden/initializer.json"))? {
        let draws = case.tensor("draws", DType::F64)?;
        let initializer = match case.text("initializer")? {
            "orthogonal" => Initializer::Orthogonal { gain: case.f64("gain")? },
            "truncated_normal" => Initializer::TruncatedNormal {
                mean: case.f64("mean")?,
                std: case.f64("std")?,
                low: case.f64("low")?,
                high: case.f64("high")?,
            },
            other => panic!("{other}"),
        };
        let expected = case.tensor("values", DType::F64)?;
        let values = of_draws(initializer, &draws)?;
        if let Initializer::TruncatedNormal { std, .. } = initializer {
            // The card's bound: an interval of 1e-4 deviations has fewer digits than its own width.
            let worst = (values - expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(worst <= 1e-14 * std, "{initializer:?}: {worst}");
        } else {
            assert_close(&values, &expected, 1e-13);
        }
    }
    Ok(())
}

/// What SciPy says of N(0.1, 0.5²) in [-0.4, 1.6].
#[test]
fn a_truncated_normal_has_scipy_s_moments_and_quantiles() -> Result<()> {
    let mut values = draw(TRUNCATED)?;
    let (mean, std, _) = statistics(&values);
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    for case in goldens(include_str!("../golden/truncated_normal.json"))? {
        // Five standard errors.
        let (expected_mean, expected_std) = (case.f64("mean")?, case.f64("std")?);
        assert!((mean - expected_mean).abs() < 5.0 * expected_std / n.sqrt(), "{mean}");
        assert!((std / expected_std - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{std}");
        let pairs = case.f64s("shares")?.into_iter().zip(case.f64s("quantiles")?);
        for (share, quantile) in pairs {
            let below = values.partition_point(|value| *value <= quantile) as f64 / n;
            let error = (share * (1.0 - share) / n).sqrt();
            assert!((below - share).abs() < 5.0 * error, "{share}: {below}");
        }
    }
    assert!(values[0] >= -0.4 && values[0] < -0.399, "{}", values[0]);
    assert!(values.last().is_some_and(|last| (1.4..=1.6).contains(last)));
    Ok(())
}

#[test]
fn rows_or_columns_are_orthonormal() -> Result<()> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let shapes: [&[usize]; 8] = [
        &[40, 17],
        &[17, 40],
        &[33, 33],
        &[8, 3, 3, 3],
        &[64, 4, 3, 3],
        &[1, 5],
        &[5, 1],
        &[500, 600],
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        let weight = ORTHOGONAL.parameter(shape, &format!("{index}.weight"), &vb)?;
        assert_eq!(weight.dims(), shape);
        let weight = weight.flatten_from(1)?;
        let (rows, columns) = weight.dims2()?;
        let products = if rows <= columns {
            weight.matmul(&weight.t()?)?
        } else {
            weight.t()?.matmul(&weight)?
        };
        // gain² = 2.25.
        let expected = (Tensor::eye(rows.min(columns), DType::F64, &Device::Cpu)? * 2.25)?;
        assert_close(&products, &expected, 1e-14);
    }
    Ok(())
}

#[test]
fn half_precision_is_orthonormal_to_its_rounding() -> Result<()> {
    for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
        let parameters = Parameters::new(&stream(11, "init"));
        let vb = parameters.builder(dtype, &Device::Cpu);
        let weight = ORTHOGONAL.parameter((6, 9), "weight", &vb)?;
        assert_eq!(weight.dtype(), dtype);
        let weight = weight.to_dtype(DType::F64)?;
        let expected = (Tensor::eye(6, DType::F64, &Device::Cpu)? * 2.25)?;
        assert_close(&weight.matmul(&weight.t()?)?, &expected, 4.0 * unit);
    }
    Ok(())
}

#[test]
fn the_variable_behind_the_parameter_has_the_values() -> Result<()> {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    let weight = ORTHOGONAL.parameter((3, 4), "weight", &vb)?;
    let (_, variable) = parameters.trainable().remove(0);
    assert_close(&weight, &variable, 0.0);
    let scalar = TRUNCATED.parameter((), "scalar", &vb)?;
    assert!((-0.4..=1.6).contains(&scalar.to_scalar::<f32>()?));
    assert_eq!(TRUNCATED.parameter((3, 0), "empty", &vb)?.dims(), [3, 0]);
    // candle's own builder serves as well, with numbers from no stream.
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu);
    let weight = ORTHOGONAL.parameter((3, 4), "weight", &vb)?;
    let expected = (Tensor::eye(3, DType::F64, &Device::Cpu)? * 2.25)?;
    assert_close(&weight.matmul(&weight.t()?)?, &expected, 1e-14);
    Ok(())
}

#[test]
fn what_is_there_already_stays() -> Result<()> {
    for initializer in [TRUNCATED, ORTHOGONAL] {
        // Trained, then asked for again by the layer that shares it.
        let parameters = Parameters::new(&stream(11, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        initializer.parameter((3, 4), "weight", &vb)?;
        let trained = Tensor::full(7.0, (3, 4), &Device::Cpu)?;
        parameters.trainable()[0].1.set(&trained)?;
        assert_close(&initializer.parameter((3, 4), "weight", &vb)?, &trained, 0.0);
        // Loaded.
        let state = [("weight".to_owned(), trained.clone())].into();
        let vb = VarBuilder::from_tensors(state, DType::F64, &Device::Cpu);
        assert_close(&initializer.parameter((3, 4), "weight", &vb)?, &trained, 0.0);
        assert_eq!(trained.to_vec2::<f64>()?, [[7.0; 4]; 3]);
    }
    Ok(())
}

#[test]
fn a_name_draws_its_own_numbers() -> Result<()> {
    for initializer in [TRUNCATED, ORTHOGONAL] {
        let make = |seed, names: &[&str]| -> Result<Vec<Vec<f64>>> {
            let parameters = Parameters::new(&stream(seed, "init"));
            let vb = parameters.builder(DType::F64, &Device::Cpu);
            let values = names.iter().map(|name| {
                Ok(initializer.parameter((6, 4), name, &vb)?.flatten_all()?.to_vec1()?)
            });
            values.collect()
        };
        let forth = make(11, &["a", "b"])?;
        let back = make(11, &["b", "a"])?;
        assert_eq!((&forth[0], &forth[1]), (&back[1], &back[0]));
        assert_ne!(forth[0], forth[1]);
        assert_ne!(forth[0], make(12, &["a"])?[0]);
    }
    Ok(())
}

#[test]
fn an_argument_that_is_refused_is_named() {
    let parameters = Parameters::new(&stream(11, "init"));
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    let refused = |initializer: Initializer, shape: &[usize]| {
        initializer.parameter(shape, "weight", &vb).unwrap_err().to_string()
    };
    let truncated = |mean, std, low, high| {
        refused(Initializer::TruncatedNormal { mean, std, low, high }, &[3, 4])
    };
    let start = "Initializer::parameter:";
    let (infinity, nan) = (f64::INFINITY, f64::NAN);
    for mean in [infinity, nan] {
        let error = truncated(mean, 1.0, -2.0, 2.0);
        assert_eq!(error, format!("{start} mean should be finite, got {mean}"));
    }
    for std in [0.0, -1.0, infinity, nan] {
        let error = truncated(0.0, std, -2.0, 2.0);
        assert_eq!(error, format!("{start} std should be finite and above 0, got {std}"));
    }
    for low in [36.0, infinity, nan] {
        let error = truncated(0.0, 1.0, low, infinity);
        let expected = "at most 35 standard deviations above the mean";
        assert_eq!(error, format!("{start} low should be {expected}, got {low}"));
    }
    for high in [-36.0, -infinity, nan] {
        let error = truncated(0.0, 1.0, -infinity, high);
        let expected = "at most 35 standard deviations below the mean";
        assert_eq!(error, format!("{start} high should be {expected}, got {high}"));
    }
    for high in [2.0, 1.0] {
        let error = truncated(0.0, 1.0, 2.0, high);
        assert_eq!(error, format!("{start} high should be above low, which is 2, got {high}"));
    }
    for gain in [infinity, nan] {
        let error = refused(Initializer::Orthogonal { gain }, &[3, 4]);
        assert_eq!(error, format!("{start} gain should be finite, got {gain}"));
    }
    for shape in [&[][..], &[3], &[0, 3], &[3, 0, 2]] {
        let error = refused(ORTHOGONAL, shape);
        let expected = "(outputs, inputs, kernel...), none of them 0";
        assert_eq!(error, format!("{start} shape should be {expected}, got {shape:?}"));
    }
    assert!(parameters.all().is_empty(), "a refused parameter was made");
    for initializer in [TRUNCATED, ORTHOGONAL] {
        let error = initializer.hint(&(3, 4).into()).unwrap_err().to_string();
        assert!(error.contains("use Initializer::parameter, got "), "{error}");
        assert!(error.contains(&format!("{initializer:?}")), "{error}");
    }
}

proptest! {
    #[test]
    fn a_truncated_normal_keeps_its_bounds_and_the_order_of_its_draws(
        mean in -3.0..3.0,
        std in 1e-3..10.0,
        from in -34.0..34.0f64,
        log_width in -20.0..4.0f64,
        mut draws in prop::collection::vec(-6.0..6.0, 2..20),
    ) {
        draws.sort_by(f64::total_cmp);
        let low = mean + std * from;
        let high = low + std * log_width.exp();
        let law = Initializer::TruncatedNormal { mean, std, low, high };
        let draws = Tensor::new(draws, &Device::Cpu).unwrap();
        let values = of_draws(law, &draws).unwrap().to_vec1::<f64>().unwrap();
        prop_assert!(values.iter().all(|value| (low..=high).contains(value)), "{values:?}");
        // Up to the rounding of a deviation.
        let slack = 1e-13 * std * (1.0 + from.abs());
        prop_assert!(values.windows(2).all(|pair| pair[1] >= pair[0] - slack), "{values:?}");
        // And the mirror image of the interval gives the mirror image.
        let mirror = Initializer::TruncatedNormal { mean: -mean, std, low: -high, high: -low };
        let mirrored = of_draws(mirror, &draws.neg().unwrap()).unwrap();
        let mirrored = mirrored.neg().unwrap().to_vec1::<f64>().unwrap();
        let alike = values.iter().zip(&mirrored).all(|(a, b)| (a - b).abs() <= slack);
        prop_assert!(alike, "{values:?} {mirrored:?}");
    }

    #[test]
    fn an_orthogonal_matrix_takes_its_draws_to_a_triangle(
        rows in 1usize..20,
        columns in 1usize..20,
        seed: u64,
    ) {
        let (rows, columns) = (rows.max(columns), rows.min(columns));
        let mut stream = stream(seed, "draws");
        let draws = stream.normal(0.0, 1.0, (rows, columns), DType::F32, &Device::Cpu).unwrap();
        let draws = draws.to_dtype(DType::F64).unwrap();
        let q = of_draws(Initializer::Orthogonal { gain: 1.0 }, &draws).unwrap();
        let eye = Tensor::eye(columns, DType::F64, &Device::Cpu).unwrap();
        assert_close(&q.t().unwrap().matmul(&q).unwrap(), &eye, 1e-13);
        // R = Qᵀ Z: nothing below the diagonal, and what is on it positive.
        let r = q.t().unwrap().matmul(&draws).unwrap().to_vec2::<f64>().unwrap();
        for (i, row) in r.iter().enumerate() {
            prop_assert!(row[i] > 0.0, "{row:?}");
            prop_assert!(row[..i].iter().all(|value| value.abs() < 1e-12), "{row:?}");
        }
        // The transposed draws give the transposed matrix.
        let turned = of_draws(Initializer::Orthogonal { gain: 1.0 }, &draws.t().unwrap().copy().unwrap()).unwrap();
        if rows > columns {
            assert_close(&turned.t().unwrap(), &q, 0.0);
        }
    }
}
