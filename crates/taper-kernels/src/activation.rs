//! Elementwise nonlinearities, over blocks of memory that are still in the cache.

use crate::element::relu;
use crate::isa::{Isa, dispatch};
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// An elementwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x above 0, this slope times x elsewhere.
    LeakyRelu(f64),
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
    /// x (1 + erf(x / √2)) / 2.
    Gelu,
    /// x / (1 + e⁻ˣ).
    Silu,
    /// ln(1 + eˣ).
    Softplus,
}

impl Activation {
    /// Whether the derivative can be told from the output alone, so that the input need not be kept.
    ///
    /// A rectifier with a ceiling is at 6 where its input is at least 6, and nowhere else: there the derivative is 0. A leaky one
    /// with a slope of 0 or below hides the sign of its input.
    pub fn invertible(self) -> bool {
        match self {
            Self::Identity | Self::Relu | Self::Relu6 => true,
            Self::Sigmoid | Self::Tanh | Self::Softplus => true,
            Self::LeakyRelu(slope) => slope > 0.0,
            Self::Gelu | Self::Silu => false,
        }
    }

    /// `y` = the activation of `x`, of the same length.
    pub fn forward<T: Element>(self, x: &[T], y: &mut [T]) {
        let size = work::block(x.len());
        threads::each(x.len().div_ceil(size), Chunks::new(y, size), |block, y| {
            let x = &x[block * size..][..y.len()];
            y.copy_from_slice(x);
            dispatch!(I => apply::<I, T>(self, y));
        });
    }

    /// `gradient` = (or +=) `upstream` times the derivative at `x`, all of the same length.
    pub fn backward<T: Element>(self, x: &[T], upstream: &[T], gradient: &mut [T], update: Update) {
        let size = work::block(x.len());
        threads::each(x.len().div_ceil(size), Chunks::new(gradient, size), |block, gradient| {
            let x = &x[block * size..][..gradient.len()];
            let upstream = &upstream[block * size..][..gradient.len()];
            if update == Update::Replace {
                dispatch!(I => pull::<I, T>(self, x, upstream, gradient));
                return;
            }
            let mut addend = vec![T::ZERO; gradient.len()];
            dispatch!(I => {
                pull::<I, T>(self, x, upstream, &mut addend);
                gradient.iter_mut().zip(&addend).for_each(|(sum, addend)| *sum += *addend);
            });
        });
    }
}

/// x ← the activation of x, on this thread.
#[inline(always)]
pub(crate) fn apply<I: Isa, T: Element>(activation: Activation, x: &mut [T]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => each(x, relu),
        Activation::Relu6 => each(x, relu6),
        Activation::LeakyRelu(slope) => {
            let slope = T::of(slope);
            each(x, |x| if x > T::ZERO { x } else { x * slope });
        }
        Activation::Sigmoid => each(x, sigmoid::<I, T>),
        Activation::Tanh => each(x, T::tanh::<I>),
        Activation::Gelu => each(x, |x| x * normal_cdf::<I, T>(x)),
        Activation::Silu => each(x, |x| x * sigmoid::<I, T>(x)),
        Activation::Softplus => each(x, |x| relu(x) + (-x.abs()).exp::<I>().ln_1p_unit::<I>()),
    }
}

/// gradient ← upstream · f′(x), on this thread.
#[inline(always)]
pub(crate) fn pull<I: Isa, T: Element>(
    activation: Activation,
    x: &[T],
    upstream: &[T],
    gradient: &mut [T],
) {
    match activation {
        Activation::Identity => gradient.copy_from_slice(upstream),
        Activation::Relu | Activation::Relu6 | Activation::LeakyRelu(_) => {
            pull_from_output::<I, T>(activation, x, upstream, gradient);
        }
        Activation::Sigmoid => zip(x, upstream, gradient, |x, g| {
            let y = sigmoid::<I, T>(x);
            g * y * (T::ONE - y)
        }),
        Activation::Tanh => zip(x, upstream, gradient, |x, g| {
            let y = x.tanh::<I>();
            g * (T::ONE - y * y)
        }),
        Activation::Gelu => zip(x, upstream, gradient, |x, g| {
            let density = (x * x * T::of(-0.5)).exp::<I>() * T::of(0.398_942_280_401_432_7);
            g * x.fma::<I>(density, normal_cdf::<I, T>(x))
        }),
        Activation::Silu => zip(x, upstream, gradient, |x, g| {
            let y = sigmoid::<I, T>(x);
            g * y * (x * (T::ONE - y) + T::ONE)
        }),
        Activation::Softplus => zip(x, upstream, gradient, |x, g| g * sigmoid::<I, T>(x)),
    }
}

/// gradient ← upstream · f′, from the output y of an [invertible](Activation::invertible) activation, on
/// this thread.
#[inline(always)]
pub(crate) fn pull_from_output<I: Isa, T: Element>(
    activation: Activation,
    y: &[T],
    upstream: &[T],
    gradient: &mut [T],
) {
    match activation {
        // What is not at most 0 lets the gradient pass: NaN, too.
        Activation::Relu => {
            zip(y, upstream, gradient, |y, g| if y <= T::ZERO { T::ZERO } else { g })
        }
        Activation::Relu6 => {
            let most = T::of(6.0);
            zip(y, upstream, gradient, |y, g| if y <= T::ZERO || y >= most { T::ZERO } else { g });
        }
        Activation::LeakyRelu(slope) => {
            let slope = T::of(slope);
            zip(y, upstream, gradient, |y, g| if y > T::ZERO { g } else { g * slope });
        }
        Activation::Sigmoid => zip(y, upstream, gradient, |y, g| g * y * (T::ONE - y)),
        Activation::Tanh => zip(y, upstream, gradient, |y, g| g * (T::ONE - y * y)),
        // σ(x) = 1 − exp(−softplus(x)); near 0 the difference is y itself.
        Activation::Softplus => zip(y, upstream, gradient, |y, g| {
            let t = (y * T::of(-0.5)).tanh::<I>();
            g * (T::of(-2.0) * t / (T::ONE - t))
        }),
        Activation::Identity | Activation::Gelu | Activation::Silu => {
            gradient.copy_from_slice(upstream);
        }
    }
}

/// min(max(x, 0), 6); NaN goes through.
#[inline(always)]
fn relu6<T: Element>(x: T) -> T {
    let (x, most) = (relu(x), T::of(6.0));
    if x > most { most } else { x }
}

/// 1 / (1 + e⁻ˣ), by the exponential that does not overflow.
#[inline(always)]
pub(crate) fn sigmoid<I: Isa, T: Element>(x: T) -> T {
    let e = (-x.abs()).exp::<I>();
    let numerator = if x < T::ZERO { e } else { T::ONE };
    numerator / (T::ONE + e)
}

#[inline(always)]
fn normal_cdf<I: Isa, T: Element>(x: T) -> T {
    (T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf::<I>()) * T::of(0.5)
}

#[inline(always)]
fn each<T: Element>(x: &mut [T], f: impl Fn(T) -> T) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
fn zip<T: Element>(x: &[T], upstream: &[T], gradient: &mut [T], f: impl Fn(T, T) -> T) {
    for ((gradient, x), upstream) in gradient.iter_mut().zip(x).zip(upstream) {
        *gradient = f(*x, *upstream);
    }
}
