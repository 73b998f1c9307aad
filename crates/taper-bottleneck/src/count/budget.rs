//! The width that meets a budget.

use taper_core::{Error, Result};

use super::Cost;

/// What two blocks are to have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// At most so many parameters.
    Parameters(u64),
    /// At most so many MACs.
    Macs(u64),
    /// At most so many FLOPs.
    Flops(u64),
    /// At most so many elements of activations.
    Activations(u64),
}

impl Budget {
    fn fits(self, cost: &Cost) -> bool {
        match self {
            Self::Parameters(most) => cost.parameters <= most,
            Self::Macs(most) => cost.macs <= most,
            Self::Flops(most) => cost.flops <= most,
            Self::Activations(most) => cost.activations <= most,
        }
    }
}

/// The largest width within a budget, among the multiples of `multiple_of` (groups and reductions have to divide it).
///
/// `cost` is that of a block of some width, which must not fall as the width grows; [`summary`](crate::summary) of a block that
/// [`meta`](crate::meta) builds has it without memory.
///
/// # Errors
/// A `multiple_of` of 0, a budget that `multiple_of` itself exceeds or 2^32 does not, and what `cost` returns.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::DType;
/// use taper_bottleneck::{BottleneckConfig, Budget, bottleneck, meta, summary, width_for};
///
/// // How wide a bottleneck costs what three full 3x3 convolutions of 64 channels do?
/// let width = width_for(Budget::Macs(3 * 9 * 64 * 64 * 256), 4, |width| {
///     let block = bottleneck(width, width, BottleneckConfig::default(), meta(DType::F32))?;
///     Ok(summary(&block, &[1, width, 16, 16])?.total.cost)
/// })?;
/// // 17/16 c² against 27 · 64².
/// assert_eq!(width, 320);
/// # Ok(())
/// # }
/// ```
pub fn width_for(
    budget: Budget,
    multiple_of: usize,
    mut cost: impl FnMut(usize) -> Result<Cost>,
) -> Result<usize> {
    const NAME: &str = "width_for";
    if multiple_of == 0 {
        return Err(Error::argument(NAME, "multiple_of", "at least 1", 0));
    }
    let mut fits = |times: usize| -> Result<bool> { Ok(budget.fits(&cost(times * multiple_of)?)) };
    if !fits(1)? {
        let expected = format!("a budget that a width of {multiple_of} meets");
        return Err(Error::argument(NAME, "budget", expected, format!("{budget:?}")));
    }
    let (mut within, mut beyond) = (1, 2);
    while fits(beyond)? {
        (within, beyond) = (beyond, 2 * beyond);
        if (beyond * multiple_of) as u64 > 1 << 32 {
            let expected = "a budget that some width below 2^32 exceeds";
            return Err(Error::argument(NAME, "budget", expected, format!("{budget:?}")));
        }
    }
    while beyond - within > 1 {
        let middle = within + (beyond - within) / 2;
        if fits(middle)? {
            within = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(within * multiple_of)
}
