use proptest::prelude::*;
use taper_core::stream;
use taper_data::{Split, digits, k_folds, split, stratified_k_folds, stratified_split};

/// 2 to 5 classes with 2 to 30 images each, in a mixed order.
fn labels() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(2usize..30, 2..6)
        .prop_map(|sizes| {
            let classes = sizes.iter().zip(0u32..);
            classes.flat_map(|(size, class)| vec![class; *size]).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn all(labels: &[u32]) -> Vec<usize> {
    (0..labels.len()).collect()
}

fn counts(labels: &[u32], indices: &[usize]) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut counts = vec![0; classes];
    for index in indices {
        counts[labels[*index] as usize] += 1;
    }
    counts
}

fn assert_partition(part: &Split, of: &[usize]) {
    let mut union = [&part.train[..], &part.test[..]].concat();
    union.sort_unstable();
    assert_eq!(union, of);
    assert!(part.train.is_sorted() && part.test.is_sorted());
}

proptest! {
    #[test]
    fn a_split_divides_exactly(n in 2usize..200, fraction in 0.01..0.99f64, seed: u64) {
        let indices: Vec<_> = (10..10 + n).collect();
        let size = (n as f64 * fraction).round() as usize;
        match split(&indices, fraction, &mut stream(seed, "split")) {
            Ok(part) => {
                assert_partition(&part, &indices);
                prop_assert_eq!(part.train.len(), size);
            }
            Err(_) => prop_assert!(size == 0 || size == n),
        }
    }

    #[test]
    fn a_stratified_split_keeps_sizes_and_classes(labels in labels(), fraction in 0.01..0.99f64, seed: u64) {
        let n = labels.len();
        let size = (n as f64 * fraction).round() as usize;
        let total = counts(&labels, &all(&labels));
        match stratified_split(&labels, &all(&labels), fraction, &mut stream(seed, "split")) {
            Ok(part) => {
                assert_partition(&part, &all(&labels));
                prop_assert_eq!(part.train.len(), size);
                let quota = |of: &usize| *of as f64 * size as f64 / n as f64;
                // Keeping a class in both parts, where that needs a place beyond its quota, moves others.
                let room = total.iter().all(|of| (1.0..=*of as f64 - 1.0).contains(&quota(of)));
                for (in_train, of) in counts(&labels, &part.train).iter().zip(&total) {
                    prop_assert!(0 < *in_train && in_train < of);
                    prop_assert!(!room || (*in_train as f64 - quota(of)).abs() < 1.0);
                }
            }
            Err(_) => prop_assert!(size < total.len() || n - size < total.len()),
        }
    }

    #[test]
    fn folds_hold_each_index_out_once(labels in labels(), k in 2usize..8, seed: u64) {
        let indices = all(&labels);
        let counts_of_all = counts(&labels, &indices);
        let rarest = *counts_of_all.iter().min().unwrap();
        let plain = k_folds(&indices, k, &mut stream(seed, "folds"));
        let stratified = stratified_k_folds(&labels, &indices, k, &mut stream(seed, "folds"));
        prop_assert_eq!(plain.is_ok(), k <= indices.len());
        prop_assert_eq!(stratified.is_ok(), k <= rarest);
        for folds in [&plain, &stratified].into_iter().flatten() {
            prop_assert_eq!(folds.len(), k);
            let mut held_out: Vec<_> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
            held_out.sort_unstable();
            prop_assert_eq!(&held_out, &indices);
            for fold in folds {
                assert_partition(fold, &indices);
                prop_assert!(fold.test.len().abs_diff(folds[0].test.len()) <= 1);
            }
        }
        for fold in stratified.iter().flatten() {
            for (held_out, of) in counts(&labels, &fold.test).iter().zip(&counts_of_all) {
                prop_assert!(*held_out == of / k || *held_out == of.div_ceil(k));
            }
        }
    }

    #[test]
    fn the_order_of_the_indices_does_not_matter(
        (sorted, mixed) in prop::collection::btree_set(0usize..500, 4..60).prop_flat_map(|set| {
            let sorted: Vec<_> = set.into_iter().collect();
            (Just(sorted.clone()), Just(sorted).prop_shuffle())
        }),
        seed: u64,
    ) {
        let labels: Vec<u32> = (0..500).map(|index| index % 2).collect();
        let streams = || stream(seed, "split");
        prop_assert_eq!(split(&sorted, 0.5, &mut streams()).unwrap(), split(&mixed, 0.5, &mut streams()).unwrap());
        let stratified = |indices: &[usize]| {
            stratified_split(&labels, indices, 0.5, &mut streams()).map_err(|error| error.to_string())
        };
        prop_assert_eq!(stratified(&sorted), stratified(&mixed));
    }
}

#[test]
fn seeds_decide() {
    let digits = digits().unwrap();
    let part = |seed| {
        stratified_split(digits.labels(), &digits.indices(), 0.8, &mut stream(seed, "split"))
            .unwrap()
    };
    assert_eq!(part(1), part(1));
    assert_ne!(part(1), part(2));
    // The stream has moved on, so a second split from it is another.
    let mut moving = stream(1, "split");
    let draws = [(); 2].map(|()| split(&digits.indices(), 0.8, &mut moving).unwrap());
    assert_ne!(draws[0], draws[1]);
}

#[test]
fn every_index_is_as_likely_to_be_held_out() {
    let mut stream = stream(3, "split");
    let indices: Vec<_> = (0..10).collect();
    let labels = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
    let mut held_out = [0u32; 10];
    for _ in 0..2000 {
        let part = stratified_split(&labels, &indices, 0.5, &mut stream).unwrap();
        part.test.iter().for_each(|index| held_out[*index] += 1);
    }
    // Binomial with n = 2000, p = 0.5: 5 standard deviations are 112.
    assert!(held_out.iter().all(|count| count.abs_diff(1000) < 112), "{held_out:?}");
}

#[test]
fn three_parts_of_the_digits() {
    let digits = digits().unwrap();
    let mut stream = stream(1000, "split");
    let outer = stratified_split(digits.labels(), &digits.indices(), 0.8, &mut stream).unwrap();
    let inner = stratified_split(digits.labels(), &outer.train, 0.75, &mut stream).unwrap();
    assert_partition(&inner, &outer.train);
    // Quotas of 359 of 1797: 35.56 36.36 35.36 36.56 36.16 36.36 36.16 35.76 34.76 35.96.
    let test = counts(digits.labels(), &outer.test);
    assert_eq!(test, [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]);
    assert_eq!([inner.train.len(), inner.test.len(), outer.test.len()], [1079, 359, 359]);
}
