//! Data sets for Taper: the embedded digits, seeded splits and folds, shuffled batches.
