//! Gradients against finite differences, and whether they arrive at all.

use candle_core::{DType, Tensor, Var};

use super::close::{elements, index_of};
use crate::{Error, Result, stream};

/// Half the distance of the two evaluations: rounding costs about 1e-10, the cubic term 1e-12.
const STEP: f64 = 1e-6;

/// Compares candle's backward pass through `function` with central finite differences in f64, for
/// every element of every input.
///
/// An output with more than one element is projected on fixed pseudo-random numbers. The backward
/// pass runs twice: with contiguous inputs, and with inputs and an output gradient that are views of
/// transposed memory. An element may be off by `tolerance` times the largest gradient of its input,
/// and by what rounding in `function` costs; 1e-6 is a good tolerance for a smooth function.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_core::testing::gradcheck;
///
/// let (a, b) = (Tensor::new(&[[1.0, -2.0]], &Device::Cpu)?, Tensor::new(&[[3.0, 0.5]], &Device::Cpu)?);
/// gradcheck(|x| Ok(x[0].mul(&x[1])?.exp()?), &[a, b], 1e-6)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Where an element is off (with the worst one), an input is not f64 or has no element, or
/// `function` fails.
pub fn gradcheck(
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    check_inputs(inputs)?;
    let numeric = numeric_gradients(&function, inputs)?;
    // The function's own rounding, magnified by the division by the step.
    let value = project(&function(inputs)?, Memory::Contiguous)?.to_scalar::<f64>()?;
    let rounding = 10.0 * f64::EPSILON * value.abs().max(1.0) / STEP;
    for memory in [Memory::Contiguous, Memory::Transposed] {
        let vars = inputs
            .iter()
            .map(|input| Ok(Var::from_tensor(&memory.lay_out(input)?)?))
            .collect::<Result<Vec<_>>>()?;
        let views = vars
            .iter()
            .zip(inputs)
            .map(|(var, input)| memory.view(var.as_tensor(), input.rank()))
            .collect::<Result<Vec<_>>>()?;
        let projected = project(&function(&views)?, memory)?;
        same_value(&projected, value, memory)?;
        let gradients = projected.backward()?;
        for (input, (var, numeric)) in vars.iter().zip(&numeric).enumerate() {
            let dims = inputs[input].dims();
            let analytic = match gradients.get(var) {
                Some(gradient) => elements(&memory.view(gradient, dims.len())?)?,
                None => vec![0.0; numeric.len()],
            };
            let largest = numeric.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let allowed = tolerance * largest + rounding;
            Comparison { input, dims, memory, allowed }.check(&analytic, numeric)?;
        }
    }
    Ok(())
}

fn check_inputs(inputs: &[Tensor]) -> Result<()> {
    if inputs.is_empty() {
        return Err(Error::argument("gradcheck", "inputs", "at least one", 0));
    }
    for (at, input) in inputs.iter().enumerate() {
        if input.dtype() != DType::F64 || input.elem_count() == 0 {
            let received = format!("{:?} of shape {:?}", input.dtype(), input.dims());
            return Err(Error::argument(
                "gradcheck",
                format!("inputs[{at}]"),
                "f64, not empty",
                received,
            ));
        }
    }
    Ok(())
}

/// How an input lies in memory.
#[derive(Debug, Clone, Copy)]
enum Memory {
    Contiguous,
    Transposed,
}

impl Memory {
    /// A tensor from which [`Memory::view`] makes `tensor` again.
    fn lay_out(self, tensor: &Tensor) -> Result<Tensor> {
        Ok(match (self, tensor.rank()) {
            (Self::Contiguous, _) | (_, 0) => tensor.contiguous()?,
            // A vector cannot be transposed: every second element of a longer one.
            (Self::Transposed, 1) => Tensor::stack(&[tensor, tensor], 1)?,
            (Self::Transposed, rank) => tensor.transpose(rank - 2, rank - 1)?.contiguous()?,
        })
    }

    /// A view of `stored` that has the input's `rank`.
    fn view(self, stored: &Tensor, rank: usize) -> Result<Tensor> {
        Ok(match (self, rank) {
            (Self::Contiguous, _) | (_, 0) => stored.clone(),
            (Self::Transposed, 1) => stored.narrow(1, 0, 1)?.squeeze(1)?,
            (Self::Transposed, rank) => stored.transpose(rank - 2, rank - 1)?,
        })
    }
}

/// One number from `output`: its product with fixed random numbers, summed. With transposed memory
/// the gradient that arrives at `output` is a view, too.
fn project(output: &Tensor, memory: Memory) -> Result<Tensor> {
    if output.dtype() != DType::F64 {
        return Err(Error::argument(
            "gradcheck",
            "function",
            "an f64 result",
            format!("{:?}", output.dtype()),
        ));
    }
    let weights =
        stream(0, "gradcheck").normal(0.0, 1.0, output.shape(), DType::F64, output.device())?;
    Ok(match (memory, output.rank()) {
        (_, 0) => output.clone(),
        (Memory::Transposed, rank) if rank >= 2 => {
            let weights = weights.transpose(rank - 2, rank - 1)?.contiguous()?;
            (output.transpose(rank - 2, rank - 1)? * weights)?.sum_all()?
        }
        _ => (output * weights)?.sum_all()?,
    })
}

fn numeric_gradients(
    function: &impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<Vec<Vec<f64>>> {
    let mut points: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
    let mut gradients = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.iter().enumerate() {
        let values = elements(input)?;
        let mut gradient = Vec::with_capacity(values.len());
        for element in 0..values.len() {
            let mut evaluate = |shift: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[element] += shift;
                points[at] = Tensor::from_vec(moved, input.shape(), input.device())?;
                Ok(project(&function(&points)?, Memory::Contiguous)?.to_scalar()?)
            };
            gradient.push((evaluate(STEP)? - evaluate(-STEP)?) / (2.0 * STEP));
        }
        points[at] = input.detach();
        gradients.push(gradient);
    }
    Ok(gradients)
}

/// An operation that forgets the layout of its input gives other values for a view.
fn same_value(projected: &Tensor, value: f64, memory: Memory) -> Result<()> {
    let here = projected.to_scalar::<f64>()?;
    if (here - value).abs() <= 1e-9 * value.abs().max(1.0) {
        return Ok(());
    }
    let expected = format!("the same value {value:e} for {memory:?} inputs");
    Err(Error::argument("gradcheck", "function", expected, here))
}

/// Where and how far backward and the finite differences may differ.
struct Comparison<'a> {
    input: usize,
    dims: &'a [usize],
    memory: Memory,
    allowed: f64,
}

impl Comparison<'_> {
    fn check(&self, analytic: &[f64], numeric: &[f64]) -> Result<()> {
        let error = |at: usize| {
            let error = (analytic[at] - numeric[at]).abs();
            if error.is_nan() { f64::INFINITY } else { error }
        };
        let off: Vec<usize> = (0..numeric.len()).filter(|at| error(*at) > self.allowed).collect();
        let Some(worst) = off.iter().copied().max_by(|a, b| error(*a).total_cmp(&error(*b))) else {
            return Ok(());
        };
        Err(Error::argument(
            "gradcheck",
            format!("inputs[{}] ({:?})", self.input, self.memory),
            format!(
                "a gradient of {:e} at {:?} by finite differences, within {:e}",
                numeric[worst],
                index_of(worst, self.dims),
                self.allowed
            ),
            format!("{:e}; {} of {} elements are off", analytic[worst], off.len(), numeric.len()),
        ))
    }
}

/// Checks that every parameter receives a gradient from `loss` that is not zero, but for the named
/// `exceptions` (a bias before batch norm), which must receive none.
///
/// A gradient counts as zero where no element exceeds 64 roundings of its dtype times the largest
/// element of all gradients: what should cancel does so up to rounding only. Run it in f64, where
/// that limit is far below any gradient that trains.
///
/// # Errors
/// Names every parameter without a gradient, every exception that has one, and every exception
/// that is no parameter.
pub fn gradients_reach(
    loss: &Tensor,
    parameters: &[(String, Var)],
    exceptions: &[&str],
) -> Result<()> {
    let gradients = loss.backward()?;
    let mut largest = Vec::with_capacity(parameters.len());
    for (_, var) in parameters {
        let magnitude = match gradients.get(var) {
            Some(gradient) => {
                elements(gradient)?.iter().fold(0.0, |most: f64, x| most.max(x.abs()))
            }
            None => 0.0,
        };
        largest.push(magnitude);
    }
    let of_all = largest.iter().fold(0.0, |most: f64, x| most.max(*x));
    let mut complaints = Vec::new();
    for ((name, var), magnitude) in parameters.iter().zip(&largest) {
        let rounding =
            if var.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let reached = *magnitude > 64.0 * rounding * of_all;
        if reached == exceptions.contains(&name.as_str()) {
            let what =
                if reached { "is an exception but receives" } else { "receives no gradient:" };
            complaints.push(format!("{name} {what} {magnitude:e}"));
        }
    }
    for exception in exceptions {
        if !parameters.iter().any(|(name, _)| name == exception) {
            complaints.push(format!("the exception {exception} is no parameter"));
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Error::argument(
        "gradients_reach",
        "parameters",
        "a gradient for each, but for the exceptions",
        complaints.join("; "),
    ))
}

#[cfg(test)]
mod tests {
    use candle_core::{CustomOp1, Device};

    use super::*;

    fn input(values: &[f64], shape: &[usize]) -> Tensor {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn passes_right_gradients_of_every_rank() {
        let scalar = input(&[0.7], &[]);
        let vector = input(&[0.3, -0.2], &[2]);
        let matrix = input(&[1.0, 2.0, -0.5, 0.1, 0.2, 0.3], &[3, 2]);
        let f = |x: &[Tensor]| -> Result<Tensor> {
            Ok(x[2].broadcast_mul(&x[1])?.sin()?.broadcast_mul(&x[0])?)
        };
        gradcheck(f, &[scalar, vector, matrix], 1e-7).unwrap();
    }

    /// x^2, with a backward pass that is right or wrong in one of the ways that happen.
    struct Square(Fault);

    #[derive(PartialEq)]
    enum Fault {
        Factor,
        IgnoresLayout,
        NoGradient,
    }

    impl CustomOp1 for Square {
        fn name(&self) -> &'static str {
            "square"
        }

        fn cpu_fwd(
            &self,
            storage: &candle_core::CpuStorage,
            layout: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CpuStorage, candle_core::Shape)> {
            let data = storage.as_slice::<f64>()?;
            let (dims, stride) = (layout.dims(), layout.stride());
            let place = |row: usize, column: usize| match self.0 {
                Fault::IgnoresLayout => row * dims[1] + column,
                _ => layout.start_offset() + row * stride[0] + column * stride[1],
            };
            let squares = (0..dims[0])
                .flat_map(|row| (0..dims[1]).map(move |column| (row, column)))
                .map(|(row, column)| data[place(row, column)].powi(2))
                .collect();
            Ok((candle_core::CpuStorage::F64(squares), layout.shape().clone()))
        }

        fn bwd(
            &self,
            arg: &Tensor,
            _res: &Tensor,
            grad: &Tensor,
        ) -> candle_core::Result<Option<Tensor>> {
            Ok(match self.0 {
                Fault::Factor => Some((arg * grad)?),
                Fault::IgnoresLayout => Some(((arg * grad)? * 2.0)?),
                Fault::NoGradient => None,
            })
        }
    }

    #[test]
    fn finds_wrong_and_missing_gradients_and_ignored_layouts() {
        let x = input(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
        let check = |fault: fn() -> Fault| {
            gradcheck(|x| Ok(x[0].apply_op1(Square(fault()))?), std::slice::from_ref(&x), 1e-6)
                .unwrap_err()
                .to_string()
        };
        assert!(check(|| Fault::Factor).contains("6 of 6 elements"));
        assert!(check(|| Fault::NoGradient).contains("(Contiguous)"));
        assert!(check(|| Fault::IgnoresLayout).contains("for Transposed inputs"));
    }

    #[test]
    fn refuses_single_precision() {
        let x = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        assert!(gradcheck(|x| Ok(x[0].clone()), &[x], 1e-6).is_err());
    }

    #[test]
    fn gradients_reach_names_who_is_missing() {
        let named = |name: &str| (name.to_owned(), Var::new(&[1.0, 2.0], &Device::Cpu).unwrap());
        let parameters = [named("used"), named("unused"), named("cancels")];
        let [used, _, cancels] = [0, 1, 2].map(|at| parameters[at].1.as_tensor());
        let loss = (used.sum_all().unwrap() + (cancels * 0.0).unwrap().sum_all().unwrap()).unwrap();
        gradients_reach(&loss, &parameters, &["unused", "cancels"]).unwrap();
        let message = |exceptions: &[&str]| {
            gradients_reach(&loss, &parameters, exceptions).unwrap_err().to_string()
        };
        assert!(message(&["cancels"]).contains("unused receives no gradient"));
        assert!(message(&["unused", "cancels", "used"]).contains("used is an exception"));
        assert!(message(&["unused", "cancels", "gone"]).contains("gone is no parameter"));
    }
}
