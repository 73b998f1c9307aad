//! What holds for the penalties, which are one number without rows.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::testing::{assert_close, gradcheck};
use taper_core::{Gradients, Result};

pub(crate) const CPU: Device = Device::Cpu;

pub(crate) fn scalar(value: &Tensor) -> f64 {
    value.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// What holds for a penalty of `input`, which is f64 and away from kinks: its gradient, in every way of finding it, the
/// dtypes, that `far` away value and gradient are finite in f32, and that integers are refused.
pub(crate) fn holds_for_a_penalty(
    (name, argument): (&str, &str),
    input: &Tensor,
    far: f64,
    penalty: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    gradcheck(|x| penalty(&x[0]), std::slice::from_ref(input), 1e-6)?;
    let x = Var::from_tensor(input)?;
    let value = penalty(&x)?;
    assert_eq!((value.rank(), value.dtype()), (0, DType::F64));
    let gradient = value.backward()?.remove(&x).expect("a gradient");
    let mut gradients = Gradients::new([&x])?;
    gradients.accumulate(&value)?;
    gradients.accumulate(&value)?;
    assert_close(&gradients.gradient(&x)?.expect("a gradient"), &(&gradient * 2.0)?, 1e-13);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let x = Var::from_tensor(&input.to_dtype(dtype)?)?;
        let narrow = penalty(&x)?;
        assert_eq!(narrow.dtype(), DType::F32);
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 0.1 };
        assert_close(&narrow.to_dtype(DType::F64)?, &value, tolerance);
        let of_narrow = narrow.backward()?.remove(&x).expect("a gradient");
        assert_eq!(of_narrow.dtype(), dtype);
        assert_close(&of_narrow.to_dtype(DType::F64)?, &gradient, tolerance);
    }
    let x = Var::from_tensor(&(input.sign()? * far)?.to_dtype(DType::F32)?)?;
    let value = penalty(&x)?;
    assert!(scalar(&value).is_finite(), "{value}");
    let gradient = value.backward()?.remove(&x).expect("a gradient").flatten_all()?;
    assert!(gradient.to_vec1::<f32>()?.iter().all(|g| g.is_finite()), "{gradient}");
    let message = penalty(&input.to_dtype(DType::U32)?).unwrap_err().to_string();
    assert_eq!(message, format!("{name}: {argument} should be f64, f32, bf16 or f16, got U32"));
    Ok(())
}

/// What holds for a penalty that is a sum over the elements of tensors: what holds for each, that the split into
/// tensors does not matter, and what is checked of them.
pub(crate) fn holds_for_a_sum(
    name: &str,
    penalty: impl Fn(&[&Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let all = crate::contract::normal("weights");
    holds_for_a_penalty((name, "tensors[0]"), &all, 1e4, |x| penalty(&[x]))?;
    let (head, tail) = (all.narrow(1, 0, 1)?, all.narrow(1, 1, 2)?);
    gradcheck(|x| penalty(&[&x[0], &x[1], &x[0]]), &[head.clone(), tail.clone()], 1e-6)?;
    let (nothing, whole) = (all.narrow(0, 0, 0)?, penalty(&[&all])?);
    assert_close(&penalty(&[&head, &nothing, &tail])?, &whole, 1e-14);
    assert_eq!(scalar(&penalty(&[&nothing])?), 0.0);
    // Many tensors do not make a deep graph, which the backward pass could not come down from.
    let many = Var::from_tensor(&all.narrow(0, 0, 1)?)?;
    let value = penalty(&vec![many.as_tensor(); 50_000])?;
    let gradient = value.backward()?.remove(&many).expect("a gradient");
    let one = penalty(&[&many])?.backward()?.remove(&many).expect("a gradient");
    assert_close(&gradient, &(one * 50_000.0)?, 1e-10);
    let single = all.to_dtype(DType::F32)?;
    let half = penalty(&[&single, &all.to_dtype(DType::BF16)?])?;
    assert_close(&half.to_dtype(DType::F64)?, &(whole * 2.0)?, 1e-2);
    let error = |tensors: &[&Tensor]| penalty(tensors).unwrap_err().to_string();
    assert_eq!(error(&[]), format!("{name}: tensors should be at least one, got none"));
    assert_eq!(
        error(&[&single, &single, &all]),
        format!(
            "{name}: tensors[2] should be computed in F32 on Cpu, as tensors[0] is, got F64 on Cpu"
        )
    );
    Ok(())
}
