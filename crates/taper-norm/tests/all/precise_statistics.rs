use candle_core::{DType, Device, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::assert_close;
use taper_core::{Error, Parameters, Result, stream};
use taper_norm::{
    BatchNorm, BatchNormConfig, GhostBatchNormConfig, Momentum, Variance, batch_norm,
    ghost_batch_norm, precise_statistics,
};

const CPU: Device = Device::Cpu;

fn builder() -> VarBuilder<'static> {
    Parameters::new(&stream(0, "init")).builder(DType::F64, &CPU)
}

fn state(norm: &BatchNorm) -> Result<(Tensor, Tensor, i64)> {
    let running = norm.running_statistics().expect("kept");
    let copies = (running.mean.copy()?, running.variance.copy()?);
    Ok((copies.0, copies.1, running.num_batches_tracked.to_scalar()?))
}

#[test]
fn they_are_those_of_all_values_in_one_batch() -> Result<()> {
    let x = stream(1, "x").normal(50.0, 0.5, (23, 3, 2), DType::F64, &CPU)?;
    for running_variance in [Variance::Unbiased, Variance::Biased] {
        let momentum = Momentum::Exponential(1.0);
        let config = BatchNormConfig { running_variance, momentum, ..Default::default() };
        let whole = batch_norm(3, config, builder())?;
        whole.forward_t(&x, true)?;
        let (mean, variance, _) = state(&whole)?;
        // Batches of 5, the last of 3.
        let batches = (0..5).map(|at| x.narrow(0, 5 * at, 5.min(23 - 5 * at)));
        let config = BatchNormConfig { running_variance, ..Default::default() };
        let norm = batch_norm(3, config, builder())?;
        norm.forward_t(&x, true)?;
        precise_statistics(&[&norm], batches, |batch| {
            norm.forward_t(&batch?, true)?;
            Ok(())
        })?;
        let (precise_mean, precise_variance, batches) = state(&norm)?;
        assert_close(&precise_mean, &mean, 1e-14);
        assert_close(&precise_variance, &variance, 1e-12);
        assert_eq!(batches, 1);
    }
    Ok(())
}

#[test]
fn a_norm_sees_what_the_ones_before_it_make_in_training() -> Result<()> {
    let (first, second) = (
        batch_norm(2, Default::default(), builder())?,
        batch_norm(2, Default::default(), builder())?,
    );
    let x = stream(1, "x").normal(0.0, 3.0, (12, 2), DType::F64, &CPU)?;
    precise_statistics(&[&first, &second], x.chunk(3, 0)?, |batch| {
        let hidden = first.forward_t(&batch, true)?.sqr()?;
        second.forward_t(&hidden, true)?;
        Ok(())
    })?;
    // The squares of normalised values have the mean 1.
    let (mean, _, batches) = state(&second)?;
    assert_close(&mean, &mean.ones_like()?, 1e-4);
    assert_eq!(batches, 0);
    // Training goes on with the momentum.
    let (before, ..) = state(&first)?;
    first.forward_t(&(x.narrow(0, 0, 4)? + 100.0)?, true)?;
    let (after, ..) = state(&first)?;
    let moved = (after - before)?.to_vec1::<f64>()?;
    assert!(moved.iter().all(|moved| (8.0..12.0).contains(moved)), "{moved:?}");
    Ok(())
}

#[test]
fn virtual_batches_are_batches() -> Result<()> {
    let x = stream(1, "x").normal(4.0, 3.0, (10, 2), DType::F64, &CPU)?;
    let whole = BatchNormConfig { momentum: Momentum::Exponential(1.0), ..Default::default() };
    let whole = batch_norm(2, whole, builder())?;
    whole.forward_t(&x, true)?;
    let config = GhostBatchNormConfig { virtual_batch_size: 3, ..Default::default() };
    // The last virtual batch of 7 or 3 samples would be of 1.
    let ghost = ghost_batch_norm(2, config, builder())?;
    precise_statistics(&[ghost.norm()], [(0, 5), (5, 5)], |(start, size)| {
        ghost.forward_t(&x.narrow(0, start, size)?, true)?;
        Ok(())
    })?;
    let ((mean, variance, _), (expected, spread, _)) = (state(ghost.norm())?, state(&whole)?);
    assert_close(&mean, &expected, 1e-14);
    assert_close(&variance, &spread, 1e-13);
    Ok(())
}

#[test]
fn a_far_mean_leaves_the_variance() -> Result<()> {
    let x = stream(5, "x").normal(1e4, 1e-2, (64, 2), DType::F32, &CPU)?;
    let wide = x.to_dtype(DType::F64)?;
    let squares = wide.broadcast_sub(&wide.mean_keepdim(0)?)?.sqr()?.sum(0)?;
    let norm = batch_norm(2, Default::default(), builder())?;
    precise_statistics(&[&norm], x.chunk(8, 0)?, |batch| {
        norm.forward_t(&batch, true)?;
        Ok(())
    })?;
    let (_, variance, _) = state(&norm)?;
    assert_close(&variance, &(squares / 63.0)?, 1e-6);
    Ok(())
}

#[test]
fn after_an_error_nothing_has_changed() -> Result<()> {
    let norm = batch_norm(2, Default::default(), builder())?;
    let other = batch_norm(2, Default::default(), builder())?;
    let x = stream(1, "x").normal(0.0, 3.0, (4, 2), DType::F64, &CPU)?;
    let first = |error: Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    let run = |norms: &[&BatchNorm], train: bool, batches: usize| {
        let result = precise_statistics(norms, 0..batches, |at| match at {
            7 => Err(Error::state("batch", "torn")),
            _ => Ok(norm.forward_t(&x, train).map(|_| ())?),
        });
        first(result.unwrap_err())
    };
    let of = "precise_statistics:";
    let reached = "should be reached by a batch in training (`forward` calls the model with `train` \
                   true), got no batch";
    assert_eq!(run(&[], true, 2), format!("{of} norms should be at least one, got none"));
    assert_eq!(run(&[&norm, &other], true, 2), format!("{of} norms[1] {reached}"));
    assert_eq!(run(&[&norm], false, 2), format!("{of} norms[0] {reached}"));
    assert_eq!(run(&[&norm], true, 0), format!("{of} norms[0] {reached}"));
    assert_eq!(run(&[&norm], true, 8), "restore: batch: torn");
    let config = BatchNormConfig { track_running_stats: false, ..Default::default() };
    let without = batch_norm(2, config, builder())?;
    let expected = "a layer with running statistics (`track_running_stats`), got one without";
    assert_eq!(run(&[&norm, &without], true, 2), format!("{of} norms[1] should be {expected}"));
    let (mean, variance, batches) = state(&norm)?;
    assert_eq!((mean.to_vec1::<f64>()?, variance.to_vec1::<f64>()?), (vec![0.0; 2], vec![1.0; 2]));
    assert_eq!(batches, 0);
    // And the layer tracks again.
    norm.forward_t(&x, true)?;
    assert_eq!(state(&norm)?.2, 1);
    Ok(())
}
