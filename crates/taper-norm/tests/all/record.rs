//! What a recorder sees of a normalization, with counts by hand.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::ModuleT;
use taper_core::op::{Field, Step, Work, record};
use taper_core::{Activation, Linear, Parameters, Result, stream};
use taper_norm::{
    BatchNormConfig, BatchRenormConfig, ChannelLayerNormConfig, FrozenBatchNormConfig,
    GhostBatchNormConfig, InstanceNormConfig, LayerNormConfig, LocalResponseNormConfig, NormConfig,
    RmsNormConfig, layer_norm, norm, weight_norm,
};

const CPU: &Device = &Device::Cpu;

/// (4, 6, 3, 3).
fn x() -> Tensor {
    stream(1, "x").normal(0.0, 1.0, (4, 6, 3, 3), DType::F32, CPU).unwrap()
}

fn of(flops: u64, nonlinearities: u64) -> Work {
    Work { flops, nonlinearities, ..Work::default() }
}

fn recorded(forward: impl FnOnce() -> candle_core::Result<Tensor>) -> Vec<Step> {
    let (y, steps) = record(forward);
    y.unwrap();
    steps
}

#[test]
fn each_kind_counts_its_elements_in_training_as_in_evaluation() -> Result<()> {
    let instance = InstanceNormConfig { track_running_stats: true, ..Default::default() };
    let ghost = GhostBatchNormConfig { virtual_batch_size: 2, ..Default::default() };
    let kinds = [
        (NormConfig::Batch(BatchNormConfig::default()), 2),
        (NormConfig::Batch(BatchNormConfig { affine: false, ..Default::default() }), 2),
        (NormConfig::BatchRenorm(BatchRenormConfig::default()), 2),
        (NormConfig::GhostBatch(ghost), 2),
        (NormConfig::FrozenBatch(FrozenBatchNormConfig::default()), 2),
        (NormConfig::Layer(ChannelLayerNormConfig::default()), 6),
        (NormConfig::Rms(RmsNormConfig::default()), 4),
        (NormConfig::group(3), 6),
        (NormConfig::Instance(InstanceNormConfig::default()), 6),
        (NormConfig::Instance(instance), 2),
        (NormConfig::LocalResponse(LocalResponseNormConfig { size: 5, ..Default::default() }), 13),
    ];
    let (x, parameters) = (x(), Parameters::new(&stream(0, "init")));
    for (at, (config, flops)) in kinds.into_iter().enumerate() {
        let norm = norm(6, config, parameters.builder(DType::F32, CPU).pp(at))?;
        for train in [true, false] {
            let steps = recorded(|| norm.forward_t(&x, train));
            let [step] = &steps[..] else { panic!("one step") };
            let work = Work { field: Field::Point, ..step.work };
            assert_eq!(work, of(216 * flops, 0), "{config:?}");
            // The statistics of a sample's channels see all its places.
            let whole = flops == 6 && !matches!(config, NormConfig::Layer(_));
            let field = if whole { Field::Whole } else { Field::Point };
            assert!(train || step.work.field == field, "{config:?}");
        }
    }
    Ok(())
}

#[test]
fn residual_and_rectifier_count_within_the_operation() -> Result<()> {
    let (x, activation) = (x(), Activation::Relu);
    let group = NormConfig::Group { groups: 2, eps: 1e-5, affine: true, activation };
    let batch = NormConfig::Batch(BatchNormConfig { activation, ..Default::default() });
    for (config, flops, field) in [(batch, 4, Field::Point), (group, 8, Field::Whole)] {
        let parameters = Parameters::new(&stream(0, "init"));
        let norm = norm(6, config, parameters.builder(DType::F32, CPU))?;
        let residual = (&x * 2.0)?;
        let steps = recorded(|| norm.forward_residual_t(&x, &residual, true));
        let [step] = &steps[..] else { panic!("one step") };
        let work = Work { field, ..of(216 * flops, 1) };
        assert_eq!((step.work, step.arguments.len()), (work, 4));
        assert_eq!(step.arguments[1].id(), residual.id());
    }
    // Another activation is an operation of its own.
    let parameters = Parameters::new(&stream(0, "init"));
    let config = LayerNormConfig { activation: Activation::Silu, ..Default::default() };
    let norm = layer_norm((3, 3), config, parameters.builder(DType::F32, CPU))?;
    let steps = recorded(|| norm.forward(&x));
    let works: Vec<Work> = steps.iter().map(|step| step.work).collect();
    assert_eq!(works, [of(216 * 6, 0), of(216, 1)]);
    Ok(())
}

#[test]
fn a_norm_of_a_weight_costs_nothing() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let norm = weight_norm((4, 3), Default::default(), parameters.builder(DType::F32, CPU))?;
    let x = Tensor::ones((2, 3), DType::F32, CPU)?;
    let steps = recorded(|| Linear::new(norm.weight()?, None).unwrap().forward(&x));
    let [weight, linear] = &steps[..] else { panic!("two steps") };
    assert_eq!((weight.work, linear.work.macs), (Work::default(), 24));
    Ok(())
}
