//! Upsampling: PyTorch's values and gradients, gradients by finite differences, extremes, errors.

use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_core::{Result, Upsample2d, UpsampleMode, UpsampleTo, stream};

use crate::images_agree;

const CPU: &Device = &Device::Cpu;
const MODES: [UpsampleMode; 3] = [
    UpsampleMode::Nearest,
    UpsampleMode::Bilinear { align_corners: false },
    UpsampleMode::Bilinear { align_corners: true },
];

fn layer(case: &Case) -> Result<Upsample2d> {
    let to = if case.has("size") {
        let size = case.f64s("size")?;
        UpsampleTo::Size((size[0] as usize, size[1] as usize).into())
    } else {
        let scale = case.f64s("scale_factor")?;
        UpsampleTo::Scale(scale[0], scale[1])
    };
    let mode = match case.text("mode")? {
        "nearest" => UpsampleMode::Nearest,
        _ => UpsampleMode::Bilinear { align_corners: case.bool("align_corners")? },
    };
    Upsample2d::new(to, mode)
}

#[test]
fn upsampling_agrees_with_pytorch() -> Result<()> {
    // PyTorch finds places in f32 for an f32 image; the goldens are of f64.
    let goldens = goldens(include_str!("../golden/upsample2d.json"))?;
    images_agree(goldens, [(DType::F64, 1e-13), (DType::F32, 1e-6)], |case, x| {
        Ok(layer(case)?.forward(x)?)
    })
}

#[test]
fn upsampling_has_right_gradients() -> Result<()> {
    let x = stream(1, "x").normal(0.0, 1.0, (2, 2, 3, 4), DType::F64, CPU)?;
    for mode in MODES {
        for to in [UpsampleTo::Scale(2.0, 3.0), UpsampleTo::Size((7, 3).into())] {
            let layer = Upsample2d::new(to, mode)?;
            gradcheck(|x| Ok(layer.forward(&x[0])?), std::slice::from_ref(&x), 1e-7)?;
        }
    }
    Ok(())
}

#[test]
fn upsampling_takes_half_precision() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let x = stream(1, "x").normal(0.0, 1.0, (2, 4, 5), DType::F32, CPU)?.to_dtype(dtype)?;
        let wide = x.to_dtype(DType::F32)?;
        let x = Var::from_tensor(&x)?;
        for mode in MODES {
            let layer = Upsample2d::new(UpsampleTo::Scale(2.0, 1.5), mode)?;
            let y = layer.forward(&x)?;
            assert_close(&y, &layer.forward(&wide)?.to_dtype(dtype)?, 0.0);
            assert_eq!(y.backward()?.get(&x).unwrap().dtype(), dtype);
        }
    }
    Ok(())
}

#[test]
fn upsampling_lets_nan_and_infinity_through() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY] {
        let x = Tensor::new(&[[[bad, 1.0], [2.0, 3.0]]], CPU)?;
        for mode in MODES {
            let y = Upsample2d::new(UpsampleTo::Scale(2.0, 2.0), mode)?.forward(&x)?;
            let y = y.flatten_all()?.to_vec1::<f32>()?;
            assert!(y[0].is_nan() == bad.is_nan() && !y[0].is_finite(), "{mode:?} {y:?}");
            assert_eq!(y[15], 3.0);
        }
    }
    Ok(())
}

#[test]
fn upsampling_does_not_depend_on_the_threads() -> Result<()> {
    let x =
        Var::from_tensor(&stream(1, "x").normal(0.0, 1.0, (16, 8, 16, 17), DType::F32, CPU)?)?;
    let run = |layer: &Upsample2d| -> Result<[Vec<f32>; 2]> {
        let y = layer.forward(&x)?;
        let gradients = y.sqr()?.sum_all()?.backward()?;
        let gradient = gradients.get(&x).unwrap().flatten_all()?.to_vec1()?;
        Ok([y.flatten_all()?.to_vec1()?, gradient])
    };
    for mode in MODES {
        let layer = Upsample2d::new(UpsampleTo::Scale(2.0, 2.0), mode)?;
        let alone = taper_kernels::threads::limit(1, || run(&layer))?;
        assert!(alone == run(&layer)?);
    }
    Ok(())
}

#[test]
fn upsampling_names_what_does_not_fit() -> Result<()> {
    let message = |to| Upsample2d::new(to, UpsampleMode::Nearest).unwrap_err().to_string();
    assert!(message(UpsampleTo::Size((0, 3).into())).contains("to should be at least 1"));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(message(UpsampleTo::Scale(1.0, scale)).contains("finite scale above 0"));
    }
    let layer = Upsample2d::new(UpsampleTo::Scale(0.5, 2.0), UpsampleMode::Nearest)?;
    let message = |shape: &[usize], dtype| {
        layer.forward(&Tensor::zeros(shape, dtype, CPU).unwrap()).unwrap_err().to_string()
    };
    assert!(message(&[4, 4], DType::F32).contains("(channels, height, width)"));
    assert!(message(&[0, 1, 4, 4], DType::F32).contains("without a dimension of 0"));
    assert!(message(&[1, 4, 4], DType::U8).contains("floating-point, got U8"));
    assert!(message(&[1, 1, 4], DType::F32).contains("becomes (0, 8)"));
    Ok(())
}

#[test]
fn modes_are_written_by_name() {
    let parse = |text: &str| serde_json::from_str::<UpsampleMode>(text);
    assert_eq!(parse(r#""nearest""#).unwrap(), UpsampleMode::Nearest);
    let bilinear = r#"{"bilinear":{"align_corners":true}}"#;
    assert_eq!(parse(bilinear).unwrap(), UpsampleMode::Bilinear { align_corners: true });
    assert!(parse(r#""bicubic""#).is_err());
}

proptest! {
    /// Bilinear resampling keeps planes a + b h + c w where no place is outside, also of a view.
    #[test]
    fn aligned_corners_keep_a_plane(
        (height, width) in (2usize..9, 2usize..40),
        (out_height, out_width) in (2usize..20, 2usize..70),
        (a, b, c) in (-1.0..1.0, -1.0..1.0, -1.0..1.0),
    ) {
        let plane = |height: usize, width: usize, step: (f64, f64)| -> Tensor {
            let pixel = |at: usize| {
                a + b * (at % height) as f64 * step.0 + c * (at / height) as f64 * step.1
            };
            let pixels = (0..height * width).map(pixel).collect();
            Tensor::from_vec(pixels, (1, width, height), CPU).unwrap().transpose(1, 2).unwrap()
        };
        let steps = |inputs: usize, outputs: usize| (inputs - 1) as f64 / (outputs - 1) as f64;
        let mode = UpsampleMode::Bilinear { align_corners: true };
        let layer = Upsample2d::new(UpsampleTo::Size((out_height, out_width).into()), mode).unwrap();
        let y = layer.forward(&plane(height, width, (1.0, 1.0))).unwrap();
        let expected = plane(out_height, out_width, (steps(height, out_height), steps(width, out_width)));
        let apart = (y - expected).unwrap().abs().unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        prop_assert!(apart.iter().all(|apart| *apart < 1e-12));
    }
}
