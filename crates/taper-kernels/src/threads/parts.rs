//! What the tasks of a fork-join write, cut into parts that do not overlap.

use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

mod sealed {
    pub trait Sealed {}
}

/// What [`each`](super::each) can cut into one part a task: [`Chunks`], an `Option` of parts, and tuples of
/// two to four. It is for these types alone.
pub trait Parts: sealed::Sealed + Sync {
    /// What one task gets.
    type Part;

    /// The part of one task.
    ///
    /// # Safety
    /// It is called at most once for each task.
    #[doc(hidden)]
    unsafe fn part(&self, task: usize) -> Self::Part;
}

/// A slice in chunks of one size: task i gets elements i · size up to (i + 1) · size or the end of the
/// slice, and nothing past the end. With a size of 0 all chunks are empty.
#[derive(Debug)]
pub struct Chunks<'a, T> {
    data: Disjoint<'a, T>,
    size: usize,
}

impl<'a, T> Chunks<'a, T> {
    /// Cuts `data` into chunks of `size` elements.
    pub fn new(data: &'a mut [T], size: usize) -> Self {
        Self { data: Disjoint::new(data), size }
    }
}

impl<T> sealed::Sealed for Chunks<'_, T> {}

impl<'a, T: Send> Parts for Chunks<'a, T> {
    type Part = &'a mut [T];

    unsafe fn part(&self, task: usize) -> &'a mut [T] {
        let start = task.saturating_mul(self.size).min(self.data.length);
        let end = start.saturating_add(self.size).min(self.data.length);
        // SAFETY: `start <= end <= length`. The chunks of different tasks do not overlap, and each is handed
        // out once.
        unsafe { self.data.cut(start..end) }
    }
}

impl<P: Parts> sealed::Sealed for Option<P> {}

impl<P: Parts> Parts for Option<P> {
    type Part = Option<P::Part>;

    unsafe fn part(&self, task: usize) -> Self::Part {
        // SAFETY: the caller's promise is passed on.
        self.as_ref().map(|parts| unsafe { parts.part(task) })
    }
}

macro_rules! tuples {
    ($(($($P:ident $i:tt),+))+) => {$(
        impl<$($P: Parts),+> sealed::Sealed for ($($P,)+) {}

        impl<$($P: Parts),+> Parts for ($($P,)+) {
            type Part = ($($P::Part,)+);

            unsafe fn part(&self, task: usize) -> Self::Part {
                // SAFETY: the caller's promise is passed on.
                unsafe { ($(self.$i.part(task),)+) }
            }
        }
    )+};
}

tuples! { (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// A slice of which the tasks write regions that no chunks describe, such as columns of a matrix.
#[derive(Debug)]
pub struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    data: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]`, which may be sent if `T` may.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

// SAFETY: all that a shared reference gives are slices that, by the contract of `slice`, do not overlap: each
// element has one owner, which is as if it had been sent.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Shares `data` among tasks.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { start: data.as_mut_ptr(), length: data.len(), data: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// While the slice lives, no other slice of the same `Disjoint` has an element in common with it.
    ///
    /// # Panics
    /// If the range is not within the slice.
    #[expect(clippy::mut_from_ref, reason = "the contract is that of a `&mut`")]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        self.check(&range);
        // SAFETY: the range is within the slice, and the caller promises the rest.
        unsafe { self.cut(range) }
    }

    /// A pointer to the first element of `range`, for code that takes pointers and writes only some of the
    /// elements in between. It is good for the whole range, and what is done with it is bound by the contract
    /// of [`slice`](Self::slice), for the elements that it touches.
    ///
    /// # Panics
    /// If the range is not within the slice.
    pub fn pointer_range(&self, range: Range<usize>) -> *mut T {
        self.check(&range);
        self.start.wrapping_add(range.start)
    }

    fn check(&self, range: &Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.length,
            "the range {range:?} is not within the {} elements",
            self.length
        );
    }

    /// The elements of `range`, for as long as the slice was lent.
    ///
    /// # Safety
    /// The range is within the slice, and no other slice that is alive has an element of it.
    unsafe fn cut(&self, range: Range<usize>) -> &'a mut [T] {
        // SAFETY: `start` and `length` are those of a slice lent for `'a`, and the range is within it.
        unsafe { slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of the first `tasks` tasks.
    fn all<P: Parts>(tasks: usize, parts: P) -> Vec<P::Part> {
        // SAFETY: each task asks once.
        (0..tasks).map(|task| unsafe { parts.part(task) }).collect()
    }

    #[test]
    fn chunks_of_any_size() {
        let mut data = [0, 1, 2, 3, 4];
        assert_eq!(all(3, Chunks::new(&mut data, 2)), [&[0, 1][..], &[2, 3], &[4]]);
        assert_eq!(all(3, Chunks::new(&mut data, 4)), [&[0, 1, 2, 3][..], &[4], &[]]);
        assert_eq!(all(3, Chunks::new(&mut data, 5)), [&[0, 1, 2, 3, 4][..], &[], &[]]);
        assert_eq!(all(2, Chunks::new(&mut data, usize::MAX)), [&[0, 1, 2, 3, 4][..], &[]]);
        assert_eq!(all(1, Chunks::new(&mut data, 1)), [&[0][..]]);
        assert_eq!(all(2, Chunks::new(&mut data, 0)), [&[0; 0][..]; 2]);
        assert_eq!(all(2, Chunks::new(&mut [0; 0], 3)), [&[0; 0][..]; 2]);
    }

    #[test]
    fn chunks_of_values_without_a_size() {
        assert_eq!(all(2, Chunks::new(&mut [(); 3], 2)), [&[(); 2][..], &[()]]);
    }

    #[test]
    fn parts_of_parts() {
        let (mut a, mut b, mut c) = ([1, 2, 3], ['x', 'y', 'z'], [4.0]);
        let parts = (Chunks::new(&mut a, 2), Chunks::new(&mut b, 1), Some(Chunks::new(&mut c, 1)));
        let parts = all(2, (parts, None::<Chunks<'_, u8>>));
        let ((a, b, c), none) = &parts[0];
        assert_eq!((&**a, &**b, c.as_deref()), (&[1, 2][..], &['x'][..], Some(&[4.0][..])));
        assert!(none.is_none());
        let ((a, b, c), none) = &parts[1];
        assert_eq!((&**a, &**b, c.as_deref()), (&[3][..], &['y'][..], Some(&[][..])));
        assert!(none.is_none());
    }

    #[test]
    fn disjoint_slices() {
        let mut data = [1, 2, 3, 4];
        let shared = Disjoint::new(&mut data);
        // SAFETY: the ranges do not overlap.
        let (a, b, none) = unsafe { (shared.slice(0..2), shared.slice(3..4), shared.slice(4..4)) };
        a[1] += b[0];
        b[0] = 0;
        assert!(none.is_empty());
        // SAFETY: the slices above are not used any more.
        unsafe { *shared.pointer_range(2..4) = 9 };
        assert_eq!(data, [1, 6, 9, 0]);
    }

    #[test]
    #[should_panic(expected = "the range 3..5 is not within the 4 elements")]
    fn past_the_end() {
        let mut data = [0; 4];
        let shared = Disjoint::new(&mut data);
        // SAFETY: there is no other slice.
        let _ = unsafe { shared.slice(3..5) };
    }

    #[test]
    #[should_panic(expected = "is not within the 4 elements")]
    #[expect(clippy::reversed_empty_ranges, reason = "it is what is tested")]
    fn from_behind() {
        let _ = Disjoint::new(&mut [0; 4]).pointer_range(3..2);
    }
}
