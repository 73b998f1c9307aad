//! What a forward pass really did.

use std::collections::{HashMap, HashSet};

use candle_core::{CpuStorage, Storage, Tensor};
use taper_core::op::{Field, Step, record};
use taper_core::{Error, Result};

use super::{Cost, Flow, Total};

/// Counts the operations of a real forward pass: the same as [`summary`](crate::summary) says, from outside.
///
/// `forward` is any code that makes a tensor of x, f32 or f64 on the CPU. What it does with candle's own operations instead of
/// layers of Taper's is not seen, and behind it depth and receptive field begin anew (a reshape is no operation); parameters
/// are the variables that it used, so a network of fixed tensors has none.
///
/// # Errors
/// What `forward` returns, and an x or a result of another dtype or device.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{BottleneckConfig, bottleneck, summary, trace};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = bottleneck(64, 64, BottleneckConfig::default(), vb)?;
/// let x = Tensor::zeros((1, 64, 8, 8), DType::F32, &Device::Cpu)?;
/// let traced = trace(&x, |x| block.forward_t(x, false))?;
/// assert_eq!(traced, summary(&block, x.dims())?.total);
/// # Ok(())
/// # }
/// ```
pub fn trace(
    x: &Tensor,
    forward: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Total> {
    let x = x.detach();
    let (y, steps) = record(|| forward(&x));
    let y = y?;
    let mut trace = Trace::default();
    trace.flows.insert(place(&x)?, Flow::input(x.dims()));
    for step in &steps {
        trace.step(step)?;
    }
    let end = trace.flows.get(&place(&y)?).cloned().unwrap_or_else(|| Flow::input(&[]));
    Ok(Total { cost: trace.cost, depth: end.depth(), receptive_field: end.receptive_field() })
}

#[derive(Default)]
struct Trace {
    cost: Cost,
    /// The ways of results, by the place of their elements: a reshape has the same, and a step keeps its tensors alive.
    flows: HashMap<usize, Flow>,
    parameters: HashSet<usize>,
}

impl Trace {
    fn step(&mut self, step: &Step) -> Result<()> {
        let Step { arguments, result, work, .. } = step;
        let mut way: Option<Flow> = None;
        for argument in arguments {
            let at = place(argument)?;
            match self.flows.get(&at) {
                Some(flow) => way = Some(way.map_or(flow.clone(), |way| way.joined(flow))),
                None if argument.is_variable() && self.parameters.insert(at) => {
                    self.cost.parameters += argument.elem_count() as u64;
                }
                None => {}
            }
        }
        let y = way.unwrap_or_else(|| Flow::input(&[])).reshaped(result.dims());
        let y = y.seeing(|axis, seen| match work.field {
            Field::Point => seen,
            Field::Window(windows) => {
                let window = windows[axis];
                seen.through(window.kernel, window.stride, window.dilation, window.padding)
            }
            Field::Whole => super::flow::Seen::Whole,
        });
        self.cost += Cost {
            parameters: 0,
            macs: work.macs,
            flops: work.flops,
            activations: result.elem_count() as u64,
            nonlinearities: work.nonlinearities,
        };
        let y = if work.macs > 0 { y.deeper() } else { y };
        self.flows.insert(place(result)?, y);
        Ok(())
    }
}

/// Where a tensor's elements stand.
fn place(tensor: &Tensor) -> Result<usize> {
    let (storage, layout) = tensor.storage_and_layout();
    let first = match &*storage {
        Storage::Cpu(CpuStorage::F32(data)) => data.as_ptr().addr(),
        Storage::Cpu(CpuStorage::F64(data)) => data.as_ptr().addr(),
        _ => {
            let received = format!("{:?} on {:?}", tensor.dtype(), tensor.device());
            return Err(Error::argument("trace", "x", "F32 or F64 on the CPU", received));
        }
    };
    Ok(first + layout.start_offset() * tensor.dtype().size_in_bytes())
}
