//! Memory for results.

#![allow(unsafe_code)]

use crate::Element;

/// `length` elements of unspecified value, for a kernel that writes each of them.
///
/// Clearing what is overwritten at once would cost a pass over memory for each result of a step. Builds with
/// debug assertions fill it with NaN, so that tests see an element that was not written.
pub fn buffer<T: Element>(length: usize) -> Vec<T> {
    if cfg!(any(debug_assertions, miri)) {
        return vec![T::of(f64::NAN); length];
    }
    let mut buffer = Vec::with_capacity(length);
    // SAFETY: the capacity is there, and every bit pattern is a value of f32 and of f64, the only elements;
    // no kernel reads an element before it has written it, which the debug builds of the tests check.
    #[allow(clippy::uninit_vec)]
    unsafe {
        buffer.set_len(length);
    }
    buffer
}
