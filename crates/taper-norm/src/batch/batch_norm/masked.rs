//! Batch normalization of what is there, for padded inputs.

use candle_core::Tensor;
use taper_core::{Error, Result};

use super::BatchNorm;
use crate::arguments::{expect_channels, expect_mask};
use crate::batch::normalize::WHOLE;

const NAME: &str = "BatchNorm::forward_masked_t";

impl BatchNorm {
    /// [`forward_t`](candle_nn::ModuleT::forward_t) of the places where `mask` (N, places...), u8, is not 0: they
    /// alone make the statistics, those of the batch and the running ones. Elsewhere y is 0, whatever the
    /// activation, and x has no influence and gets no gradient, NaN or not.
    ///
    /// # Errors
    /// As `forward_t`; a mask of another dtype or shape, or one that leaves nothing.
    pub fn forward_masked_t(
        &self,
        x: &Tensor,
        mask: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        expect_channels(NAME, x, self.num_features)?;
        let there = there(mask, x)?;
        // A row for each place that is there, as if it were a sample.
        let last = x.transpose(0, 1)?.flatten_from(1)?.t()?.contiguous()?;
        let y = self.forward(NAME, &last.index_select(&there, 0)?, None, WHOLE, train)?;
        let y = last.zeros_like()?.index_add(&there, &y, 0)?;
        let mut swapped = x.dims().to_vec();
        swapped.swap(0, 1);
        y.t()?.reshape(swapped)?.transpose(0, 1)?.contiguous()
    }
}

/// The places of x, in the order of the mask, that are there.
fn there(mask: &Tensor, x: &Tensor) -> Result<Tensor> {
    expect_mask(NAME, mask, x)?;
    let mask = mask.flatten_all()?.to_vec1::<u8>()?;
    let places = (0u32..).zip(mask).filter(|(_, there)| *there != 0);
    let places: Vec<u32> = places.map(|(place, _)| place).collect();
    if places.is_empty() {
        let expected = "not 0 somewhere (leave out a batch that is only padding)";
        return Err(Error::argument(NAME, "mask", expected, "zeros only"));
    }
    Ok(Tensor::new(places, x.device())?)
}
