//! The form in which all methods take and give numbers.

use nalgebra::{DMatrix, DMatrixView};

use crate::{Error, Result};

/// How many rows a method copies and works on at a time: enough for a fast product, and little memory
/// beside the data.
const BLOCK: usize = 512;

/// A matrix of finite f64, row after row: a sample a row, a feature a column.
///
/// Row-major, as candle and NumPy lay out a batch, so that a tensor's values need no transposition, and
/// a type of its own, so that shape and finiteness are checked once and no version of a linear-algebra
/// crate is part of the interface. It has at least one row and one column.
///
/// ```
/// # fn main() -> taper_classical::Result<()> {
/// use taper_classical::Matrix;
///
/// let matrix = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(matrix.row(1), Some(&[4.0, 5.0, 6.0][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of these `values`, the first row first.
    ///
    /// # Errors
    /// No row or no column, a number of values that does not fit, NaN or infinity (named with its row
    /// and column, counted from 0).
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Result<Self> {
        Self::checked("Matrix::new", "values", "finite", rows, columns, values)
    }

    /// As [`Matrix::new`], in the words of the operation that computed the values.
    pub(crate) fn checked(
        operation: &'static str,
        argument: &'static str,
        expected: &str,
        rows: usize,
        columns: usize,
        values: Vec<f64>,
    ) -> Result<Self> {
        let wrong = |expected: &str, received: String| {
            Err(Error::argument(operation, argument, expected, received))
        };
        if rows == 0 || columns == 0 {
            return wrong("at least one row and one column", format!("{rows}x{columns}"));
        }
        if rows.checked_mul(columns) != Some(values.len()) {
            let expected = format!("{rows}x{columns} numbers");
            return wrong(&expected, values.len().to_string());
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (at / columns, at % columns);
            let received = format!("{} in row {row}, column {column}", values[at]);
            return wrong(expected, received);
        }
        Ok(Self { rows, columns, values })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The row at `index`, counted from 0.
    pub fn row(&self, index: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.columns).nth(index)
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All values, row after row, without a copy.
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// The transpose as nalgebra has matrices: column after column, which are the rows here.
    pub(crate) fn transposed(&self) -> DMatrixView<'_, f64> {
        DMatrixView::from_slice(&self.values, self.columns, self.rows)
    }

    /// Copies of the rows in blocks, each transposed as by [`Matrix::transposed`].
    pub(crate) fn blocks(&self) -> impl Iterator<Item = DMatrix<f64>> {
        self.values.chunks(BLOCK * self.columns).map(|block| {
            DMatrix::from_column_slice(self.columns, block.len() / self.columns, block)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_what_is_wrong() {
        for (rows, columns, values, expected) in [
            (
                0,
                3,
                vec![],
                "Matrix::new: values should be at least one row and one column, got 0x3",
            ),
            (
                3,
                0,
                vec![],
                "Matrix::new: values should be at least one row and one column, got 3x0",
            ),
            (2, 2, vec![0.0; 3], "Matrix::new: values should be 2x2 numbers, got 3"),
            (
                usize::MAX,
                2,
                vec![0.0; 3],
                "Matrix::new: values should be 18446744073709551615x2 numbers, got 3",
            ),
            (
                2,
                2,
                vec![0.0, 1.0, 2.0, f64::NAN],
                "Matrix::new: values should be finite, got NaN in row 1, column 1",
            ),
            (
                1,
                2,
                vec![0.0, f64::NEG_INFINITY],
                "Matrix::new: values should be finite, got -inf in row 0, column 1",
            ),
        ] {
            let error = Matrix::new(rows, columns, values).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn blocks_are_the_rows_in_order() {
        let values: Vec<f64> = (0..3 * (BLOCK + 1)).map(|value| value as f64).collect();
        let matrix = Matrix::new(BLOCK + 1, 3, values.clone()).unwrap();
        let blocks: Vec<_> = matrix.blocks().collect();
        assert_eq!([blocks[0].ncols(), blocks[1].ncols()], [BLOCK, 1]);
        let joined: Vec<f64> = blocks.iter().flat_map(|block| block.iter().copied()).collect();
        assert_eq!(joined, values);
        assert_eq!(matrix.into_values(), values);
    }
}
