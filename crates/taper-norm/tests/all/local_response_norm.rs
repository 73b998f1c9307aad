use candle_core::{DType, Device, Module, Tensor, Var};
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_core::{Result, stream};
use taper_norm::{LocalResponseNorm, LocalResponseNormConfig};

const CPU: Device = Device::Cpu;

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/local_response_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

fn check(case: &Case, dtype: DType) -> Result<()> {
    let norm = LocalResponseNorm::new(LocalResponseNormConfig {
        size: case.u64("size")? as usize,
        alpha: case.f64("alpha")?,
        beta: case.f64("beta")?,
        k: case.f64("k")?,
    })?;
    let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
    let y = norm.forward(&x)?;
    let gradients = (&y * case.tensor("upstream", dtype)?)?.sum_all()?.backward()?;
    let gradient = gradients.get(&x).expect("a gradient").clone();
    for (name, found) in [("y", y), ("x gradient", gradient)] {
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, dtype)?, tolerance);
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let x = stream(2, "x").normal(0.5, 1.5, (2, 5, 3), DType::F64, &CPU)?;
    for size in [1, 4, 5, 20] {
        let config = LocalResponseNormConfig { size, alpha: 0.5, ..Default::default() };
        let norm = LocalResponseNorm::new(config)?;
        gradcheck(|x| Ok(norm.forward(&x[0])?), std::slice::from_ref(&x), 1e-6)?;
    }
    Ok(())
}

#[test]
fn extremes_half_precision_and_empty_batches() -> Result<()> {
    let norm = LocalResponseNorm::new(LocalResponseNormConfig::default())?;
    let x = Tensor::new(&[[1e15f32, -1e15, 0.0, f32::NAN], [0.0, 1e25, 7.0, 7.0]], &CPU)?;
    let y = norm.forward(&x)?.to_vec2::<f32>()?;
    assert!(y[0][0].is_finite() && y[0][1].is_nan() && y[1].iter().all(|y| y.is_finite()));
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[300f32]], &CPU)?.to_dtype(dtype)?;
        let y = norm.forward(&x)?;
        assert_eq!(y.dtype(), dtype);
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?[0];
        let expected = 300.0 / (1.0f32 + 2e-5 * 90_000.0).powf(0.75);
        assert!((y - expected).abs() < 0.02 * expected, "{y}");
    }
    assert_eq!(norm.forward(&Tensor::zeros((0, 3, 2), DType::F32, &CPU)?)?.dims(), [0, 3, 2]);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let usual = LocalResponseNormConfig::default();
    let of_new = |config| LocalResponseNorm::new(config).unwrap_err().to_string();
    let size = "LocalResponseNorm: size should be at least 1, got 0";
    expect(of_new(LocalResponseNormConfig { size: 0, ..usual }), size);
    let alpha = "alpha should be at least 0 and finite, got -1";
    expect(of_new(LocalResponseNormConfig { alpha: -1.0, ..usual }), alpha);
    let beta = "beta should be finite, got NaN";
    expect(of_new(LocalResponseNormConfig { beta: f64::NAN, ..usual }), beta);
    let k = "k should be above 0 and finite, got 0";
    expect(of_new(LocalResponseNormConfig { k: 0.0, ..usual }), k);
    let norm = LocalResponseNorm::new(usual)?;
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    let axes = "LocalResponseNorm::forward: x should be of 2 to 5 axes, got [3]";
    expect(of_input(Tensor::zeros(3, DType::F32, &CPU)?), axes);
    let dtype = "x should be f64, f32, bf16 or f16, got U8";
    expect(of_input(Tensor::zeros((2, 3), DType::U8, &CPU)?), dtype);
    Ok(())
}
