//! The tests of taper-losses that need more than one file: goldens, properties, gradients, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alignment;
mod asymmetric;
mod barlow_twins;
mod bce;
mod bce_with_logits;
mod contract;
mod contractive;
mod contrastive;
mod cosine_embedding;
mod cross_entropy;
mod dice;
mod distance;
mod embeddings;
mod focal;
mod gaussian_kl;
mod gaussian_nll;
mod generalized_cross_entropy;
mod golden;
mod hinge;
mod hinge_embedding;
mod huber;
mod info_nce;
mod js_div;
mod kl_div;
mod kl_sparsity;
mod l1_penalty;
mod l2_penalty;
mod log_cosh;
mod mae;
mod margin_ranking;
mod miners;
mod mmd;
mod mse;
mod msle;
mod multi_margin;
mod multilabel_margin;
mod multilabel_soft_margin;
mod nll;
mod nt_xent;
mod orthogonality;
mod penalty;
mod poisson_nll;
mod poly1;
mod quantile;
mod sigmoid_focal;
mod smooth_l1;
mod soft_margin;
mod squared_hinge;
mod ssim;
mod sup_con;
mod symmetric_cross_entropy;
mod triplet_margin;
mod tversky;
mod uniformity;
mod vicreg;
mod weighted_sum;

/// What the [`contract`] is tested on: every loss.
fn subjects() -> Vec<Vec<contract::Subject>> {
    vec![
        alignment::subjects(),
        asymmetric::subjects(),
        bce::subjects(),
        bce_with_logits::subjects(),
        contractive::subjects(),
        contrastive::subjects(),
        cosine_embedding::subjects(),
        cross_entropy::subjects(),
        dice::subjects(),
        focal::subjects(),
        gaussian_kl::subjects(),
        gaussian_nll::subjects(),
        generalized_cross_entropy::subjects(),
        hinge::subjects(),
        hinge_embedding::subjects(),
        huber::subjects(),
        info_nce::subjects(),
        js_div::subjects(),
        kl_div::subjects(),
        log_cosh::subjects(),
        mae::subjects(),
        margin_ranking::subjects(),
        mse::subjects(),
        msle::subjects(),
        multi_margin::subjects(),
        multilabel_margin::subjects(),
        multilabel_soft_margin::subjects(),
        nll::subjects(),
        nt_xent::subjects(),
        poisson_nll::subjects(),
        poly1::subjects(),
        quantile::subjects(),
        sigmoid_focal::subjects(),
        smooth_l1::subjects(),
        soft_margin::subjects(),
        squared_hinge::subjects(),
        ssim::subjects(),
        sup_con::subjects(),
        symmetric_cross_entropy::subjects(),
        triplet_margin::subjects(),
        tversky::subjects(),
    ]
}
