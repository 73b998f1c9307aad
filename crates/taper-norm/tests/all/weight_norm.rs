use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Parameters, Result, stream};
use taper_norm::{WeightNorm, WeightNormConfig, weight_norm};

use crate::steps::tolerance;

const CPU: Device = Device::Cpu;
const G: &str = "parametrizations.weight.original0";
const V: &str = "parametrizations.weight.original1";

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/weight_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            let shape: Vec<usize> = case.f64s("shape")?.into_iter().map(|it| it as usize).collect();
            let dim = case.has("dim").then(|| case.u64("dim")).transpose()?;
            let config = WeightNormConfig { dim: dim.map(|it| it as usize), ..Default::default() };
            let parameters = parameters();
            let norm = weight_norm(shape, config, parameters.builder(dtype, &CPU))?;
            let state = case
                .texts("state")?
                .into_iter()
                .map(|name| Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?)));
            parameters.load(&state.collect::<Result<HashMap<_, _>>>()?)?;

            let weight = norm.weight()?;
            let gradients = (&weight * case.tensor("upstream", dtype)?)?.sum_all()?.backward()?;
            let mut found = HashMap::from([("weight".to_owned(), weight)]);
            for (name, var) in parameters.trainable() {
                let gradient = gradients.get(&var).expect("a gradient").clone();
                found.insert(format!("{name} gradient"), gradient);
            }
            for name in case.texts("results")? {
                let found = found.remove(name).expect("what PyTorch has");
                assert_close(&found, &case.tensor(name, dtype)?, tolerance(&case, name, dtype)?);
            }
            assert!(found.is_empty());
        }
    }
    Ok(())
}

fn tensors(seed: u64, dims: &[usize]) -> [Tensor; 2] {
    let normal = |name: &str, shape: &[usize]| {
        stream(seed, name).normal(0.5, 1.0, shape, DType::F64, &CPU).unwrap()
    };
    let mut ones = vec![1; dims.len()];
    ones[0] = dims[0];
    [normal("g", &ones), normal("v", dims)]
}

fn length_of_rows(weight: &Tensor) -> Tensor {
    weight.flatten_from(1).unwrap().sqr().unwrap().sum(1).unwrap().sqrt().unwrap()
}

proptest! {
    #[test]
    fn each_part_has_its_length(seed in 0u64..1000, rows in 1usize..5, columns in 1usize..40) {
        let [g, v] = tensors(seed, &[rows, columns]);
        let weight = WeightNorm::new(g.clone(), v, Some(0)).unwrap().weight().unwrap();
        let expected = g.abs().unwrap().squeeze(1).unwrap();
        assert_close(&length_of_rows(&weight), &expected, 1e-12);
    }

    /// And the gradient of a direction a times as long is 1 / a times as long.
    #[test]
    fn the_length_of_the_direction_does_not_matter(seed in 0u64..1000, scale in 0.1..10.0) {
        let [g, v] = tensors(seed, &[3, 4, 2]);
        let run = |v: &Tensor| -> Result<[Tensor; 2]> {
            let var = Var::from_tensor(v)?;
            let weight = WeightNorm::new(g.clone(), var.as_tensor().clone(), Some(0))?.weight()?;
            let gradient = weight.sin()?.sum_all()?.backward()?.remove(&var).expect("a gradient");
            Ok([weight, gradient])
        };
        let ([weight, gradient], [same, smaller]) =
            (run(&v).unwrap(), run(&v.affine(scale, 0.0).unwrap()).unwrap());
        assert_close(&same, &weight, 1e-12);
        assert_close(&(smaller * scale).unwrap(), &gradient, 1e-11);
        let along = (&v * &gradient).unwrap().flatten_from(1).unwrap().sum(1).unwrap();
        assert_close(&along, &along.zeros_like().unwrap(), 1e-12);
    }
}

#[test]
fn gradients_are_those_of_finite_differences_and_arrive() -> Result<()> {
    for dim in [Some(0), Some(1), None] {
        let [_, v] = tensors(1, &[3, 4, 2]);
        let shape: &[usize] = match dim {
            Some(0) => &[3, 1, 1],
            Some(_) => &[1, 4, 1],
            None => &[],
        };
        let g = stream(1, "g").normal(0.5, 1.0, shape, DType::F64, &CPU)?;
        let of = |x: &[Tensor]| WeightNorm::new(x[0].clone(), x[1].clone(), dim)?.weight();
        gradcheck(of, &[g, v], 1e-6)?;
    }
    let parameters = parameters();
    let vb = parameters.builder(DType::F64, &CPU);
    let norm = weight_norm((4, 5), WeightNormConfig::default(), vb)?;
    gradients_reach(&norm.weight()?.sin()?.sum_all()?, &parameters.trainable(), &[])
}

#[test]
fn the_weight_begins_as_the_direction_in_every_dtype() -> Result<()> {
    for (dtype, tolerance) in
        [(DType::F64, 1e-15), (DType::F32, 1e-6), (DType::BF16, 2e-2), (DType::F16, 2e-3)]
    {
        let vb = parameters().builder(dtype, &CPU);
        let norm = weight_norm((4, 3, 2), WeightNormConfig::default(), vb)?;
        let weight = norm.weight()?;
        assert_eq!(weight.dtype(), dtype);
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        assert_close(&wide(&weight)?, &wide(norm.direction())?, tolerance);
    }
    Ok(())
}

#[test]
fn old_and_new_names_are_known() -> Result<()> {
    let [g, v] = tensors(2, &[2, 3]);
    let expected = WeightNorm::new(g.clone(), v.clone(), Some(0))?.weight()?;
    for [of_g, of_v] in [[G, V], ["weight_g", "weight_v"]] {
        let tensors = [(of_g.to_owned(), g.clone()), (of_v.to_owned(), v.clone())];
        let vb = VarBuilder::from_tensors(HashMap::from(tensors), DType::F64, &CPU);
        let norm = weight_norm((2, 3), WeightNormConfig::default(), vb)?;
        assert_close(&norm.weight()?, &expected, 0.0);
    }
    Ok(())
}

#[test]
fn extremes_are_finite() -> Result<()> {
    for values in [[1e30f32, -1e30, 3e29], [1e-30, -1e-30, 0.0], [0.0; 3], [1e4, -1e4, 1.0]] {
        let v = Var::new(&[values], &CPU)?;
        let g = Var::new(&[[2f32]], &CPU)?;
        let norm = WeightNorm::new(g.as_tensor().clone(), v.as_tensor().clone(), Some(0))?;
        let weight = norm.weight()?;
        let gradients = weight.sin()?.sum_all()?.backward()?;
        for tensor in [&weight, gradients.get(&v).expect("a gradient")] {
            let all = tensor.flatten_all()?.to_vec1::<f32>()?;
            assert!(all.iter().all(|it| it.is_finite()), "{values:?}: {all:?}");
        }
        let length = length_of_rows(&weight).to_vec1::<f32>()?[0];
        let expected = if values == [0.0; 3] { 0.0 } else { 2.0 };
        assert!((length - expected).abs() < 1e-5, "{values:?}: {length}");
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() {
    let expect = |message: String, expected: &str| {
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let of_shape = |shape: &[usize], dim| {
        let config = WeightNormConfig { dim, ..Default::default() };
        let vb = parameters().builder(DType::F32, &CPU);
        weight_norm(shape, config, vb).unwrap_err().to_string()
    };
    let axes = "WeightNorm: shape should be at least one axis, none of them empty, got";
    expect(of_shape(&[], Some(0)), &format!("{axes} []"));
    expect(of_shape(&[2, 0], Some(0)), &format!("{axes} [2, 0]"));
    expect(of_shape(&[2, 3], Some(2)), "dim should be an axis of the weight, below 2, got 2");
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &CPU).unwrap();
    let of = |g, v| WeightNorm::new(g, v, Some(0)).unwrap_err().to_string();
    let message = of(zeros(&[2], DType::F32), zeros(&[2, 3], DType::F32));
    expect(message, "magnitude should be f64, f32, bf16 or f16 of shape [2, 1], got F32 of");
    let message = of(zeros(&[2, 1], DType::F32), zeros(&[2, 3], DType::U8));
    expect(message, "direction should be f64, f32, bf16 or f16 of shape [2, 3], got U8");
}
