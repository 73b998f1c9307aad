use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Conv2d, Conv2dConfig, Parameters, Result, stream};
use taper_norm::{WeightStandardization, WeightStandardizationConfig, weight_standardization};

use crate::steps::tolerance;

const CPU: Device = Device::Cpu;

#[test]
fn agrees_with_timm() -> Result<()> {
    for case in goldens(include_str!("../golden/weight_standardization.json"))? {
        for dtype in [DType::F64, DType::F32] {
            let raw = Var::from_tensor(&case.tensor("weight", dtype)?)?;
            let of = WeightStandardization::new(raw.as_tensor().clone(), case.f64("eps")?)?;
            let groups = case.u64("groups")? as usize;
            let config = Conv2dConfig { groups, bias: false, ..Default::default() };
            let conv = Conv2d::new(of.weight()?, None, config)?;
            let y = conv.forward(&case.tensor("x", dtype)?)?;
            let mut gradients = (&y * case.tensor("upstream", dtype)?)?.sum_all()?.backward()?;
            let gradient = gradients.remove(&raw).expect("a gradient");
            let found = HashMap::from([("y", y), ("weight gradient", gradient)]);
            for name in case.texts("results")? {
                let tolerance = tolerance(&case, name, dtype)?;
                assert_close(&found[name], &case.tensor(name, dtype)?, tolerance);
            }
        }
    }
    Ok(())
}

fn raw(seed: u64, shape: &[usize]) -> Tensor {
    stream(seed, "raw").normal(0.5, 2.0, shape, DType::F64, &CPU).unwrap()
}

proptest! {
    #[test]
    fn scale_and_shift_of_an_output_cancel(
        seed in 0u64..1000,
        scale in 0.1..10.0,
        shift in -9.0..9.0,
    ) {
        let of = |raw: &Tensor| WeightStandardization::new(raw.clone(), 1e-14)?.weight();
        let raw = raw(seed, &[3, 4, 2]);
        let changed = raw.affine(scale, shift).unwrap();
        assert_close(&of(&changed).unwrap(), &of(&raw).unwrap(), 1e-9);
    }

    /// The gradient of a raw weight a times as large is 1 / a times as large.
    #[test]
    fn a_larger_raw_weight_has_a_smaller_gradient(seed in 0u64..1000, scale in 0.1..10.0) {
        let gradient = |raw: &Tensor| -> Result<Tensor> {
            let var = Var::from_tensor(raw)?;
            let of = WeightStandardization::new(var.as_tensor().clone(), 1e-14)?;
            Ok(of.weight()?.sin()?.sum_all()?.backward()?.remove(&var).expect("a gradient"))
        };
        let raw = raw(seed, &[3, 8]);
        let larger = gradient(&raw.affine(scale, 0.0).unwrap()).unwrap();
        assert_close(&(larger * scale).unwrap(), &gradient(&raw).unwrap(), 1e-8);
    }
}

#[test]
fn gradients_are_those_of_finite_differences_and_arrive() -> Result<()> {
    let of = |x: &[Tensor]| WeightStandardization::new(x[0].clone(), 1e-6)?.weight();
    gradcheck(of, &[raw(1, &[3, 2, 2])], 1e-6)?;
    let parameters = Parameters::new(&stream(0, "init"));
    let vb = parameters.builder(DType::F64, &CPU);
    let of = weight_standardization((4, 5), WeightStandardizationConfig::default(), vb)?;
    assert_eq!(parameters.trainable()[0].0, "weight");
    gradients_reach(&of.weight()?.sin()?.sum_all()?, &parameters.trainable(), &[])
}

#[test]
fn dtypes_constants_and_errors() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        let constant = Tensor::full(3f32, (2, 4), &CPU)?.to_dtype(dtype)?;
        let weight = WeightStandardization::new(constant, 1e-6)?.weight()?;
        assert_eq!(weight.dtype(), dtype);
        let values = weight.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(values, [0.0; 8]);
    }
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &CPU).unwrap();
    let of = |raw, eps| WeightStandardization::new(raw, eps).unwrap_err().to_string();
    let expected = "WeightStandardization: raw should be of at least two axes, none of them empty, \
                    got F32 of shape";
    assert!(of(zeros(&[3], DType::F32), 1e-6).contains(&format!("{expected} [3]")));
    assert!(of(zeros(&[3, 0], DType::F32), 1e-6).contains(&format!("{expected} [3, 0]")));
    let message = of(zeros(&[3, 2], DType::U8), 1e-6);
    assert!(message.contains("raw should be f64, f32, bf16 or f16"), "{message}");
    let message = of(zeros(&[3, 2], DType::F32), 0.0);
    assert!(message.contains("eps should be above 0 and finite, got 0"), "{message}");
    Ok(())
}
