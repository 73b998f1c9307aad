use candle_core::{DType, Device, Tensor};
use taper_core::{Result, stream};
use taper_data::mixup;

const CPU: &Device = &Device::Cpu;

/// Five images, (5, 1, 2), and labels of four classes.
fn batch() -> Result<(Tensor, Tensor)> {
    let images = Tensor::new(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0], CPU)?;
    Ok((images.reshape((5, 1, 2))?, Tensor::new(&[0u32, 1, 2, 3, 0], CPU)?))
}

#[test]
fn images_and_targets_are_mixed_by_the_streams_draws() -> Result<()> {
    let (images, labels) = batch()?;
    for seed in 0..20 {
        let (mixed, targets) = mixup(&images, &labels, 4, 0.4, &mut stream(seed, "mixup"))?;
        assert_eq!((mixed.dims(), targets.dims()), (&[5, 1, 2][..], &[5, 4][..]));
        // The stream's next draws: the share, then the order.
        let mut draws = stream(seed, "mixup");
        let lambda = draws.beta(0.4, 0.4)?;
        let mut partners = [0, 1, 2, 3, 4];
        draws.shuffle(&mut partners);
        let labels = labels.to_vec1::<u32>()?;
        let mixed = mixed.squeeze(1)?.to_vec2::<f64>()?;
        let targets = targets.to_vec2::<f64>()?;
        for (at, partner) in partners.into_iter().enumerate() {
            let expected = lambda * (at as f64 + 1.0) + (1.0 - lambda) * (partner as f64 + 1.0);
            assert!((mixed[at][0] - expected).abs() < 1e-12);
            assert!((mixed[at][1] - 10.0 * expected).abs() < 1e-11);
            let mut target = [0.0; 4];
            target[labels[at] as usize] = lambda;
            target[labels[partner] as usize] += 1.0 - lambda;
            assert_eq!(targets[at], target);
            assert!((targets[at].iter().sum::<f64>() - 1.0).abs() < 1e-15);
        }
    }
    Ok(())
}

#[test]
fn an_alpha_of_zero_mixes_nothing() -> Result<()> {
    let (images, labels) = batch()?;
    let (mixed, targets) = mixup(&images, &labels, 4, 0.0, &mut stream(1, "mixup"))?;
    assert_eq!(mixed.flatten_all()?.to_vec1::<f64>()?, images.flatten_all()?.to_vec1::<f64>()?);
    let ones =
        [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.], [1., 0., 0., 0.]];
    assert_eq!(targets.to_vec2::<f64>()?, ones);
    Ok(())
}

#[test]
fn the_dtype_stays_and_a_view_is_read_as_it_is() -> Result<()> {
    let (images, labels) = batch()?;
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (mixed, targets) =
            mixup(&images.to_dtype(dtype)?, &labels, 4, 1.0, &mut stream(1, "mixup"))?;
        assert_eq!((mixed.dtype(), targets.dtype()), (dtype, dtype));
    }
    let view = images.transpose(1, 2)?;
    let (mixed, _) = mixup(&view, &labels, 4, 1.0, &mut stream(1, "mixup"))?;
    let (expected, _) = mixup(&images, &labels, 4, 1.0, &mut stream(1, "mixup"))?;
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
    assert_eq!(values(&mixed)?, values(&expected)?);
    Ok(())
}

#[test]
fn refusals_say_what_is_wrong() -> Result<()> {
    let (images, labels) = batch()?;
    let error = |images: &Tensor, labels: &Tensor, classes, alpha| {
        mixup(images, labels, classes, alpha, &mut stream(1, "mixup")).unwrap_err().to_string()
    };
    for (message, expected) in [
        (
            error(&images.to_dtype(DType::U8)?, &labels, 4, 1.0),
            "images should be floating-point, got U8",
        ),
        (
            error(&images.narrow(0, 0, 0)?, &labels, 4, 1.0),
            "images should be at least one, got shape [0, 1, 2]",
        ),
        (
            error(&images, &labels.narrow(0, 0, 4)?, 4, 1.0),
            "labels should be u32 of shape [5], got U32 of shape [4]",
        ),
        (
            error(&images, &labels.to_dtype(DType::I64)?, 4, 1.0),
            "labels should be u32 of shape [5], got I64 of shape [5]",
        ),
        (error(&images, &labels, 3, 1.0), "labels should be below 3, got 3"),
        (error(&images, &labels, 4, -0.5), "alpha should be 0 or from 1e-300 to 1e300, got -0.5"),
        (
            error(&images, &labels, 4, f64::NAN),
            "alpha should be 0 or from 1e-300 to 1e300, got NaN",
        ),
    ] {
        assert_eq!(message, format!("mixup: {expected}"));
    }
    Ok(())
}
