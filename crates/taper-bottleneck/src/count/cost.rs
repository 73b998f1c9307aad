//! The numbers.

use std::ops::{AddAssign, Sub};

use candle_core::DType;
use serde::Serialize;

use super::ReceptiveField;

/// What adds up over the parts of a network, for one input; the rules are those of the [counters](crate::summary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Cost {
    /// Elements that an optimizer trains, each tensor once.
    pub parameters: u64,
    /// Products of a weight and an activation.
    pub macs: u64,
    /// All arithmetic, two for a MAC.
    pub flops: u64,
    /// Elements of the results of all operations.
    pub activations: u64,
    /// Activations that are not the identity.
    pub nonlinearities: u64,
}

impl Cost {
    /// What a forward pass in this dtype leaves for the backward pass.
    pub fn activation_bytes(&self, dtype: DType) -> u64 {
        self.activations * dtype.size_in_bytes() as u64
    }

    /// The least that a training step holds: [activations](Self::activation_bytes), parameters and their gradients. An
    /// optimizer's moments come on top, one or two for each parameter.
    pub fn training_bytes(&self, dtype: DType) -> u64 {
        self.activation_bytes(dtype) + 2 * self.parameters * dtype.size_in_bytes() as u64
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.parameters += other.parameters;
        self.macs += other.macs;
        self.flops += other.flops;
        self.activations += other.activations;
        self.nonlinearities += other.nonlinearities;
    }
}

/// What came between two totals, the later one first.
impl Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            parameters: self.parameters - before.parameters,
            macs: self.macs - before.macs,
            flops: self.flops - before.flops,
            activations: self.activations - before.activations,
            nonlinearities: self.nonlinearities - before.nonlinearities,
        }
    }
}

/// All that is counted of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Total {
    /// What adds up.
    #[serde(flatten)]
    pub cost: Cost,
    /// The most layers with MACs on a way from the input to the output.
    pub depth: u64,
    /// What of the input one place of the output depends on; `None` where the input is no image.
    pub receptive_field: Option<ReceptiveField>,
}
