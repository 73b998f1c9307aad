use candle_core::{DType, Device};
use proptest::prelude::*;
use taper_core::{Snapshot, Stateful, stream};
use taper_data::{Augmentation, Batches, BatchesConfig, ImageDataset, Prefetch};

use crate::batches::bits;

fn batches(n: usize, batch_size: usize, seed: u64) -> Batches {
    let bytes = (0..n * 6).map(|at| (at * 37 % 256) as u8).collect();
    let dataset =
        ImageDataset::new(bytes, [1, 2, 3], 255, (0..n as u32).collect(), n as u32).unwrap();
    let augmentations = vec![Augmentation::Shift(1), Augmentation::Flip];
    let config = BatchesConfig { batch_size, augmentations, ..Default::default() };
    Batches::new(&dataset, &dataset.indices(), config, stream(seed, "shuffle"), &Device::Cpu)
        .unwrap()
}

/// The bytes that a run would write.
fn bytes(part: &impl Stateful) -> Vec<u8> {
    let mut snapshot = Snapshot::new();
    snapshot.put("batches", part).unwrap();
    snapshot.to_bytes().unwrap()
}

fn restore(part: &mut impl Stateful, bytes: &[u8]) {
    Snapshot::from_bytes(bytes, &Device::Cpu).unwrap().get("batches", part).unwrap();
}

proptest! {
    #[test]
    fn the_batches_and_the_state_are_the_same(n in 1usize..9, batch_size in 1usize..10, seed: u64) {
        let mut batches = batches(n, batch_size, seed);
        let mut prefetch = Prefetch::new(batches.clone());
        prop_assert_eq!(bytes(&prefetch), bytes(&batches));
        for _ in 0..3 * batches.batches_per_epoch() {
            prop_assert_eq!(bits(prefetch.next_batch()), bits(batches.next_batch()));
            prop_assert_eq!(bytes(&prefetch), bytes(&batches));
        }
    }

    #[test]
    fn goes_on_from_each_others_state(n in 1usize..9, batch_size in 1usize..10, seed: u64, stop in 0usize..12) {
        let mut running = Prefetch::new(batches(n, batch_size, seed));
        for _ in 0..stop {
            running.next_batch().unwrap();
        }
        let state = bytes(&running);
        // One that has batches of another seed ready, and one without a thread.
        let mut restored = Prefetch::new(batches(n, batch_size, seed ^ 1));
        restored.next_batch().unwrap();
        restore(&mut restored, &state);
        let mut plain = batches(n, batch_size, seed ^ 1);
        restore(&mut plain, &state);
        for _ in 0..2 * plain.batches_per_epoch() {
            let expected = bits(running.next_batch());
            prop_assert_eq!(&bits(plain.next_batch()), &expected);
            prop_assert_eq!(&bits(restored.next_batch()), &expected);
        }
        let mut from_plain = Prefetch::new(batches(n, batch_size, seed ^ 1));
        restore(&mut from_plain, &bytes(&plain));
        prop_assert_eq!(bits(from_plain.next_batch()), bits(plain.next_batch()));
    }
}

#[test]
fn an_epoch_ends_where_it_does() {
    let mut prefetch = Prefetch::new(batches(5, 2, 1));
    prefetch.next_batch().unwrap();
    assert_eq!(prefetch.epoch().map(bits).count(), 2);
    assert_eq!(prefetch.epoch().map(bits).count(), 3);
    assert_eq!(prefetch.batches_per_epoch(), 3);
}

#[test]
fn an_error_reaches_the_caller_each_time() {
    let dataset = ImageDataset::new(vec![0; 4], [1, 1, 1], 255, vec![0; 4], 1).unwrap();
    let config = BatchesConfig { dtype: DType::U8, ..Default::default() };
    let batches = Batches::new(&dataset, &[0, 1], config, stream(1, "shuffle"), &Device::Cpu);
    let mut prefetch = Prefetch::new(batches.unwrap());
    for _ in 0..2 {
        let message = prefetch.next_batch().unwrap_err().to_string();
        assert!(message.contains("dtype should be f64, f32, f16 or bf16, got u8"), "{message}");
    }
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let mut prefetch = Prefetch::new(batches(6, 2, 1));
    let mut same = batches(6, 2, 1);
    assert_eq!(bits(prefetch.next_batch()), bits(same.next_batch()));
    let other = Snapshot::from_bytes(&bytes(&batches(5, 2, 1)), &Device::Cpu).unwrap();
    assert!(other.get("batches", &mut prefetch).is_err());
    assert_eq!(bits(prefetch.next_batch()), bits(same.next_batch()));
}

#[test]
fn dropping_it_returns() {
    // With no thread, with one, and with one that has made all it may.
    for batches_before in [0, 1, 4] {
        for _ in 0..20 {
            let mut prefetch = Prefetch::new(batches(40, 2, 1));
            for _ in 0..batches_before {
                prefetch.next_batch().unwrap();
            }
        }
    }
}
