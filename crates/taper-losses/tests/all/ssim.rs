use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens};
use taper_core::{Result, stream};
use taper_losses::{LossOptions, Reduction, SsimOptions, ssim};

use crate::contract::{Subject, beside};
use crate::golden;

const CPU: Device = Device::Cpu;

fn images(name: &str, shape: (usize, usize, usize, usize)) -> Tensor {
    stream(1, name).uniform(0.0, 1.0, shape, DType::F64, &CPU).unwrap()
}

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |per_channel: bool| {
        let target = images("target", (3, 2, 4, 5));
        Subject {
            name: "ssim",
            argument: "input",
            input: images("input", (3, 2, 4, 5)),
            axes: if per_channel { 2 } else { 1 },
            by_row: true,
            // 1e4 is far outside of the range of pixels.
            unbounded: false,
            loss: Box::new(move |x, options| {
                let loss = options.clone();
                let options =
                    SsimOptions { window_size: 3, per_channel, loss, ..Default::default() };
                ssim(x, &beside(&target, x)?, &options)
            }),
        }
    };
    vec![of(false), of(true)]
}

#[test]
fn agrees_with_pytorch_msssim() -> Result<()> {
    for case in goldens(include_str!("../golden/ssim.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let options = SsimOptions {
                data_range: case.f64("data_range")?,
                window_size: case.u64("window_size")? as usize,
                sigma: case.f64("sigma")?,
                k1: case.f64("k1")?,
                k2: case.f64("k2")?,
                per_channel: case.bool("per_channel")?,
                loss: golden::options(&case, dtype)?,
            };
            ssim(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn is_symmetric_bounded_and_nothing_for_the_same(
        seed in 0u64..1000,
        scale in 0.1..300.0,
        window_size in 1usize..5,
    ) {
        let image = |name: &str| {
            stream(seed, name).uniform(0.0, 1.0, (2, 2, 5, 4), DType::F64, &CPU).unwrap()
        };
        let (x, y) = (image("x"), image("y"));
        let of = |x: &Tensor, y: &Tensor, data_range: f64| {
            let options = SsimOptions { data_range, window_size, ..Default::default() };
            ssim(x, y, &options).unwrap()
        };
        assert_close(&of(&x, &y, 1.0), &of(&y, &x, 1.0), 1e-11);
        let [wide, wider] = [&x, &y].map(|x| x.affine(scale, 0.0).unwrap());
        assert_close(&of(&wide, &wider, scale), &of(&x, &y, 1.0), 1e-10);
        let turned = |x: &Tensor| x.transpose(2, 3).unwrap();
        assert_close(&of(&turned(&x), &turned(&y), 1.0), &of(&x, &y, 1.0), 1e-11);
        let value = of(&x, &y, 1.0).to_scalar::<f64>().unwrap();
        prop_assert!((0.0..=2.0).contains(&value), "{value}");
        prop_assert!(of(&x, &x, 1.0).to_scalar::<f64>().unwrap().abs() < 1e-13);
    }
}

#[test]
fn the_image_is_the_mean_of_its_channels() -> Result<()> {
    let (x, y) = (images("x", (3, 2, 5, 5)), images("y", (3, 2, 5, 5)));
    let of = |per_channel| {
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        ssim(&x, &y, &SsimOptions { window_size: 3, per_channel, loss, ..Default::default() })
    };
    assert_close(&of(false)?, &of(true)?.mean(1)?, 1e-14);
    Ok(())
}

#[test]
fn the_same_plain_images_have_a_finite_gradient_and_bright_ones_keep_their_precision() -> Result<()>
{
    for dtype in [DType::F64, DType::F32] {
        let x = Var::zeros((1, 1, 12, 12), dtype, &CPU)?;
        let loss = ssim(&x, &x, &SsimOptions::default())?;
        let gradient = loss.backward()?.remove(&x).expect("a gradient").to_dtype(DType::F64)?;
        assert_close(&gradient, &gradient.zeros_like()?, 1e-6);
    }
    // A weak structure on a bright ground.
    let (x, y) = (images("x", (1, 1, 12, 12)), images("y", (1, 1, 12, 12)));
    let bright = |x: &Tensor, dtype| {
        let x = ((x * 0.5)? + 1000.0)?.to_dtype(DType::F32)?.to_dtype(dtype)?;
        Ok::<_, taper_core::Error>(x)
    };
    let of = |dtype| ssim(&bright(&x, dtype)?, &bright(&y, dtype)?, &SsimOptions::default());
    assert_close(&of(DType::F32)?.to_dtype(DType::F64)?, &of(DType::F64)?, 1e-4);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let message = |shape: &[usize], options: &SsimOptions| {
        let x = Tensor::zeros(shape, DType::F32, &CPU).unwrap();
        ssim(&x, &x, options).unwrap_err().to_string()
    };
    for shape in [&[11, 11][..], &[1, 0, 11, 11], &[1, 1, 10, 11], &[1, 1, 11, 10]] {
        let expected = format!(
            "ssim: input should be (N, C, H, W) with at least one channel and H and W at least the \
             window's 11, got {shape:?}"
        );
        assert_eq!(message(shape, &SsimOptions::default()), expected);
    }
    let shape = [1, 1, 11, 11];
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for (name, options) in [
            ("data_range", SsimOptions { data_range: wrong, ..Default::default() }),
            ("sigma", SsimOptions { sigma: wrong, ..Default::default() }),
            ("k1", SsimOptions { k1: wrong, ..Default::default() }),
            ("k2", SsimOptions { k2: wrong, ..Default::default() }),
        ] {
            let expected = format!("ssim: {name} should be above 0 and finite, got {wrong}");
            assert_eq!(message(&shape, &options), expected);
        }
    }
    let options = SsimOptions { window_size: 0, ..Default::default() };
    assert_eq!(message(&shape, &options), "ssim: window_size should be at least 1, got 0");
    Ok(())
}
