//! Parts of a data set with as many of each class as asked for.

use taper_core::{Error, Result, Stream};

use crate::split::strata;

/// `per_class` of the `indices` of each class, drawn at random, in ascending order: a task with few labels.
///
/// `labels` are those of the whole data set. Each class draws from a child of `stream`, wherever that stands: the indices
/// of fewer are among those of more.
///
/// # Errors
/// 0 a class, a class with fewer indices, an index without a label or that comes twice.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let digits = taper_data::digits()?;
/// let few = taper_data::few_labels(digits.labels(), &digits.indices(), 3, &taper_core::stream(7, "few"))?;
/// assert_eq!(few.len(), 30);
/// # Ok(())
/// # }
/// ```
pub fn few_labels(
    labels: &[u32],
    indices: &[usize],
    per_class: usize,
    stream: &Stream,
) -> Result<Vec<usize>> {
    if per_class == 0 {
        return Err(Error::argument("few_labels", "per_class", "at least 1", 0));
    }
    take("few_labels", labels, indices, stream, |_, _| per_class)
}

/// How the classes of an imbalanced set differ in size; class 0 keeps its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Imbalance {
    /// Class c of K keeps the part `ratio`^(−c / (K − 1)), so that the first is `ratio` times as large as the last (Cui
    /// et al. 2019, <https://arxiv.org/abs/1901.05555>).
    LongTail {
        /// At least 1.
        ratio: f64,
    },
    /// The second half of the classes keeps the part 1 / `ratio` (Buda, Maki and Mazurowski 2018,
    /// <https://arxiv.org/abs/1710.05381>).
    Step {
        /// At least 1.
        ratio: f64,
    },
}

/// The `indices` with fewer of the later classes, drawn at random as by [`few_labels`], in ascending order. Sizes are
/// rounded to the nearest whole number, and one index of each class stays at least. The number of classes is that of
/// `labels`.
///
/// # Errors
/// A ratio below 1, an index without a label or that comes twice.
pub fn imbalanced(
    labels: &[u32],
    indices: &[usize],
    imbalance: Imbalance,
    stream: &Stream,
) -> Result<Vec<usize>> {
    let (Imbalance::LongTail { ratio } | Imbalance::Step { ratio }) = imbalance;
    // Written so that NaN is refused.
    if !(ratio >= 1.0 && ratio.is_finite()) {
        return Err(Error::argument("imbalanced", "ratio", "at least 1 and finite", ratio));
    }
    let classes = labels.iter().max().map_or(1, |class| *class as usize + 1);
    take("imbalanced", labels, indices, stream, |class, size| {
        let part = match imbalance {
            Imbalance::LongTail { .. } => ratio.powf(-(class as f64) / (classes.max(2) - 1) as f64),
            Imbalance::Step { .. } if 2 * class >= classes => ratio.recip(),
            Imbalance::Step { .. } => 1.0,
        };
        ((size as f64 * part).round() as usize).max(1)
    })
}

/// As many indices of each class as `wanted(class, size)`.
fn take(
    operation: &'static str,
    labels: &[u32],
    indices: &[usize],
    stream: &Stream,
    wanted: impl Fn(usize, usize) -> usize,
) -> Result<Vec<usize>> {
    let of_class = strata(operation, labels, indices)?;
    if of_class.is_empty() {
        return Err(Error::argument(operation, "indices", "at least one", "none"));
    }
    let mut taken = Vec::new();
    for (class, mut members) in of_class {
        let wanted = wanted(class as usize, members.len());
        if wanted > members.len() {
            let expected = format!("at least {wanted} of class {class}");
            return Err(Error::argument(operation, "indices", expected, members.len()));
        }
        // A stream of its own for each class, so that the others are not moved by its size.
        stream.child(&format!("class {class}")).shuffle(&mut members);
        taken.extend_from_slice(&members[..wanted]);
    }
    taken.sort_unstable();
    Ok(taken)
}
