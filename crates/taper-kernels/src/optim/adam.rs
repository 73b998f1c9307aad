use crate::isa::{Isa, dispatch};
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// A step of Adam and of AdamW, the bias corrections worked in:
/// g ← factor · g + decay · θ; m ← m + (1 − β₁) (g − m); v ← β₂ v + (1 − β₂) g²;
/// θ ← shrink · θ − rate · m / (root_factor · √v + eps).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// What the gradient is multiplied with, as clipping asks for; 1 leaves it.
    pub factor: f64,
    /// The share of the parameter that is added to the gradient. At 0 the parameter is not read for that.
    pub decay: f64,
    /// What the parameter is multiplied with, 1 − γ λ in AdamW; 1 leaves it.
    pub shrink: f64,
    /// β₁ and β₂.
    pub betas: (f64, f64),
    /// γ / (1 − β₁ᵗ).
    pub rate: f64,
    /// 1 / √(1 − β₂ᵗ).
    pub root_factor: f64,
    /// ε.
    pub eps: f64,
}

/// The same in the type of the elements.
#[derive(Clone, Copy)]
struct Constants<T> {
    factor: T,
    decay: T,
    shrink: T,
    towards: T,
    keep: T,
    square: T,
    rate: T,
    root_factor: T,
    eps: T,
}

impl Adam {
    /// Moves `parameter` and its moments `first` and `second`, all as long as `gradient`.
    ///
    /// # Panics
    /// Where they are not.
    pub fn step<T: Element>(
        &self,
        parameter: &mut [T],
        gradient: &[T],
        first: &mut [T],
        second: &mut [T],
    ) {
        let length = gradient.len();
        assert_eq!([parameter.len(), first.len(), second.len()], [length; 3], "the lengths");
        let constants = self.constants();
        let size = work::block(length);
        let moments = (Chunks::new(first, size), Chunks::new(second, size));
        let parts = (Chunks::new(parameter, size), moments);
        threads::each(length.div_ceil(size), parts, |block, (parameter, (first, second))| {
            let gradient = &gradient[block * size..][..parameter.len()];
            if self.decay == 0.0 {
                dispatch!(I => block_step::<I, T, false>(
                    constants, parameter, gradient, first, second
                ));
            } else {
                dispatch!(I => block_step::<I, T, true>(
                    constants, parameter, gradient, first, second
                ));
            }
        });
    }

    fn constants<T: Element>(&self) -> Constants<T> {
        Constants {
            factor: T::of(self.factor),
            decay: T::of(self.decay),
            shrink: T::of(self.shrink),
            towards: T::of(1.0 - self.betas.0),
            keep: T::of(self.betas.1),
            square: T::of(1.0 - self.betas.1),
            rate: T::of(self.rate),
            root_factor: T::of(self.root_factor),
            eps: T::of(self.eps),
        }
    }
}

#[inline(always)]
fn block_step<I: Isa, T: Element, const DECAY: bool>(
    by: Constants<T>,
    parameter: &mut [T],
    gradient: &[T],
    first: &mut [T],
    second: &mut [T],
) {
    let moments = first.iter_mut().zip(second);
    for ((parameter, gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments)
    {
        let mut g = *gradient * by.factor;
        if DECAY {
            g = parameter.fma::<I>(by.decay, g);
        }
        let m = (g - *first).fma::<I>(by.towards, *first);
        let v = (g * g).fma::<I>(by.square, *second * by.keep);
        let root = v.sqrt().fma::<I>(by.root_factor, by.eps);
        *first = m;
        *second = v;
        *parameter = (m / root).fma::<I>(-by.rate, *parameter * by.shrink);
    }
}
