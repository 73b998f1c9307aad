use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use taper_core::{Result, Snapshot, Stream, stream};
use taper_data::{Batches, BatchesConfig, ImageDataset, Pixels};

/// `n` images of one pixel whose label is their index.
fn numbered(n: usize) -> ImageDataset {
    let images = (0..n).map(|i| i as u8).collect();
    ImageDataset::new(images, [1, 1, 1], 255, (0..n as u32).collect(), n as u32).unwrap()
}

fn batches(n: usize, batch_size: usize, drop_last: bool, stream: Stream) -> Batches {
    let dataset = numbered(n);
    let config = BatchesConfig { batch_size, drop_last, ..Default::default() };
    Batches::new(&dataset, &dataset.indices(), config, stream, &Device::Cpu).unwrap()
}

/// The labels of the next batch; the images must be theirs.
fn next(batches: &mut Batches) -> Vec<u32> {
    let (images, labels) = batches.next_batch().unwrap();
    let labels = labels.to_vec1::<u32>().unwrap();
    let pixels = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(pixels.iter().zip(&labels).all(|(pixel, label)| *pixel == *label as f32 / 255.0));
    labels
}

proptest! {
    #[test]
    fn an_epoch_has_each_index_once(n in 1usize..40, batch_size in 1usize..45, drop_last: bool, seed: u64) {
        let drop_last = drop_last && batch_size <= n;
        let mut batches = batches(n, batch_size, drop_last, stream(seed, "shuffle"));
        let whole = if drop_last { n / batch_size * batch_size } else { n };
        for _ in 0..3 {
            let sizes: Vec<_> = batches.epoch().map(|batch| batch.unwrap().1.elem_count()).collect();
            prop_assert_eq!(sizes.len(), batches.batches_per_epoch());
            prop_assert_eq!(sizes.iter().sum::<usize>(), whole);
            prop_assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == batch_size));
            let mut seen: Vec<_> = (0..sizes.len()).flat_map(|_| next(&mut batches)).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), whole);
        }
    }

    #[test]
    fn goes_on_to_the_bit(n in 1usize..12, batch_size in 1usize..14, drop_last: bool, seed: u64) {
        let drop_last = drop_last && batch_size <= n;
        goes_on(|seed| batches(n, batch_size, drop_last, stream(seed, "shuffle")), seed);
    }
}

/// That batches of a seed that are stopped at any step go on, in ones built for another seed, as if they had not been.
pub(crate) fn goes_on(build: impl Fn(u64) -> Batches, seed: u64) {
    let mut running = build(seed);
    // Over two epoch boundaries, stopping at every step.
    for _ in 0..2 * running.batches_per_epoch() + 2 {
        let mut snapshot = Snapshot::new();
        snapshot.put("batches", &running).unwrap();
        let bytes = snapshot.to_bytes().unwrap();
        let snapshot = Snapshot::from_bytes(&bytes, &Device::Cpu).unwrap();
        let mut restored = build(seed ^ 1);
        snapshot.get("batches", &mut restored).unwrap();
        let mut on = running.clone();
        for _ in 0..2 * on.batches_per_epoch() {
            assert_eq!(bits(on.next_batch()), bits(restored.next_batch()));
        }
        running.next_batch().unwrap();
    }
}

/// The labels of a batch and the bits of its images.
pub(crate) fn bits(batch: Result<(Tensor, Tensor)>) -> (Vec<u32>, Vec<u32>) {
    let (images, labels) = batch.unwrap();
    let pixels = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (labels.to_vec1().unwrap(), pixels.into_iter().map(f32::to_bits).collect())
}

#[test]
fn epochs_differ_and_seeds_decide() {
    let epoch =
        |batches: &mut Batches| -> Vec<u32> { (0..4).flat_map(|_| next(batches)).collect() };
    let mut one = batches(40, 10, false, stream(1, "shuffle"));
    let mut same = batches(40, 10, false, stream(1, "shuffle"));
    let mut other = batches(40, 10, false, stream(2, "shuffle"));
    let first = epoch(&mut one);
    assert_eq!(first, epoch(&mut same));
    assert_ne!(first, epoch(&mut other));
    assert_ne!(first, epoch(&mut one));
}

#[test]
fn epoch_ends_where_the_epoch_does() {
    let mut batches = batches(5, 2, false, stream(1, "shuffle"));
    next(&mut batches);
    assert_eq!(batches.epoch().count(), 2);
    assert_eq!(batches.epoch().count(), 3);
}

#[test]
fn shapes_and_types_follow_the_config() {
    let dataset = ImageDataset::new(vec![3; 12], [1, 2, 3], 3, vec![0; 2], 1).unwrap();
    let config = BatchesConfig {
        batch_size: 2,
        pixels: Pixels::Image,
        dtype: DType::F64,
        ..Default::default()
    };
    let shuffle = stream(1, "shuffle");
    let mut batches = Batches::new(&dataset, &[0, 1], config, shuffle, &Device::Cpu).unwrap();
    let (images, labels) = batches.next_batch().unwrap();
    assert_eq!((images.dims(), images.dtype()), (&[2, 1, 2, 3][..], DType::F64));
    assert_eq!((labels.dims(), labels.dtype()), (&[2][..], DType::U32));
    assert_eq!(images.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [1.0; 12]);
}

#[test]
fn refuses_what_gives_no_batch() {
    let dataset = numbered(3);
    let new = |indices: &[usize], batch_size, drop_last| {
        let config = BatchesConfig { batch_size, drop_last, ..Default::default() };
        let batches = Batches::new(&dataset, indices, config, stream(1, "shuffle"), &Device::Cpu);
        batches.unwrap_err().to_string()
    };
    assert_eq!(new(&[0], 0, false), "Batches::new: batch_size should be at least 1, got 0");
    assert!(
        new(&[0, 1], 3, true).contains("batch_size should be from 1 to 2, the number of indices")
    );
    assert!(new(&[], 1, false).contains("indices should be at least one index, got none"));
    assert!(new(&[3], 1, false).contains("indices should be below 3, the number of images, got 3"));
}

#[test]
fn refuses_the_state_of_another_split_and_keeps_its_own() {
    let dataset = numbered(6);
    let build = |indices: &[usize]| {
        let config = BatchesConfig { batch_size: 2, ..Default::default() };
        Batches::new(&dataset, indices, config, stream(1, "shuffle"), &Device::Cpu).unwrap()
    };
    let mut snapshot = Snapshot::new();
    snapshot.put("batches", &build(&[0, 1, 2])).unwrap();
    let mut batches = build(&[3, 4, 5]);
    let untouched = next(&mut batches.clone());
    let message = snapshot.get("batches", &mut batches).unwrap_err().to_string();
    let expected =
        "restore: batches.order: expected the indices these batches were built for, found others";
    assert_eq!(message, expected);
    assert_eq!(next(&mut batches), untouched);

    let mut same = build(&[0, 1, 2]);
    snapshot.put_u64("batches.place", 4);
    let message = snapshot.get("batches", &mut same).unwrap_err().to_string();
    assert_eq!(message, "restore: batches.place: expected at most 3, found 4");
    assert!(Snapshot::new().get("batches", &mut same).is_err());
}
