//! The blocks of convolutions for the contract.

use taper_bottleneck::{
    BasicBlockConfig, BottleneckConfig, FireConfig, InceptionConfig, InceptionWidths,
    InvertedResidualConfig, MlpConvConfig, PreActivationBlockConfig, PreActivationBottleneckConfig,
    Shortcut, SqueezeExciteConfig, StrideOn, basic_block, bottleneck, fire, inception,
    inverted_residual, mlp_conv, pre_activation_block, pre_activation_bottleneck, squeeze_excite,
};

use taper_core::Activation;
use taper_norm::{BatchNormConfig, NormConfig};

use crate::contract::{Case, IMAGE, case};

const GATE: Option<SqueezeExciteConfig> = Some(SqueezeExciteConfig {
    reduction: 4,
    multiple_of: 1,
    activation: Activation::Relu,
    gate: Activation::Sigmoid,
});

const WIDTHS: InceptionWidths = InceptionWidths { one: 3, three: [4, 5], five: [2, 4], pool: 3 };

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("inverted residual", &IMAGE, |vb| {
            inverted_residual(8, 8, InvertedResidualConfig::default(), vb)
        }),
        case("inverted residual with a stride", &IMAGE, |vb| {
            let config = InvertedResidualConfig { stride: 2, expansion: 3, ..Default::default() };
            inverted_residual(8, 12, config, vb)
        }),
        case("inverted residual without an expansion", &IMAGE, |vb| {
            let config = InvertedResidualConfig { expansion: 1, ..Default::default() };
            inverted_residual(8, 8, config, vb)
        }),
        // Its biases begin as 0, where a rectifier of what is all 0 has its kink.
        case("fire", &IMAGE, |vb| {
            fire(8, 4, 6, 5, FireConfig { activation: Activation::Softplus }, vb)
        }),
        case("squeeze and excitation", &IMAGE, |vb| {
            let config = SqueezeExciteConfig { reduction: 2, ..Default::default() };
            squeeze_excite(8, config, vb)
        }),
        case("basic block with a gate", &IMAGE, |vb| {
            let config = BasicBlockConfig { squeeze_excite: GATE, ..Default::default() };
            basic_block(8, 8, config, vb)
        }),
        case("bottleneck with a gate", &IMAGE, |vb| {
            let activation = Activation::Silu;
            let config =
                BottleneckConfig { squeeze_excite: GATE, activation, ..Default::default() };
            bottleneck(8, 12, config, vb)
        }),
        case("inception", &IMAGE, |vb| inception(8, WIDTHS, InceptionConfig::default(), vb)),
        case("inception with a 5x5", &IMAGE, |vb| {
            let config = InceptionConfig { five_kernel: 5, ..Default::default() };
            inception(8, WIDTHS, config, vb)
        }),
        case("mlpconv", &IMAGE, |vb| mlp_conv(8, [6, 5, 4], 3, MlpConvConfig::default(), vb)),
        case("mlpconv with a norm and a stride", &IMAGE, |vb| {
            let norm = NormConfig::Batch(BatchNormConfig::default());
            let config = MlpConvConfig { norm, stride: 2, ..Default::default() };
            mlp_conv(8, [6, 4, 6], 5, config, vb)
        }),
        case("pre-activation block", &IMAGE, |vb| {
            pre_activation_block(8, 8, PreActivationBlockConfig::default(), vb)
        }),
        case("pre-activation block without a norm", &IMAGE, |vb| {
            let (norm, activation) = (NormConfig::None, Activation::Silu);
            let config = PreActivationBlockConfig { norm, activation, ..Default::default() };
            pre_activation_block(8, 12, config, vb)
        }),
        case("pre-activation bottleneck", &IMAGE, |vb| {
            pre_activation_bottleneck(8, 8, PreActivationBottleneckConfig::default(), vb)
        }),
    ];
    for shortcut in [Shortcut::Projection, Shortcut::PooledProjection, Shortcut::Padded] {
        cases.push(case("pre-activation block by its shortcut", &IMAGE, move |vb| {
            let config = PreActivationBlockConfig { stride: 2, shortcut, ..Default::default() };
            pre_activation_block(8, 12, config, vb)
        }));
        cases.push(case("pre-activation bottleneck by its shortcut", &IMAGE, move |vb| {
            let config = PreActivationBottleneckConfig {
                stride: 2,
                stride_on: StrideOn::Pointwise,
                reduction: 2,
                groups: 3,
                shortcut,
                ..Default::default()
            };
            pre_activation_bottleneck(8, 12, config, vb)
        }));
    }
    cases
}
