use crate::isa::{Isa, dispatch};
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// A step of stochastic gradient descent:
/// g ← factor · g + decay · θ; θ ← θ − rate · g.
/// With a momentum b ← keep · b + gain · g; θ ← θ − rate · b, or θ − rate · (g + keep · b) with Nesterov's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// What the gradient is multiplied with, as clipping asks for; 1 leaves it.
    pub factor: f64,
    /// The share of the parameter that is added to the gradient. At 0 the parameter is not read for that.
    pub decay: f64,
    /// γ.
    pub rate: f64,
}

/// The momentum of [`Sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Momentum {
    /// The share of the last direction that is kept.
    pub keep: f64,
    /// The share of the gradient that is added to it: 1 at the first step, where the last direction is 0.
    pub gain: f64,
    /// Whether the gradient is taken as if the momentum had been followed already.
    pub nesterov: bool,
}

/// The settings in the type of the elements.
#[derive(Clone, Copy)]
struct Constants<T> {
    factor: T,
    decay: T,
    rate: T,
    keep: T,
    gain: T,
}

impl Sgd {
    /// Moves `parameter`, as long as `gradient`, and the direction that a momentum remembers.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn step<T: Element>(
        &self,
        parameter: &mut [T],
        gradient: &[T],
        momentum: Option<(&mut [T], Momentum)>,
    ) {
        let length = gradient.len();
        assert_eq!(parameter.len(), length, "the length of the parameter");
        let size = work::block(length);
        let (direction, momentum) = momentum.unzip();
        let constants = self.constants(momentum);
        let direction = direction.map(|direction| {
            assert_eq!(direction.len(), length, "the length of the direction");
            Chunks::new(direction, size)
        });
        let parts = (Chunks::new(parameter, size), direction);
        let nesterov = momentum.is_some_and(|momentum| momentum.nesterov);
        threads::each(length.div_ceil(size), parts, |block, (parameter, direction)| {
            let gradient = &gradient[block * size..][..parameter.len()];
            let decay = self.decay != 0.0;
            dispatch!(I => match (direction, decay, nesterov) {
                (None, false, _) => plain::<I, T, false>(constants, parameter, gradient),
                (None, true, _) => plain::<I, T, true>(constants, parameter, gradient),
                (Some(b), false, false) => {
                    heavy::<I, T, false, false>(constants, parameter, gradient, b);
                }
                (Some(b), true, false) => {
                    heavy::<I, T, true, false>(constants, parameter, gradient, b);
                }
                (Some(b), false, true) => {
                    heavy::<I, T, false, true>(constants, parameter, gradient, b);
                }
                (Some(b), true, true) => {
                    heavy::<I, T, true, true>(constants, parameter, gradient, b);
                }
            });
        });
    }

    fn constants<T: Element>(&self, momentum: Option<Momentum>) -> Constants<T> {
        let (keep, gain) = momentum.map_or((0.0, 1.0), |momentum| (momentum.keep, momentum.gain));
        Constants {
            factor: T::of(self.factor),
            decay: T::of(self.decay),
            rate: T::of(self.rate),
            keep: T::of(keep),
            gain: T::of(gain),
        }
    }
}

#[inline(always)]
fn scaled<I: Isa, T: Element, const DECAY: bool>(by: Constants<T>, parameter: T, gradient: T) -> T {
    let gradient = gradient * by.factor;
    if DECAY { parameter.fma::<I>(by.decay, gradient) } else { gradient }
}

#[inline(always)]
fn plain<I: Isa, T: Element, const DECAY: bool>(
    by: Constants<T>,
    parameter: &mut [T],
    gradient: &[T],
) {
    for (parameter, gradient) in parameter.iter_mut().zip(gradient) {
        let g = scaled::<I, T, DECAY>(by, *parameter, *gradient);
        *parameter = g.fma::<I>(-by.rate, *parameter);
    }
}

#[inline(always)]
fn heavy<I: Isa, T: Element, const DECAY: bool, const NESTEROV: bool>(
    by: Constants<T>,
    parameter: &mut [T],
    gradient: &[T],
    direction: &mut [T],
) {
    for ((parameter, gradient), direction) in parameter.iter_mut().zip(gradient).zip(direction) {
        let g = scaled::<I, T, DECAY>(by, *parameter, *gradient);
        let b = g.fma::<I>(by.gain, *direction * by.keep);
        *direction = b;
        let step = if NESTEROV { b.fma::<I>(by.keep, g) } else { b };
        *parameter = step.fma::<I>(-by.rate, *parameter);
    }
}
