//! Splits and folds: seeded, with or without strata.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use taper_core::{Error, Result, Stream};

/// Two lists of indices, in ascending order and without a common index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What is learned from.
    pub train: Vec<usize>,
    /// What is held out.
    pub test: Vec<usize>,
}

/// Splits `indices` at random, each with the same chance to be in `train`.
///
/// `train` has `train_fraction` of them, rounded to the nearest whole number. The result depends on the
/// set of indices and the stream, not on the order they come in. Splitting `train` again gives training
/// and validation parts beside the same test part.
///
/// # Errors
/// A fraction that leaves either part empty; an index that comes twice.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let mut stream = taper_core::stream(7, "split");
/// let outer = taper_data::split(&(0..10).collect::<Vec<_>>(), 0.8, &mut stream)?;
/// let inner = taper_data::split(&outer.train, 0.75, &mut stream)?;
/// let sizes = [&inner.train, &inner.test, &outer.test].map(Vec::len);
/// assert_eq!(sizes, [6, 2, 2]);
/// # Ok(())
/// # }
/// ```
pub fn split(indices: &[usize], train_fraction: f64, stream: &mut Stream) -> Result<Split> {
    let mut train = distinct("split", indices)?;
    let n_train = train_size("split", train.len(), train_fraction)?;
    stream.shuffle(&mut train);
    let test = train.split_off(n_train);
    Ok(sorted(train, test))
}

/// Splits `indices` at random so that both parts have the classes in the proportions of the whole.
///
/// `labels` are those of the whole data set: `labels[index]` is the class of `index`. `train` has exactly
/// as many indices as [`split`] would give it. They are shared out among the classes by largest
/// remainders (ties: the lower class), but no class is left out of either part. Splitting `train` again
/// gives training and validation parts.
///
/// # Errors
/// As [`split`]; an index without a label; a class with one index only, or a part with fewer places than
/// there are classes.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1];
/// let all: Vec<_> = (0..10).collect();
/// let split = taper_data::stratified_split(&labels, &all, 0.5, &mut taper_core::stream(7, "split"))?;
/// assert_eq!(split.train.iter().filter(|i| labels[**i] == 0).count(), 3);
/// assert_eq!(split.test.iter().filter(|i| labels[**i] == 0).count(), 3);
/// # Ok(())
/// # }
/// ```
pub fn stratified_split(
    labels: &[u32],
    indices: &[usize],
    train_fraction: f64,
    stream: &mut Stream,
) -> Result<Split> {
    const OPERATION: &str = "stratified_split";
    let strata = strata(OPERATION, labels, indices)?;
    let n_train = train_size(OPERATION, indices.len(), train_fraction)?;
    let sizes: Vec<_> = strata.values().map(Vec::len).collect();
    let Some(shares) = apportion(&sizes, n_train) else {
        let expected = format!(
            "at least 2 indices of each of the {} classes, and as many places in each part",
            sizes.len()
        );
        let received =
            format!("{sizes:?} indices for {n_train} and {} places", indices.len() - n_train);
        return Err(Error::argument(OPERATION, "indices", expected, received));
    };
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (mut members, share) in strata.into_values().zip(shares) {
        stream.shuffle(&mut members);
        test.extend(members.drain(share..));
        train.extend(members);
    }
    Ok(sorted(train, test))
}

/// Divides `indices` at random into `k` folds and holds out each in turn.
///
/// The folds' sizes differ by one at most.
///
/// # Errors
/// Fewer than 2 folds, or more than there are indices; an index that comes twice.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let folds = taper_data::k_folds(&[3, 4, 5, 6, 7], 2, &mut taper_core::stream(7, "folds"))?;
/// assert_eq!((folds[0].train.len(), folds[0].test.len()), (2, 3));
/// assert_eq!(folds[0].test, folds[1].train);
/// # Ok(())
/// # }
/// ```
pub fn k_folds(indices: &[usize], k: usize, stream: &mut Stream) -> Result<Vec<Split>> {
    let mut members = distinct("k_folds", indices)?;
    check_folds("k_folds", k, "indices", members.len())?;
    stream.shuffle(&mut members);
    Ok(deal(&members, k))
}

/// Divides `indices` at random into `k` folds that each have the classes in the proportions of the
/// whole, and holds out each in turn.
///
/// The folds' sizes differ by one at most, and so do their counts of each class. `labels` are those of
/// the whole data set.
///
/// # Errors
/// Fewer than 2 folds, or more than the rarest class has indices; an index that comes twice or has no
/// label.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let labels = [0, 0, 0, 1, 1, 1];
/// let all: Vec<_> = (0..6).collect();
/// let folds = taper_data::stratified_k_folds(&labels, &all, 3, &mut taper_core::stream(7, "folds"))?;
/// for fold in folds {
///     assert_eq!(fold.test.iter().map(|i| labels[*i]).collect::<Vec<_>>(), [0, 1]);
/// }
/// # Ok(())
/// # }
/// ```
pub fn stratified_k_folds(
    labels: &[u32],
    indices: &[usize],
    k: usize,
    stream: &mut Stream,
) -> Result<Vec<Split>> {
    const OPERATION: &str = "stratified_k_folds";
    let strata = strata(OPERATION, labels, indices)?;
    let rarest = strata.values().map(Vec::len).min().unwrap_or(0);
    check_folds(OPERATION, k, "indices of the rarest class", rarest)?;
    let mut members = Vec::with_capacity(indices.len());
    for mut stratum in strata.into_values() {
        stream.shuffle(&mut stratum);
        members.extend(stratum);
    }
    Ok(deal(&members, k))
}

/// Deals `members` like cards: neighbours go to different folds, so runs of one class are spread evenly.
fn deal(members: &[usize], k: usize) -> Vec<Split> {
    (0..k)
        .map(|fold| {
            let held_out = |i: usize| i % k == fold;
            let part = |test: bool| {
                let members = members.iter().enumerate();
                members.filter(|(i, _)| held_out(*i) == test).map(|(_, index)| *index).collect()
            };
            sorted(part(false), part(true))
        })
        .collect()
}

fn sorted(mut train: Vec<usize>, mut test: Vec<usize>) -> Split {
    train.sort_unstable();
    test.sort_unstable();
    Split { train, test }
}

/// The indices in ascending order, each once.
fn distinct(operation: &'static str, indices: &[usize]) -> Result<Vec<usize>> {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(sorted),
        Some(pair) => {
            let received = format!("{} twice", pair[0]);
            Err(Error::argument(operation, "indices", "each index once", received))
        }
    }
}

/// The indices of each class, classes and indices in ascending order.
pub(crate) fn strata(
    operation: &'static str,
    labels: &[u32],
    indices: &[usize],
) -> Result<BTreeMap<u32, Vec<usize>>> {
    let mut strata = BTreeMap::<u32, Vec<usize>>::new();
    for index in distinct(operation, indices)? {
        let Some(label) = labels.get(index) else {
            let expected = format!("below {}, the number of labels", labels.len());
            return Err(Error::argument(operation, "indices", expected, index));
        };
        strata.entry(*label).or_default().push(index);
    }
    Ok(strata)
}

fn train_size(operation: &'static str, n: usize, train_fraction: f64) -> Result<usize> {
    // A NaN becomes 0 here, and is refused with the rest.
    let size = (n as f64 * train_fraction).round() as usize;
    if size == 0 || size >= n {
        let expected = format!("a fraction that leaves both parts some of the {n} indices");
        return Err(Error::argument(operation, "train_fraction", expected, train_fraction));
    }
    Ok(size)
}

fn check_folds(operation: &'static str, k: usize, of: &str, most: usize) -> Result<()> {
    if (2..=most).contains(&k) {
        return Ok(());
    }
    let expected = format!("from 2 to {most}, the number of {of}");
    Err(Error::argument(operation, "k", expected, k))
}

/// How many of each stratum go to a part of `total`: proportionally by largest remainders, each at least
/// 1 and fewer than the stratum has; `None` where that cannot be.
fn apportion(sizes: &[usize], total: usize) -> Option<Vec<usize>> {
    let n: usize = sizes.iter().sum();
    let rest = n.checked_sub(total)?;
    if sizes.iter().any(|size| *size < 2) || total < sizes.len() || rest < sizes.len() {
        return None;
    }
    let mut shares: Vec<usize> =
        sizes.iter().map(|size| (size * total / n).clamp(1, size - 1)).collect();
    // How far a share is below its quota size * total / n, times n: exact in whole numbers.
    let lack = |i: usize, share: usize| (sizes[i] * total) as i128 - (share * n) as i128;
    loop {
        let strata = 0..sizes.len();
        match shares.iter().sum::<usize>().cmp(&total) {
            Ordering::Equal => return Some(shares),
            Ordering::Less => {
                let with_room = strata.filter(|i| shares[*i] + 1 < sizes[*i]);
                let neediest = with_room.min_by_key(|i| -lack(*i, shares[*i]))?;
                shares[neediest] += 1;
            }
            Ordering::Greater => {
                let with_some = strata.filter(|i| shares[*i] > 1);
                let richest = with_some.min_by_key(|i| lack(*i, shares[*i]))?;
                shares[richest] -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apportions_by_largest_remainders() {
        // Quotas 1.4, 2.8, 2.8: the two largest remainders are rounded up.
        assert_eq!(apportion(&[2, 4, 4], 7), Some(vec![1, 3, 3]));
        // Quotas 1.5, 1.5: the lower class on a tie.
        assert_eq!(apportion(&[3, 3], 3), Some(vec![2, 1]));
        // Quotas 7.2, 0.4, 0.4: the small classes get a place each, at the large one's cost.
        assert_eq!(apportion(&[36, 2, 2], 8), Some(vec![6, 1, 1]));
        // Quotas 28.8, 1.6, 1.6 of the same: the small classes leave a place each.
        assert_eq!(apportion(&[36, 2, 2], 32), Some(vec![30, 1, 1]));
        assert_eq!(apportion(&[5, 1], 3), None);
        assert_eq!(apportion(&[3, 3, 3], 2), None);
        assert_eq!(apportion(&[3, 3, 3], 7), None);
    }

    #[test]
    fn deals_hand_numbers() {
        let folds = deal(&[7, 5, 6, 1, 3], 2);
        assert_eq!(folds[0].test, [3, 6, 7]);
        assert_eq!(folds[0].train, [1, 5]);
        assert_eq!(folds[1].test, [1, 5]);
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let stream = &mut taper_core::stream(1, "split");
        let mut messages = Vec::new();
        for fraction in [0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY, 0.01] {
            let message = split(&[1, 2, 3], fraction, stream).unwrap_err().to_string();
            assert!(
                message.contains("train_fraction should be a fraction that leaves"),
                "{message}"
            );
        }
        messages.push(split(&[], 0.5, stream).unwrap_err());
        messages.push(split(&[1, 2, 1], 0.5, stream).unwrap_err());
        messages.push(stratified_split(&[0, 0], &[0, 2], 0.5, stream).unwrap_err());
        messages.push(stratified_split(&[0, 0, 0, 1], &[0, 1, 2, 3], 0.5, stream).unwrap_err());
        messages.push(k_folds(&[1, 2, 3], 1, stream).unwrap_err());
        messages.push(k_folds(&[1, 2, 3], 4, stream).unwrap_err());
        messages.push(stratified_k_folds(&[0, 0, 0, 1], &[0, 1, 2, 3], 2, stream).unwrap_err());
        messages.push(stratified_k_folds(&[], &[], 2, stream).unwrap_err());
        let messages: Vec<_> = messages.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "split: train_fraction should be a fraction that leaves both parts some of the 0 indices, got 0.5",
                "split: indices should be each index once, got 1 twice",
                "stratified_split: indices should be below 2, the number of labels, got 2",
                "stratified_split: indices should be at least 2 indices of each of the 2 classes, and as many places in each part, got [3, 1] indices for 2 and 2 places",
                "k_folds: k should be from 2 to 3, the number of indices, got 1",
                "k_folds: k should be from 2 to 3, the number of indices, got 4",
                "stratified_k_folds: k should be from 2 to 1, the number of indices of the rarest class, got 2",
                "stratified_k_folds: k should be from 2 to 0, the number of indices of the rarest class, got 2",
            ]
        );
    }
}
