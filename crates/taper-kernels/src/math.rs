//! Elementary functions of f32 in a form that loops over them vectorise: no branches, no calls.
//!
//! Each is within 2.5 units in the last place of the true value (checked against f64 in the tests), at its
//! limits at ±∞, and NaN for NaN.

use crate::element::Element;
use crate::isa::Isa;

/// Σ c xⁱ by Horner's rule, from the highest coefficient down.
#[inline(always)]
fn polynomial<I: Isa, const N: usize>(x: f32, highest_first: [f32; N]) -> f32 {
    let mut value = highest_first[0];
    for coefficient in &highest_first[1..] {
        value = value.fma::<I>(x, *coefficient);
    }
    value
}

/// x = n ln 2 + r with |r| ≤ ln 2 / 2: n as a float and as an integer, and r.
#[inline(always)]
fn reduce<I: Isa>(x: f32) -> (f32, i32, f32) {
    // Adding 1.5 · 2²³ rounds to an integer, which then stands in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x.fma::<I>(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    // ln 2 in two parts; the first has trailing zeros, so that n times it is exact.
    let r = n.fma::<I>(-0.693_359_4, x);
    let r = n.fma::<I>(2.121_944_4e-4, r);
    let integer = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    (n, integer, r)
}

/// (eʳ − 1) for |r| ≤ ln 2 / 2: the Taylor series, whose next term is below a tenth of a rounding.
#[inline(always)]
fn exp_m1_reduced<I: Isa>(r: f32) -> f32 {
    let tail =
        polynomial::<I, 6>(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5]);
    (r * r).fma::<I>(tail, r)
}

/// 2ⁿ for n in [−126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `x` between two limits; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// eˣ, 0 below −104 and infinite above 88.73.
#[inline(always)]
pub(crate) fn exp<I: Isa>(x: f32) -> f32 {
    let (_, n, r) = reduce::<I>(clamp(x, -104.0, 89.0));
    // In two factors, so that subnormal results and those next to infinity come out.
    let half = n >> 1;
    let mantissa = exp_m1_reduced::<I>(r) + 1.0;
    mantissa * power_of_two(half) * power_of_two(n - half)
}

/// ln(1 + x) for x in [0, 1]: 2 artanh s with s = x / (2 + x), at most 1/3.
#[inline(always)]
pub(crate) fn ln_1p_unit<I: Isa>(x: f32) -> f32 {
    let s = x / (2.0 + x);
    ln_1p_of_ratio::<I>(s)
}

/// ln((1 + s) / (1 − s)) for s in [0, 1/3].
#[inline(always)]
pub(crate) fn ln_1p_of_ratio<I: Isa>(s: f32) -> f32 {
    let square = s * s;
    let tail = polynomial::<I, 6>(
        square,
        [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0],
    );
    let s2 = s + s;
    (s2 * square).fma::<I>(tail, s2)
}

/// ln x for x in [0, 1]; finite at 0. Subnormal numbers count as 2⁻¹²⁷ and more.
#[inline(always)]
pub(crate) fn ln_unit<I: Isa>(x: f32) -> f32 {
    // ln((1 + s) / (1 − s)): near 1 of 1 / x, where 1 − x is exact, else of the mantissa.
    let near = x >= 0.5;
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    let numerator = if near { 1.0 - x } else { mantissa - 1.0 };
    let log = ln_1p_of_ratio::<I>(numerator / (1.0 + if near { x } else { mantissa }));
    // ln 2 in two parts, as above.
    let exponent = exponent as f32;
    let far = exponent.fma::<I>(0.693_359_4, exponent.fma::<I>(-2.121_944_4e-4, log));
    if near { -log } else { far }
}

/// tanh |x| = (1 − e) / (1 + e) with e = exp(−2 |x|), and the sign of x. Near 0 the numerator is that of
/// exp(−2 |x|) − 1; far from it the quotient is taken from 1, so that its rounding shrinks with e.
#[inline(always)]
pub(crate) fn tanh<I: Isa>(x: f32) -> f32 {
    let magnitude = x.abs();
    let (_, n, r) = reduce::<I>(clamp(-2.0 * magnitude, -30.0, 0.0));
    let scale = power_of_two(n);
    let below_one = exp_m1_reduced::<I>(r);
    let e = scale.fma::<I>(below_one, scale);
    let e_m1 = scale.fma::<I>(below_one, scale - 1.0);
    let near = magnitude < 0.55;
    let quotient = if near { -e_m1 } else { e + e } / (2.0 + e_m1);
    let value = if near { quotient } else { 1.0 - quotient };
    value.copysign(x)
}

/// The error function: its series near 0; elsewhere 1 − exp(−x²) q(1 / (1 + x/2)), with q fitted by least
/// squares to exp(x²) erfc(x) at Chebyshev points of [0.75, 4.2], to 7e-10.
#[inline(always)]
pub(crate) fn erf<I: Isa>(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let series = polynomial::<I, 8>(
        square,
        [
            -1.0 / 75_600.0,
            1.0 / 9360.0,
            -1.0 / 1320.0,
            1.0 / 216.0,
            -1.0 / 42.0,
            1.0 / 10.0,
            -1.0 / 3.0,
            1.0,
        ],
    );
    let near = std::f32::consts::FRAC_2_SQRT_PI * magnitude * series;
    let limited = clamp(magnitude, 0.0, 4.2);
    let t = 1.0 / limited.fma::<I>(0.5, 1.0);
    let q = polynomial::<I, 8>(
        t,
        [
            0.118_722_565,
            -0.468_942_25,
            0.559_811_3,
            -0.100_696_19,
            0.346_340_5,
            0.260_123_9,
            0.284_840_86,
            -0.000_149_182_68,
        ],
    );
    let far = 1.0 - exp::<I>(-limited * limited) * q;
    let value = if magnitude < 0.75 { near } else { far };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Baseline, Fused};

    /// The largest error in units in the last place, over a grid, of `f` against its f64 twin.
    fn worst(range: (f64, f64), f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let points = 200_001;
        (0..points)
            .map(|at| {
                let x = range.0 + (range.1 - range.0) * f64::from(at) / f64::from(points - 1);
                let x = x as f32;
                let expected = exact(f64::from(x));
                let nearest = expected as f32;
                let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1))
                    - f64::from(nearest.abs());
                (f64::from(f(x)) - expected).abs() / unit
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn within_two_and_a_half_units_in_the_last_place() {
        let check = |name, error: f64| assert!(error <= 2.5, "{name}: {error}");
        check("exp", worst((-103.0, 88.7), exp::<Fused>, f64::exp));
        check("exp, baseline", worst((-103.0, 88.7), exp::<Baseline>, f64::exp));
        check("ln_1p", worst((0.0, 1.0), ln_1p_unit::<Fused>, f64::ln_1p));
        check("ln_1p, baseline", worst((0.0, 1.0), ln_1p_unit::<Baseline>, f64::ln_1p));
        // Both sides of the seam, and the smallest normal numbers.
        for range in [(1e-6, 1.0), (0.499, 0.501), (1.2e-38, 1e-36)] {
            check("ln", worst(range, ln_unit::<Fused>, f64::ln));
            check("ln, baseline", worst(range, ln_unit::<Baseline>, f64::ln));
        }
        check("tanh", worst((-12.0, 12.0), tanh::<Fused>, f64::tanh));
        check("tanh, baseline", worst((-12.0, 12.0), tanh::<Baseline>, f64::tanh));
        check("erf", worst((-5.0, 5.0), erf::<Fused>, libm::erf));
        check("erf, baseline", worst((-5.0, 5.0), erf::<Baseline>, libm::erf));
    }

    #[test]
    fn limits_and_nan() {
        for (f, low, high) in [
            (exp::<Fused> as fn(f32) -> f32, 0.0, f32::INFINITY),
            (tanh::<Fused>, -1.0, 1.0),
            (erf::<Fused>, -1.0, 1.0),
        ] {
            assert_eq!(f(f32::NEG_INFINITY), low);
            assert_eq!(f(-1e4), low);
            assert_eq!(f(1e4), high);
            assert_eq!(f(f32::INFINITY), high);
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!((exp::<Fused>(0.0), tanh::<Fused>(0.0), erf::<Fused>(0.0)), (1.0, 0.0, 0.0));
        assert_eq!((ln_1p_unit::<Fused>(0.0), ln_unit::<Fused>(1.0)), (0.0, 0.0));
        assert!(ln_unit::<Fused>(0.0).is_finite());
        assert!(ln_1p_unit::<Fused>(f32::NAN).is_nan());
        // Tiny arguments keep their relative precision.
        assert!((tanh::<Fused>(1e-20) / 1e-20 - 1.0).abs() < 1e-6);
        assert!((ln_1p_unit::<Fused>(1e-20) / 1e-20 - 1.0).abs() < 1e-6);
    }
}
