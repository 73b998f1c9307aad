use taper_core::{Result, stream};
use taper_data::{Imbalance, few_labels, imbalanced};

/// 40 of each of 5 classes.
fn labels() -> Vec<u32> {
    (0..200).map(|at| at % 5).collect()
}

fn all() -> Vec<usize> {
    (0..200).collect()
}

fn counts(indices: &[usize]) -> Vec<usize> {
    assert!(indices.is_sorted());
    let labels = labels();
    (0..5).map(|class| indices.iter().filter(|at| labels[**at] == class).count()).collect()
}

#[test]
fn few_labels_are_nested_and_move_with_the_seed() -> Result<()> {
    let few = |n, seed| few_labels(&labels(), &all(), n, &stream(seed, "few"));
    let (three, ten) = (few(3, 1)?, few(10, 1)?);
    assert_eq!((counts(&three), counts(&ten)), (vec![3; 5], vec![10; 5]));
    assert!(three.iter().all(|at| ten.contains(at)));
    assert_ne!(few(3, 2)?, three);
    assert_eq!(few(40, 1)?, all());
    // The order of the indices does not matter.
    let backwards: Vec<usize> = all().into_iter().rev().collect();
    assert_eq!(few_labels(&labels(), &backwards, 3, &stream(1, "few"))?, three);
    Ok(())
}

#[test]
fn classes_are_as_rare_as_asked_for() -> Result<()> {
    let of = |imbalance| imbalanced(&labels(), &all(), imbalance, &stream(1, "rare"));
    // 40 · 16^(−c / 4).
    assert_eq!(counts(&of(Imbalance::LongTail { ratio: 16.0 })?), [40, 20, 10, 5, 3]);
    assert_eq!(counts(&of(Imbalance::Step { ratio: 10.0 })?), [40, 40, 40, 4, 4]);
    assert_eq!(of(Imbalance::LongTail { ratio: 1.0 })?, all());
    assert_eq!(counts(&of(Imbalance::LongTail { ratio: 1e9 })?)[4], 1);
    let one = imbalanced(&[0; 3], &[0, 2], Imbalance::LongTail { ratio: 9.0 }, &stream(1, "rare"))?;
    assert_eq!(one, [0, 2]);
    Ok(())
}

#[test]
fn refusals_name_the_argument() {
    let few = |indices: &[usize], n| {
        few_labels(&labels(), indices, n, &stream(1, "few")).unwrap_err().to_string()
    };
    let rare = |ratio| {
        let imbalance = Imbalance::Step { ratio };
        imbalanced(&labels(), &all(), imbalance, &stream(1, "rare")).unwrap_err().to_string()
    };
    for (message, expected) in [
        (few(&all(), 0), "few_labels: per_class should be at least 1, got 0"),
        (few(&all(), 41), "indices should be at least 41 of class 0, got 40"),
        (few(&[1, 2, 1], 1), "indices should be each index once, got 1 twice"),
        (few(&[1, 200], 1), "indices should be below 200, the number of labels, got 200"),
        (few(&[], 1), "indices should be at least one, got none"),
        (rare(0.5), "imbalanced: ratio should be at least 1 and finite, got 0.5"),
        (rare(f64::NAN), "got NaN"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}
