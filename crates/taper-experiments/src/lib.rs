//! The registry of experiments: one module a claim, each with its `spec.toml`.

mod bn_converges_faster;
mod bn_gain_is_the_rate;
mod bn_generalizes;
mod bn_smooths_the_landscape;
mod bn_tolerates_init_and_rate;
mod classify;
mod data;
mod focal_helps_imbalance;
mod ics_is_not_the_cause;
mod linear_ae_is_pca;
mod losses_are_what_they_say;
mod mae_resists_label_noise;
mod matched_loss;
mod mlp;
mod mse_can_classify;
mod negatives_prevent_collapse;
mod normalized;
mod norms_and_small_batches;
mod sigmoid_net;
mod smoothing_calibrates;

use taper_lab::Registry;

/// Every experiment, in the order of the report.
pub fn registry() -> Registry {
    Registry::new()
        .with::<bn_converges_faster::BnConvergesFaster>()
        .with::<bn_tolerates_init_and_rate::BnToleratesInitAndRate>()
        .with::<bn_gain_is_the_rate::BnGainIsTheRate>()
        .with::<ics_is_not_the_cause::IcsIsNotTheCause>()
        .with::<bn_smooths_the_landscape::BnSmoothsTheLandscape>()
        .with::<bn_generalizes::BnGeneralizes>()
        .with::<norms_and_small_batches::NormsAndSmallBatches>()
        .with::<linear_ae_is_pca::LinearAeIsPca>()
        .with::<losses_are_what_they_say::LossesAreWhatTheySay>()
        .with::<mse_can_classify::MseCanClassify>()
        .with::<mae_resists_label_noise::MaeResistsLabelNoise>()
        .with::<negatives_prevent_collapse::NegativesPreventCollapse>()
        .with::<focal_helps_imbalance::FocalHelpsImbalance>()
        .with::<smoothing_calibrates::SmoothingCalibrates>()
}
