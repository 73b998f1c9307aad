//! Clipping against PyTorch, and at norms that are not finite.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use taper_core::testing::{assert_close, goldens};
use taper_core::{GradientStore, Gradients, Result, clip_grad_norm, clip_grad_value, stream};

fn with_gradients(gradients: &[(&str, &Tensor)]) -> Result<(GradStore, Vec<(String, Var)>)> {
    let mut store = GradStore::default();
    let mut parameters = Vec::new();
    for (name, gradient) in gradients {
        let var = Var::zeros(gradient.shape(), gradient.dtype(), gradient.device())?;
        store.insert(&var, (*gradient).clone());
        parameters.push(((*name).to_owned(), var));
    }
    Ok((store, parameters))
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/clip.json"))? {
        let (a, b) = (case.tensor("a", DType::F64)?, case.tensor("b", DType::F64)?);
        let (mut gradients, mut parameters) = with_gradients(&[("a", &a), ("b", &b)])?;
        // A parameter without a gradient is left out.
        parameters.push(("none".to_owned(), Var::zeros(2, DType::F64, &Device::Cpu)?));
        let limit = case.f64("limit")?;
        if case.text("kind")? == "norm" {
            let norm = clip_grad_norm(&mut gradients, &parameters, limit, true)?;
            assert!((norm / case.f64("norm")? - 1.0).abs() < 1e-14);
        } else {
            clip_grad_value(&mut gradients, &parameters, limit)?;
        }
        for (key, (_, var)) in ["a_clipped", "b_clipped"].iter().zip(&parameters) {
            assert_close(gradients.get(var).unwrap(), &case.tensor(key, DType::F64)?, 1e-13);
        }
        assert!(gradients.get(&parameters[2].1).is_none());
    }
    Ok(())
}

#[test]
fn a_norm_beyond_f32_is_still_a_number() -> Result<()> {
    let huge = Tensor::new(&[3e30f32, -4e30], &Device::Cpu)?;
    let (mut gradients, parameters) = with_gradients(&[("huge", &huge)])?;
    let norm = clip_grad_norm(&mut gradients, &parameters, 1.0, true)?;
    assert!((norm / 5e30 - 1.0).abs() < 1e-6);
    let expected = Tensor::new(&[0.6f32, -0.8], &Device::Cpu)?;
    assert_close(gradients.get(&parameters[0].1).unwrap(), &expected, 1e-6);
    Ok(())
}

#[test]
fn a_norm_that_is_not_finite() -> Result<()> {
    for bad in [f64::NAN, f64::INFINITY] {
        let gradient = Tensor::new(&[1.0, bad], &Device::Cpu)?;
        let (mut gradients, parameters) = with_gradients(&[("bad", &gradient)])?;
        let error = clip_grad_norm(&mut gradients, &parameters, 1.0, true).unwrap_err();
        assert!(error.to_string().contains("finite norm"), "{error}");
        assert_close(gradients.get(&parameters[0].1).unwrap(), &gradient, 0.0);

        // As PyTorch: 1 / inf = 0 and 0 * inf = NaN; NaN spreads.
        clip_grad_norm(&mut gradients, &parameters, 1.0, false)?;
        let clipped = gradients.get(&parameters[0].1).unwrap().to_vec1::<f64>()?;
        assert!(clipped[1].is_nan());
        assert!(if bad.is_nan() { clipped[0].is_nan() } else { clipped[0] == 0.0 });
    }
    Ok(())
}

#[test]
fn clipping_by_value_keeps_nan_and_bounds_infinity() -> Result<()> {
    let gradient = Tensor::new(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], &Device::Cpu)?;
    let (mut gradients, parameters) = with_gradients(&[("bad", &gradient)])?;
    clip_grad_value(&mut gradients, &parameters, 2.0)?;
    let clipped = gradients.get(&parameters[0].1).unwrap().to_vec1::<f64>()?;
    assert!(clipped[0].is_nan() && clipped[1..] == [2.0, -2.0], "{clipped:?}");
    Ok(())
}

#[test]
fn limits_below_zero_are_refused() -> Result<()> {
    let (mut gradients, parameters) = with_gradients(&[])?;
    for limit in [-1.0, f64::NAN] {
        let error = clip_grad_norm(&mut gradients, &parameters, limit, true).unwrap_err();
        assert!(error.to_string().contains("max_norm should be at least 0"), "{error}");
        let error = clip_grad_value(&mut gradients, &parameters, limit).unwrap_err();
        assert!(error.to_string().contains("clip_value should be at least 0"), "{error}");
    }
    Ok(())
}

#[test]
fn both_stores_are_clipped_alike() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14), (DType::BF16, 0.0)] {
        // One of them is large enough for several threads.
        let mut noise = stream(1, "clip");
        let mut noise = |shape: &[usize]| noise.normal(0.0, 1.0, shape, dtype, &Device::Cpu);
        let (a, b) = (noise(&[300, 201])?, noise(&[7])?);
        for (by_norm, limit) in [(true, 3.0), (true, 1e9), (false, 0.5)] {
            let (mut plain, mut parameters) = with_gradients(&[("a", &a), ("b", &b)])?;
            parameters.push(("none".to_owned(), Var::zeros(2, dtype, &Device::Cpu)?));
            let mut gradients = Gradients::new(parameters.iter().map(|(_, var)| var))?;
            gradients.set(&parameters[0].1, &a)?;
            gradients.set(&parameters[1].1, &b)?;
            if by_norm {
                let norm = clip_grad_norm(&mut plain, &parameters, limit, true)?;
                let squares =
                    [&a, &b].map(|x| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>());
                let expected = squares.into_iter().sum::<candle_core::Result<f64>>()?.sqrt();
                assert!((norm / expected - 1.0).abs() < 1e-12);
                assert_eq!(clip_grad_norm(&mut gradients, &parameters, limit, true)?, norm);
            } else {
                clip_grad_value(&mut plain, &parameters, limit)?;
                clip_grad_value(&mut gradients, &parameters, limit)?;
            }
            for (_, var) in &parameters[..2] {
                let found = gradients.gradient(var)?.unwrap();
                assert_close(&found, plain.get(var).unwrap(), tolerance);
            }
            assert!(gradients.gradient(&parameters[2].1)?.is_none());
            parameters.push(("unknown".to_owned(), Var::zeros(2, dtype, &Device::Cpu)?));
            assert!(clip_grad_norm(&mut gradients, &parameters, limit, true).is_err());
            assert!(clip_grad_value(&mut gradients, &parameters, limit).is_err());
        }
    }
    Ok(())
}
