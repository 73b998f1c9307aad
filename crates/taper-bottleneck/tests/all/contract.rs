//! What holds for every block: its counts, gradients and errors.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_bottleneck::{
    AdapterConfig, BasicBlockConfig, BottleneckConfig, Channels, ConvNextBlock,
    ConvNextBlockConfig, ConvNormConfig, Counted, Counter, Flow, MixerBlockConfig,
    MlpBottleneckConfig, PointwiseConfig, Shortcut, StrideOn, adapter, basic_block, bottleneck,
    conv_norm, convnext_block, layer_scale, meta, mixer_block, mlp_bottleneck, pointwise, summary,
    trace,
};
use taper_core::testing::{assert_close, gradients_reach};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::{
    BatchNormConfig, BatchRenormConfig, ChannelLayerNormConfig, FrozenBatchNormConfig,
    GhostBatchNormConfig, InstanceNormConfig, LocalResponseNormConfig, NormConfig, RmsNormConfig,
};

const CPU: Device = Device::Cpu;

/// A block behind what the tests need of it. A `Module` is a `ModuleT`, too.
pub(crate) trait Block: ModuleT + Counted {}

impl<T: ModuleT + Counted> Block for T {}

/// A ConvNeXt block, whose drop path draws nothing.
pub(crate) struct Deterministic(pub(crate) ConvNextBlock);

impl ModuleT for Deterministic {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.0.forward_t(x, train, &mut stream(0, "drop path"))?)
    }
}

impl Counted for Deterministic {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.0.count(x, counter)
    }
}

/// Makes a block of a builder's parameters.
type Build = dyn Fn(VarBuilder) -> Result<Box<dyn Block>>;

/// A block of some configuration, and the shape of an input.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) build: Box<Build>,
    pub(crate) input: Vec<usize>,
}

/// `build` makes the block.
pub(crate) fn case<B: Block + 'static>(
    name: &'static str,
    input: &[usize],
    build: impl Fn(VarBuilder) -> Result<B> + 'static,
) -> Case {
    let build = move |vb: VarBuilder<'_>| Ok(Box::new(build(vb)?) as Box<dyn Block>);
    Case { name, build: Box::new(build), input: input.to_vec() }
}

pub(crate) const IMAGE: [usize; 4] = [3, 8, 9, 7];
const POINTS: [usize; 3] = [3, 5, 8];

/// Every block, in the forms that differ in structure.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("pointwise", &IMAGE, |vb| {
            conv_norm(8, 12, 1, ConvNormConfig::default(), vb.pp("conv"), vb.pp("bn"))
        }),
        case("grouped and dilated", &IMAGE, |vb| {
            let config = ConvNormConfig { groups: 4, dilation: 2, stride: 2, ..Default::default() };
            conv_norm(8, 12, 3, config, vb.pp("conv"), vb.pp("bn"))
        }),
        case("1x1 convolution", &IMAGE, |vb| pointwise(8, 5, PointwiseConfig::default(), vb)),
        case("1x1 convolution of points", &POINTS, |vb| {
            let activation = Activation::Gelu;
            pointwise(5, 7, PointwiseConfig { activation, ..Default::default() }, vb)
        }),
        case("adapter", &POINTS, |vb| {
            adapter(8, AdapterConfig { zero_init: false, ..Default::default() }, vb)
        }),
        case("mixer", &POINTS, |vb| mixer_block(5, 8, MixerBlockConfig::default(), vb)),
        case("layer scale of images", &IMAGE, |vb| layer_scale(8, 0.5, Channels::First, vb)),
        case("layer scale of points", &POINTS, |vb| layer_scale(8, 0.5, Channels::Last, vb)),
        case("ConvNeXt block", &IMAGE, |vb| {
            let config = ConvNextBlockConfig { layer_scale: Some(0.5), ..Default::default() };
            Ok(Deterministic(convnext_block(8, config, vb)?))
        }),
        case("MLP bottleneck", &POINTS, |vb| mlp_bottleneck(8, MlpBottleneckConfig::default(), vb)),
        case("MLP bottleneck without a residual", &POINTS, |vb| {
            let activations = [Activation::Silu, Activation::Tanh, Activation::Identity];
            let config = MlpBottleneckConfig {
                activations,
                residual: false,
                bias: false,
                reduction: 2,
                ..Default::default()
            };
            mlp_bottleneck(8, config, vb)
        }),
        case("basic block", &IMAGE, |vb| basic_block(8, 8, BasicBlockConfig::default(), vb)),
        case("bottleneck", &IMAGE, |vb| bottleneck(8, 8, BottleneckConfig::default(), vb)),
        case("bottleneck, version 1", &IMAGE, |vb| {
            let stride_on = StrideOn::Pointwise;
            bottleneck(8, 16, BottleneckConfig { stride: 2, stride_on, ..Default::default() }, vb)
        }),
        case("ResNeXt bottleneck", &IMAGE, |vb| {
            let config = BottleneckConfig { groups: 4, reduction: 2, ..Default::default() };
            bottleneck(8, 16, config, vb)
        }),
    ];
    for shortcut in [Shortcut::Projection, Shortcut::PooledProjection, Shortcut::Padded] {
        cases.push(case("basic block by its shortcut", &IMAGE, move |vb| {
            basic_block(8, 12, BasicBlockConfig { stride: 2, shortcut, ..Default::default() }, vb)
        }));
        cases.push(case("bottleneck by its shortcut", &IMAGE, move |vb| {
            let config =
                BottleneckConfig { stride: 2, shortcut, dilation: 2, ..Default::default() };
            bottleneck(8, 12, config, vb)
        }));
    }
    for norm in norms() {
        for activation in [Activation::Relu, Activation::Silu] {
            cases.push(case("basic block by its norm", &IMAGE, move |vb| {
                let config = BasicBlockConfig { norm, activation, ..Default::default() };
                basic_block(8, 12, config, vb)
            }));
        }
    }
    cases.extend(crate::networks::cases());
    cases.extend(crate::convolutions::cases());
    cases
}

/// Every kind of norm.
fn norms() -> Vec<NormConfig> {
    vec![
        NormConfig::None,
        NormConfig::Batch(BatchNormConfig::default()),
        NormConfig::BatchRenorm(BatchRenormConfig::default()),
        NormConfig::GhostBatch(GhostBatchNormConfig::default()),
        NormConfig::FrozenBatch(FrozenBatchNormConfig::default()),
        NormConfig::Layer(ChannelLayerNormConfig::default()),
        NormConfig::Rms(RmsNormConfig::default()),
        NormConfig::group(2),
        NormConfig::Instance(InstanceNormConfig { affine: true, ..Default::default() }),
        NormConfig::LocalResponse(LocalResponseNormConfig::default()),
    ]
}

fn normal(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    stream(1, name).normal(0.0, 1.0, shape, dtype, &CPU).unwrap()
}

/// The block with parameters, and an input.
fn made(case: &Case, dtype: DType) -> Result<(Box<dyn Block>, Parameters, Tensor)> {
    let parameters = Parameters::new(&stream(0, "init"));
    let block = (case.build)(parameters.builder(dtype, &CPU))?;
    Ok((block, parameters, normal("x", &case.input, dtype)))
}

#[test]
fn what_a_block_states_is_what_its_forward_pass_does() -> Result<()> {
    for case in cases() {
        let (block, parameters, x) = made(&case, DType::F32)?;
        let stated = summary(&*block, x.dims())?;
        let traced = trace(&x, |x| block.forward_t(x, false))?;
        assert_eq!(stated.total, traced, "{}", case.name);
        let trained: usize =
            parameters.trainable().iter().map(|(_, variable)| variable.elem_count()).sum();
        let frozen = stated.rows.iter().any(|row| row.kind == "FrozenBatchNorm");
        assert!(frozen || stated.total.cost.parameters == trained as u64, "{}", case.name);
        assert_eq!(stated.output, block.forward_t(&x, false)?.dims(), "{}", case.name);
        // And the same without memory.
        let weightless = (case.build)(meta(DType::F32))?;
        assert_eq!(summary(&*weightless, x.dims())?, stated, "{}", case.name);
    }
    Ok(())
}

#[test]
fn gradients_reach_the_input_and_every_parameter() -> Result<()> {
    for case in cases() {
        let (block, parameters, x) = made(&case, DType::F64)?;
        let x = Var::from_tensor(&x)?;
        let loss = block.forward_t(&x, true)?.sin()?.sum_all()?;
        let mut variables = vec![("x".to_owned(), x)];
        variables.extend(parameters.trainable());
        // A frozen norm trains neither its weight nor its bias.
        let rows = summary(&*block, &case.input)?.rows;
        let frozen = rows.iter().any(|row| row.kind == "FrozenBatchNorm");
        variables.retain(|(_, variable)| !frozen || variable.rank() > 1);
        gradients_reach(&loss, &variables, &[]).map_err(|error| {
            taper_core::Error::argument("contract", case.name, "gradients everywhere", error)
        })?;
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_a_finite_difference() -> Result<()> {
    const STEP: f64 = 1e-6;
    for case in cases() {
        let (block, parameters, x) = made(&case, DType::F64)?;
        let x = Var::from_tensor(&x)?;
        let mut variables = vec![("x".to_owned(), x.clone())];
        variables.extend(parameters.trainable());
        let loss = || -> Result<Tensor> { Ok(block.forward_t(&x, true)?.sin()?.sum_all()?) };
        let gradients = loss()?.backward()?;
        // Along one direction in all variables at once.
        let mut slope = 0.0;
        let mut steps = Vec::new();
        for (name, variable) in &variables {
            let direction = normal(name, variable.dims(), DType::F64);
            if let Some(gradient) = gradients.get(variable) {
                slope += (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
                steps.push((variable, variable.as_tensor().copy()?, direction));
            }
        }
        let at = |by: f64| -> Result<f64> {
            for (variable, value, direction) in &steps {
                variable.set(&(value + (direction * by)?)?)?;
            }
            Ok(loss()?.to_scalar()?)
        };
        let difference = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
        let error = (difference - slope).abs() / slope.abs().max(1.0);
        assert!(error < 1e-5, "{}: {slope} against {difference}", case.name);
    }
    Ok(())
}

#[test]
fn in_evaluation_a_sample_is_on_its_own() -> Result<()> {
    for case in cases() {
        let (block, _, x) = made(&case, DType::F64)?;
        let together = block.forward_t(&x, false)?;
        for sample in 0..case.input[0] {
            let alone = block.forward_t(&x.narrow(0, sample, 1)?, false)?;
            assert_close(&alone, &together.narrow(0, sample, 1)?, 1e-12);
        }
    }
    Ok(())
}

#[test]
fn half_precision_comes_out_as_it_went_in() -> Result<()> {
    for case in cases() {
        let (block, _, x) = made(&case, DType::BF16)?;
        let y = block.forward_t(&x, true)?;
        assert_eq!(y.dtype(), DType::BF16, "{}", case.name);
        let sum = y.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite(), "{}", case.name);
    }
    Ok(())
}

#[test]
fn another_number_of_channels_is_an_error_in_both() -> Result<()> {
    for case in cases() {
        let (block, _, _) = made(&case, DType::F32)?;
        let mut dims = case.input.clone();
        // Of images in axis 1, of points in the last, or in axis 1 where they are mixed.
        for axis in 1..dims.len() {
            dims[axis] += if dims.len() == 3 || axis == 1 { 1 } else { 0 };
        }
        let x = normal("x", &dims, DType::F32);
        assert!(block.forward_t(&x, false).is_err(), "{}", case.name);
        assert!(summary(&*block, &dims).is_err(), "{}", case.name);
    }
    Ok(())
}
