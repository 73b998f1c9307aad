//! Loops over values that lie in a row and share their constants: a channel's places in a sample.

use super::moments::add_terms;
use crate::Element;
use crate::element::relu;
use crate::isa::Isa;
use crate::lanes::LANES;
use crate::matmul::Update;

/// y = f((x − center) · scale + shift + residual), f the identity or a rectifier.
#[inline(always)]
pub(super) fn normalize<I: Isa, T: Element>(
    x: &[T],
    residual: Option<&[T]>,
    [center, scale, shift]: [T; 3],
    rectify: bool,
    y: &mut [T],
) {
    let affine = |x: T| (x - center).fma::<I>(scale, shift);
    match (residual, rectify) {
        (None, false) => write(x, x, y, |x, _| affine(x)),
        (None, true) => write(x, x, y, |x, _| relu(affine(x))),
        (Some(r), false) => write(x, r, y, |x, r| affine(x) + r),
        (Some(r), true) => write(x, r, y, |x, r| relu(affine(x) + r)),
    }
}

/// Adds Σ g and Σ g (x − center) to lanes, where the gradient g is that of `upstream` through a rectifier with
/// the result `y`, if there is one. g itself goes to `masked`, if that is wanted.
#[inline(always)]
pub(super) fn add_sums<T: Element>(
    x: &[T],
    upstream: &[T],
    y: Option<&[T]>,
    center: T,
    masked: Option<&mut [T]>,
    sums: &mut [[T; LANES]; 2],
) {
    let term = |x: T, g: T| [g, g * (x - center)];
    match (y, masked) {
        (None, None) => add_terms(x, upstream, x, sums, |x, g, _| term(x, g)),
        (Some(y), None) => add_terms(x, upstream, y, sums, |x, g, y| term(x, mask(g, y))),
        (y, Some(masked)) => {
            match y {
                Some(y) => write(upstream, y, masked, mask),
                None => masked.copy_from_slice(upstream),
            }
            add_terms(x, masked, x, sums, |x, g, _| term(x, g));
        }
    }
}

/// dx = (or +=) g · factor + (x − center) · slope + shift, with g as in [`add_sums`].
#[inline(always)]
pub(super) fn pull<I: Isa, T: Element>(
    x: &[T],
    upstream: &[T],
    y: Option<&[T]>,
    [center, factor, slope, shift]: [T; 4],
    gradient: &mut [T],
    update: Update,
) {
    let of = |x: T, g: T| g.fma::<I>(factor, (x - center).fma::<I>(slope, shift));
    let places = gradient.iter_mut().zip(x).zip(upstream);
    match (y, update) {
        (None, Update::Replace) => places.for_each(|((to, x), g)| *to = of(*x, *g)),
        (None, Update::Add) => places.for_each(|((to, x), g)| *to += of(*x, *g)),
        (Some(y), Update::Replace) => {
            places.zip(y).for_each(|(((to, x), g), y)| *to = of(*x, mask(*g, *y)));
        }
        (Some(y), Update::Add) => {
            places.zip(y).for_each(|(((to, x), g), y)| *to += of(*x, mask(*g, *y)));
        }
    }
}

/// The gradient of a rectifier with the result y: what is not at most 0 lets it pass, NaN too.
#[inline(always)]
pub(super) fn mask<T: Element>(g: T, y: T) -> T {
    if y <= T::ZERO { T::ZERO } else { g }
}

/// to = f(a, b).
#[inline(always)]
fn write<T: Element>(a: &[T], b: &[T], to: &mut [T], f: impl Fn(T, T) -> T) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = f(*a, *b);
    }
}
