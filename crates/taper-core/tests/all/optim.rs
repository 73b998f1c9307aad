//! Optimizers against PyTorch, step by step, and across saving and restoring.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Module, Tensor, Var};
use taper_core::optim::{
    Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, ParamGroup, Sgd, SgdConfig,
};
use taper_core::testing::{Case, assert_close, goldens};
use taper_core::{
    GradientStore, Gradients, LinearConfig, Parameters, Result, Snapshot, clip_grad_norm, linear,
    stream,
};
use taper_kernels::threads;

const CPU: &Device = &Device::Cpu;

type Named = Vec<(String, Var)>;

/// The parameters a (2, 3), b (3) and c (2) from a row of 11 numbers.
fn split(row: &Tensor) -> Result<[Tensor; 3]> {
    let part = |start, length| row.narrow(0, start, length);
    Ok([part(0, 6)?.reshape((2, 3))?, part(6, 3)?, part(9, 2)?])
}

fn named(tensors: &[Tensor]) -> Result<Named> {
    let var = |(name, tensor): (&str, &Tensor)| -> Result<_> {
        Ok((name.to_owned(), Var::from_tensor(tensor)?))
    };
    ["a", "b", "c"].into_iter().zip(tensors).map(var).collect()
}

fn values(parameters: &Named) -> Result<Tensor> {
    let rows: Vec<Tensor> =
        parameters.iter().map(|(_, var)| var.flatten_all()).collect::<candle_core::Result<_>>()?;
    Ok(Tensor::cat(&rows, 0)?.detach())
}

/// The optimizer that the case describes, over the groups (a, b) and (c).
fn optimizer(case: &Case, parameters: &Named) -> Result<Box<dyn Optimizer>> {
    let or = |key, default| {
        if case.has(key) { case.f64(key) } else { Ok(default) }
    };
    let learning_rate = 0.05;
    let betas = (case.f64("beta1")?, case.f64("beta2")?);
    let eps = or("eps", 1e-8)?;
    let groups = vec![
        ParamGroup::new(parameters[..2].to_vec()),
        ParamGroup {
            parameters: parameters[2..].to_vec(),
            learning_rate: Some(0.02),
            weight_decay: Some(0.3),
        },
    ];
    Ok(match case.text("name")? {
        "sgd" => {
            let config = SgdConfig {
                learning_rate,
                momentum: or("momentum", 0.0)?,
                dampening: or("dampening", 0.0)?,
                nesterov: case.has("nesterov"),
                weight_decay: or("weight_decay", 0.0)?,
            };
            Box::new(Sgd::with_groups(groups, config)?)
        }
        "adam" => {
            let weight_decay = or("weight_decay", 0.0)?;
            let config = AdamConfig { learning_rate, betas, eps, weight_decay };
            Box::new(Adam::with_groups(groups, config)?)
        }
        name => {
            assert_eq!(name, "adamw");
            let weight_decay = or("weight_decay", 0.01)?;
            let config = AdamWConfig { learning_rate, betas, eps, weight_decay };
            Box::new(AdamW::with_groups(groups, config)?)
        }
    })
}

/// Step `step` of the golden run: the learning rate changes at 6; b has no gradient at 0 and 4.
fn golden_step(
    step: usize,
    optimizer: &mut dyn Optimizer,
    parameters: &Named,
    gradients: &Tensor,
) -> Result<()> {
    if step == 6 {
        optimizer.set_learning_rate(0, 0.01)?;
    }
    let mut store = GradStore::default();
    for ((name, var), gradient) in parameters.iter().zip(split(&gradients.get(step)?)?) {
        if name != "b" || ![0, 4].contains(&step) {
            store.insert(var, gradient);
        }
    }
    optimizer.step(&store)
}

fn golden_cases(dtype: DType) -> Result<(Tensor, Tensor, Vec<Case>)> {
    let mut cases = goldens(include_str!("../golden/optim.json"))?;
    let given = cases.remove(0);
    Ok((given.tensor("start", dtype)?, given.tensor("gradients", dtype)?, cases))
}

#[test]
fn every_step_agrees_with_pytorch() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
        let (start, gradients, cases) = golden_cases(dtype)?;
        for case in cases {
            let parameters = named(&split(&start)?)?;
            let mut optimizer = optimizer(&case, &parameters)?;
            let after = case.tensor("after", dtype)?;
            for step in 0..10 {
                golden_step(step, optimizer.as_mut(), &parameters, &gradients)?;
                assert_close(&values(&parameters)?, &after.get(step)?, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn restoring_goes_on_with_the_same_bits() -> Result<()> {
    let (start, gradients, cases) = golden_cases(DType::F32)?;
    for case in cases {
        for stop in [0, 1, 5, 7] {
            let through = named(&split(&start)?)?;
            let mut original = optimizer(&case, &through)?;
            for step in 0..stop {
                golden_step(step, original.as_mut(), &through, &gradients)?;
            }
            let mut snapshot = Snapshot::new();
            snapshot.put("optimizer", original.as_ref())?;
            let bytes = snapshot.to_bytes()?;

            // In a new process: the parameters as they were saved, an optimizer as configured.
            let resumed = named(&split(&values(&through)?)?)?;
            let mut restored = optimizer(&case, &resumed)?;
            Snapshot::from_bytes(&bytes, CPU)?.get("optimizer", restored.as_mut())?;
            for step in stop..10 {
                golden_step(step, original.as_mut(), &through, &gradients)?;
                golden_step(step, restored.as_mut(), &resumed, &gradients)?;
            }
            assert_close(&values(&resumed)?, &values(&through)?, 0.0);
            assert_eq!(restored.learning_rate(0)?, 0.01);
        }
    }
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() -> Result<()> {
    let (start, gradients, cases) = golden_cases(DType::F32)?;
    let adam = cases.iter().find(|case| case.text("name").is_ok_and(|name| name == "adam"));
    let parameters = named(&split(&start)?)?;
    let mut optimizer = optimizer(adam.unwrap(), &parameters)?;
    golden_step(1, optimizer.as_mut(), &parameters, &gradients)?;
    let mut whole = Snapshot::new();
    optimizer.save(&mut whole)?;
    let before = whole.to_bytes()?;

    let vector = Tensor::zeros(3, DType::F32, CPU)?;
    let spoil = |entry: &str, tensor: &Tensor| {
        let mut spoilt = whole.clone();
        spoilt.put_tensor(entry, tensor);
        spoilt
    };
    let mut no_second_moment = Snapshot::new();
    no_second_moment.put_f64("group.0.learning_rate", 0.1);
    no_second_moment.put_f64("group.1.learning_rate", 0.1);
    no_second_moment.put_tensor("state.b.exp_avg", &vector);
    no_second_moment.put_u64("state.b.step", 1);
    let cases = [
        (Snapshot::new(), "group.0.learning_rate"),
        (spoil("state.a.exp_avg", &vector), "expected F32 of shape [2, 3], found F32 of shape [3]"),
        (spoil("state.b.exp_avg", &vector.to_dtype(DType::F64)?), "found F64"),
        (spoil("state.d.exp_avg", &vector), "state.d.exp_avg"),
        (spoil("state.b.max_exp_avg", &vector), "state.b.max_exp_avg"),
        (no_second_moment, "state.b.exp_avg_sq: not in the saved state"),
    ];
    for (snapshot, expected) in cases {
        let message = optimizer.restore(&snapshot).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        let mut after = Snapshot::new();
        optimizer.save(&mut after)?;
        assert!(after.to_bytes()? == before, "{expected}");
    }
    Ok(())
}

#[test]
fn settings_out_of_range_are_refused() -> Result<()> {
    let parameters = || named(&[Tensor::zeros(2, DType::F32, CPU).unwrap()]).unwrap();
    let sgd = |config| Sgd::new(parameters(), config).unwrap_err().to_string();
    let default = SgdConfig::default();
    assert!(sgd(SgdConfig { learning_rate: -1.0, ..default }).contains("learning_rate"));
    assert!(sgd(SgdConfig { learning_rate: f64::NAN, ..default }).contains("learning_rate"));
    assert!(sgd(SgdConfig { weight_decay: -1.0, ..default }).contains("weight_decay"));
    assert!(sgd(SgdConfig { momentum: -1.0, ..default }).contains("momentum"));
    assert!(sgd(SgdConfig { dampening: f64::INFINITY, ..default }).contains("dampening"));
    assert!(sgd(SgdConfig { nesterov: true, ..default }).contains("nesterov"));
    let adam = |config| Adam::new(parameters(), config).unwrap_err().to_string();
    assert!(adam(AdamConfig { betas: (0.9, 1.0), ..Default::default() }).contains("betas"));
    assert!(adam(AdamConfig { eps: -1e-8, ..Default::default() }).contains("eps"));

    let twice = [parameters(), parameters()].concat();
    let error = Sgd::new(twice, default).unwrap_err().to_string();
    assert!(error.contains("each name once, got a"), "{error}");
    let shared = parameters()[0].1.clone();
    let tied = vec![("a".to_owned(), shared.clone()), ("b".to_owned(), shared)];
    let error = Sgd::new(tied, default).unwrap_err().to_string();
    assert!(error.contains("each variable once, got that of b twice"), "{error}");
    let mut optimizer = AdamW::new(parameters(), AdamWConfig::default())?;
    assert!(optimizer.learning_rate(1).unwrap_err().to_string().contains("below 1"));
    assert!(optimizer.set_learning_rate(1, 0.1).is_err());
    assert!(optimizer.set_learning_rate(0, f64::NAN).is_err());
    optimizer.set_learning_rate(0, 0.5)?;
    assert_eq!(optimizer.learning_rate(0)?, 0.5);
    Ok(())
}

/// A small regression: what it ends with, as bytes, stopping and going on at `stop`.
fn train(stop: Option<usize>) -> Result<Vec<u8>> {
    let build = |seed| -> Result<_> {
        let parameters = Parameters::new(&stream(seed, "init"));
        let vb = parameters.builder(DType::F32, CPU);
        let layer = linear(4, 1, LinearConfig::default(), vb.pp("layer"))?;
        let optimizer = Adam::new(parameters.trainable(), AdamConfig::default())?;
        Ok((parameters, layer, optimizer, stream(7, "data")))
    };
    let (mut parameters, mut layer, mut optimizer, mut data) = build(7)?;
    for step in 0..20 {
        if stop == Some(step) {
            let mut snapshot = Snapshot::new();
            snapshot.put("model", &parameters)?;
            snapshot.put("optimizer", &optimizer)?;
            snapshot.put("data", &data)?;
            let snapshot = Snapshot::from_bytes(&snapshot.to_bytes()?, CPU)?;
            // Another seed: everything has to come from the snapshot.
            (parameters, layer, optimizer, data) = build(8)?;
            snapshot.get("model", &mut parameters)?;
            snapshot.get("optimizer", &mut optimizer)?;
            snapshot.get("data", &mut data)?;
        }
        let x = data.normal(0.0, 1.0, (16, 4), DType::F32, CPU)?;
        let loss = (layer.forward(&x)? - x.sum_keepdim(1)?)?.sqr()?.mean_all()?;
        optimizer.step(&loss.backward()?)?;
    }
    parameters.to_safetensors()
}

#[test]
fn a_training_run_can_stop_at_any_step() -> Result<()> {
    let through = train(None)?;
    for stop in [0, 1, 13, 19] {
        assert!(train(Some(stop))? == through, "stopped at {stop}");
    }
    Ok(())
}

/// One of each kind, with all that it remembers.
fn optimizers(parameters: &Named) -> Result<[Box<dyn Optimizer>; 4]> {
    let sgd = SgdConfig { learning_rate: 0.1, weight_decay: 0.1, ..Default::default() };
    let nesterov = SgdConfig { momentum: 0.9, nesterov: true, ..sgd };
    let adam = AdamConfig { learning_rate: 0.1, weight_decay: 0.1, ..Default::default() };
    let adamw = AdamWConfig { learning_rate: 0.1, ..Default::default() };
    Ok([
        Box::new(Sgd::new(parameters.clone(), sgd)?),
        Box::new(Sgd::new(parameters.clone(), nesterov)?),
        Box::new(Adam::new(parameters.clone(), adam)?),
        Box::new(AdamW::new(parameters.clone(), adamw)?),
    ])
}

/// Parameters of which one is large enough for several threads.
fn mixed(dtype: DType) -> Result<Named> {
    let shapes: [&[usize]; 5] = [&[3], &[200, 211], &[0, 4], &[2, 3, 5], &[]];
    let mut noise = stream(1, "mixed");
    let var = |(at, shape): (usize, &&[usize])| -> Result<_> {
        Ok((format!("p{at}"), Var::from_tensor(&noise.normal(0.0, 1.0, *shape, dtype, CPU)?)?))
    };
    shapes.iter().enumerate().map(var).collect()
}

/// A gradient for each, the same for the same `step`.
fn fill(store: &mut dyn GradientStore, parameters: &Named, step: u64) -> Result<()> {
    let mut noise = stream(step, "gradients");
    for (_, var) in parameters {
        store.set(var, &noise.normal(0.0, 1.0, var.shape(), var.dtype(), CPU)?)?;
    }
    Ok(())
}

fn gradients_of(parameters: &Named) -> Result<Gradients> {
    Gradients::new(parameters.iter().map(|(_, var)| var))
}

#[test]
fn both_stores_and_any_number_of_threads_give_the_same_bits() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for kind in 0..4 {
            let run = |store: &mut dyn GradientStore, parameters: &Named| -> Result<Tensor> {
                let optimizer = &mut optimizers(parameters)?[kind];
                for step in 0..3 {
                    fill(store, parameters, step)?;
                    optimizer.step(store)?;
                }
                values(parameters)
            };
            let parameters = mixed(dtype)?;
            let expected = run(&mut GradStore::default(), &parameters)?;
            let parameters = mixed(dtype)?;
            assert_close(&run(&mut gradients_of(&parameters)?, &parameters)?, &expected, 0.0);
            let parameters = mixed(dtype)?;
            let alone = threads::limit(1, || run(&mut gradients_of(&parameters)?, &parameters))?;
            assert_close(&alone, &expected, 0.0);
        }
    }
    Ok(())
}

#[test]
fn a_clipped_step_is_clipping_and_a_step() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14), (DType::BF16, 2e-2)] {
        for kind in 0..4 {
            for max_norm in [0.0, 0.5, 1e9, f64::INFINITY] {
                let (apart, fused) = (mixed(dtype)?, mixed(dtype)?);
                let (mut plain, mut store) = (GradStore::default(), gradients_of(&fused)?);
                let (one, other) = (&mut optimizers(&apart)?[kind], &mut optimizers(&fused)?[kind]);
                for step in 0..3 {
                    fill(&mut plain, &apart, step)?;
                    fill(&mut store, &fused, step)?;
                    let before = store.gradient(&fused[1].1)?.unwrap();
                    let norm = clip_grad_norm(&mut plain, &apart, max_norm, true)?;
                    one.step(&plain)?;
                    assert!((other.step_clipped(&store, max_norm)? / norm - 1.0).abs() < 1e-12);
                    assert_close(&store.gradient(&fused[1].1)?.unwrap(), &before, 0.0);
                    assert_close(&values(&fused)?, &values(&apart)?, tolerance);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_clipped_step_without_a_finite_norm_changes_nothing() -> Result<()> {
    let parameters = mixed(DType::F32)?;
    let mut store = gradients_of(&parameters)?;
    for mut optimizer in optimizers(&parameters)? {
        fill(&mut store, &parameters, 1)?;
        optimizer.step_clipped(&store, 1.0)?;
        let state = |optimizer: &dyn Optimizer| -> Result<_> {
            let mut snapshot = Snapshot::new();
            optimizer.save(&mut snapshot)?;
            snapshot.to_bytes()
        };
        let before = (values(&parameters)?, state(optimizer.as_ref())?);
        for bad in [f32::NAN, f32::INFINITY] {
            store.set(&parameters[0].1, &Tensor::new(&[1.0, bad, 1.0], CPU)?)?;
            let error = optimizer.step_clipped(&store, 1.0).unwrap_err().to_string();
            assert!(error.contains("step_clipped: gradients should be"), "{error}");
        }
        fill(&mut store, &parameters, 1)?;
        for limit in [-1.0, f64::NAN] {
            let error = optimizer.step_clipped(&store, limit).unwrap_err().to_string();
            assert!(error.contains("max_norm should be at least 0"), "{error}");
        }
        assert_close(&values(&parameters)?, &before.0, 0.0);
        assert!(state(optimizer.as_ref())? == before.1);
    }
    Ok(())
}

#[test]
fn a_gradient_that_does_not_fit_changes_nothing() -> Result<()> {
    let parameters = mixed(DType::F32)?;
    let before = values(&parameters)?;
    let wrong = [Tensor::zeros((3, 1), DType::F32, CPU)?, Tensor::zeros(3, DType::F64, CPU)?];
    for mut optimizer in optimizers(&parameters)? {
        for (wrong, received) in wrong.iter().zip(["F32 of shape [3, 1]", "F64 of shape [3]"]) {
            let mut store = GradStore::default();
            fill(&mut store, &parameters, 1)?;
            store.insert(&parameters[0].1, wrong.clone());
            let error = optimizer.step(&store).unwrap_err().to_string();
            let expected = format!(
                "the gradient of p0 should be F32 of shape [3], as that is, got {received}"
            );
            assert!(error.contains(&expected), "{error}");
        }
        assert_close(&values(&parameters)?, &before, 0.0);
    }
    Ok(())
}

#[test]
fn a_gradient_may_be_the_variable_itself_or_a_view() -> Result<()> {
    let matrix = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], CPU)?;
    let config = SgdConfig { learning_rate: 0.5, ..Default::default() };
    let x = Var::from_tensor(&matrix)?;
    let mut sgd = Sgd::new(vec![("x".to_owned(), x.clone())], config)?;
    for (gradient, expected) in [
        (x.as_tensor().clone(), [[0.5, 1.0], [1.5, 2.0]]),
        (matrix.t()?, [[0.0, -0.5], [0.5, 0.0]]),
        (x.t()?, [[0.0, -0.75], [0.75, 0.0]]),
    ] {
        let mut store = GradStore::default();
        store.insert(&x, gradient);
        sgd.step(&store)?;
        assert_eq!(x.to_vec2::<f64>()?, expected);
    }
    Ok(())
}

#[test]
fn half_precision_steps_as_single_does() -> Result<()> {
    let (half, single) = (mixed(DType::BF16)?, mixed(DType::F32)?);
    for ((_, half), (_, single)) in half.iter().zip(&single) {
        single.set(&half.to_dtype(DType::F32)?)?;
    }
    for kind in 0..4 {
        let (one, other) = (&mut optimizers(&half)?[kind], &mut optimizers(&single)?[kind]);
        let (mut halves, mut singles) = (gradients_of(&half)?, gradients_of(&single)?);
        fill(&mut halves, &half, 1)?;
        for ((_, half), (_, single)) in half.iter().zip(&single) {
            singles.set(single, &halves.gradient(half)?.unwrap().to_dtype(DType::F32)?)?;
        }
        one.step(&halves)?;
        other.step(&singles)?;
        assert_close(&values(&half)?.to_dtype(DType::F32)?, &values(&single)?, 3e-2);
    }
    Ok(())
}

#[test]
fn a_snapshot_does_not_follow_the_steps() -> Result<()> {
    let parameters = mixed(DType::F32)?;
    let mut store = gradients_of(&parameters)?;
    for mut optimizer in optimizers(&parameters)? {
        fill(&mut store, &parameters, 1)?;
        optimizer.step(&store)?;
        let mut snapshot = Snapshot::new();
        optimizer.save(&mut snapshot)?;
        let before = snapshot.to_bytes()?;
        optimizer.step(&store)?;
        assert!(snapshot.to_bytes()? == before);
        // Nor does an optimizer that restores it write into it.
        optimizer.restore(&snapshot)?;
        optimizer.step(&store)?;
        assert!(snapshot.to_bytes()? == before);
    }
    Ok(())
}
