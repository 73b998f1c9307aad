//! Losses of numbers against numbers.

mod gaussian_nll;
mod huber;
mod log_cosh;
mod mae;
mod mse;
mod msle;
mod poisson_nll;
mod quantile;
mod smooth_l1;
mod ssim;

pub use gaussian_nll::{GaussianNllOptions, gaussian_nll};
pub use huber::{HuberOptions, huber};
pub use log_cosh::log_cosh;
pub use mae::mae;
pub use mse::mse;
pub use msle::msle;
pub use poisson_nll::{PoissonNllOptions, poisson_nll};
pub use quantile::{QuantileOptions, quantile};
pub use smooth_l1::{SmoothL1Options, smooth_l1};
pub use ssim::{SsimOptions, ssim};
