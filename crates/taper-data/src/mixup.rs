//! Mixup: a batch mixed with itself.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result, Stream};

/// A batch of images mixed with the same batch in another order, and soft targets mixed alike.
///
/// # Equation
/// x̃ᵢ = λ xᵢ + (1 − λ) x_π(i),  ỹᵢ = λ yᵢ + (1 − λ) y_π(i)
///
/// with a random order π of the batch, the labels y as ones among zeros, and λ ~ Beta(α, α).
///
/// # Shapes
/// Images (N, ...), floating-point; labels u32 (N); the mixed images as the images, the targets (N, `classes`) of the
/// images' dtype, for a cross-entropy with probabilities.
///
/// # Parameters
/// - `alpha`: 0, which mixes nothing, or from 1e-300 to 1e300; the paper has 0.1 to 0.4 for ImageNet and 1 for CIFAR-10.
/// - `stream`: draws λ, where `alpha` is not 0, and then the order.
///
/// # Deviations
/// 1. From the paper's equation: as in its code, one λ is drawn for a batch and not one for each pair.
/// 2. As there, partners are a shuffle of the batch: an image can be its own partner.
///
/// # Errors
/// Images that are not floating-point, or none; labels that are not u32 or not one for each image, or a label
/// that is not below `classes`; an `alpha` outside of its range.
///
/// # References
/// Zhang, Cisse, Dauphin and Lopez-Paz 2018, mixup: Beyond empirical risk minimization,
/// <https://arxiv.org/abs/1710.09412>, figure 1a.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
///
/// let images = Tensor::new(&[[1.0, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let mut stream = taper_core::stream(7, "mixup");
/// let (mixed, targets) = taper_data::mixup(&images, &labels, 2, 1.0, &mut stream)?;
/// // These images are what their targets are.
/// assert_eq!(mixed.to_vec2::<f64>()?, targets.to_vec2::<f64>()?);
/// # Ok(())
/// # }
/// ```
pub fn mixup(
    images: &Tensor,
    labels: &Tensor,
    classes: u32,
    alpha: f64,
    stream: &mut Stream,
) -> Result<(Tensor, Tensor)> {
    if !images.dtype().is_float() {
        return wrong("images", "floating-point", format!("{:?}", images.dtype()));
    }
    let Some(n) = images.dims().first().copied().filter(|n| *n > 0) else {
        return wrong("images", "at least one", format!("shape {:?}", images.dims()));
    };
    if labels.dtype() != DType::U32 || labels.dims() != [n] {
        let received = format!("{:?} of shape {:?}", labels.dtype(), labels.dims());
        return wrong("labels", &format!("u32 of shape [{n}]"), received);
    }
    let classes_of = labels.to_vec1::<u32>()?;
    if let Some(label) = classes_of.iter().find(|label| **label >= classes) {
        return wrong("labels", &format!("below {classes}"), label.to_string());
    }
    if alpha != 0.0 && !(1e-300..=1e300).contains(&alpha) {
        return wrong("alpha", "0 or from 1e-300 to 1e300", alpha.to_string());
    }

    // The limit of the distribution at 0 is 0 and 1 alike, which are the same mix.
    let lambda = if alpha == 0.0 { 1.0 } else { stream.beta(alpha, alpha)? };
    let mut partners: Vec<u32> = (0..n as u32).collect();
    stream.shuffle(&mut partners);

    let classes = classes as usize;
    let mut targets = vec![0.0; n * classes];
    for (at, target) in targets.chunks_exact_mut(classes).enumerate() {
        target[classes_of[at] as usize] += lambda;
        target[classes_of[partners[at] as usize] as usize] += 1.0 - lambda;
    }
    let device = images.device();
    let targets = Tensor::from_vec(targets, (n, classes), &Device::Cpu)?;
    let targets = targets.to_dtype(images.dtype())?.to_device(device)?;

    let partners = Tensor::from_vec(partners, n, device)?;
    let partners = images.contiguous()?.index_select(&partners, 0)?;
    let mixed = ((images * lambda)? + (partners * (1.0 - lambda))?)?;
    Ok((mixed, targets))
}

fn wrong<T>(argument: &str, expected: &str, received: String) -> Result<T> {
    Err(Error::argument("mixup", argument, expected, received))
}
