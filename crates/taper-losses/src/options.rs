//! The options that every loss has: from many losses to one number.

use candle_core::Tensor;

/// How the losses of the elements become the value of a loss.
///
/// Let lᵢ be the loss of element i, mᵢ be 1 where it counts and 0 where the mask or an ignored label
/// leaves it out, and wᵢ its weight: the sample weight times the class weight, each 1 where not given.
///
/// | | value |
/// |---|---|
/// | `None` | mᵢ wᵢ lᵢ, one for each element |
/// | `Sum` | Σ mᵢ wᵢ lᵢ |
/// | `Mean` | Σ mᵢ wᵢ lᵢ / Σ mᵢ |
/// | `WeightedMean` | Σ mᵢ wᵢ lᵢ / Σ mᵢ wᵢ |
///
/// Without weights the two means are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The weighted losses themselves, 0 where an element does not count.
    None,
    /// Their sum.
    Sum,
    /// Their sum over the number of elements that count.
    Mean,
    /// Their sum over the weights of the elements that count: the scale of the weights cancels.
    #[default]
    WeightedMean,
}

/// What a mean is when its denominator is 0: an empty batch, a mask or ignored labels that leave
/// nothing, weights that are all 0.
///
/// [`Reduction::None`] and [`Reduction::Sum`] divide by nothing and do not ask: an empty sum is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Empty {
    /// An error that names what left nothing.
    #[default]
    Error,
    /// 0, without a gradient.
    Zero,
    /// NaN, without a gradient.
    Nan,
}

/// The options that every loss has.
#[derive(Debug, Clone, Default)]
pub struct LossOptions {
    /// How the losses of the elements become the value.
    pub reduction: Reduction,
    /// What a mean is when nothing is left to average.
    pub empty: Empty,
    /// Weights of the leading part of the losses' shape, finite and not negative; none by default.
    pub sample_weights: Option<Tensor>,
    /// A u8 mask of the leading part of the losses' shape, 0 where an element does not count; none by default.
    pub mask: Option<Tensor>,
}
