//! Pooling: PyTorch's values and gradients, gradients by finite differences, extremes, errors.

use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_core::{
    AdaptiveAvgPool2d, AvgPool2d, AvgPool2dConfig, Gradients, MaxPool2d, MaxPool2dConfig, Result,
    Size2d, stream,
};

use crate::images_agree;

const CPU: &Device = &Device::Cpu;

fn size(case: &Case, key: &str) -> Result<Size2d> {
    let numbers = case.f64s(key)?;
    Ok((numbers[0] as usize, numbers[1] as usize).into())
}

fn layer(case: &Case) -> Result<Box<dyn Module>> {
    Ok(match case.text("layer")? {
        "max" => {
            let config = MaxPool2dConfig {
                stride: Some(size(case, "stride")?),
                padding: size(case, "padding")?,
                dilation: size(case, "dilation")?,
                ceil_mode: case.bool("ceil_mode")?,
            };
            Box::new(MaxPool2d::new(size(case, "kernel_size")?, config)?)
        }
        "avg" => {
            let divisor = case.has("divisor_override").then(|| case.u64("divisor_override"));
            let config = AvgPool2dConfig {
                stride: Some(size(case, "stride")?),
                padding: size(case, "padding")?,
                ceil_mode: case.bool("ceil_mode")?,
                count_include_pad: case.bool("count_include_pad")?,
                divisor_override: divisor.transpose()?.map(|divisor| divisor as usize),
            };
            Box::new(AvgPool2d::new(size(case, "kernel_size")?, config)?)
        }
        _ => Box::new(AdaptiveAvgPool2d::new(size(case, "output_size")?)?),
    })
}

/// One of each kind, whose windows overlap.
fn layers() -> [Box<dyn Module>; 3] {
    let (stride, padding) = (Some((2, 1).into()), 1.into());
    let max = MaxPool2dConfig { stride, padding, ..Default::default() };
    let avg = AvgPool2dConfig { stride, padding, ceil_mode: true, ..Default::default() };
    [
        Box::new(MaxPool2d::new(3, max).unwrap()),
        Box::new(AvgPool2d::new(3, avg).unwrap()),
        Box::new(AdaptiveAvgPool2d::new((2, 3)).unwrap()),
    ]
}

#[test]
fn pooling_agrees_with_pytorch() -> Result<()> {
    let goldens = goldens(include_str!("../golden/pooling.json"))?;
    images_agree(goldens, [(DType::F64, 1e-14), (DType::F32, 1e-6)], |case, x| {
        Ok(layer(case)?.forward(x)?)
    })
}

#[test]
fn pooling_has_right_gradients() -> Result<()> {
    // All different, so that no step makes another element the largest.
    let numbers: Vec<f64> = (0..84).map(|at| f64::from(at * 31 % 84)).collect();
    let x = Tensor::from_vec(numbers, (2, 2, 3, 7), CPU)?;
    for layer in layers() {
        gradcheck(|x| Ok(layer.forward(&x[0])?), std::slice::from_ref(&x), 1e-7)?;
    }
    Ok(())
}

#[test]
fn pooling_takes_half_precision() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let x = stream(1, "x").normal(0.0, 1.0, (2, 4, 5), DType::F32, CPU)?.to_dtype(dtype)?;
        let wide = x.to_dtype(DType::F32)?;
        let x = Var::from_tensor(&x)?;
        for layer in layers() {
            let y = layer.forward(&x)?;
            assert_close(&y, &layer.forward(&wide)?.to_dtype(dtype)?, 0.0);
            let gradients = y.backward()?;
            assert_eq!(gradients.get(&x).unwrap().dtype(), dtype);
        }
    }
    Ok(())
}

#[test]
fn pooling_lets_nan_and_infinity_through() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY] {
        let x = Tensor::new(&[[[bad, 1.0], [2.0, 3.0]]], CPU)?;
        for layer in layers() {
            let y = layer.forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
            assert!(y[0].is_nan() == bad.is_nan() && !y[0].is_finite(), "{y:?}");
        }
    }
    Ok(())
}

#[test]
fn pooling_adds_up_in_the_gradients_of_a_parameter() -> Result<()> {
    let noise = stream(1, "x").normal(0.0, 1.0, (2, 5, 6), DType::F64, CPU)?;
    let x = Var::from_tensor(&noise)?;
    for layer in layers() {
        // Twice in one graph, and the graph twice.
        let loss = (layer.forward(&x)?.sum_all()? + layer.forward(&x)?.sqr()?.sum_all()?)?;
        let expected = loss.backward()?;
        let expected = expected.get(&x).unwrap();
        let mut gradients = Gradients::new([&x])?;
        gradients.backward(&loss)?;
        assert_close(&gradients.gradient(&x)?.unwrap(), expected, 1e-14);
        gradients.accumulate(&loss)?;
        assert_close(&gradients.gradient(&x)?.unwrap(), &(expected * 2.0)?, 1e-14);
    }
    Ok(())
}

#[test]
fn pooling_does_not_depend_on_the_threads() -> Result<()> {
    let x = stream(1, "x").normal(0.0, 1.0, (16, 8, 32, 33), DType::F32, CPU)?;
    let x = Var::from_tensor(&x)?;
    let run = |layer: &dyn Module| -> Result<[Vec<f32>; 2]> {
        let y = layer.forward(&x)?;
        let gradients = y.sqr()?.sum_all()?.backward()?;
        let gradient = gradients.get(&x).unwrap().flatten_all()?.to_vec1()?;
        Ok([y.flatten_all()?.to_vec1()?, gradient])
    };
    for layer in layers() {
        let alone = taper_kernels::threads::limit(1, || run(&*layer))?;
        assert!(alone == run(&*layer)?);
    }
    Ok(())
}

#[test]
fn pooling_names_what_does_not_fit() -> Result<()> {
    let max = |kernel: usize, config| MaxPool2d::new(kernel, config).unwrap_err().to_string();
    let avg = |kernel: usize, config| AvgPool2d::new(kernel, config).unwrap_err().to_string();
    let (config, average) = (MaxPool2dConfig::default(), AvgPool2dConfig::default());
    assert!(max(0, config).contains("kernel_size should be at least 1"));
    assert!(avg(0, average).contains("kernel_size should be at least 1"));
    let still = Some((1, 0).into());
    assert!(max(2, MaxPool2dConfig { stride: still, ..config }).contains("stride should be"));
    assert!(avg(2, AvgPool2dConfig { stride: still, ..average }).contains("stride should be"));
    assert!(
        max(2, MaxPool2dConfig { dilation: 0.into(), ..config }).contains("dilation should be")
    );
    let wide = (1, 2).into();
    assert!(
        max(3, MaxPool2dConfig { padding: wide, ..config }).contains("half of the kernel size")
    );
    assert!(
        avg(3, AvgPool2dConfig { padding: wide, ..average }).contains("half of the kernel size")
    );
    assert!(avg(3, AvgPool2dConfig { divisor_override: Some(0), ..average }).contains("divisor"));
    assert!(AdaptiveAvgPool2d::new((0, 1)).unwrap_err().to_string().contains("output_size"));

    for layer in layers() {
        let message = |shape: &[usize], dtype| {
            layer.forward(&Tensor::zeros(shape, dtype, CPU).unwrap()).unwrap_err().to_string()
        };
        for shape in [&[4, 4][..], &[1, 1, 1, 4, 4], &[]] {
            assert!(message(shape, DType::F32).contains("(channels, height, width)"));
        }
        for shape in [[0, 1, 4, 4], [1, 0, 4, 4], [1, 1, 0, 4], [1, 1, 4, 0]] {
            assert!(message(&shape, DType::F32).contains("without a dimension of 0"));
        }
        assert!(message(&[1, 4, 4], DType::I64).contains("floating-point, got I64"));
    }
    let small = Tensor::zeros((1, 2, 3), DType::F32, CPU)?;
    let error = MaxPool2d::new(3, config)?.forward(&small).unwrap_err().to_string();
    assert!(error.contains("holds one window of (3, 3)") && error.contains("(2, 3)"), "{error}");
    assert!(AvgPool2d::new(3, average)?.forward(&small).is_err());
    Ok(())
}

proptest! {
    /// Against windows taken one by one, of an image that lies transposed in memory.
    #[test]
    fn pooling_agrees_with_its_definition(
        (height, width) in (1usize..10, 1usize..50),
        (kernel, stride, padding) in (1usize..5, 1usize..4, 0usize..3),
        seed: u64,
    ) {
        let padding = padding.min(kernel / 2);
        prop_assume!(kernel <= height.min(width) + 2 * padding);
        let noise = stream(seed, "x").normal(0.0, 1.0, (1, width, height), DType::F64, CPU).unwrap();
        let x = noise.transpose(1, 2).unwrap();
        let pixels = x.to_vec3::<f64>().unwrap();
        let (stride2, padding2) = (Some(stride.into()), padding.into());
        let max = MaxPool2dConfig { stride: stride2, padding: padding2, ..Default::default() };
        let avg = AvgPool2dConfig { stride: stride2, padding: padding2, ..Default::default() };
        let max = MaxPool2d::new(kernel, max).unwrap().forward(&x).unwrap().to_vec3::<f64>().unwrap();
        let avg = AvgPool2d::new(kernel, avg).unwrap().forward(&x).unwrap().to_vec3::<f64>().unwrap();
        let outputs = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        prop_assert_eq!((max[0].len(), max[0][0].len()), (outputs(height), outputs(width)));
        for (i, j) in (0..outputs(height)).flat_map(|i| (0..outputs(width)).map(move |j| (i, j))) {
            let seen: Vec<f64> = (i * stride..i * stride + kernel)
                .flat_map(|h| (j * stride..j * stride + kernel).map(move |w| (h, w)))
                .filter(|(h, w)| (padding..height + padding).contains(h) && (padding..width + padding).contains(w))
                .map(|(h, w)| pixels[0][h - padding][w - padding])
                .collect();
            let most = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = seen.iter().sum::<f64>() / (kernel * kernel) as f64;
            prop_assert_eq!(max[0][i][j], most);
            prop_assert!((avg[0][i][j] - mean).abs() < 1e-14);
        }
    }
}
