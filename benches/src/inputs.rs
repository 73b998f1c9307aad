//! What the works on candle start from, ours and candle-nn's: tensors, shapes, and where gradients begin.

use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Error, Layout, Result, Shape, Tensor, Var,
};
use taper_core::stream;

use crate::peer::{Failure, Work};

/// The images that the isolated layers see: 64 of 16 by 16, with 64 channels.
pub(crate) const IMAGES: (usize, usize, usize, usize) = (64, 64, 16, 16);

/// The logits that losses over classes see: 4096 samples of 1000 classes.
pub(crate) const LOGITS: (usize, usize) = (4096, 1000);

/// What the losses of single numbers see: a batch of images of 784 pixels.
pub(crate) const ELEMENTS: (usize, usize) = (256, 784);

/// One of the two views that losses of embeddings see.
pub(crate) const VIEWS: (usize, usize) = (256, 128);

/// The deep autoencoder's widths, from the pixels to the code and back.
pub(crate) const WIDTHS: [usize; 9] = [784, 1000, 500, 250, 30, 250, 500, 1000, 784];

/// Standard normal numbers.
pub(crate) fn noise(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(stream(0, name).normal(0.0, 1.0, shape, DType::F32, &Device::Cpu)?)
}

/// Numbers between 0 and 1, as pixels are.
pub(crate) fn pixels(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(stream(0, name).uniform(0.0, 1.0, shape, DType::F32, &Device::Cpu)?)
}

/// Distributions over the last axis.
pub(crate) fn probabilities(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    candle_nn::ops::softmax_last_dim(&noise(name, shape)?)
}

/// Labels below `classes`.
pub(crate) fn labels(count: usize, classes: u64) -> Result<Tensor> {
    let mut stream = stream(0, "labels");
    let labels: Vec<u32> = (0..count).map(|_| stream.below(classes) as u32).collect();
    Tensor::new(labels, &Device::Cpu)
}

/// A square matrix product.
pub(crate) fn product(size: usize) -> Result<Work> {
    let (a, b) = (noise("a", (size, size))?, noise("b", (size, size))?);
    Ok(Work::new(move || a.matmul(&b).map(drop)))
}

/// What is below and above a layer in a network.
pub(crate) trait Surroundings {
    /// The operation before the layer.
    fn rectifier(x: &Tensor) -> Result<Tensor>;

    /// The rest of the network above: its value is 0, its gradient a given one.
    fn rest(y: &Tensor, gradient: &Tensor) -> Result<Tensor>;
}

/// A layer forward and backward as it stands in a network of its library. The base is what remains without it.
pub(crate) fn layer<S: Surroundings, E: Into<Failure> + From<Error> + 'static>(
    input: impl Into<Shape>,
    forward: impl Fn(&Tensor) -> std::result::Result<Tensor, E> + 'static,
) -> std::result::Result<Work, E> {
    let leaf = Var::from_tensor(&noise("input", input)?)?;
    let of_output = noise("gradient", forward(&S::rectifier(&leaf)?)?.shape())?;
    let (base, of_input) = (leaf.clone(), noise("gradient", leaf.shape())?);
    let run = move || -> std::result::Result<(), E> {
        S::rest(&forward(&S::rectifier(&leaf)?)?, &of_output)?.backward()?;
        Ok(())
    };
    Ok(Work::new(run).over(move || S::rest(&S::rectifier(&base)?, &of_input)?.backward().map(drop)))
}

/// A loss forward and backward, its input the output of a reshape. A loss is where gradients begin, so the base is
/// the way of one that is there already, from the reshape to the leaf.
pub(crate) fn loss<E: Into<Failure> + From<Error> + 'static>(
    input: impl Into<Shape>,
    value: impl Fn(&Tensor) -> std::result::Result<Tensor, E> + 'static,
) -> std::result::Result<Work, E> {
    let shape = input.into();
    let leaf = Var::from_tensor(&noise("input", shape.elem_count())?)?;
    let (base, of_leaf) = (leaf.clone(), Upstream(noise("gradient", leaf.shape())?));
    let run = move || -> std::result::Result<(), E> {
        value(&leaf.reshape(&shape)?)?.backward()?;
        Ok(())
    };
    Ok(Work::new(run).over(move || base.apply_op1(of_leaf.clone())?.backward().map(drop)))
}

/// The rest of a network above a place, as an operation of candle's: its value is 0, its gradient a given one.
#[derive(Clone)]
pub(crate) struct Upstream(pub(crate) Tensor);

impl CustomOp1 for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Result, Tensor, Var};

    use super::{Upstream, noise};

    #[test]
    fn upstream_gives_its_gradient_through_a_network() -> Result<()> {
        let x = Var::from_tensor(&noise("x", 6)?)?;
        let y = x.reshape((2, 3))?.affine(3.0, 0.0)?;
        let upstream = Upstream(noise("gradient", y.shape())?);
        let loss = y.apply_op1(upstream.clone())?;
        assert_eq!(loss.to_scalar::<f32>()?, 0.0);
        let gradients = loss.backward()?;
        let found = gradients.get(&x).map(Tensor::to_vec1::<f32>).transpose()?.unwrap();
        let expected = upstream.0.flatten_all()?.affine(3.0, 0.0)?.to_vec1::<f32>()?;
        assert_eq!(found, expected);
        Ok(())
    }
}
