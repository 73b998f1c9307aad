//! What is measured at one place of the training: the landscape along the gradient, and the scale of weights.

use candle_core::{DType, Tensor, Var};
use taper_core::{Gradients, Result, Snapshot, Stateful};
use taper_lab::stats;
use taper_norm::{Landscape, landscape, restoring};

use super::no_noise;
use crate::sigmoid_net::{Pass, SigmoidNet};

/// The landscape at one place, the mean over batches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Probed {
    pub(super) loss: f64,
    /// The least and the largest loss along the gradient.
    pub(super) lowest: f64,
    pub(super) highest: f64,
    /// The least, the middle and the largest change of the gradient.
    pub(super) changes: [f64; 3],
    pub(super) smoothness: f64,
}

/// What the criteria compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    LossRange,
    GradientChange,
    Smoothness,
}

impl Quantity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LossRange => "loss_range",
            Self::GradientChange => "gradient_change",
            Self::Smoothness => "smoothness",
        }
    }
}

impl Probed {
    pub(super) fn of(&self, quantity: Quantity) -> f64 {
        match quantity {
            Quantity::LossRange => self.highest - self.lowest,
            Quantity::GradientChange => self.changes[2],
            Quantity::Smoothness => self.smoothness,
        }
    }
}

/// The landscape of the network's loss on each batch, as in training.
pub(super) fn probe(
    network: &SigmoidNet,
    batches: &[(Tensor, Tensor)],
    step_sizes: &[f64],
) -> Result<Probed> {
    let (trainable, buffers) = (network.parameters().trainable(), network.parameters().buffers());
    let mut found = Vec::new();
    for (images, labels) in batches {
        let loss = || network.forward(images, Pass::Train(&mut no_noise()))?.loss(labels);
        found.push(landscape(loss, &trainable, &buffers, step_sizes)?);
    }
    let mean = |of: &dyn Fn(&Landscape) -> Result<f64>| -> Result<f64> {
        Ok(stats::mean(&found.iter().map(of).collect::<Result<Vec<_>>>()?))
    };
    Ok(Probed {
        loss: mean(&|it| Ok(it.loss))?,
        lowest: mean(&|it| Ok(it.loss_range().0))?,
        highest: mean(&|it| Ok(it.loss_range().1))?,
        changes: [
            mean(&|it| Ok(it.gradient_change().0))?,
            mean(&|it| stats::quantile(&it.gradient_changes, 0.5))?,
            mean(&|it| Ok(it.gradient_change().1))?,
        ],
        smoothness: mean(&|it| Ok(it.smoothness()))?,
    })
}

/// How far off the identities of scaled weights are, relative to what is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scaled {
    /// BN((aW) u) = BN(W u).
    pub(super) output: f64,
    /// d/d(aW) = (1/a) d/dW.
    pub(super) gradient: f64,
}

impl Scaled {
    /// The larger of each; NaN if one is.
    pub(super) fn worse(self, other: Self) -> Self {
        // Not `f64::max`, which would lose a NaN.
        let worse = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        Self {
            output: worse(self.output, other.output),
            gradient: worse(self.gradient, other.gradient),
        }
    }
}

/// The worst error over the hidden layers with their weights times `scale`, one layer at a time.
pub(super) fn scaled(
    network: &SigmoidNet,
    (images, labels): &(Tensor, Tensor),
    scale: f64,
) -> Result<Scaled> {
    let all = network.parameters().all();
    let look = |layer: usize, weight: &Var| -> Result<(Tensor, Tensor)> {
        let output = network.forward(images, Pass::Train(&mut no_noise()))?;
        let mut gradients = Gradients::new([weight])?;
        gradients.backward(&output.loss(labels)?)?;
        let gradient = match gradients.gradient(weight)? {
            Some(gradient) => gradient,
            None => weight.zeros_like()?,
        };
        Ok((output.inputs[layer].detach(), gradient))
    };
    restoring(all.iter().map(|(_, variable)| variable), || {
        let mut worst = Scaled::default();
        let weights =
            all.iter().filter(|(name, _)| name.starts_with("hidden.") && name.ends_with(".weight"));
        for (layer, (_, weight)) in weights.enumerate() {
            let (output, gradient) = look(layer, weight)?;
            let unscaled = weight.copy()?;
            weight.set(&(&unscaled * scale)?)?;
            let (scaled_output, scaled_gradient) = look(layer, weight)?;
            weight.set(&unscaled)?;
            worst = worst.worse(Scaled {
                output: relative(&scaled_output, &output)?,
                gradient: relative(&(scaled_gradient * scale)?, &gradient)?,
            });
        }
        Ok(worst)
    })
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &Tensor, b: &Tensor) -> Result<f64> {
    let norm = |x: &Tensor| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>();
    Ok((norm(&(a - b)?)? / norm(b)?).sqrt())
}

impl Stateful for Probed {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        let Self { loss, lowest, highest, changes: [least, middle, most], smoothness } = *self;
        let entries = [
            ("loss", loss),
            ("lowest", lowest),
            ("highest", highest),
            ("least", least),
            ("middle", middle),
            ("most", most),
            ("smoothness", smoothness),
        ];
        entries.into_iter().for_each(|(name, value)| snapshot.put_f64(name, value));
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let get = |name| snapshot.get_f64(name);
        *self = Self {
            loss: get("loss")?,
            lowest: get("lowest")?,
            highest: get("highest")?,
            changes: [get("least")?, get("middle")?, get("most")?],
            smoothness: get("smoothness")?,
        };
        Ok(())
    }
}

impl Stateful for Scaled {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put_f64("output", self.output);
        snapshot.put_f64("gradient", self.gradient);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        *self =
            Self { output: snapshot.get_f64("output")?, gradient: snapshot.get_f64("gradient")? };
        Ok(())
    }
}
