//! Sizes in rows and columns, as the layers over images take them.

/// A number for rows and one for columns: a kernel's size, a stride, a dilation.
///
/// `3.into()` is the same for both, `(3, 5).into()` 3 for rows and 5 for columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size2d {
    /// For the rows.
    pub height: usize,
    /// For the columns.
    pub width: usize,
}

impl From<usize> for Size2d {
    fn from(size: usize) -> Self {
        Self { height: size, width: size }
    }
}

impl From<(usize, usize)> for Size2d {
    fn from((height, width): (usize, usize)) -> Self {
        Self { height, width }
    }
}

/// Zeros around an image.
///
/// `1.into()` is one on each side, `(1, 2).into()` one above and below and two on the left and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding2d {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns before the first.
    pub left: usize,
    /// Columns after the last.
    pub right: usize,
}

impl From<usize> for Padding2d {
    fn from(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }
}

impl From<(usize, usize)> for Padding2d {
    fn from((height, width): (usize, usize)) -> Self {
        Self { top: height, bottom: height, left: width, right: width }
    }
}
