//! add, scale and concat: gradients by finite differences, half precision, threads, extremes, errors.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::op::{Field, Work, record};
use taper_core::testing::{assert_close, gradcheck};
use taper_core::{Activation, Result, add, concat, scale, stream};

const CPU: &Device = &Device::Cpu;

fn normal(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    stream(3, name).normal(0.0, 1.0, shape, dtype, CPU).unwrap()
}

/// Each of the operations on x (6, 4, 5, 3), and on another tensor.
fn all(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (n, c) = (x[0].dim(0)?, x[0].dim(1)?);
    let gate = |n, c| x[1].flatten_all()?.narrow(0, 0, n * c)?.reshape((n, c, 1, 1));
    Ok(vec![
        add(&x[0], &x[1], Activation::Identity)?,
        add(&x[0], &x[1], Activation::Softplus)?,
        add(&x[0], &x[1], Activation::Silu)?,
        scale(&x[0], &gate(1, 1)?)?,
        scale(&x[0], &gate(1, c)?)?,
        scale(&x[0], &x[1].flatten_all()?.narrow(0, 0, c)?)?,
        scale(&x[0], &gate(n, 1)?)?,
        scale(&x[0], &gate(n, c)?)?,
        concat(&[&x[0], &x[1], &x[0], &x[1], &x[1]], 1)?,
        concat(&[&x[0], &x[1]], 3)?,
    ])
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let x = ["x", "y"].map(|name| normal(name, &[2, 3, 2, 4], DType::F64));
    for at in 0..all(&x)?.len() {
        gradcheck(|x| Ok(all(x)?.swap_remove(at)), &x, 1e-6)?;
    }
    Ok(())
}

#[test]
fn half_precision_is_computed_in_f32() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let x = ["x", "y"].map(|name| {
            let x = normal(name, &[2, 3, 4, 4], DType::F32).to_dtype(dtype).unwrap();
            Var::from_tensor(&x).unwrap()
        });
        let narrow = x.each_ref().map(|var| var.as_tensor().clone());
        let wide = narrow.each_ref().map(|it| it.to_dtype(DType::F32).unwrap());
        for (ours, wide) in all(&narrow)?.into_iter().zip(all(&wide)?) {
            assert_close(&ours, &wide.to_dtype(dtype)?, 0.0);
            let gradients = ours.backward()?;
            for var in &x {
                let gradient = gradients.get(var).unwrap();
                assert_eq!(gradient.dtype(), dtype);
                assert!(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()? > 0.0);
            }
        }
    }
    Ok(())
}

#[test]
fn the_threads_do_not_matter() -> Result<()> {
    let x = ["x", "y"]
        .map(|name| Var::from_tensor(&normal(name, &[16, 24, 32, 33], DType::F32)).unwrap());
    let run = || -> Result<Vec<Vec<f32>>> {
        let mut found = Vec::new();
        for y in all(&x.each_ref().map(|var| var.as_tensor().clone()))? {
            found.push(y.flatten_all()?.to_vec1()?);
            let gradients = y.sqr()?.sum_all()?.backward()?;
            for var in &x {
                found.push(gradients.get(var).unwrap().flatten_all()?.to_vec1()?);
            }
        }
        Ok(found)
    };
    assert!(taper_kernels::threads::limit(1, run)? == run()?);
    Ok(())
}

#[test]
fn nan_and_infinity_go_through() -> Result<()> {
    let x = Tensor::new(&[[f32::NAN, 1.0, f32::INFINITY]], CPU)?;
    let y = add(&x, &x.neg()?, Activation::Relu)?.to_vec2::<f32>()?;
    assert!(y[0][0].is_nan() && y[0][1] == 0.0 && y[0][2].is_nan());
    let y = scale(&x, &Tensor::new(&[[0f32]], CPU)?)?.to_vec2::<f32>()?;
    assert!(y[0][0].is_nan() && y[0][1] == 0.0 && y[0][2].is_nan());
    Ok(())
}

#[test]
fn empty_tensors_are_fine() -> Result<()> {
    let x = Tensor::zeros((0, 3, 2), DType::F32, CPU)?;
    assert_eq!(add(&x, &x, Activation::Relu)?.dims(), [0, 3, 2]);
    assert_eq!(scale(&x, &Tensor::ones((1, 3, 1), DType::F32, CPU)?)?.dims(), [0, 3, 2]);
    assert_eq!(concat(&[&x, &x], 1)?.dims(), [0, 6, 2]);
    let y = concat(&[&x, &Tensor::ones((2, 3, 2), DType::F32, CPU)?], 0)?;
    assert_eq!(y.sum_all()?.to_scalar::<f32>()?, 12.0);
    Ok(())
}

#[test]
fn each_counts_its_elements() -> Result<()> {
    let x = ["x", "y"].map(|name| normal(name, &[2, 3, 4, 5], DType::F32));
    let (_, steps) = record(|| all(&x).unwrap());
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let expected = ["add", "add", "add", "activation", "scale", "scale", "scale", "scale", "scale"];
    assert_eq!(names, [&expected[..], &["concat", "concat"]].concat());
    let of = |flops, nonlinearities| Work { flops, nonlinearities, ..Work::default() };
    let (one, two) = (of(120, 0), of(240, 1));
    let moved = Work { field: Field::Whole, ..Work::default() };
    let expected = [one, two, one, of(120, 1), one, one, one, one, one, Work::default(), moved];
    assert_eq!(steps.iter().map(|step| step.work).collect::<Vec<_>>(), expected);
    assert_eq!(steps[9].arguments.len(), 5);
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let x = Tensor::zeros((2, 3, 4), DType::F32, CPU)?;
    let of = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, CPU).unwrap();
    let (whole, double) = (of(&[2, 3, 4], DType::I64), of(&[2, 3, 4], DType::F64));

    let error = |r: &Tensor| add(&x, r, Activation::Identity).unwrap_err().to_string();
    let message = "add: residual should be F32 of shape [2, 3, 4], as x is, got";
    assert_eq!(error(&of(&[2, 3, 1], DType::F32)), format!("{message} F32 of shape [2, 3, 1]"));
    assert_eq!(error(&double), format!("{message} F64 of shape [2, 3, 4]"));
    let error = add(&whole, &whole, Activation::Relu).unwrap_err().to_string();
    assert_eq!(error, "add: x should be floating-point, got I64");

    let error = |factor: &Tensor| scale(&x, factor).unwrap_err().to_string();
    let message = "scale: factor should be F32 of shape (1 or 2, 1 or 3, 1), or (1 or 3) and fewer ones behind it, \
                   for an x of [2, 3, 4], got";
    for shape in [&[3, 3, 1][..], &[2, 2, 1], &[2, 3, 4], &[2, 3], &[2], &[1, 2, 3, 1], &[]] {
        let expected = format!("{message} F32 of shape {shape:?}");
        assert_eq!(error(&of(shape, DType::F32)), expected);
    }
    assert_eq!(error(&of(&[2, 3, 1], DType::F16)), format!("{message} F16 of shape [2, 3, 1]"));
    let error = scale(&of(&[3], DType::F32), &of(&[3], DType::F32)).unwrap_err().to_string();
    assert_eq!(error, "scale: x should be (N, C) with any further axes, got [3]");
    let error = scale(&whole, &whole).unwrap_err().to_string();
    assert_eq!(error, "scale: x should be floating-point, got I64");

    let error = |tensors: &[&Tensor], dim| concat(tensors, dim).unwrap_err().to_string();
    assert_eq!(error(&[], 0), "concat: tensors should be at least one, got 0");
    assert_eq!(error(&[&whole], 0), "concat: tensors[0] should be floating-point, got I64");
    assert_eq!(error(&[&x], 3), "concat: dim should be an axis of [2, 3, 4], got 3");
    let message = "should be F32 of shape [2, 3, 4] but for axis 1, as the first is, got";
    for other in [&double, &of(&[2, 3, 5], DType::F32), &of(&[2, 3], DType::F32)] {
        let received = format!("{:?} of shape {:?}", other.dtype(), other.dims());
        let expected = format!("concat: tensors[2] {message} {received}");
        assert_eq!(error(&[&x, &x, other], 1), expected);
    }
    Ok(())
}
