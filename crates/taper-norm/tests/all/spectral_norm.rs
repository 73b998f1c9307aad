use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Initializer, Parameters, Result, stream};
use taper_norm::{SpectralNorm, SpectralNormConfig, spectral_norm};

use crate::steps::tolerance;

const CPU: Device = Device::Cpu;
const WEIGHT: &str = "parametrizations.weight.original";

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/spectral_norm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            check(&case, dtype)?;
        }
    }
    Ok(())
}

/// The case's layer with its state.
fn layer(case: &Case, dtype: DType) -> Result<(SpectralNorm, Parameters)> {
    let parameters = Parameters::new(&stream(0, "init"));
    let shape = case.tensor("raw 0", dtype)?.shape().clone();
    let config = for_shape(shape.dims(), config(case)?);
    let norm = spectral_norm(shape, config, parameters.builder(dtype, &CPU))?;
    let state = case.texts("state")?.into_iter();
    let state =
        state.map(|name| Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?)));
    parameters.load(&state.collect::<Result<HashMap<_, _>>>()?)?;
    Ok((norm, parameters))
}

fn config(case: &Case) -> Result<SpectralNormConfig> {
    Ok(SpectralNormConfig {
        n_power_iterations: case.u64("n_power_iterations")? as usize,
        eps: case.f64("eps")?,
        dim: case.u64("dim")? as usize,
        ..Default::default()
    })
}

fn check(case: &Case, dtype: DType) -> Result<()> {
    let (norm, parameters) = layer(case, dtype)?;
    let raw = only(&parameters);
    let mut found = HashMap::new();
    let steps = case.u64("steps")?;
    for step in 0..=steps {
        raw.set(&case.tensor(&format!("raw {step}"), dtype)?)?;
        let weight = norm.weight(step < steps)?;
        let upstream = case.tensor(&format!("upstream {step}"), dtype)?;
        let gradients = (&weight * upstream)?.sum_all()?.backward()?;
        found.insert(format!("weight {step}"), weight);
        found.insert(format!("gradient {step}"), gradients.get(&raw).expect("a gradient").clone());
        for (name, var) in parameters.buffers() {
            assert!(gradients.get(&var).is_none());
            let name = name.rsplit('.').next().expect("a name").to_owned();
            found.insert(format!("{name} {step}"), var.copy()?);
        }
    }
    for name in case.texts("results")? {
        let found = found.remove(name).expect("what PyTorch has");
        assert_close(&found, &case.tensor(name, dtype)?, tolerance(case, name, dtype)?);
    }
    assert!(found.is_empty(), "PyTorch has no {:?}", found.keys());
    Ok(())
}

/// The one parameter that is trained.
fn only(parameters: &Parameters) -> Var {
    let mut trainable = parameters.trainable();
    assert_eq!(trainable.len(), 1);
    trainable.remove(0).1
}

#[test]
fn comes_to_the_largest_singular_value() -> Result<()> {
    for case in goldens(include_str!("../golden/spectral_norm.json"))? {
        if !case.has("singular values") || case.f64("eps")? > 1.0 {
            continue;
        }
        let (norm, parameters) = layer(&case, DType::F64)?;
        let raw = case.tensor(&format!("raw {}", case.u64("steps")?), DType::F64)?;
        only(&parameters).set(&raw)?;
        for _ in 0..2000 {
            norm.weight(true)?;
        }
        let largest = case.tensor("singular values", DType::F64)?.get(0)?.to_scalar::<f64>()?;
        assert_close(&norm.weight(false)?, &(raw / largest)?, 1e-10);
    }
    Ok(())
}

/// A vector has no fan for the default initialiser.
fn for_shape(shape: &[usize], config: SpectralNormConfig) -> SpectralNormConfig {
    match shape {
        [_] => SpectralNormConfig {
            weight_init: Initializer::Normal { mean: 0.0, std: 1.0 },
            ..config
        },
        _ => config,
    }
}

fn made(shape: &[usize], config: SpectralNormConfig) -> Result<(SpectralNorm, Parameters)> {
    let config = for_shape(shape, config);
    let parameters = Parameters::new(&stream(5, "init"));
    let norm = spectral_norm(shape, config, parameters.builder(DType::F64, &CPU))?;
    Ok((norm, parameters))
}

fn length(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.sqr()?.sum_all()?.sqrt()?.to_scalar()?)
}

#[test]
fn begins_near_the_singular_vectors() -> Result<()> {
    let (norm, parameters) = made(&[6, 2, 3], Default::default())?;
    let names: Vec<_> = parameters.all().into_iter().map(|(name, _)| name).collect();
    let state = ["parametrizations.weight.0._u", "parametrizations.weight.0._v"];
    assert_eq!(names, [state[0], state[1], WEIGHT]);
    let (u, v) = norm.vectors().expect("of a matrix");
    assert!((length(u)? - 1.0).abs() < 1e-12 && (length(v)? - 1.0).abs() < 1e-12);
    let (before, raw) = (norm.weight(false)?, norm.raw_weight().clone());
    for _ in 0..1000 {
        norm.weight(true)?;
    }
    // 15 iterations leave a few percent at most.
    assert_close(&before, &norm.weight(false)?, 0.05);
    assert_close(norm.raw_weight(), &raw, 0.0);

    // What there is already stays.
    let again = spectral_norm(
        (6, 2, 3),
        SpectralNormConfig::default(),
        parameters.builder(DType::F64, &CPU),
    )?;
    assert_close(&again.weight(false)?, &norm.weight(false)?, 0.0);
    // The initial values come from the names and the seed.
    let (other, _) = made(&[6, 2, 3], Default::default())?;
    assert_close(&other.weight(false)?, &before, 0.0);
    Ok(())
}

#[test]
fn gradients_are_right_and_go_to_the_weight_only() -> Result<()> {
    for (shape, dim) in [(vec![3, 4], 0), (vec![2, 3, 2, 2], 1), (vec![2, 2, 3], 2), (vec![5], 0)] {
        let config = SpectralNormConfig { dim, ..Default::default() };
        let (norm, parameters) = made(&shape, config)?;
        let vectors = norm.vectors().map(|(u, v)| (u.clone(), v.clone()));
        let raw = stream(1, "raw").normal(0.0, 1.0, shape, DType::F64, &CPU)?;
        let weight =
            |x: &[Tensor]| SpectralNorm::new(x[0].clone(), vectors.clone(), config)?.weight(false);
        gradcheck(weight, &[raw], 1e-6)?;
        let loss = norm.weight(true)?.sin()?.sum_all()?;
        gradients_reach(&loss, &parameters.trainable(), &[])?;
        let gradients = loss.backward()?;
        assert!(parameters.buffers().iter().all(|(_, var)| gradients.get(var).is_none()));
    }
    Ok(())
}

#[test]
fn a_later_step_does_not_change_an_earlier_gradient() -> Result<()> {
    let gradient = |steps_between: usize| -> Result<Tensor> {
        let (norm, parameters) = made(&[4, 3], Default::default())?;
        let raw = only(&parameters);
        raw.set(&stream(1, "raw").normal(0.0, 1.0, (4, 3), DType::F64, &CPU)?)?;
        let loss = norm.weight(true)?.sin()?.sum_all()?;
        for _ in 0..steps_between {
            norm.weight(true)?;
        }
        Ok(loss.backward()?.get(&raw).expect("a gradient").clone())
    };
    assert_close(&gradient(3)?, &gradient(0)?, 0.0);
    Ok(())
}

#[test]
fn the_state_moves_in_training_only() -> Result<()> {
    let (norm, parameters) = made(&[4, 3], Default::default())?;
    only(&parameters).set(&stream(1, "raw").normal(0.0, 1.0, (4, 3), DType::F64, &CPU)?)?;
    let begin = parameters.to_safetensors()?;
    norm.weight(false)?.sum_all()?.backward()?;
    assert!(parameters.to_safetensors()? == begin);
    let first = norm.weight(true)?;
    assert!(parameters.to_safetensors()? != begin);

    // In another model the saved state goes on as it would have here.
    let (other, others) = made(&[4, 3], Default::default())?;
    others.load_safetensors(&parameters.to_safetensors()?)?;
    assert_close(&other.weight(false)?, &first, 1e-14);
    assert_close(&other.weight(true)?, &norm.weight(true)?, 0.0);
    Ok(())
}

#[test]
fn the_older_names_are_taken_where_they_are() -> Result<()> {
    let (norm, parameters) = made(&[4, 3], Default::default())?;
    let old = [
        ("weight_u", "parametrizations.weight.0._u"),
        ("weight_v", "parametrizations.weight.0._v"),
        ("weight_orig", WEIGHT),
    ];
    let by_name: HashMap<_, _> = parameters.all().into_iter().collect();
    let state =
        old.map(|(old, new)| (old.to_owned(), by_name[new].as_detached_tensor().copy().unwrap()));
    let vb = VarBuilder::from_tensors(HashMap::from(state.clone()), DType::F64, &CPU);
    let config = SpectralNormConfig::default();
    let loaded = spectral_norm((4, 3), config, vb)?;
    assert_close(&loaded.weight(false)?, &norm.weight(false)?, 0.0);
    // Read from a file they are variables of their own.
    let before = norm.weight(false)?;
    loaded.weight(true)?;
    assert_close(&norm.weight(false)?, &before, 0.0);

    // Parameters that had these names keep them, as buffers.
    let parameters = Parameters::new(&stream(0, "init"));
    let vb = parameters.builder(DType::F64, &CPU);
    for (name, tensor) in &state {
        vb.get(tensor.dims(), name)?;
    }
    parameters.load(&HashMap::from(state))?;
    assert_close(&spectral_norm((4, 3), config, vb)?.weight(false)?, &before, 0.0);
    assert_eq!(parameters.trainable()[0].0, "weight_orig");
    assert_eq!((parameters.trainable().len(), parameters.buffers().len()), (1, 2));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// w of a W is w, and its gradient ∂W / a; that is at right angles to W.
    #[test]
    fn the_scale_of_the_weight_does_not_matter(
        shape in prop::collection::vec(1..5usize, 1..5),
        dim in 0..4usize,
        scale in prop::sample::select(vec![1e-6, 0.3, 7.0, 1e9]),
        seed in 0..1000u64,
    ) {
        let config = SpectralNormConfig { dim: dim % shape.len(), ..Default::default() };
        let raw = stream(seed, "raw").normal(0.0, 1.0, shape.clone(), DType::F64, &CPU).unwrap();
        let run = |scale: f64| -> Result<[Tensor; 2]> {
            let (norm, parameters) = made(&shape, config)?;
            let var = only(&parameters);
            var.set(&(&raw * scale)?)?;
            let weight = norm.weight(true)?;
            let gradients = weight.sin()?.sum_all()?.backward()?;
            Ok([weight, gradients.get(&var).expect("a gradient").clone()])
        };
        let ([weight, gradient], [scaled, of_scaled]) = (run(1.0).unwrap(), run(scale).unwrap());
        assert_close(&scaled, &weight, 1e-11);
        // A gradient that cancels, as of one element, is rounding.
        let cancels = length(&gradient).unwrap() < 1e-12;
        if !cancels {
            assert_close(&(of_scaled * scale).unwrap(), &gradient, 1e-9);
        }
        let along = (&gradient * &raw).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        prop_assert!(along.abs() < 1e-12 * length(&raw).unwrap().max(1.0) * weight.elem_count() as f64 * 1e2);
    }
}

#[test]
fn a_weight_of_zeros_stays_finite_and_can_leave() -> Result<()> {
    for shape in [vec![3, 2], vec![3]] {
        let (norm, parameters) = made(&shape, Default::default())?;
        let raw = only(&parameters);
        let value = raw.copy()?;
        raw.set(&raw.zeros_like()?)?;
        let weight = norm.weight(true)?;
        assert_close(&weight, &raw.zeros_like()?, 0.0);
        let gradients = weight.sum_all()?.backward()?;
        let gradient = gradients.get(&raw).expect("a gradient").flatten_all()?;
        assert!(gradient.to_vec1::<f64>()?.iter().all(|value| value.is_finite()));
        raw.set(&value)?;
        assert!(length(&norm.weight(true)?)? >= 1.0 - 1e-12);
    }
    // A weight that is made as zeros has vectors all the same.
    let config =
        SpectralNormConfig { weight_init: Initializer::Constant(0.0), ..Default::default() };
    let (norm, parameters) = made(&[3, 2], config)?;
    only(&parameters).set(&Tensor::ones((3, 2), DType::F64, &CPU)?)?;
    assert!(length(&norm.weight(true)?)?.is_finite());
    Ok(())
}

#[test]
fn extremes_leave_a_usable_state() -> Result<()> {
    let parameters = Parameters::new(&stream(5, "init"));
    let vb = parameters.builder(DType::F32, &CPU);
    let norm = spectral_norm((3, 2), SpectralNormConfig::default(), vb)?;
    let raw = only(&parameters);
    let value = stream(1, "raw").normal(0.0, 1.0, (3, 2), DType::F32, &CPU)?;
    raw.set(&value)?;
    let expected = norm.weight(true)?;
    // A weight of NaN is in no later step.
    raw.set(&(&value * f64::NAN)?)?;
    assert!(norm.weight(true)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|w| w.is_nan()));
    for scale in [1e30, 1e-8, 1.0] {
        raw.set(&(&value * scale)?)?;
        assert_close(&norm.weight(false)?, &expected, 1e-5);
        let gradients = norm.weight(false)?.sin()?.sum_all()?.backward()?;
        let gradient = gradients.get(&raw).expect("a gradient").flatten_all()?;
        assert!(gradient.to_vec1::<f32>()?.iter().all(|g| g.is_finite() && *g != 0.0));
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_nothing() -> Result<()> {
    let results = |threads| -> Result<Vec<Tensor>> {
        taper_kernels::threads::limit(threads, || {
            let (norm, parameters) = made(&[40, 30, 11, 7], Default::default())?;
            let weight = norm.weight(true)?;
            let gradients = weight.sin()?.sum_all()?.backward()?;
            Ok(vec![weight, gradients.get(&only(&parameters)).expect("a gradient").clone()])
        })
    };
    for (one, three) in results(1)?.iter().zip(&results(3)?) {
        assert_close(one, three, 0.0);
    }
    Ok(())
}

#[test]
fn half_precision_is_computed_in_f32() -> Result<()> {
    for shape in [vec![4, 3], vec![4]] {
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            let parameters = Parameters::new(&stream(5, "init"));
            let vb = parameters.builder(dtype, &CPU);
            let norm = spectral_norm(shape.clone(), for_shape(&shape, Default::default()), vb)?;
            let weight = norm.weight(true)?;
            assert_eq!((weight.dtype(), weight.dims()), (dtype, shape.as_slice()));
            let gradients = weight.sin()?.sum_all()?.backward()?;
            let gradient = gradients.get(&only(&parameters)).expect("a gradient");
            assert_eq!(gradient.dtype(), dtype);
            let (expected, _) = made(&shape, Default::default())?;
            let expected = expected.weight(true)?;
            assert_close(&weight.to_dtype(DType::F64)?, &expected, 0.02);
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let of_shape = |shape: &[usize], config| {
        let error = made(shape, config).map(drop).unwrap_err().to_string();
        error.lines().next().unwrap_or_default().to_owned()
    };
    let config = SpectralNormConfig::default();
    for (shape, received) in [(vec![], "[]"), (vec![2, 0], "[2, 0]")] {
        let expected = "SpectralNorm: shape should be at least one axis, none of them empty, got ";
        assert_eq!(of_shape(&shape, config), format!("{expected}{received}"));
    }
    let below = "SpectralNorm: dim should be an axis of the weight, below 2, got 2";
    assert_eq!(of_shape(&[2, 3], SpectralNormConfig { dim: 2, ..config }), below);
    let least = "SpectralNorm: n_power_iterations should be at least 1, got 0";
    assert_eq!(of_shape(&[2, 3], SpectralNormConfig { n_power_iterations: 0, ..config }), least);
    let finite = "SpectralNorm: eps should be above 0 and finite, got NaN";
    assert_eq!(of_shape(&[2, 3], SpectralNormConfig { eps: f64::NAN, ..config }), finite);

    let of_new = |dims: &[usize], dtype, vectors: Option<(usize, usize)>| {
        let zeros = |length| Var::zeros(length, DType::F32, &CPU).unwrap();
        let vectors = vectors.map(|(u, v)| (zeros(u), zeros(v)));
        let weight = Tensor::zeros(dims, dtype, &CPU).unwrap();
        let error = SpectralNorm::new(weight, vectors, config).unwrap_err().to_string();
        error.lines().next().unwrap_or_default().to_owned()
    };
    let floating = "should be f64, f32, bf16 or f16 of shape";
    for (dims, dtype, vectors, expected) in [
        (
            vec![2, 3],
            DType::U8,
            Some((2, 3)),
            format!("weight {floating} [2, 3], got U8 of shape [2, 3]"),
        ),
        (vec![2, 3], DType::F32, Some((3, 3)), format!("u {floating} [2], got F32 of shape [3]")),
        (vec![2, 3], DType::F32, Some((2, 2)), format!("v {floating} [3], got F32 of shape [2]")),
        (
            vec![2, 3],
            DType::F32,
            None,
            "vectors should be given, for a weight of more than one axis, got none".to_owned(),
        ),
        (
            vec![2],
            DType::F32,
            Some((2, 1)),
            "vectors should be none, for a weight of one axis, got given".to_owned(),
        ),
    ] {
        assert_eq!(of_new(&dims, dtype, vectors), format!("SpectralNorm: {expected}"));
    }
    Ok(())
}
