//! What the networks of the paper cost, from its table 1 and its section 4.2: no code is shared with the counters.

use super::Network;

/// Parameters and MACs for one image of `size` rows and columns.
///
/// A convolution k x k from c to d channels has k² c d weights, its batch norm 2 d more, and costs its weights at each
/// place of its output. A layer with stride 2 leaves ⌈size / 2⌉ rows and columns.
pub(super) fn cost(network: Network, pointwise_stride: bool, size: u64) -> [u64; 2] {
    let mut tally = Tally { parameters: 0, macs: 0 };
    if let Some(n) = network.cifar_blocks() {
        tally.conv(3, 3, 16, size);
        let (mut channels, mut size) = (16, size);
        for (width, stride) in [(16, 1), (32, 2), (64, 2)] {
            for at in 0..n {
                size = size.div_ceil(if at == 0 { stride } else { 1 });
                tally.conv(3, channels, width, size);
                tally.conv(3, width, width, size);
                // Option A: zeros for further channels, which cost nothing.
                channels = width;
            }
        }
        return tally.with_classifier(64, 10);
    }
    let (blocks, bottleneck) = network.stages();
    let expansion = if bottleneck { 4 } else { 1 };
    let half = size.div_ceil(2);
    tally.conv(7, 3, 64, half);
    let (mut channels, mut size) = (64, half.div_ceil(2));
    for (width, (blocks, stride)) in
        [64, 128, 256, 512].into_iter().zip(blocks.into_iter().zip([1, 2, 2, 2]))
    {
        for at in 0..blocks {
            let stride = if at == 0 { stride } else { 1 };
            let before = size;
            size = size.div_ceil(stride);
            if bottleneck {
                tally.conv(1, channels, width, if pointwise_stride { size } else { before });
                tally.conv(3, width, width, size);
                tally.conv(1, width, 4 * width, size);
            } else {
                tally.conv(3, channels, width, size);
                tally.conv(3, width, width, size);
            }
            if channels != expansion * width {
                tally.conv(1, channels, expansion * width, size);
            }
            channels = expansion * width;
        }
    }
    tally.with_classifier(channels, 1000)
}

struct Tally {
    parameters: u64,
    macs: u64,
}

impl Tally {
    /// A convolution and its batch norm, whose output has `size` rows and columns.
    fn conv(&mut self, kernel: u64, inputs: u64, outputs: u64, size: u64) {
        let weights = kernel * kernel * inputs * outputs;
        self.parameters += weights + 2 * outputs;
        self.macs += weights * size * size;
    }

    fn with_classifier(self, features: u64, classes: u64) -> [u64; 2] {
        [self.parameters + (features + 1) * classes, self.macs + features * classes]
    }
}
