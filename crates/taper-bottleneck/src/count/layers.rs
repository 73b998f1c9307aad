//! What the layers of taper-core and taper-norm cost, in closed form.

use candle_core::Tensor;
use taper_core::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, Conv2d, Error, Linear, MaxPool2d, Pointwise, Result,
    Size2d,
};
use taper_norm::{LayerNorm, Norm};

use super::flow::Seen;
use super::{Cost, Counted, Counter, Flow};

/// Kernel, stride, dilation, padding before and after, of one axis.
type Axis = [usize; 5];

/// ⌊(input + padding − d (k − 1) − 1) / s⌋ + 1.
fn places(operation: &'static str, input: usize, axis: Axis, ceil: bool) -> Result<usize> {
    let [kernel, stride, dilation, before, after] = axis;
    let (padded, covered) = (input + before + after, dilation * (kernel - 1) + 1);
    // With `ceil` a last window that is not full counts, if it does not begin behind the image and the padding before it.
    let Some(steps) = (padded + if ceil { stride - 1 } else { 0 }).checked_sub(covered) else {
        return Err(Error::argument(
            operation,
            "x",
            format!("at least {covered} rows and columns with padding, as the window has"),
            format!("{input}, which is {padded} with padding"),
        ));
    };
    let last = steps / stride;
    Ok(if ceil && last * stride >= input + before { last } else { last + 1 })
}

fn through(x: Flow, axes: [Axis; 2]) -> Flow {
    x.seeing(|axis, seen| {
        let [kernel, stride, dilation, before, _] = axes[axis];
        seen.through(kernel, stride, dilation, before)
    })
}

fn expect(operation: &'static str, axis: &str, expected: usize, x: &Flow, at: usize) -> Result<()> {
    match x.dims().get(at) {
        Some(received) if *received == expected => Ok(()),
        _ => Err(Error::argument(
            operation,
            "x",
            format!("{expected} {axis}"),
            format!("shape {:?}", x.dims()),
        )),
    }
}

impl Counted for Conv2d {
    fn kind(&self) -> &'static str {
        "Conv2d"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let [n, _, height, width] = x.image("Conv2d")?;
        let config = self.config();
        let (outputs, inputs, k, l) = self.weight().dims4()?;
        expect("Conv2d", "channels", inputs * config.groups, x, 1)?;
        let padding = config.padding;
        let rows = [k, config.stride.height, config.dilation.height, padding.top, padding.bottom];
        let columns = [l, config.stride.width, config.dilation.width, padding.left, padding.right];
        let dims = [
            n,
            outputs,
            places("Conv2d", height, rows, false)?,
            places("Conv2d", width, columns, false)?,
        ];
        let y = through(x.reshaped(&dims), [rows, columns]).deeper();
        let macs = y.elements() * (inputs * k * l) as u64;
        counter.product(&y, macs, [Some(self.weight()), self.bias()], config.activation);
        Ok(y)
    }
}

impl Counted for Linear {
    fn kind(&self) -> &'static str {
        "Linear"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let (outputs, inputs) = self.weight().dims2()?;
        expect("Linear", "features in the last axis", inputs, x, x.dims().len().wrapping_sub(1))?;
        let mut dims = x.dims().to_vec();
        dims.pop();
        dims.push(outputs);
        let whole = dims.len() == 2;
        let y = x.reshaped(&dims).seeing(|_, seen| if whole { Seen::Whole } else { seen }).deeper();
        let macs = y.elements() * inputs as u64;
        counter.product(&y, macs, [Some(self.weight()), self.bias()], self.activation());
        Ok(y)
    }
}

impl Counted for Pointwise {
    fn kind(&self) -> &'static str {
        "Pointwise"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let (outputs, inputs) = self.weight().dims2()?;
        expect("Pointwise", "channels", inputs, x, 1)?;
        let mut dims = x.dims().to_vec();
        dims[1] = outputs;
        let y = x.reshaped(&dims).deeper();
        let macs = y.elements() * inputs as u64;
        counter.product(&y, macs, [Some(self.weight()), self.bias()], self.activation());
        Ok(y)
    }
}

impl Counted for Activation {
    fn kind(&self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Relu => "ReLU",
            Self::Relu6 => "ReLU6",
            Self::LeakyRelu { .. } => "LeakyReLU",
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Gelu => "GELU",
            Self::Silu => "SiLU",
            Self::Softplus => "Softplus",
        }
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        counter.activation(*self, x, true);
        Ok(x.clone())
    }
}

/// A normalization with what is done in the same call.
pub(crate) struct NormWith<'a> {
    pub(crate) norm: &'a Norm,
    /// The other summand.
    pub(crate) residual: Option<&'a Flow>,
    pub(crate) activation: Activation,
}

impl Counted for NormWith<'_> {
    fn kind(&self) -> &'static str {
        match self.norm {
            Norm::None => "none",
            Norm::Batch(_) => "BatchNorm",
            Norm::BatchRenorm(_) => "BatchRenorm",
            Norm::GhostBatch(_) => "GhostBatchNorm",
            Norm::FrozenBatch(_) => "FrozenBatchNorm",
            Norm::Layer(_) => "ChannelLayerNorm",
            Norm::Rms(_) => "RmsNorm",
            Norm::Group(_) => "GroupNorm",
            Norm::Instance(_) => "InstanceNorm",
            Norm::LocalResponse(_) => "LocalResponseNorm",
        }
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let Self { norm, residual, activation } = *self;
        for parameter in [norm.weight(), norm.bias()].into_iter().flatten() {
            expect(self.kind(), "channels", parameter.elem_count(), x, 1)?;
            match norm {
                Norm::FrozenBatch(_) => counter.buffer(parameter),
                _ => counter.parameter(parameter),
            }
        }
        if let Some(running) = norm.running_statistics() {
            counter.buffer(&running.mean);
            counter.buffer(&running.variance);
        }
        let (elements, whole) = (x.elements(), x.clone().seeing(|_, _| Seen::Whole));
        let of_sample = |flops| (whole.clone(), flops * elements);
        let (y, flops) = match norm {
            // One operation adds and activates.
            Norm::None => return counter.sum(x, residual, activation),
            Norm::Batch(_) | Norm::BatchRenorm(_) | Norm::GhostBatch(_) | Norm::FrozenBatch(_) => {
                (x.clone(), 2 * elements)
            }
            Norm::Instance(_) if norm.running_statistics().is_some() => (x.clone(), 2 * elements),
            Norm::Group(_) | Norm::Instance(_) => of_sample(6),
            Norm::Layer(_) => (x.clone(), 6 * elements),
            Norm::Rms(_) => (x.clone(), 4 * elements),
            Norm::LocalResponse(norm) => {
                let flops = (2 * norm.config().size as u64 + 3) * elements;
                counter.cost(Cost { flops, activations: elements, ..Cost::default() });
                return counter.sum(x, residual, activation);
            }
        };
        counter.cost(Cost { flops, activations: elements, ..Cost::default() });
        let y = match residual {
            Some(residual) => {
                counter.cost(Cost { flops: elements, ..Cost::default() });
                y.joined(residual)
            }
            None => y,
        };
        // The kernels of the norms rectify, and leave other activations to an operation of its own.
        counter.activation(activation, &y, activation != Activation::Relu);
        Ok(y)
    }
}

impl Counted for Norm {
    fn kind(&self) -> &'static str {
        NormWith { norm: self, residual: None, activation: Activation::Identity }.kind()
    }

    /// Of a norm whose config has no activation: it does not tell.
    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        NormWith { norm: self, residual: None, activation: Activation::Identity }.count(x, counter)
    }
}

impl Counted for LayerNorm {
    fn kind(&self) -> &'static str {
        "LayerNorm"
    }

    /// Of a layer whose config has no activation: it does not tell.
    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        for parameter in [self.weight(), self.bias()].into_iter().flatten() {
            counter.parameter(parameter);
        }
        let (flops, activations) = (6 * x.elements(), x.elements());
        counter.cost(Cost { flops, activations, ..Cost::default() });
        Ok(x.clone())
    }
}

impl Counted for MaxPool2d {
    fn kind(&self) -> &'static str {
        "MaxPool2d"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let config = self.config();
        let windows = Windows {
            kernel: self.kernel_size(),
            dilation: config.dilation,
            ceil: config.ceil_mode,
        };
        windows.count(self.kind(), config.stride, config.padding, x, counter)
    }
}

impl Counted for AvgPool2d {
    fn kind(&self) -> &'static str {
        "AvgPool2d"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let config = self.config();
        let windows =
            Windows { kernel: self.kernel_size(), dilation: 1.into(), ceil: config.ceil_mode };
        windows.count(self.kind(), config.stride, config.padding, x, counter)
    }
}

struct Windows {
    kernel: Size2d,
    dilation: Size2d,
    ceil: bool,
}

impl Windows {
    fn count(
        &self,
        kind: &'static str,
        stride: Option<Size2d>,
        padding: Size2d,
        x: &Flow,
        counter: &mut Counter,
    ) -> Result<Flow> {
        let Self { kernel, dilation, ceil } = *self;
        let stride = stride.unwrap_or(kernel);
        let [n, c, height, width] = x.image(kind)?;
        let rows = [kernel.height, stride.height, dilation.height, padding.height, padding.height];
        let columns = [kernel.width, stride.width, dilation.width, padding.width, padding.width];
        let dims = [n, c, places(kind, height, rows, ceil)?, places(kind, width, columns, ceil)?];
        let y = through(x.reshaped(&dims), [rows, columns]);
        let activations = y.elements();
        let flops = activations * (kernel.height * kernel.width) as u64;
        counter.cost(Cost { flops, activations, ..Cost::default() });
        Ok(y)
    }
}

impl Counted for AdaptiveAvgPool2d {
    fn kind(&self) -> &'static str {
        "AdaptiveAvgPool2d"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let [n, c, height, width] = x.image(self.kind())?;
        let output = self.output_size();
        let dims = [n, c, output.height, output.width];
        let y = x.reshaped(&dims).seeing(|axis, seen| {
            let [from, to] = [[height, output.height], [width, output.width]][axis];
            match to {
                1 => Seen::Whole,
                _ if from.is_multiple_of(to) => seen.through(from / to, from / to, 1, 0),
                _ => Seen::Whole,
            }
        });
        counter.cost(Cost { flops: x.elements(), activations: y.elements(), ..Cost::default() });
        Ok(y)
    }
}

impl Counter {
    /// A convolution or a linear layer with what its operation applies.
    fn product(
        &mut self,
        y: &Flow,
        macs: u64,
        parameters: [Option<&Tensor>; 2],
        activation: Activation,
    ) {
        for parameter in parameters.into_iter().flatten() {
            self.parameter(parameter);
        }
        let of_bias = if parameters[1].is_some() { y.elements() } else { 0 };
        self.cost(Cost {
            macs,
            flops: 2 * macs + of_bias,
            activations: y.elements(),
            ..Cost::default()
        });
        self.activation(activation, y, !activation.kernel().invertible());
    }

    /// An activation; `alone` where it is no part of an operation that is counted already.
    fn activation(&mut self, activation: Activation, x: &Flow, alone: bool) {
        if activation != Activation::Identity {
            let flops = x.elements();
            let activations = if alone { flops } else { 0 };
            self.cost(Cost { flops, activations, nonlinearities: 1, ..Cost::default() });
        }
    }

    /// f(x + residual), or f(x) alone.
    pub fn sum(
        &mut self,
        x: &Flow,
        residual: Option<&Flow>,
        activation: Activation,
    ) -> Result<Flow> {
        let Some(residual) = residual else {
            self.activation(activation, x, true);
            return Ok(x.clone());
        };
        self.same("add", x, residual)?;
        self.cost(Cost { flops: x.elements(), activations: x.elements(), ..Cost::default() });
        let y = x.joined(residual);
        self.activation(activation, &y, !activation.kernel().invertible());
        Ok(y)
    }

    /// x times one number for each channel of each sample, for each channel, or for each sample.
    pub fn scale(&mut self, x: &Flow, factor: &Flow) -> Flow {
        self.cost(Cost { flops: x.elements(), activations: x.elements(), ..Cost::default() });
        x.joined(factor)
    }

    /// Tensors in a row along the channels.
    pub fn concat(&mut self, tensors: &[Flow]) -> Result<Flow> {
        let Some((first, others)) = tensors.split_first() else {
            return Err(Error::argument("concat", "tensors", "at least one", 0));
        };
        let mut y = first.clone();
        let mut dims = first.dims().to_vec();
        for other in others {
            let same = other.dims().len() == dims.len()
                && other.dims().iter().zip(&dims).enumerate().all(|(at, (a, b))| at == 1 || a == b);
            if !same {
                let expected = format!("{dims:?} but for the channels");
                return Err(Error::argument(
                    "concat",
                    "x",
                    expected,
                    format!("{:?}", other.dims()),
                ));
            }
            dims[1] += other.dims()[1];
            y = y.joined(other);
        }
        let y = y.reshaped(&dims);
        self.cost(Cost { activations: y.elements(), ..Cost::default() });
        Ok(y)
    }

    fn same(&self, operation: &'static str, x: &Flow, other: &Flow) -> Result<()> {
        if x.dims() == other.dims() {
            return Ok(());
        }
        let expected = format!("{:?}, as x has", x.dims());
        Err(Error::argument(operation, "residual", expected, format!("{:?}", other.dims())))
    }
}
