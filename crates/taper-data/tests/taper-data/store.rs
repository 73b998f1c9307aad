//! What is kept is what it is called, and stays so.

use std::fs;

use proptest::prelude::*;
use taper_data::formats::{read_images, write_images};
use taper_data::{
    DataName, DataStore, Files, ImageDataset, Proof, ReadPart, Record, Result, State,
};

fn name(name: &str) -> DataName {
    name.parse().unwrap()
}

/// `images` images in the shape and with the class counts of a card's part, all pixels `value`.
fn part(name: &str, part: &str, value: u8, files: Files) -> ReadPart {
    let card = taper_data::card(name).unwrap();
    let counts = &card.part(part).unwrap().per_class;
    let labels: Vec<u32> = (0u32..)
        .zip(counts)
        .flat_map(|(label, count)| std::iter::repeat_n(label, *count))
        .collect();
    let size: usize = card.shape.iter().product();
    let images = vec![value; labels.len() * size];
    let images = ImageDataset::new(images, card.shape, 255, labels, counts.len() as u32).unwrap();
    ReadPart { name: part.to_owned(), images, files }
}

fn both(card: &str, value: u8, files: Files) -> Vec<ReadPart> {
    vec![part(card, "train", value, files), part(card, "test", value, files)]
}

fn store() -> (tempfile::TempDir, DataStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = DataStore::at(folder.path().join("data"));
    (folder, store)
}

fn proofs(record: &Record) -> Vec<Proof> {
    record.parts.iter().map(|part| part.proof).collect()
}

#[test]
fn the_first_seen_is_recorded_and_another_is_an_error() -> Result<()> {
    let (_folder, store) = store();
    let kmnist = name("kmnist");
    // Its card knows no digest, no sum and no hash.
    let record = store.keep(&kmnist, &both("kmnist", 1, Files::Unknown), "a test")?;
    assert_eq!(proofs(&record), [Proof::FirstSeen; 2]);
    assert_eq!(store.record(&kmnist)?, Some(record.clone()));
    assert_eq!(store.keep(&kmnist, &both("kmnist", 1, Files::Unknown), "a test")?, record);
    let message =
        store.keep(&kmnist, &both("kmnist", 2, Files::Unknown), "").unwrap_err().to_string();
    assert!(
        message.contains("was seen here before") && message.contains("kmnist/train"),
        "{message}"
    );
    assert_eq!(store.load(&kmnist, "test")?.images()[0], 1);
    // What was seen is remembered without the images.
    fs::remove_file(store.root().join("kmnist/train.images")).unwrap();
    assert!(store.load(&kmnist, "train").unwrap_err().to_string().contains("not on this machine"));
    assert!(store.keep(&kmnist, &both("kmnist", 2, Files::Unknown), "").is_err());
    Ok(())
}

#[test]
fn what_nothing_shows_to_be_the_data_set_is_not_kept() -> Result<()> {
    let (_folder, store) = store();
    for (card, files, expected) in [
        // The digest is known.
        ("mnist", Files::Known, "the content digest of mnist/train is"),
        // The sums of the makers' files are known.
        ("cifar10", Files::Others, "not the pixels and labels that its makers gave out"),
        ("cifar10", Files::Unknown, "not the pixels and labels that its makers gave out"),
        // The hashes of the hub's files are known.
        ("cifar100", Files::Others, "its files are not those of the card"),
    ] {
        let message = store.keep(&name(card), &both(card, 7, files), "").unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("Nothing was kept"), "{message}");
        assert!(message.contains(&format!("ask for {card}-NAME")), "{message}");
    }
    assert!(store.records()?.is_empty());
    let record = store.keep(&name("cifar100"), &both("cifar100", 7, Files::Known), "")?;
    assert_eq!(proofs(&record), [Proof::Files; 2]);
    Ok(())
}

#[test]
fn a_variant_is_kept_beside_the_data_set() -> Result<()> {
    let (_folder, store) = store();
    let grey = name("cifar10-grey");
    let record = store.keep(&grey, &both("cifar10", 7, Files::Others), "")?;
    assert_eq!(proofs(&record), [Proof::Variant; 2]);
    assert_eq!(
        (store.state(&grey)?, store.state(&name("cifar10"))?),
        (State::Whole, State::Absent)
    );
    let message = store.load(&name("cifar10"), "train").unwrap_err().to_string();
    assert!(message.contains("`cargo xtask download cifar10` fetches it"), "{message}");
    assert!(store.keep(&grey, &both("cifar10", 8, Files::Others), "").is_err());
    store.keep(&name("cifar10-other"), &both("cifar10", 8, Files::Others), "")?;
    let names: Vec<String> =
        store.records()?.iter().map(|record| record.name.to_string()).collect();
    assert_eq!(names, ["cifar10-grey", "cifar10-other"]);
    let wrong = part("mnist", "test", 0, Files::Unknown);
    let parts = [ReadPart { name: "train".to_owned(), ..wrong.clone() }, wrong];
    let message = store.keep(&name("cifar10-third"), &parts, "").unwrap_err().to_string();
    assert!(
        message.contains("its images are [1, 28, 28] of 10 classes, not [3, 32, 32] of 10"),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_file_that_was_changed_is_found_when_it_is_read() -> Result<()> {
    let (_folder, store) = store();
    let kmnist = name("kmnist");
    store.keep(&kmnist, &both("kmnist", 1, Files::Unknown), "a test")?;
    let path = store.root().join("kmnist/test.images");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[100_000] ^= 1;
    let half = &good[..good.len() / 2];
    for (bytes, expected) in [
        (&flipped[..], "its content digest is"),
        (half, "of the size that its header says"),
        (b"", "at least"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = store.load(&kmnist, "test").unwrap_err().to_string();
        assert!(
            message.contains("is not what was kept") && message.contains(expected),
            "{message}"
        );
        let State::Damaged { reason } = store.state(&kmnist)? else { panic!("{message}") };
        assert!(
            reason.contains("not what was kept from a test") && message.contains(&reason),
            "{reason}"
        );
    }
    // The same content again puts it right.
    store.keep(&kmnist, &both("kmnist", 1, Files::Unknown), "")?;
    assert_eq!(fs::read(&path).unwrap(), good);
    fs::write(store.root().join("kmnist/record.toml"), "name = 3").unwrap();
    let message = store.load(&kmnist, "test").unwrap_err().to_string();
    assert!(
        message.contains("record.toml") && message.contains("remove it and download again"),
        "{message}"
    );
    Ok(())
}

#[test]
fn what_a_killed_process_was_writing_is_swept() -> Result<()> {
    let (_folder, store) = store();
    let kmnist = name("kmnist");
    let left = store.root().join("kmnist/.writing-abc");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "half").unwrap();
    let _lock = store.lock(&kmnist, || panic!("nobody has it"))?;
    assert!(!left.exists());
    Ok(())
}

#[test]
fn names_are_a_cards_or_a_variants() {
    for (text, card, variant) in [
        ("mnist", "mnist", None),
        ("mnist-rot", "mnist", Some("rot")),
        ("fashion-mnist", "fashion-mnist", None),
        ("fashion-mnist-v2-x", "fashion-mnist", Some("v2-x")),
    ] {
        let name = name(text);
        assert_eq!((name.card().unwrap().name.as_str(), name.variant()), (card, variant));
        assert_eq!(name.to_string(), text);
    }
    for text in ["", "mnist-", "mnist--x", "mnist-../x", "mnist-X", "digits-x", "cifar", "../mnist"]
    {
        assert!(text.parse::<DataName>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
    #[test]
    fn images_are_read_as_they_were_written(
        shape in [1usize..4, 1usize..5, 1usize..5],
        labels in proptest::collection::vec(0u32..300, 1..9),
        seed in any::<u64>(),
    ) {
        let n = labels.len() * shape.iter().product::<usize>();
        let images = (0..n as u64).map(|at| (at.wrapping_mul(seed) >> 5) as u8).collect();
        let dataset = ImageDataset::new(images, shape, 255, labels, 300).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        write_images(&dataset, &mut file).unwrap();
        use std::io::Seek;
        file.rewind().unwrap();
        prop_assert_eq!(read_images(file).unwrap(), dataset);
    }
}
