//! The registry of experiments: one module a claim, each with its `spec.toml`.

mod bn_converges_faster;
mod data;
mod linear_ae_is_pca;
mod losses_are_what_they_say;

use taper_lab::Registry;

/// Every experiment, in the order of the report.
pub fn registry() -> Registry {
    Registry::new()
        .with::<bn_converges_faster::BnConvergesFaster>()
        .with::<linear_ae_is_pca::LinearAeIsPca>()
        .with::<losses_are_what_they_say::LossesAreWhatTheySay>()
}
