use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Gradients, LinearConfig, Parameters, Result, linear, stream};
use taper_norm::{LocalResponseNorm, LocalResponseNormConfig};

const CPU: Device = Device::Cpu;

/// Of squares that count.
const STRONG: LocalResponseNormConfig =
    LocalResponseNormConfig { size: 3, alpha: 1.0, beta: 0.75, k: 1.0 };

fn forward(config: LocalResponseNormConfig, x: &Tensor) -> Tensor {
    LocalResponseNorm::new(config).unwrap().forward(x).unwrap()
}

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
    let config = LocalResponseNormConfig {
        size: case.f64("size")? as usize,
        alpha: case.f64("alpha")?,
        beta: case.f64("beta")?,
        k: case.f64("k")?,
    };
    let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
    let y = LocalResponseNorm::new(config)?.forward(&x)?;
    let mut gradients = (&y * case.tensor("upstream", dtype)?)?.sum_all()?.backward()?;
    let gradient = gradients.remove(&x).expect("a gradient");
    for (name, found) in [("y", y), ("x gradient", gradient)] {
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, dtype)?, tolerance);
    }
    Ok(())
}

fn configs() -> impl Strategy<Value = LocalResponseNormConfig> {
    let beta = prop_oneof![Just(0.75), Just(0.5), Just(1.0), 0.0..2.0];
    (1usize..9, 0.0..5.0, beta, 0.5..3.0)
        .prop_map(|(size, alpha, beta, k)| LocalResponseNormConfig { size, alpha, beta, k })
}

fn images() -> impl Strategy<Value = Tensor> {
    (1usize..3, 1usize..8, 1usize..20).prop_flat_map(|(n, c, p)| {
        prop::collection::vec(-3.0..3.0, n * c * p)
            .prop_map(move |values| Tensor::from_vec(values, (n, c, p), &CPU).unwrap())
    })
}

proptest! {
    #[test]
    fn a_sign_passes_through(x in images(), config in configs()) {
        let mirrored = forward(config, &x.neg().unwrap()).neg().unwrap();
        assert_close(&mirrored, &forward(config, &x), 0.0);
    }

    #[test]
    fn a_scale_in_x_is_one_in_k(x in images(), config in configs(), scale in 0.2..5.0f64) {
        // (s x) (k s² + s² Σ)^−β = s^(1 − 2β) x (k + Σ)^−β.
        let scaled = LocalResponseNormConfig { k: config.k * scale.powi(2), ..config };
        let expected = (forward(config, &x) * scale.powf(1.0 - 2.0 * config.beta)).unwrap();
        assert_close(&forward(scaled, &(x * scale).unwrap()), &expected, 1e-12);
    }

    #[test]
    fn without_alpha_it_is_a_factor(x in images(), config in configs()) {
        let config = LocalResponseNormConfig { alpha: 0.0, ..config };
        let expected = (&x * config.k.powf(-config.beta)).unwrap();
        assert_close(&forward(config, &x), &expected, 1e-14);
    }

    #[test]
    fn a_place_does_not_see_the_others(x in images(), config in configs()) {
        let alone = forward(config, &x.narrow(2, 0, 1).unwrap());
        assert_close(&forward(config, &x).narrow(2, 0, 1).unwrap(), &alone, 0.0);
        let alone = forward(config, &x.narrow(0, 0, 1).unwrap());
        assert_close(&forward(config, &x).narrow(0, 0, 1).unwrap(), &alone, 0.0);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    for (at, shape) in [vec![2, 6], vec![2, 5, 3], vec![1, 4, 2, 3]].into_iter().enumerate() {
        let x = stream(2, "x").normal(0.5, 1.5, &shape[..], DType::F64, &CPU)?;
        for (size, beta) in [(1, 0.75), (2, 0.75), (5, 0.75), (3, 0.5), (4, 1.0), (3, 0.3)] {
            let config = LocalResponseNormConfig { size, beta, alpha: 0.5 + at as f64, k: 1.5 };
            let norm = LocalResponseNorm::new(config)?;
            gradcheck(|x| Ok(norm.forward(&x[0])?), std::slice::from_ref(&x), 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_reach_what_is_before_the_layer_contiguous_or_not() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let vb = parameters.builder(DType::F64, &CPU);
    let before = linear(4, 6, LinearConfig::default(), vb)?;
    let norm = LocalResponseNorm::new(STRONG)?;
    let x = stream(3, "x").normal(0.0, 1.0, (8, 4), DType::F64, &CPU)?;
    let view = before.forward(&x)?.reshape((8, 3, 2))?.transpose(1, 2)?;
    assert_close(&norm.forward(&view)?, &norm.forward(&view.contiguous()?)?, 0.0);
    for input in [view.contiguous()?, view] {
        let loss = norm.forward(&input)?.sin()?.sum_all()?;
        gradients_reach(&loss, &parameters.trainable(), &[])?;
    }
    Ok(())
}

#[test]
fn a_graph_can_be_gone_back_twice_and_in_place() -> Result<()> {
    let norm = LocalResponseNorm::new(STRONG)?;
    let x = Var::from_tensor(&stream(3, "x").normal(0.0, 1.0, (2, 5, 4), DType::F32, &CPU)?)?;
    let loss = norm.forward(&x)?.sin()?.sum_all()?;
    let (first, second) = (loss.backward()?, loss.backward()?);
    let gradient = first.get(&x).expect("a gradient");
    assert_close(second.get(&x).expect("a gradient"), gradient, 0.0);
    let mut in_place = Gradients::new([&x])?;
    in_place.backward(&loss)?;
    in_place.accumulate(&loss)?;
    let twice = in_place.gradient(&x)?.expect("a gradient");
    assert_close(&twice, &(gradient * 2.0)?, 1e-6);
    Ok(())
}

#[test]
fn half_precision_has_sums_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        // The square of 300 is beyond f16.
        let x = Tensor::new(&[[[300f32], [-300.0]]], &CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let y = LocalResponseNorm::new(STRONG)?.forward(&x)?;
        assert_eq!(y.dtype(), dtype);
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        assert_eq!(gradient.dtype(), dtype);
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let expected = 300.0 / 60_001f32.powf(0.75);
        assert!((y[0] - expected).abs() < 0.01 * expected, "{y:?}");
    }
    Ok(())
}

#[test]
fn extreme_and_constant_inputs_are_finite() -> Result<()> {
    for values in [[1e15f32, -1e15, 3e14], [1e25, -1e25, 1.0], [1e-20, -1e-20, 0.0], [7.0; 3]] {
        let x = Var::from_tensor(&Tensor::new(&[values], &CPU)?.unsqueeze(2)?)?;
        let y = LocalResponseNorm::new(STRONG)?.forward(&x)?;
        let gradient = y.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let all = Tensor::cat(&[&y, &gradient], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    Ok(())
}

#[test]
fn nan_stays_in_the_windows_that_it_is_in() -> Result<()> {
    let x = Tensor::ones((1, 5, 2), DType::F64, &CPU)?;
    let bad = Tensor::new(&[[[f64::NAN, 0.0], [0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]]], &CPU)?;
    let y = forward(STRONG, &(x + bad)?).flatten_all()?.to_vec1::<f64>()?;
    let nan: Vec<usize> = (0..y.len()).filter(|at| y[*at].is_nan()).collect();
    assert_eq!(nan, [0, 2]);
    Ok(())
}

#[test]
fn nothing_is_nothing() -> Result<()> {
    let norm = LocalResponseNorm::new(LocalResponseNormConfig::default())?;
    for shape in [(0, 3, 2), (2, 0, 2), (2, 3, 0)] {
        let x = Var::zeros(shape, DType::F32, &CPU)?;
        assert_eq!(norm.forward(&x)?.dims(), x.dims());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let norm = LocalResponseNorm::new(LocalResponseNormConfig::default())?;
    let of_input = |x: Tensor| norm.forward(&x).unwrap_err().to_string();
    expect(
        of_input(Tensor::zeros(3, DType::F32, &CPU)?),
        "LocalResponseNorm::forward: x should be (N, C) with any number of further axes, got [3]",
    );
    expect(
        of_input(Tensor::zeros((1, 2, 3), DType::U8, &CPU)?),
        "x should be f64, f32, bf16 or f16, got U8",
    );
    let of_new = |config| LocalResponseNorm::new(config).unwrap_err().to_string();
    let good = LocalResponseNormConfig::default();
    expect(
        of_new(LocalResponseNormConfig { size: 0, ..good }),
        "LocalResponseNorm: size should be at least 1, got 0",
    );
    for (value, name) in [(-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let range = "should be at least 0 and finite, got";
        let alpha = LocalResponseNormConfig { alpha: value, ..good };
        expect(of_new(alpha), &format!("alpha {range} {name}"));
        let beta = LocalResponseNormConfig { beta: value, ..good };
        expect(of_new(beta), &format!("beta {range} {name}"));
        let k = LocalResponseNormConfig { k: value, ..good };
        expect(of_new(k), &format!("k should be above 0 and finite, got {name}"));
    }
    let k = LocalResponseNormConfig { k: 0.0, ..good };
    expect(of_new(k), "k should be above 0 and finite, got 0");
    Ok(())
}
