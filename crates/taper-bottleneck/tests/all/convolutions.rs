//! The blocks of convolutions for the contract.

use taper_bottleneck::{FireConfig, InvertedResidualConfig, fire, inverted_residual};

use taper_core::Activation;

use crate::contract::{Case, IMAGE, case};

pub fn cases() -> Vec<Case> {
    vec![
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
    ]
}
