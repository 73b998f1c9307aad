use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::{Case, assert_close, goldens, gradcheck, gradients_reach};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{
    BatchNormConfig, BatchRenorm, BatchRenormConfig, Momentum, Ramp, RenormSchedule,
    RunningStatistics, batch_norm, batch_renorm,
};

use crate::steps::check;

const CPU: Device = Device::Cpu;

fn layer(features: usize, config: BatchRenormConfig) -> Result<BatchRenorm> {
    let parameters = Parameters::new(&stream(0, "init"));
    batch_renorm(features, config, parameters.builder(DType::F64, &CPU))
}

fn of(limits: RenormSchedule) -> BatchRenormConfig {
    BatchRenormConfig { limits, ..Default::default() }
}

#[test]
fn agrees_with_keras_over_steps_and_in_evaluation() -> Result<()> {
    for case in goldens(include_str!("../golden/batch_renorm.json"))? {
        for dtype in [DType::F64, DType::F32] {
            let make = |features, vb: VarBuilder| batch_renorm(features, config_of(&case)?, vb);
            check(&case, dtype, make, |norm, x, _, train| Ok(norm.forward_t(x, train)?))?;
        }
    }
    Ok(())
}

fn config_of(case: &Case) -> Result<BatchRenormConfig> {
    let limits = match case.has("ramps") {
        true => {
            let numbers = case.f64s("ramps")?;
            let ramp = |at: usize| Ramp {
                from: numbers[at],
                to: numbers[at + 1],
                start: numbers[at + 2] as u64,
                end: numbers[at + 3] as u64,
            };
            RenormSchedule { r_max: ramp(0), d_max: ramp(4) }
        }
        false => RenormSchedule::constant(case.f64("r_max")?, case.f64("d_max")?),
    };
    let momentum = Momentum::Decay(case.f64("decay")?);
    Ok(BatchRenormConfig { eps: case.f64("eps")?, momentum, ..of(limits) })
}

#[test]
fn the_schedule_is_that_of_the_paper() {
    let schedule = RenormSchedule::default();
    for (batches, expected) in [
        (0, (1.0, 0.0)),
        (5000, (1.0, 0.0)),
        (15_000, (1.0 + 2.0 * 10.0 / 35.0, 2.5)),
        (25_000, (1.0 + 2.0 * 20.0 / 35.0, 5.0)),
        (40_000, (3.0, 5.0)),
        (i64::MAX, (3.0, 5.0)),
    ] {
        let (r_max, d_max) = schedule.at(batches);
        assert!((r_max - expected.0).abs() < 1e-12 && (d_max - expected.1).abs() < 1e-12);
    }
    let constant = RenormSchedule::constant(2.0, 0.5);
    assert_eq!((constant.at(0), constant.at(9)), ((2.0, 0.5), (2.0, 0.5)));
}

#[test]
fn within_the_limits_training_computes_what_evaluation_does() -> Result<()> {
    let norm = layer(3, of(RenormSchedule::constant(1e6, 1e6)))?;
    let x = stream(1, "x").normal(3.0, 2.0, (6, 3, 4), DType::F64, &CPU)?;
    for _ in 0..2 {
        let evaluation = norm.forward_t(&x, false)?;
        assert_close(&norm.forward_t(&x, true)?, &evaluation, 1e-12);
    }
    Ok(())
}

#[test]
fn at_first_it_is_batch_norm() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let vb = parameters.builder(DType::F64, &CPU);
    let renorm = batch_renorm(3, BatchRenormConfig::default(), vb)?;
    let plain = batch_norm(3, BatchNormConfig::default(), parameters.builder(DType::F64, &CPU))?;
    let x = Var::from_tensor(&stream(1, "x").normal(3.0, 2.0, (6, 3), DType::F64, &CPU)?)?;
    let gradient = |y: &Tensor| -> Result<Tensor> {
        Ok(y.sin()?.sum_all()?.backward()?.remove(&x).expect("a gradient"))
    };
    let (y, expected) = (renorm.forward_t(&x, true)?, plain.forward_t(&x, true)?);
    assert_close(&y, &expected, 1e-14);
    assert_close(&gradient(&y)?, &gradient(&expected)?, 1e-12);
    // And in evaluation from the same state, which the two share here.
    assert_close(&renorm.forward_t(&x, false)?, &plain.forward_t(&x, false)?, 0.0);
    Ok(())
}

#[test]
fn the_number_of_batches_is_state() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let r_max = Ramp { from: 1.0, to: 100.0, start: 1, end: 2 };
    let d_max = Ramp { from: 0.0, to: 100.0, start: 1, end: 2 };
    let config = of(RenormSchedule { r_max, d_max });
    let norm = batch_renorm(1, config, parameters.builder(DType::F64, &CPU))?;
    let names: Vec<String> = parameters.buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["num_batches_tracked", "running_mean", "running_var"]);
    let x = Tensor::new(&[[1.0], [5.0]], &CPU)?;
    let mean = |train| -> Result<f64> { Ok(norm.forward_t(&x, train)?.mean_all()?.to_scalar()?) };
    assert!(mean(true)?.abs() < 1e-12 && mean(true)?.abs() < 1e-12);
    assert!(mean(true)? > 1.0);
    assert_eq!(norm.running_statistics().num_batches_tracked.to_scalar::<i64>()?, 3);
    // As if the layer were loaded into a new run.
    norm.running_statistics().num_batches_tracked.set(&Tensor::new(0i64, &CPU)?)?;
    assert!(mean(true)?.abs() < 1e-12);
    Ok(())
}

/// For r and d as constants: far beyond the limits, where they are.
#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let normal = |name, shape: &[usize]| stream(2, name).normal(0.5, 1.5, shape, DType::F64, &CPU);
    for shape in [vec![5, 2], vec![2, 2, 3, 3]] {
        let inputs =
            [normal("x", &shape)?, normal("r", &shape)?, normal("w", &[2])?, normal("b", &[2])?];
        for (activation, affine) in [(Activation::Relu, true), (Activation::Silu, false)] {
            let config =
                BatchRenormConfig { activation, affine, ..of(RenormSchedule::constant(1.5, 0.25)) };
            for train in [true, false] {
                let function = |x: &[Tensor]| {
                    let running = RunningStatistics {
                        mean: Var::new(&[20.0, -20.0], &CPU)?,
                        variance: Var::new(&[100.0, 0.01], &CPU)?,
                        num_batches_tracked: Var::new(3i64, &CPU)?,
                    };
                    let affine = affine.then(|| (x[2].clone(), x[3].clone()));
                    let norm = BatchRenorm::new(affine, running, config)?;
                    Ok(norm.forward_residual_t(&x[0], &x[1], train)?)
                };
                gradcheck(function, &inputs[..if affine { 4 } else { 2 }], 1e-6)?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_reach_every_parameter_and_the_input() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let config = of(RenormSchedule::constant(3.0, 5.0));
    let norm = batch_renorm(3, config, parameters.builder(DType::F64, &CPU))?;
    let x = Var::from_tensor(&stream(3, "x").normal(0.0, 1.0, (3, 8), DType::F64, &CPU)?)?;
    let mut variables = parameters.trainable();
    variables.push(("x".to_owned(), x.clone()));
    for input in [x.t()?, x.t()?.contiguous()?] {
        let loss = norm.forward_t(&input, true)?.sin()?.sum_all()?;
        gradients_reach(&loss, &variables, &[])?;
    }
    Ok(())
}

#[test]
fn extremes_stay_finite_and_half_precision_is_widened() -> Result<()> {
    for values in [[1e15f32, -1e15, 3e14], [1e-20, -1e-20, 0.0], [7.0, 7.0, 7.0]] {
        let norm = layer(1, of(RenormSchedule::constant(3.0, 5.0)))?;
        let x = Var::from_tensor(&Tensor::new(&values, &CPU)?.unsqueeze(1)?)?;
        let y = norm.forward_t(&x, true)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).expect("a gradient");
        let running = norm.running_statistics();
        let state = Tensor::cat(&[running.mean.as_tensor(), &running.variance], 0)?;
        let state = state.to_dtype(DType::F32)?.unsqueeze(1)?;
        let all = Tensor::cat(&[&y, &gradient, &state], 0)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(all.iter().all(|value| value.is_finite()), "{values:?}: {all:?}");
    }
    let norm = layer(2, BatchRenormConfig::default())?;
    let x = Tensor::new(&[[1f32, f32::NAN], [3.0, 1.0]], &CPU)?;
    let y = norm.forward_t(&x, true)?.t()?.to_vec2::<f32>()?;
    assert!(y[0].iter().all(|y| y.is_finite()) && y[1].iter().all(|y| y.is_nan()));
    let y = norm.forward_t(&x.to_dtype(DType::F16)?, true)?;
    assert_eq!(y.dtype(), DType::F16);
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let expect = |message: String, expected: &str| {
        let message = message.lines().next().unwrap_or_default().to_owned();
        assert!(message.contains(expected), "{message} does not contain: {expected}");
    };
    let norm = layer(3, BatchRenormConfig::default())?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &CPU).unwrap();
    let of_x =
        |shape: &[usize], train| norm.forward_t(&zeros(shape), train).unwrap_err().to_string();
    expect(
        of_x(&[2, 4], true),
        "BatchRenorm::forward_t: x should be (N, 3) with up to 3 more axes, got [2, 4]",
    );
    expect(
        of_x(&[1, 3], true),
        "BatchRenorm::forward_t: x should be of at least 2 values a channel",
    );
    norm.forward_t(&zeros(&[1, 3]), false)?;
    let message = norm.forward_residual_t(&zeros(&[2, 3]), &zeros(&[3, 2]), true).unwrap_err();
    expect(
        message.to_string(),
        "residual should be as x, F64 of shape [2, 3], got F64 of shape [3, 2]",
    );

    let of_config = |config| layer(3, config).unwrap_err().to_string();
    let plain = BatchRenormConfig::default();
    expect(
        of_config(BatchRenormConfig { eps: 0.0, ..plain }),
        "BatchRenorm: eps should be above 0 and finite",
    );
    let momentum = Momentum::Exponential(1.5);
    expect(
        of_config(BatchRenormConfig { momentum, ..plain }),
        "momentum should be from 0 to 1, got 1.5",
    );
    let r_max = of_config(of(RenormSchedule::constant(0.5, 0.0)));
    expect(r_max, "limits.r_max.from should be finite and at least 1, got 0.5");
    let d_max = of_config(of(RenormSchedule::constant(1.0, f64::NAN)));
    expect(d_max, "limits.d_max.from should be finite and at least 0, got NaN");
    let ramp = Ramp { from: 1.0, to: 2.0, start: 5, end: 4 };
    let message = of_config(of(RenormSchedule { r_max: ramp, ..RenormSchedule::default() }));
    expect(message, "limits.r_max.end should be at least its start, 5, got 4");
    let message = layer(0, plain).unwrap_err().to_string();
    expect(message, "BatchRenorm: running.mean should be of at least 1 feature, got 0");

    let running = || RunningStatistics {
        mean: Var::new(&[0.0, 0.0], &CPU).unwrap(),
        variance: Var::new(&[1.0, 1.0], &CPU).unwrap(),
        num_batches_tracked: Var::new(0i64, &CPU).unwrap(),
    };
    let of_affine =
        |affine, config| BatchRenorm::new(affine, running(), config).unwrap_err().to_string();
    expect(of_affine(None, plain), "affine should be given, as the config says, got none");
    let pair = |weight: usize, bias: usize| Some((zeros(&[weight]), zeros(&[bias])));
    let bare = BatchRenormConfig { affine: false, ..plain };
    expect(of_affine(pair(2, 2), bare), "affine should be none, as the config says, got given");
    let fit = "should be f64, f32, bf16 or f16 of shape [2], got F64 of shape [3]";
    expect(of_affine(pair(3, 2), plain), &format!("weight {fit}"));
    expect(of_affine(pair(2, 3), plain), &format!("bias {fit}"));
    Ok(())
}
