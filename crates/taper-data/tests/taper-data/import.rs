//! Data sets from files at hand, in each form.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use taper_data::{DataStore, ImageDataset, Proof, Record, Result, import};
use tempfile::TempDir;

use crate::parquet::{SCHEMA, encoded, written};

/// A folder of files and a store beside it.
struct Bed {
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join("files").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn store(&self) -> DataStore {
        DataStore::at(self.folder.path().join("data"))
    }

    fn import(&self, name: &str) -> Result<Record> {
        import(&name.parse()?, &self.folder.path().join("files"), &self.store(), || {})
    }

    fn part(&self, name: &str, part: &str) -> ImageDataset {
        self.store().load(&name.parse().unwrap(), part).unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// IDX files of images of MNIST's shape whose pixels are all `10 * label`.
fn idx(labels: &[u8]) -> [Vec<u8>; 2] {
    let count = (labels.len() as u32).to_be_bytes();
    let mut images = vec![0, 0, 8, 3];
    images.extend(count);
    images.extend([0, 0, 0, 28, 0, 0, 0, 28]);
    images.extend(labels.iter().flat_map(|label| [10 * label; 784]));
    let mut file = vec![0, 0, 8, 1];
    file.extend(count);
    file.extend(labels);
    [images, file]
}

fn grey(label: u8) -> Vec<u8> {
    encoded(GrayImage::from_pixel(28, 28, [10 * label].into()), ImageFormat::Png)
}

fn parquet(labels: &[u8]) -> Vec<u8> {
    let row = |label: &u8| (Some(grey(*label)), Some(i64::from(*label)));
    written(SCHEMA, &labels.iter().map(row).collect::<Vec<_>>())
}

#[test]
fn each_form_gives_the_same_content() -> Result<()> {
    let (train, test) = ([3, 1, 4, 1], [5, 9]);
    let forms: [&dyn Fn(&Bed); 4] = [
        &|bed| {
            let [images, labels] = idx(&train);
            bed.write("train-images-idx3-ubyte", &images);
            bed.write("train-labels-idx1-ubyte", &labels);
            let [images, labels] = idx(&test);
            bed.write("t10k-images-idx3-ubyte.gz", &gzip(&images));
            bed.write("t10k-labels.idx1-ubyte.gz", &gzip(&labels));
        },
        &|bed| {
            bed.write("raw/train-00000-of-00002.parquet", &parquet(&train[..3]));
            bed.write("raw/train-00001-of-00002.parquet", &parquet(&train[3..]));
            bed.write("test/0000.parquet", &parquet(&test));
        },
        &|bed| {
            // A file of neither form is left alone.
            bed.write("train-images.txt", b"notes");
            for (part, labels) in [("train", &train[..]), ("test", &test[..])] {
                for (at, label) in labels.iter().enumerate() {
                    bed.write(&format!("{part}/{label}/{at}.png"), &grey(*label));
                }
            }
            for class in 0..10 {
                fs::create_dir_all(bed.folder.path().join(format!("files/train/{class}"))).unwrap();
                fs::create_dir_all(bed.folder.path().join(format!("files/test/{class}"))).unwrap();
            }
        },
        &|bed| {
            let [images, labels] = idx(&train);
            bed.write("a/b/train-images.idx3-ubyte", &images);
            bed.write("a/b/train-labels-idx1-ubyte.gz", &gzip(&labels));
            bed.write("test.parquet", &parquet(&test));
        },
    ];
    for (at, form) in forms.iter().enumerate() {
        let bed = Bed::new();
        form(&bed);
        let record = bed.import("mnist-tiny")?;
        assert!(record.source.starts_with("files in "), "{}", record.source);
        let mut labels = bed.part("mnist-tiny", "train").labels().to_vec();
        // A folder has its images by class.
        if at == 2 {
            assert_eq!(labels, [1, 1, 3, 4]);
            labels = vec![3, 1, 4, 1];
        }
        assert_eq!(labels, [3, 1, 4, 1]);
        let part = bed.part("mnist-tiny", "test");
        assert_eq!(part.labels(), [5, 9]);
        assert_eq!((part.images()[0], part.images()[2 * 784 - 1]), (50, 90));
    }
    Ok(())
}

#[test]
fn cifar_files_and_colour_folders_are_read() -> Result<()> {
    let bed = Bed::new();
    let record = |label: u8| [&[label][..], &[label; 3072]].concat();
    for batch in 1..=5 {
        bed.write(&format!("cifar-10-batches-bin/data_batch_{batch}.bin"), &record(batch));
    }
    bed.write("cifar-10-batches-bin/test_batch.bin", &[record(7), record(8)].concat());
    bed.import("cifar10-tiny")?;
    assert_eq!(bed.part("cifar10-tiny", "train").labels(), [1, 2, 3, 4, 5]);
    assert_eq!(bed.part("cifar10-tiny", "test").labels(), [7, 8]);

    let bed = Bed::new();
    let both = |fine: u8| [&[1, fine][..], &[0; 3072]].concat();
    bed.write("train.bin", &both(99));
    bed.write("test.bin", &both(42));
    bed.import("cifar100-tiny")?;
    assert_eq!(bed.part("cifar100-tiny", "train").labels(), [99]);

    let bed = Bed::new();
    let image = |format| {
        let image: DynamicImage = RgbImage::from_pixel(32, 32, [200, 100, 50].into()).into();
        encoded(image, format)
    };
    bed.write("train/ship/b.png", &image(ImageFormat::Png));
    bed.write("train/cat/a.JPG", &image(ImageFormat::Jpeg));
    bed.write("test/truck/a.jpeg", &image(ImageFormat::Jpeg));
    bed.import("cifar10-tiny")?;
    let train = bed.part("cifar10-tiny", "train");
    assert_eq!(train.labels(), [3, 8]);
    assert_eq!((train.images()[3072], train.images()[4096], train.images()[5120]), (200, 100, 50));
    Ok(())
}

#[test]
fn of_two_data_sets_the_one_is_read_that_a_folder_names() {
    let fill = |bed: &Bed, folders: [&str; 2]| {
        for (folder, label) in folders.iter().zip([1, 2]) {
            bed.write(&format!("{folder}/train-0.parquet"), &parquet(&[label]));
            bed.write(&format!("{folder}/test-0.parquet"), &parquet(&[label]));
        }
    };
    for own in ["ylecun/mnist", "datasets--ylecun--mnist/snapshots/1"] {
        let bed = Bed::new();
        fill(&bed, ["a/first", own]);
        bed.import("mnist-tiny").unwrap();
        assert_eq!(bed.part("mnist-tiny", "train").labels(), [2]);
    }
    let bed = Bed::new();
    fill(&bed, ["a", "b"]);
    let message = bed.import("mnist-tiny").unwrap_err().to_string();
    let expected = "there are parquet files of a part train in ";
    assert!(message.contains(expected) && message.contains("/a and "), "{message}");
    assert!(bed.store().records().unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_kept() {
    let error = |fill: &dyn Fn(&Bed)| {
        let bed = Bed::new();
        bed.write("readme.txt", b"");
        fill(&bed);
        let message = bed.import("mnist-tiny").unwrap_err().to_string();
        assert!(bed.store().records().unwrap().is_empty());
        message
    };
    let message = error(&|_| {});
    assert!(message.contains("mnist-tiny/train: no file of it is below"), "{message}");
    assert!(message.contains("IDX files") && message.contains("train*.parquet"), "{message}");
    let [images, labels] = idx(&[1, 2]);
    let message = error(&|bed| {
        let packed = gzip(&images);
        bed.write("train-images-idx3-ubyte.gz", &packed[..packed.len() / 2]);
        bed.write("train-labels-idx1-ubyte", &labels);
    });
    assert!(message.contains("train-images-idx3-ubyte.gz: read_idx"), "{message}");
    let message = error(&|bed| bed.write("train/3/a.png", b"no image"));
    assert!(message.contains("a.png should be a PNG or JPEG image"), "{message}");
    let message = error(&|bed| bed.write("train/cat/a.png", &grey(1)));
    assert!(message.contains("one of the classes"), "{message}");
    let message = error(&|bed| bed.write("train.parquet", b"PAR1"));
    assert!(message.contains("train.parquet: read_parquet"), "{message}");
    let missing =
        import(&"mnist".parse().unwrap(), Path::new("/nowhere/at/all"), &Bed::new().store(), || {});
    assert!(missing.unwrap_err().to_string().contains("/nowhere/at/all: could not list the files"));
}

#[test]
fn the_makers_own_files_are_known_by_their_content() -> Result<()> {
    let Some(hub) = std::env::var_os("TAPER_TEST_HUB") else { return Ok(()) };
    let folder = tempfile::tempdir().unwrap();
    let store = DataStore::at(folder.path());
    let from = Path::new(&hub).join("ylecun/mnist");
    let record = import(&"mnist".parse()?, &from, &store, || {})?;
    assert!(record.parts.iter().all(|part| part.proof == Proof::Digest));
    // Known content goes by its own name only.
    for name in ["fashion-mnist", "mnist-mine", "kmnist"] {
        let message = import(&name.parse()?, &from, &store, || {}).unwrap_err().to_string();
        assert!(message.contains("these are the images of mnist/train"), "{message}");
    }
    Ok(())
}
