//! What holds for the losses of batches of embeddings, in which rows meet each other.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::testing::{Case, assert_close, gradcheck};
use taper_core::{Result, stream};
use taper_losses::{LossOptions, Reduction};

use crate::contract::normal;

pub(crate) const CPU: Device = Device::Cpu;

/// (rows, columns) of a normal distribution.
pub(crate) fn embeddings(name: &str, rows: usize, columns: usize) -> Tensor {
    stream(7, name).normal(0.0, 1.0, (rows, columns), DType::F64, &CPU).unwrap()
}

pub(crate) fn scalar(value: &Tensor) -> f64 {
    value.to_scalar().unwrap()
}

/// First and second view of a golden case, of which the one that it calls its role is `x`.
pub(crate) fn views(case: &Case, x: &Tensor, dtype: DType) -> Result<(Tensor, Tensor)> {
    let other = case.tensor("other", dtype)?;
    Ok(if case.text("role")? == "first" { (x.clone(), other) } else { (other, x.clone()) })
}

/// `tensor` without its row 1.
pub(crate) fn without_row_1(tensor: &Tensor) -> Result<Tensor> {
    let (first, rest) = (tensor.narrow(0, 0, 1)?, tensor.narrow(0, 2, tensor.dim(0)? - 2)?);
    Ok(Tensor::cat(&[first, rest], 0)?)
}

/// `tensor` with NaN in its row 1.
fn poisoned(tensor: &Tensor) -> Result<Tensor> {
    let nan = (tensor.narrow(0, 1, 1)?.ones_like()? * f64::NAN)?;
    let rest = tensor.narrow(0, 2, tensor.dim(0)? - 2)?;
    Ok(Tensor::cat(&[tensor.narrow(0, 0, 1)?, nan, rest], 0)?)
}

/// That a mask gives the loss and the gradients of the batch without what it leaves out, even where that is NaN, and
/// that a weight of 0 does not. `loss` takes the embeddings; the second time they are `small`, without row 1.
pub(crate) fn a_mask_makes_the_batch_smaller(
    inputs: &[Tensor],
    loss: impl Fn(&[Tensor], bool, &LossOptions) -> Result<Tensor>,
) -> Result<()> {
    let rows = inputs[0].dim(0)?;
    let counts: Vec<u8> = (0..rows).map(|row| u8::from(row != 1)).collect();
    let mask = Tensor::new(counts, &CPU)?;
    let weights = mask.to_dtype(DType::F64)?;
    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::WeightedMean] {
        let plain = LossOptions { reduction, ..Default::default() };
        let masked = LossOptions { mask: Some(mask.clone()), ..plain.clone() };
        let variables = |of: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Vec<Var>> {
            inputs.iter().map(|input| Ok(Var::from_tensor(&of(input)?)?)).collect()
        };
        let large = variables(&poisoned)?;
        let small = variables(&without_row_1)?;
        let tensors = |variables: &[Var]| -> Vec<Tensor> {
            variables.iter().map(|variable| variable.as_tensor().clone()).collect()
        };
        let value = loss(&tensors(&large), false, &masked)?;
        let expected = loss(&tensors(&small), true, &plain)?;
        match reduction {
            Reduction::None => {
                assert_eq!(value.get(1)?.to_scalar::<f64>()?, 0.0);
                assert_close(&without_row_1(&value)?, &expected, 1e-13);
            }
            _ => assert_close(&value, &expected, 1e-13),
        }
        let (gradients, smaller) = (value.sum_all()?.backward()?, expected.sum_all()?.backward()?);
        for (large, small) in large.iter().zip(&small) {
            let gradient = gradients.get(large).expect("a gradient");
            let of_masked = gradient.get(1)?.to_vec1::<f64>()?;
            assert!(of_masked.iter().all(|g| *g == 0.0), "{of_masked:?}");
            let expected = smaller.get(small).expect("a gradient");
            assert_close(&without_row_1(gradient)?, expected, 1e-12);
        }
        let weighted = LossOptions { sample_weights: Some(weights.clone()), ..plain.clone() };
        let still_there = scalar(&loss(inputs, false, &weighted)?.sum_all()?);
        assert!((still_there - scalar(&expected.sum_all()?)).abs() > 1e-3);
    }
    Ok(())
}

/// That embeddings without a direction have a finite value and no gradient in any dtype.
pub(crate) fn without_a_direction_is_finite(
    inputs: &[Tensor],
    loss: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    for (length, dtype) in
        [0.0, 1e-13].into_iter().flat_map(|l| [DType::F64, DType::F32, DType::F16].map(|d| (l, d)))
    {
        let variables: Vec<Var> = inputs
            .iter()
            .map(|input| {
                let short = (input.narrow(0, 0, 1)?.ones_like()? * (length / 10.0))?;
                let rest = input.narrow(0, 1, input.dim(0)? - 1)?;
                Ok(Var::from_tensor(&Tensor::cat(&[short, rest], 0)?.to_dtype(dtype)?)?)
            })
            .collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|x| x.as_tensor().clone()).collect();
        let value = loss(&tensors)?;
        assert!(scalar(&value.to_dtype(DType::F64)?).is_finite(), "{dtype:?}");
        let gradients = value.backward()?;
        for variable in &variables {
            let gradient = gradients.get(variable).expect("a gradient").to_dtype(DType::F64)?;
            for (row, gradient) in gradient.to_vec2::<f64>()?.into_iter().enumerate() {
                assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
                assert!(row > 0 || gradient.iter().all(|g| *g == 0.0), "{gradient:?}");
            }
        }
    }
    Ok(())
}

/// That two views are checked as errors say.
pub(crate) fn views_are_checked(
    name: &str,
    loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    let first = normal("first");
    let of = |first: &Tensor, second: &Tensor| loss(first, second).unwrap_err().to_string();
    assert_eq!(
        of(&first, &first.narrow(0, 0, 4)?),
        format!("{name}: second should be of shape [5, 3], got [4, 3]")
    );
    assert_eq!(
        of(&first, &first.to_dtype(DType::F32)?),
        format!("{name}: second should be F64, as first, got F32")
    );
    for wrong in [first.get(0)?, first.unsqueeze(0)?, first.narrow(1, 0, 0)?] {
        let expected = "of shape (N, D) with at least one dimension D";
        assert_eq!(
            of(&wrong, &wrong),
            format!("{name}: first should be {expected}, got {:?}", wrong.dims())
        );
    }
    Ok(())
}

/// What holds for a loss of two views that is one number of a batch: gradients of both views in f64, the dtypes, that
/// the order of samples and of views does not matter, and what is checked.
pub(crate) fn holds_for_a_batch(
    name: &str,
    loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    let both = [normal("first"), normal("second")];
    gradcheck(|x| loss(&x[0], &x[1]), &both, 1e-6)?;
    let [first, second] = &both;
    let value = loss(first, second)?;
    assert_eq!((value.rank(), value.dtype()), (0, DType::F64));
    assert_close(&loss(second, first)?, &value, 1e-13);
    let order = Tensor::new(&[3u32, 0, 4, 2, 1], &CPU)?;
    let moved = loss(&first.index_select(&order, 0)?, &second.index_select(&order, 0)?)?;
    assert_close(&moved, &value, 1e-13);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let [first, second] =
            [first, second].map(|view| Var::from_tensor(&view.to_dtype(dtype).unwrap()).unwrap());
        let value_of = loss(&first, &second)?;
        assert_eq!(value_of.dtype(), DType::F32);
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 0.1 };
        assert_close(&value_of.to_dtype(DType::F64)?, &value, tolerance);
        let gradients = value_of.backward()?;
        for view in [&first, &second] {
            assert_eq!(gradients.get(view).expect("a gradient").dtype(), dtype);
        }
    }
    // Far away, and where nothing varies.
    for (factor, dtype) in [(1e4, DType::F32), (1e4, DType::F64), (0.0, DType::F32)] {
        let [first, second] = [first, second].map(|view| {
            Var::from_tensor(&(view * factor).unwrap().to_dtype(dtype).unwrap()).unwrap()
        });
        let value = loss(&first, &second)?;
        assert!(scalar(&value.to_dtype(DType::F64)?).is_finite());
        let gradients = value.backward()?;
        for view in [&first, &second] {
            let gradient = gradients.get(view).expect("a gradient").to_dtype(DType::F64)?;
            let all = gradient.flatten_all()?.to_vec1::<f64>()?;
            assert!(all.iter().all(|g| g.is_finite()), "{all:?}");
        }
    }
    for rows in [0, 1] {
        let few = first.narrow(0, 0, rows)?;
        let expected = format!("{name}: first should be of at least two rows, got [{rows}, 3]");
        assert_eq!(loss(&few, &few).unwrap_err().to_string(), expected);
    }
    let whole = first.to_dtype(DType::U32)?;
    let expected = format!("{name}: first should be f64, f32, bf16 or f16, got U32");
    assert_eq!(loss(&whole, &whole).unwrap_err().to_string(), expected);
    views_are_checked(name, loss)
}

/// That a target of five pairs is checked to have one of two values where a pair counts.
pub(crate) fn kinds_are_checked(
    name: &str,
    [high, low]: [f64; 2],
    wrong: &[f64],
    loss: impl Fn(&Tensor, &LossOptions) -> Result<Tensor>,
) -> Result<()> {
    let plain = LossOptions::default();
    let few = Tensor::new(&[high; 4], &CPU)?;
    assert_eq!(
        loss(&few, &plain).unwrap_err().to_string(),
        format!("{name}: target should be of shape [5], got [4]")
    );
    for wrong in wrong {
        let target = Tensor::new(&[high, low, *wrong, low, high], &CPU)?;
        assert_eq!(
            loss(&target, &plain).unwrap_err().to_string(),
            format!("{name}: target[2] should be {high} or {low}, got {wrong}")
        );
        let mask = Some(Tensor::new(&[1u8, 1, 0, 1, 1], &CPU)?);
        let value = loss(&target, &LossOptions { mask, ..plain.clone() })?;
        assert!(scalar(&value).is_finite());
    }
    Ok(())
}
