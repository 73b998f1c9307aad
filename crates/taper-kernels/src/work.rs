//! How much one task of the fork-join gets.

/// Elements below which an elementwise loop is not worth a second thread (some ten microseconds).
const SERIAL: usize = 1 << 15;

/// The size of the blocks into which an elementwise loop over `length` elements is cut: a function of the
/// length alone, so that the same elements fall into the same block whatever the number of threads.
pub(crate) fn block(length: usize) -> usize {
    if length <= SERIAL {
        return length.max(1);
    }
    // Blocks that fit into the first-level cache with their companions, and are many for any processor.
    (SERIAL / 4).max(length.div_ceil(1024)).next_multiple_of(64)
}

/// How many rows of `cost` elements each (of work, not of memory) one task gets, of `rows`.
pub(crate) fn rows(rows: usize, cost: usize) -> usize {
    if rows.saturating_mul(cost) <= SERIAL {
        return rows.max(1);
    }
    (SERIAL / 4).div_ceil(cost.max(1)).max(rows.div_ceil(1024)).clamp(1, rows.max(1))
}
