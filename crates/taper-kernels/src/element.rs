//! The element types of the kernels.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use crate::isa::Isa;
use crate::math;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// f32, for which the kernels are fast, or f64, for which they are right.
pub trait Element:
    sealed::Sealed
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::iter::Sum
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞.
    const NEG_INFINITY: Self;

    /// The nearest value.
    fn of(value: f64) -> Self;

    /// The same value, or nearest for a count.
    fn to_f64(self) -> f64;

    /// √x.
    fn sqrt(self) -> Self;

    /// |x|.
    fn abs(self) -> Self;

    /// a · b + c, rounded once where the instruction set can.
    #[doc(hidden)]
    fn fma<I: Isa>(self, b: Self, c: Self) -> Self;

    /// eˣ.
    #[doc(hidden)]
    fn exp<I: Isa>(self) -> Self;

    /// ln(1 + x) for x in [0, 1].
    #[doc(hidden)]
    fn ln_1p_unit<I: Isa>(self) -> Self;

    /// ln x for x in [0, 1]; finite at 0.
    #[doc(hidden)]
    fn ln_unit<I: Isa>(self) -> Self;

    /// tanh x.
    #[doc(hidden)]
    fn tanh<I: Isa>(self) -> Self;

    /// The error function.
    #[doc(hidden)]
    fn erf<I: Isa>(self) -> Self;
}

/// max(x, 0) for rectifiers: NaN stays NaN.
#[inline(always)]
pub(crate) fn relu<T: Element>(x: T) -> T {
    if x <= T::ZERO { T::ZERO } else { x }
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    #[inline(always)]
    fn fma<I: Isa>(self, b: Self, c: Self) -> Self {
        if I::FMA { f32::mul_add(self, b, c) } else { self * b + c }
    }

    #[inline(always)]
    fn exp<I: Isa>(self) -> Self {
        math::exp::<I>(self)
    }

    #[inline(always)]
    fn ln_1p_unit<I: Isa>(self) -> Self {
        math::ln_1p_unit::<I>(self)
    }

    #[inline(always)]
    fn ln_unit<I: Isa>(self) -> Self {
        math::ln_unit::<I>(self)
    }

    #[inline(always)]
    fn tanh<I: Isa>(self) -> Self {
        math::tanh::<I>(self)
    }

    #[inline(always)]
    fn erf<I: Isa>(self) -> Self {
        math::erf::<I>(self)
    }
}

impl Element for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }

    #[inline(always)]
    fn fma<I: Isa>(self, b: Self, c: Self) -> Self {
        if I::FMA { f64::mul_add(self, b, c) } else { self * b + c }
    }

    // The standard library's functions: f64 serves tests and gradient checks, where the last digit counts
    // and the time does not.
    #[inline(always)]
    fn exp<I: Isa>(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn ln_1p_unit<I: Isa>(self) -> Self {
        f64::ln_1p(self)
    }

    #[inline(always)]
    fn ln_unit<I: Isa>(self) -> Self {
        if self == 0.0 { 0.0 } else { self.ln() }
    }

    #[inline(always)]
    fn tanh<I: Isa>(self) -> Self {
        f64::tanh(self)
    }

    #[inline(always)]
    fn erf<I: Isa>(self) -> Self {
        libm::erf(self)
    }
}
