//! Parameters: seeded by name, ordered, saved, loaded strictly.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, ModuleT};
use taper_core::testing::assert_close;
use taper_core::{LinearConfig, Parameters, Result, Snapshot, Stateful, linear, stream};

const CPU: &Device = &Device::Cpu;

fn names(parameters: &[(String, candle_core::Var)]) -> Vec<&str> {
    parameters.iter().map(|(name, _)| name.as_str()).collect()
}

fn network(seed: u64, layers: &[&str]) -> Result<Parameters> {
    let parameters = Parameters::new(&stream(seed, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    for layer in layers {
        linear(3, 2, LinearConfig::default(), vb.pp(layer))?;
    }
    Ok(parameters)
}

fn value(parameters: &Parameters, name: &str) -> Tensor {
    let all = parameters.all();
    let found = all.iter().find(|(other, _)| other == name);
    found.unwrap().1.as_detached_tensor()
}

#[test]
fn neither_order_nor_other_layers_change_a_parameter() -> Result<()> {
    let (one, other) = (network(7, &["a", "b"])?, network(7, &["c", "b", "a"])?);
    for name in ["a.weight", "a.bias", "b.weight", "b.bias"] {
        assert_close(&value(&other, name), &value(&one, name), 0.0);
    }
    let (a, b) = (value(&one, "a.weight"), value(&one, "b.weight"));
    assert_ne!(a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
    let reseeded = value(&network(8, &["a"])?, "a.weight");
    assert_ne!(reseeded.to_vec2::<f32>()?, a.to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn a_name_is_one_variable() -> Result<()> {
    let parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F32, CPU).pp("shared");
    let first = vb.get((2, 3), "weight")?;
    assert_eq!(vb.get((2, 3), "weight")?.id(), first.id());
    assert_eq!(vb.get_unchecked("weight")?.id(), first.id());
    assert!(vb.contains_tensor("weight") && !vb.contains_tensor("bias"));
    let error = vb.get((3, 2), "weight").unwrap_err().to_string();
    assert!(error.contains("shared.weight should be F32 of shape [2, 3]"), "{error}");
    assert!(vb.get_with_hints_dtype((2, 3), "weight", Init::Const(0.0), DType::F64).is_err());
    let error = vb.get_unchecked("bias").unwrap_err().to_string();
    assert!(error.contains("got shared.bias"), "{error}");
    assert_eq!(parameters.all().len(), 1);
    Ok(())
}

#[test]
fn candle_s_hints_are_drawn_from_our_streams() -> Result<()> {
    use candle_nn::init::{DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM};
    let parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F64, CPU);
    let own = |name: &str| stream(7, "init").child(name);
    let shape = (3, 8);
    let std = 0.5; // sqrt(2 / 8)
    let bound = std * 3f64.sqrt();
    let cases = [
        ("a", Init::Const(2.5), Tensor::full(2.5, shape, CPU)?),
        (
            "b",
            Init::Uniform { lo: -1.0, up: 3.0 },
            own("b").uniform(-1.0, 3.0, shape, DType::F64, CPU)?,
        ),
        (
            "c",
            Init::Randn { mean: 1.0, stdev: 2.0 },
            own("c").normal(1.0, 2.0, shape, DType::F64, CPU)?,
        ),
        ("d", DEFAULT_KAIMING_NORMAL, own("d").normal(0.0, std, shape, DType::F64, CPU)?),
        ("e", DEFAULT_KAIMING_UNIFORM, own("e").uniform(-bound, bound, shape, DType::F64, CPU)?),
    ];
    for (name, init, expected) in cases {
        assert_close(&vb.get_with_hints(shape, name, init)?, &expected, 1e-15);
    }
    Ok(())
}

#[test]
fn buffers_are_kept_but_not_trained() -> Result<()> {
    let parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    let norm = candle_nn::batch_norm(2, candle_nn::BatchNormConfig::default(), vb.pp("bn"))?;
    let count =
        vb.pp("bn").get_with_hints_dtype((), "num_batches_tracked", Init::default(), DType::I64)?;
    assert_eq!(count.to_scalar::<i64>()?, 0);
    vb.get_with_hints_dtype(3, "mask", Init::Const(1.0), DType::U8)?;
    vb.get(1, "running_mean_of_something")?;

    let trained = ["bn.bias", "bn.weight", "mask", "running_mean_of_something"];
    assert_eq!(names(&parameters.trainable()), trained);
    let buffers = ["bn.num_batches_tracked", "bn.running_mean", "bn.running_var"];
    assert_eq!(names(&parameters.buffers()), buffers);
    assert_eq!(parameters.all().len(), 7);

    // candle's own layer updates the buffer that is saved.
    let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], CPU)?;
    norm.forward_t(&x, true)?;
    assert_close(&value(&parameters, "bn.running_mean"), &Tensor::new(&[0.2f32, 0.3], CPU)?, 1e-6);

    let saved = parameters.to_safetensors()?;
    norm.forward_t(&x, true)?;
    parameters.load_safetensors(&saved)?;
    assert!(parameters.to_safetensors()? == saved);
    Ok(())
}

#[test]
fn the_vectors_of_a_spectral_norm_are_buffers() -> Result<()> {
    let parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    let buffers = [
        "new.parametrizations.weight.0._u",
        "new.parametrizations.weight.0._v",
        "old.weight_u",
        "old.weight_v",
        "parametrizations.weight.0._u",
    ];
    // The `weight_v` of a weight norm is trained, and so is what only looks like a vector.
    let trained = [
        "_u",
        "new.parametrizations.weight.original",
        "new.parametrizations.weight.x._u",
        "new.weight.0._u",
        "of_weight_norm.weight_g",
        "of_weight_norm.weight_v",
        "old.weight_orig",
        "weight_u",
    ];
    for name in buffers.iter().chain(&trained) {
        vb.get(1, name)?;
    }
    assert_eq!(names(&parameters.buffers()), buffers);
    assert_eq!(names(&parameters.trainable()), trained);
    Ok(())
}

#[test]
fn a_snapshot_does_not_follow_the_training() -> Result<()> {
    let mut parameters = network(7, &["a"])?;
    let before = value(&parameters, "a.weight").copy()?;
    let mut snapshot = Snapshot::new();
    parameters.save(&mut snapshot)?;
    for (_, var) in parameters.trainable() {
        var.set(&var.zeros_like()?)?;
    }
    parameters.restore(&snapshot)?;
    assert_close(&value(&parameters, "a.weight"), &before, 0.0);
    Ok(())
}

#[test]
fn what_is_saved_is_a_state_dict() -> Result<()> {
    let parameters = network(7, &["b", "a"])?;
    let state = candle_core::safetensors::load_buffer(&parameters.to_safetensors()?, CPU)?;
    let mut found: Vec<_> = state.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["a.bias", "a.weight", "b.bias", "b.weight"]);
    assert_close(&state["a.weight"], &value(&parameters, "a.weight"), 0.0);
    let other = network(8, &["a", "b"])?;
    other.load(&state)?;
    assert!(other.to_safetensors()? == parameters.to_safetensors()?);
    Ok(())
}

#[test]
fn the_state_may_be_views_of_the_variables() -> Result<()> {
    let parameters = network(7, &["a", "b"])?;
    let (a, b) = (value(&parameters, "a.weight").copy()?, value(&parameters, "b.weight").copy()?);
    let swapped = |name: &str| {
        let (layer, rest) = name.split_at(1);
        format!("{}{rest}", if layer == "a" { "b" } else { "a" })
    };
    let all = parameters.all().into_iter();
    parameters
        .load(&all.map(|(name, var)| (swapped(&name), var.as_detached_tensor())).collect())?;
    assert_close(&value(&parameters, "a.weight"), &b, 0.0);
    assert_close(&value(&parameters, "b.weight"), &a, 0.0);
    Ok(())
}

fn state(entries: &[(&str, &[usize], DType)]) -> Result<HashMap<String, Tensor>> {
    let zeros = |(name, shape, dtype): &(&str, &[usize], DType)| {
        Ok(((*name).to_owned(), Tensor::zeros(*shape, *dtype, CPU)?))
    };
    entries.iter().map(zeros).collect()
}

/// The state of `network(_, ["a", "b"])`, but for what is wrong.
const WRONG: &[(&str, &[usize], DType)] = &[
    ("a.bias", &[2], DType::F32),
    ("a.weight", &[3, 2], DType::F64),
    ("b.biass", &[2], DType::F32),
    ("b.weight", &[2, 3], DType::U32),
    ("c", &[], DType::I64),
];

const LISTED: &str = "1 missing, 2 unexpected, 2 of another shape or dtype; nothing has changed
missing:
    b.bias: F32 of shape [2]
unexpected:
    b.biass: F32 of shape [2]
    c: I64 of shape []
of another shape or dtype:
    a.weight: expected F32 of shape [2, 3], found F64 of shape [3, 2]
    b.weight: expected F32 of shape [2, 3], found U32 of shape [2, 3]";

#[test]
fn one_error_lists_all_that_does_not_fit_and_nothing_has_changed() -> Result<()> {
    let mut parameters = network(7, &["a", "b"])?;
    let before = parameters.to_safetensors()?;
    let wrong = state(WRONG)?;
    let expected = format!("load: state should be the model's 4 tensors, got {LISTED}");
    assert_eq!(parameters.load(&wrong).unwrap_err().to_string(), expected);

    let mut snapshot = Snapshot::new();
    wrong.iter().for_each(|(name, tensor)| snapshot.put_tensor(name, tensor));
    let message = parameters.load_safetensors(&snapshot.to_bytes()?).unwrap_err().to_string();
    assert_eq!(message, expected);
    let message = parameters.restore(&snapshot).unwrap_err().to_string();
    let expected =
        format!("restore: b.bias: the saved state should be the model's 4 tensors, got {LISTED}");
    assert_eq!(message, expected);

    assert!(parameters.load_safetensors(b"no safetensors").is_err());
    assert!(parameters.to_safetensors()? == before);
    Ok(())
}

#[test]
fn a_dtype_of_a_file_that_candle_lacks_is_named() -> Result<()> {
    let parameters = network(7, &["a"])?;
    let (one, bytes) = (safetensors::Dtype::BOOL, [0u8; 6]);
    let view = |shape: &[usize]| {
        let bytes = &bytes[..shape.iter().product()];
        safetensors::tensor::TensorView::new(one, shape.to_vec(), bytes)
    };
    let file = [("a.bias", view(&[2])?), ("a.weight", view(&[2, 3])?)];
    let message = parameters.load_safetensors(&safetensors::serialize(file, None)?).unwrap_err();
    assert_eq!(
        message.to_string(),
        "load: state should be the model's 2 tensors, got 2 of another shape or dtype; nothing has changed
of another shape or dtype:
    a.bias: expected F32 of shape [2], found BOOL of shape [2]
    a.weight: expected F32 of shape [2, 3], found BOOL of shape [2, 3]"
    );
    Ok(())
}

#[test]
fn a_prefix_that_is_all_that_differs_is_named() -> Result<()> {
    let message = |made: &[&str], given: &[&str]| -> Result<String> {
        let state = network(8, given)?.all().into_iter();
        let state = state.map(|(name, var)| (name, var.as_detached_tensor())).collect();
        let message = network(7, made)?.load(&state).unwrap_err().to_string();
        Ok(message.lines().last().unwrap_or_default().to_owned())
    };
    let expected = "all unexpected names fit without `module.`: take it off them, or build the model with \
                    `vb.pp(\"module\")`";
    assert_eq!(message(&["a", "b"], &["module.a", "module.b"])?, expected);
    let expected = "all unexpected names fit without `model.net.`: take it off them, or build the model with \
                    `vb.pp(\"model.net\")`";
    assert_eq!(message(&["a", "b"], &["a", "model.net.b"])?, expected);
    let expected = "all unexpected names fit with `net.` before them";
    assert_eq!(message(&["net.a", "net.b", "fc"], &["a", "b"])?, expected);
    // One that does not fit without it: it is another model.
    for (made, given) in [(["a", "b"], ["module.a", "module.c"]), (["a", "b"], ["module.a", "c"])] {
        assert!(!message(&made, &given)?.contains("fit"), "{given:?}");
    }
    Ok(())
}

#[test]
fn floating_dtypes_are_converted_by_load_and_not_by_restore() -> Result<()> {
    let parameters = Parameters::new(&stream(7, "init"));
    parameters.builder(DType::F32, CPU).get(3, "w")?;
    let values = Tensor::new(&[0.5f64, 1e300, -1.0 / 3.0], CPU)?;
    for (dtype, expected) in [
        (DType::F64, [0.5f32, f32::INFINITY, -1.0 / 3.0]),
        (DType::F16, [0.5, f32::INFINITY, -0.33325195]),
        (DType::BF16, [0.5, f32::INFINITY, -0.33398438]),
    ] {
        let given = HashMap::from([("w".to_owned(), values.to_dtype(dtype)?)]);
        parameters.load(&given)?;
        assert_eq!(value(&parameters, "w").to_vec1::<f32>()?, expected);
    }
    let mut snapshot = Snapshot::new();
    snapshot.put_tensor("model.w", &values);
    let mut parameters = parameters;
    assert_eq!(
        snapshot.get("model", &mut parameters).unwrap_err().to_string(),
        "restore: model.w: the saved state should be the model's 1 tensors, got 1 of another shape or dtype; nothing \
         has changed
of another shape or dtype:
    w: expected F32 of shape [3], found F64 of shape [3]"
    );
    Ok(())
}

#[test]
fn the_count_of_a_norm_may_be_missing_or_too_much() -> Result<()> {
    let mut parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F32, CPU);
    for (norm, counts) in [("counts", true), ("frozen", false)] {
        vb.pp(norm).get(1, "running_mean")?;
        if counts {
            let start = Init::Const(3.0);
            vb.pp(norm).get_with_hints_dtype((), "num_batches_tracked", start, DType::I64)?;
        }
    }
    let (old, other) = (("counts.running_mean", &[1][..], DType::F32), "frozen.running_mean");
    let frozen = (other, &[1][..], DType::F32);
    let count = ("frozen.num_batches_tracked", &[][..], DType::I64);
    parameters.load(&state(&[old, frozen, count])?)?;
    assert_eq!(value(&parameters, "counts.num_batches_tracked").to_scalar::<i64>()?, 3);

    // What has no running statistics has no count either, and a saved state must be whole.
    let message =
        parameters.load(&state(&[old, frozen, ("fc.num_batches_tracked", &[], DType::I64)])?);
    let message = message.unwrap_err().to_string();
    assert!(message.contains("got 1 unexpected; nothing has changed"), "{message}");
    let mut snapshot = Snapshot::new();
    for (name, tensor) in state(&[old, frozen])? {
        snapshot.put_tensor(&name, &tensor);
    }
    let message = parameters.restore(&snapshot).unwrap_err().to_string();
    assert!(
        message.contains("missing:\n    counts.num_batches_tracked: I64 of shape []"),
        "{message}"
    );
    Ok(())
}
