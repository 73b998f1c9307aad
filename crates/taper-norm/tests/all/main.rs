//! The tests of taper-norm that need more than one file: goldens, properties, gradients, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch_norm;
mod batch_norm_masked;
mod batch_renorm;
mod channel_layer_norm;
mod checkpoint;
mod contract;
mod fold;
mod frozen_batch_norm;
mod ghost_batch_norm;
mod group_norm;
mod instance_norm;
mod layer_norm;
mod local_response_norm;
mod precise_statistics;
mod record;
mod rms_norm;
mod spectral_norm;
mod steps;
mod weight_norm;
mod weight_standardization;
