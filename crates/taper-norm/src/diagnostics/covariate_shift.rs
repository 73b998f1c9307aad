//! How much a layer's gradient changes because the layers before it were updated.

use candle_core::{Tensor, Var};
use taper_core::{Error, Result};

use super::restoring::restoring;
use super::slope::{Slope, distance, dot, norm};

/// The internal covariate shift of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// ‖G − G′‖.
    pub difference: f64,
    /// The cosine of the angle between G and G′; NaN where one of them is 0.
    pub cosine: f64,
    /// ‖G‖.
    pub norm: f64,
}

/// The internal covariate shift of every layer at a step: the difference between its gradient before and after the
/// update of all layers before it.
///
/// # Equation
/// G_i = ∇_{W_i} L(W_1, …, W_k), G′_i = ∇_{W_i} L(W_1⁺, …, W_{i−1}⁺, W_i, …, W_k); ‖G_i − G′_i‖ and
/// G_i · G′_i / (‖G_i‖ ‖G′_i‖)
///
/// with the parameters W_i of layer i, and W_i⁺ after the update; L is that of the same batch.
///
/// # Shapes
/// The loss (); parameters of any shapes, those of a layer as one vector; one [`Shift`] a layer.
///
/// # Parameters
/// - `loss`: runs the model on a batch; the same batch, and the same noise if there is any, at every call.
/// - `layers`: the parameters of each layer, from the input on.
/// - `state`: what else a call of `loss` changes, such as running statistics
///   ([`Parameters::buffers`](taper_core::Parameters::buffers)).
/// - `update`: takes a training step on all layers, such as an optimizer's. The variables are put back, but what the
///   optimizer itself remembers is not: hand in one without momentum, or a copy.
///
/// # Numerics
/// Norms and products are summed in f64, of gradients in their own dtype. The first layer has no layers before it: its
/// difference is 0. Parameters and state are put back to the bit. One backward pass a layer.
///
/// # Deviations
/// 1. The paper gives the difference and the cosine; the norm of G is given too, since gradients of networks with and
///    without normalization are of different size.
///
/// # Errors
/// No layers, one without parameters, or a variable twice; a loss that is no number of shape (); what `loss` or `update`
/// reports, after which everything is put back as well.
///
/// # References
/// - Santurkar, Tsipras, Ilyas and Madry 2018, How does batch normalization help optimization?, definition 2.1 and
///   figure 3, <https://arxiv.org/abs/1805.11604>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_norm::covariate_shift;
///
/// // L = v u, of which v's gradient is u: it changes as far as u moves.
/// let (u, v) = (Var::new(3.0, &Device::Cpu)?, Var::new(2.0, &Device::Cpu)?);
/// let layers = [vec![u.clone()], vec![v.clone()]];
/// let update = || {
///     u.set(&(u.as_tensor() - 0.5)?)?;
///     Ok(v.set(&(v.as_tensor() - 9.0)?)?)
/// };
/// let shifts = covariate_shift(|| Ok((u.as_tensor() * v.as_tensor())?), &layers, &[], update)?;
/// assert_eq!((shifts[0].difference, shifts[1].difference), (0.0, 0.5));
/// assert_eq!((shifts[1].norm, shifts[1].cosine), (3.0, 1.0));
/// assert_eq!((u.to_scalar::<f64>()?, v.to_scalar::<f64>()?), (3.0, 2.0));
/// # Ok(())
/// # }
/// ```
pub fn covariate_shift(
    loss: impl FnMut() -> Result<Tensor>,
    layers: &[Vec<Var>],
    state: &[(String, Var)],
    update: impl FnOnce() -> Result<()>,
) -> Result<Vec<Shift>> {
    if let Some(at) = layers.iter().position(Vec::is_empty) {
        let received = format!("none in layers[{at}]");
        return Err(Error::argument(NAME, "layers", "of at least one parameter each", received));
    }
    let variables: Vec<Var> = layers.iter().flatten().cloned().collect();
    let all = variables.iter().chain(state.iter().map(|(_, variable)| variable));
    restoring(all, || {
        let mut slope = Slope::new(NAME, loss, variables.clone())?;
        let (_, before) = slope.here()?;
        let start = copies(&variables)?;
        update()?;
        let updated = copies(&variables)?;
        set(&variables, &start)?;

        let mut shifts = Vec::new();
        let mut first = 0;
        for layer in layers {
            let next = first + layer.len();
            // All layers before this one are updated by now.
            let after = if first == 0 { before.clone() } else { slope.here()?.1 };
            shifts.push(shift(&before[first..next], &after[first..next])?);
            set(&variables[first..next], &updated[first..next])?;
            first = next;
        }
        Ok(shifts)
    })
}

const NAME: &str = "covariate_shift";

fn copies(variables: &[Var]) -> Result<Vec<Tensor>> {
    Ok(variables.iter().map(|it| it.copy()).collect::<candle_core::Result<_>>()?)
}

fn set(variables: &[Var], values: &[Tensor]) -> Result<()> {
    let mut pairs = variables.iter().zip(values);
    Ok(pairs.try_for_each(|(variable, value)| variable.set(value))?)
}

fn shift(before: &[Tensor], after: &[Tensor]) -> Result<Shift> {
    let (from, to) = (norm(before)?, norm(after)?);
    let cosine = dot(before, after)? / (from * to);
    Ok(Shift { difference: distance(before, after)?, cosine, norm: from })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::ModuleT;
    use taper_core::optim::{Optimizer, Sgd, SgdConfig};
    use taper_core::{Gradients, Parameters, stream};

    use super::*;
    use crate::{BatchNormConfig, batch_norm};

    const CPU: Device = Device::Cpu;

    #[test]
    fn three_linear_layers_by_hand() -> Result<()> {
        // L = c b a. With a⁺ = 1, b⁺ = 5, c⁺ = 9: the gradient of b goes from c a = 8 to c a⁺ = 4, that of c from
        // b a = 6 to b⁺ a⁺ = 5.
        let at = |value: f64| Var::new(value, &CPU);
        let (a, b, c) = (at(2.0)?, at(3.0)?, at(4.0)?);
        let layers = [vec![a.clone()], vec![b.clone()], vec![c.clone()]];
        let update = || {
            a.set(&Tensor::new(1.0, &CPU)?)?;
            b.set(&Tensor::new(5.0, &CPU)?)?;
            Ok(c.set(&Tensor::new(9.0, &CPU)?)?)
        };
        let loss = || Ok(((a.as_tensor() * b.as_tensor())? * c.as_tensor())?);
        let shifts = covariate_shift(loss, &layers, &[], update)?;
        let of = |difference, norm| Shift { difference, cosine: 1.0, norm };
        assert_eq!(shifts, [of(0.0, 12.0), of(4.0, 8.0), of(1.0, 6.0)]);
        assert_eq!(c.to_scalar::<f64>()?, 4.0);
        Ok(())
    }

    #[test]
    fn the_angle_is_over_all_parameters_of_a_layer() -> Result<()> {
        // L = u · (v, w): the gradient of the second layer is u, from (3, 4) to (4, −3).
        let u = Var::new(&[3.0, 4.0], &CPU)?;
        let (v, w) = (Var::new(1.0, &CPU)?, Var::new(1.0, &CPU)?);
        let loss = || {
            let (first, second) = (u.get(0)?, u.get(1)?);
            Ok(((first * v.as_tensor())? + (second * w.as_tensor())?)?)
        };
        let layers = [vec![u.clone()], vec![v.clone(), w.clone()]];
        let update = || Ok(u.set(&Tensor::new(&[4.0, -3.0], &CPU)?)?);
        let shifts = covariate_shift(loss, &layers, &[], update)?;
        assert!((shifts[1].difference - 50f64.sqrt()).abs() < 1e-12);
        assert!(shifts[1].cosine.abs() < 1e-12 && (shifts[1].norm - 5.0).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn an_optimizer_step_and_its_error_leave_the_model_as_it_was() -> Result<()> {
        let parameters = Parameters::new(&stream(3, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let config = BatchNormConfig::default();
        let (first, second) =
            (batch_norm(3, config, vb.pp("first"))?, batch_norm(3, config, vb.pp("second"))?);
        let x = stream(4, "x").normal(1.0, 2.0, (8, 3), DType::F32, &CPU)?;
        let loss = || {
            let hidden = first.forward_t(&x, true)?.sin()?;
            Ok(second.forward_t(&hidden, true)?.sin()?.sqr()?.mean_all()?)
        };
        let trainable = parameters.trainable();
        let of = |layer: &str| -> Vec<Var> {
            let named = trainable.iter().filter(|(name, _)| name.starts_with(layer));
            named.map(|(_, variable)| variable.clone()).collect()
        };
        let layers = [of("first"), of("second")];
        let config = SgdConfig { learning_rate: 0.5, ..Default::default() };
        let mut sgd = Sgd::new(trainable.clone(), config)?;
        let mut gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let before = parameters.to_safetensors()?;
        let shifts = covariate_shift(loss, &layers, &parameters.buffers(), || {
            gradients.backward(&loss()?)?;
            sgd.step(&gradients)
        })?;
        assert_eq!(shifts[0].difference, 0.0);
        assert!(shifts[1].difference > 0.0 && shifts[1].cosine < 1.0 && shifts[1].norm > 0.0);
        assert_eq!(parameters.to_safetensors()?, before);
        let error = covariate_shift(loss, &layers, &parameters.buffers(), || {
            sgd.step(&gradients)?;
            Err(Error::argument("update", "it", "done", "not"))
        });
        assert_eq!(error.unwrap_err().to_string(), "update: it should be done, got not");
        assert_eq!(parameters.to_safetensors()?, before);
        let message = |layers: &[Vec<Var>]| {
            covariate_shift(loss, layers, &[], || Ok(())).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[of("first"), vec![]]),
            "covariate_shift: layers should be of at least one parameter each, got none in layers[1]"
        );
        assert_eq!(message(&[]), "covariate_shift: parameters should be at least one, got none");
        Ok(())
    }
}
