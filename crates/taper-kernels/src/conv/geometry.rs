//! Which element of an image meets which tap of the kernel.

use std::ops::Range;

/// One axis of a convolution: output o and tap k meet at the input o · stride + k · dilation − padding.
///
/// What lies outside the input is 0, on both sides, so that `output` may be any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The length of the image that the kernel slides over.
    pub input: usize,
    /// The length of the image of its places.
    pub output: usize,
    /// The taps.
    pub kernel: usize,
    /// How far the kernel moves.
    pub stride: usize,
    /// The zeros before the input.
    pub padding: usize,
    /// How far the taps are apart.
    pub dilation: usize,
}

impl Axis {
    /// The outputs at which `tap` meets the input.
    pub(crate) fn reach(&self, tap: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        let first = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let end = (self.input + self.padding).saturating_sub(shift).div_ceil(self.stride);
        let end = end.min(self.output);
        first.min(end)..end
    }
}

/// A convolution of images in (batch, channels, rows, columns) order.
///
/// The kernel, (outputs, inputs / groups, kernel rows, kernel columns), slides over the images of `inputs`
/// channels; those of `outputs` channels hold its places. A convolution goes from the first to the second, a
/// transposed convolution from the second to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// The images.
    pub batch: usize,
    /// The channels that the kernel slides over.
    pub inputs: usize,
    /// The channels of its places.
    pub outputs: usize,
    /// Parts into which both are divided, each convolved by itself.
    pub groups: usize,
    /// Along the columns: from row to row.
    pub height: Axis,
    /// Along the rows: from column to column.
    pub width: Axis,
}

impl Convolution {
    /// The elements of one channel that the kernel slides over.
    pub(crate) fn input_plane(&self) -> usize {
        self.height.input * self.width.input
    }

    /// The elements of one channel of places.
    pub(crate) fn output_plane(&self) -> usize {
        self.height.output * self.width.output
    }

    /// The elements of one image that the kernel slides over.
    pub(crate) fn input_image(&self) -> usize {
        self.inputs * self.input_plane()
    }

    /// The elements of one image of places.
    pub(crate) fn output_image(&self) -> usize {
        self.outputs * self.output_plane()
    }

    /// The taps of one pair of channels.
    pub(crate) fn taps(&self) -> usize {
        self.height.kernel * self.width.kernel
    }

    /// The channels of one group that the kernel slides over.
    pub(crate) fn group_inputs(&self) -> usize {
        self.inputs / self.groups
    }

    /// The channels of places of one group.
    pub(crate) fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    /// The products that go into one place.
    pub(crate) fn depth(&self) -> usize {
        self.group_inputs() * self.taps()
    }

    /// The elements of the kernel.
    pub(crate) fn weights(&self) -> usize {
        self.outputs * self.depth()
    }

    /// Whether each channel is convolved by itself, to one channel.
    pub(crate) fn depthwise(&self) -> bool {
        self.groups == self.inputs && self.groups == self.outputs
    }

    /// Whether the places are the images themselves, element by element.
    pub(crate) fn pointwise(&self) -> bool {
        [self.height, self.width].iter().all(|axis| {
            axis.kernel == 1 && axis.stride == 1 && axis.padding == 0 && axis.input == axis.output
        })
    }

    pub(crate) fn check(&self, input: usize, weight: usize, output: usize) {
        let divided = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        assert!(divided(self.inputs) && divided(self.outputs), "groups that divide the channels");
        let axes = [self.height, self.width];
        assert!(axes.iter().all(|axis| axis.stride > 0 && axis.kernel > 0 && axis.dilation > 0));
        assert!(input > 0 && output > 0, "images that are not empty");
        assert_eq!(input, self.batch * self.input_image(), "the images under the kernel");
        assert_eq!(output, self.batch * self.output_image(), "the images of places");
        assert_eq!(weight, self.weights(), "the kernel");
    }
}
