//! Blocks beside the same in PyTorch, torchvision and timm: training steps, an evaluation, all gradients and statistics.

use std::collections::HashMap;

use candle_core::{DType, Device, Var};
use candle_nn::VarBuilder;
use taper_bottleneck::{
    AdapterConfig, BasicBlockConfig, BottleneckConfig, ConvNextBlockConfig, FireConfig,
    InceptionConfig, InceptionWidths, InvertedResidualConfig, MixerBlockConfig,
    MlpBottleneckConfig, MlpConvConfig, PreActivationBlockConfig, PreActivationBottleneckConfig,
    Shortcut, SqueezeExciteConfig, StrideOn, adapter, basic_block, bottleneck, convnext_block,
    fire, inception, inverted_residual, mixer_block, mlp_bottleneck, mlp_conv,
    pre_activation_block, pre_activation_bottleneck,
};
use taper_core::testing::{Case, assert_close, goldens};
use taper_core::{Activation, Parameters, Result, stream};
use taper_norm::NormConfig;

use crate::contract::{Block, Deterministic};

fn boxed<B: Block + 'static>(block: B) -> Box<dyn Block> {
    Box::new(block)
}

/// Makes the case's block, loads its state dict, runs its steps of training and its evaluation, and compares all that the
/// reference recorded.
fn check(golden: &str, make: impl Fn(&str, VarBuilder) -> Result<Box<dyn Block>>) -> Result<()> {
    for case in goldens(golden)? {
        for dtype in [DType::F64, DType::F32] {
            check_case(&case, dtype, &make)?;
        }
    }
    Ok(())
}

fn check_case(
    case: &Case,
    dtype: DType,
    make: impl Fn(&str, VarBuilder) -> Result<Box<dyn Block>>,
) -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let block = make(case.text("name")?, parameters.builder(dtype, &Device::Cpu))?;
    let state = case.texts("state")?.into_iter().map(|name| {
        let dtype = if name.ends_with("num_batches_tracked") { DType::I64 } else { dtype };
        Ok((name.to_owned(), case.tensor(&format!("state {name}"), dtype)?))
    });
    parameters.load(&state.collect::<Result<HashMap<_, _>>>()?)?;

    let mut found = HashMap::new();
    let steps = case.u64("steps")?;
    for step in 0..=steps {
        let mode = if step < steps { "train" } else { "eval" };
        let x = Var::from_tensor(&case.tensor(&format!("input {step}"), dtype)?)?;
        let y = block.forward_t(&x, step < steps)?;
        let upstream = case.tensor(&format!("upstream {step}"), dtype)?;
        let gradients = (&y * upstream)?.sum_all()?.backward()?;
        found.insert(format!("{mode} y"), y);
        for (name, var) in [("x".to_owned(), x)].into_iter().chain(parameters.trainable()) {
            let gradient = gradients.get(&var).expect("a gradient").clone();
            found.insert(format!("{mode} {name} gradient"), gradient);
        }
    }
    for (name, buffer) in parameters.buffers() {
        found.insert(name, buffer.as_tensor().clone());
    }
    for name in case.texts("results")? {
        let found = found.remove(name).unwrap_or_else(|| panic!("{name} of the reference"));
        let tolerance = match dtype {
            DType::F64 => 1e-10,
            _ => f64::max(4.0 * case.f64(&format!("{name} f32_error"))?, 1e-5),
        };
        assert_close(&found, &case.tensor(name, found.dtype())?, tolerance);
    }
    assert!(found.is_empty(), "the reference has no {:?}", found.keys());
    Ok(())
}

#[test]
fn residual_blocks_are_those_of_torchvision() -> Result<()> {
    check(include_str!("../golden/residual.json"), |name, vb| {
        let basic = BasicBlockConfig::default();
        let plain = BottleneckConfig::default();
        let stride = BottleneckConfig { stride: 2, ..plain };
        Ok(match name {
            "basic_block" => boxed(basic_block(3, 3, basic, vb)?),
            "basic_block stride" => {
                boxed(basic_block(2, 4, BasicBlockConfig { stride: 2, ..basic }, vb)?)
            }
            "basic_block groups" => {
                let norm = NormConfig::group(2);
                boxed(basic_block(4, 4, BasicBlockConfig { norm, ..basic }, vb)?)
            }
            "bottleneck" => boxed(bottleneck(8, 8, plain, vb)?),
            "bottleneck stride" => boxed(bottleneck(4, 8, stride, vb)?),
            "bottleneck first" => {
                let stride_on = StrideOn::Pointwise;
                boxed(bottleneck(4, 8, BottleneckConfig { stride_on, ..stride }, vb)?)
            }
            "bottleneck pooled" => {
                let shortcut = Shortcut::PooledProjection;
                boxed(bottleneck(4, 8, BottleneckConfig { shortcut, ..stride }, vb)?)
            }
            "bottleneck dilated" => {
                boxed(bottleneck(8, 8, BottleneckConfig { dilation: 2, ..plain }, vb)?)
            }
            "bottleneck resnext" => {
                // Its width is 2 · 4: as wide as its ends.
                let config = BottleneckConfig { groups: 4, reduction: 1, ..plain };
                boxed(bottleneck(8, 8, config, vb)?)
            }
            "convnext_block" => {
                let config = ConvNextBlockConfig { layer_scale: Some(0.5), ..Default::default() };
                boxed(Deterministic(convnext_block(2, config, vb)?))
            }
            other => panic!("no block {other}"),
        })
    })
}

#[test]
fn blocks_over_points_are_those_of_the_references() -> Result<()> {
    check(include_str!("../golden/tokens.json"), |name, vb| {
        let bottleneck = MlpBottleneckConfig::default();
        Ok(match name {
            "mlp_bottleneck" => boxed(mlp_bottleneck(8, bottleneck, vb)?),
            "mlp_bottleneck without" => {
                let activations = [Activation::Silu, Activation::Tanh, Activation::Identity];
                let config = MlpBottleneckConfig {
                    activations,
                    residual: false,
                    reduction: 2,
                    ..bottleneck
                };
                boxed(mlp_bottleneck(8, config, vb)?)
            }
            "adapter" => boxed(adapter(8, AdapterConfig::default(), vb)?),
            "mixer_block" => boxed(mixer_block(5, 8, MixerBlockConfig::default(), vb)?),
            other => panic!("no block {other}"),
        })
    })
}

#[test]
fn other_blocks_of_convolutions_are_those_of_torchvision_and_timm() -> Result<()> {
    check(include_str!("../golden/convolutions.json"), |name, vb| {
        let inverted = InvertedResidualConfig { expansion: 2, ..Default::default() };
        let gate = SqueezeExciteConfig { reduction: 2, ..Default::default() };
        let squeeze_excite = Some(gate);
        Ok(match name {
            "inverted_residual" => boxed(inverted_residual(2, 2, inverted, vb)?),
            "inverted_residual stride" => {
                let config = InvertedResidualConfig { stride: 2, ..inverted };
                boxed(inverted_residual(2, 3, config, vb)?)
            }
            "inverted_residual unexpanded" => {
                let config = InvertedResidualConfig { expansion: 1, ..inverted };
                boxed(inverted_residual(3, 3, config, vb)?)
            }
            "fire" => boxed(fire(3, 2, 2, 3, FireConfig::default(), vb)?),
            "squeeze_excite" => boxed(taper_bottleneck::squeeze_excite(4, gate, vb)?),
            "basic_block gated" => {
                let config = BasicBlockConfig { squeeze_excite, ..Default::default() };
                boxed(basic_block(4, 4, config, vb)?)
            }
            "bottleneck gated" => {
                let config = BottleneckConfig { squeeze_excite, ..Default::default() };
                boxed(bottleneck(8, 8, config, vb)?)
            }
            other => panic!("no block {other}"),
        })
    })
}

#[test]
fn inception_is_that_of_torchvision_and_mlpconv_that_of_pytorch() -> Result<()> {
    check(include_str!("../golden/inception.json"), |name, vb| {
        let widths = InceptionWidths { one: 2, three: [2, 3], five: [2, 2], pool: 2 };
        let plain = InceptionConfig::default();
        Ok(match name {
            "inception" => boxed(inception(3, widths, plain, vb)?),
            "inception five" => {
                boxed(inception(3, widths, InceptionConfig { five_kernel: 5, ..plain }, vb)?)
            }
            "mlp_conv" => boxed(mlp_conv(3, [3, 2, 3], 3, MlpConvConfig::default(), vb)?),
            other => panic!("no block {other}"),
        })
    })
}

#[test]
fn pre_activation_blocks_are_those_of_timm() -> Result<()> {
    check(include_str!("../golden/pre_activation.json"), |name, vb| {
        let plain = PreActivationBlockConfig::default();
        let bottleneck = PreActivationBottleneckConfig { reduction: 1, ..Default::default() };
        let grouped = PreActivationBottleneckConfig { stride: 2, groups: 4, ..bottleneck };
        Ok(match name {
            "block" => boxed(pre_activation_block(8, 8, plain, vb)?),
            "block stride" => {
                let config = PreActivationBlockConfig { stride: 2, ..plain };
                boxed(pre_activation_block(2, 8, config, vb)?)
            }
            "bottleneck" => boxed(pre_activation_bottleneck(8, 8, bottleneck, vb)?),
            "bottleneck stride" => {
                let config = PreActivationBottleneckConfig { reduction: 2, ..grouped };
                boxed(pre_activation_bottleneck(2, 16, config, vb)?)
            }
            "bottleneck pooled" => {
                let shortcut = Shortcut::PooledProjection;
                let config = PreActivationBottleneckConfig { shortcut, ..grouped };
                boxed(pre_activation_bottleneck(2, 8, config, vb)?)
            }
            other => panic!("no block {other}"),
        })
    })
}
