//! What stands between the network and the store of data sets.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use image::{GrayImage, ImageFormat};
use taper_data::{DataName, DataStore, DownloadOptions, Event, Proof, Record, Result, download};
use tempfile::TempDir;

use crate::parquet::{SCHEMA, encoded, written};
use crate::server::{COMMIT, Fault, Server, hash};

const TRAIN: &str = "mnist/train-00000-of-00001.parquet";
const TEST: &str = "mnist/test-00000-of-00001.parquet";

/// A file of `rows` images in the shape of MNIST.
fn tiny(rows: u8) -> Vec<u8> {
    let row = |at: u8| {
        let image = GrayImage::from_fn(28, 28, |x, y| [at.wrapping_add((x * y) as u8)].into());
        (Some(encoded(image, ImageFormat::Png)), Some(i64::from(at % 10)))
    };
    written(SCHEMA, &(0..rows).map(row).collect::<Vec<_>>())
}

/// A hub with a tiny data set, a cache, and a store.
struct Bed {
    server: Server,
    folder: TempDir,
    options: DownloadOptions,
    store: DataStore,
    /// What was said on the way.
    said: Mutex<Vec<String>>,
}

impl Bed {
    fn new() -> Self {
        Self::with([(TRAIN.to_owned(), tiny(3)), (TEST.to_owned(), tiny(2))])
    }

    fn with(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(files);
        let options = DownloadOptions {
            revision: Some("main".to_owned()),
            endpoint: Some(server.address().to_owned()),
            cache: Some(folder.path().join("cache")),
            pause: Duration::from_millis(1),
            patience: Duration::from_secs(20),
            ..Default::default()
        };
        let store = DataStore::at(folder.path().join("data"));
        Self { server, folder, options, store, said: Mutex::new(Vec::new()) }
    }

    /// Fetches a variant of MNIST: its images have MNIST's shape, and may be of any number.
    fn fetch(&self) -> Result<Record> {
        self.fetch_named("mnist-tiny")
    }

    fn fetch_named(&self, name: &str) -> Result<Record> {
        self.said.lock().unwrap().clear();
        let name: DataName = name.parse()?;
        download(&name, &self.options, &self.store, &|event| {
            if !matches!(event, Event::Received { .. }) {
                self.said.lock().unwrap().push(format!("{event:?}"));
            }
        })
    }

    fn error(&self) -> String {
        self.fetch().unwrap_err().to_string()
    }

    fn said(&self, what: &str) -> bool {
        self.said.lock().unwrap().iter().any(|said| said.contains(what))
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/datasets--ylecun--mnist")
    }

    /// The names of the files in a folder of the cache.
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.cache().join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing is called by a hash that it does not have, nothing is in the store, and the next try is good.
    fn is_whole_and_next_try_is_good(&self) {
        for name in self.files("blobs").iter().filter(|name| name.len() == 64) {
            let blob = fs::read(self.cache().join("blobs").join(name)).unwrap();
            assert_eq!(hash(&blob), *name);
        }
        let name = "mnist-tiny".parse().unwrap();
        assert!(self.store.record(&name).unwrap().is_none());
        self.server.order(|_| Fault::None);
        assert_eq!(self.fetch().unwrap().parts.len(), 2);
        assert_eq!(self.store.load(&name, "train").unwrap().len(), 3);
    }
}

#[test]
fn a_data_set_comes_into_the_cache_and_the_store() -> Result<()> {
    let bed = Bed::new();
    let record = bed.fetch()?;
    let parts = record.parts.iter().map(|part| (part.name.as_str(), part.images, part.proof));
    let expected = [("train", 3, Proof::Variant), ("test", 2, Proof::Variant)];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
    assert!(record.source.starts_with(&format!("ylecun/mnist at {COMMIT}")), "{}", record.source);
    // The layout that the hub's own tools share.
    let snapshot = bed.cache().join("snapshots").join(COMMIT).join(TRAIN);
    assert_eq!(fs::read(&snapshot).unwrap(), tiny(3));
    assert_eq!(fs::read_to_string(bed.cache().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(bed.files("blobs").len(), 2);
    // A second time: the files are there, and are not fetched again.
    bed.server.order(|_| Fault::None);
    bed.fetch()?;
    assert!(bed.server.log().iter().all(|request| !request.is_file()));
    Ok(())
}

#[test]
fn a_pinned_commit_is_not_asked_for_and_a_whole_store_asks_nothing() -> Result<()> {
    let mut bed = Bed::new();
    bed.options.revision = None;
    bed.fetch()?;
    let listing = |request: &crate::server::Request| request.is_listing();
    assert!(bed.server.log().iter().any(listing));
    assert!(bed.server.log().iter().all(|request| !request.path.contains("/revision/")));
    bed.server.order(|_| Fault::Status(500));
    bed.fetch()?;
    assert!(bed.said("Present") && bed.server.log().is_empty());
    Ok(())
}

#[test]
fn a_connection_cut_at_any_byte_is_taken_up_there() {
    let bytes = tiny(3).len();
    for cut in (0..bytes).step_by(97).chain([1, bytes - 1]) {
        let bed = Bed::new();
        bed.server.order(move |request| match request.is_file() && request.before == 0 {
            true if request.path.ends_with(TRAIN) => Fault::Cut(cut),
            _ => Fault::None,
        });
        bed.fetch().unwrap();
        assert!(bed.said("Again"), "{cut}");
        let ranges: Vec<_> = bed.server.log().into_iter().filter_map(|it| it.range).collect();
        let expected = if cut == 0 { vec![] } else { vec![format!("bytes={cut}-{}", bytes - 1)] };
        assert_eq!(ranges, expected);
    }
}

#[test]
fn what_came_before_giving_up_is_kept_for_the_next_try() {
    let mut bed = Bed::new();
    bed.options.attempts = 1;
    bed.server.order(|request| if request.is_file() { Fault::Cut(100) } else { Fault::None });
    let message = bed.error();
    assert!(message.contains("given up after 1 attempts") && message.contains(TRAIN), "{message}");
    assert!(bed.files("blobs").iter().all(|name| name.ends_with(".incomplete")));
    bed.is_whole_and_next_try_is_good();
    assert!(
        bed.server
            .log()
            .iter()
            .any(|it| it.range.as_deref().is_some_and(|it| it.starts_with("bytes=100-")))
    );
}

#[test]
fn a_connection_that_gives_a_byte_at_a_time_brings_the_file() {
    let file = tiny(1);
    let bytes = file.len();
    let mut bed = Bed::with([(TRAIN.to_owned(), file), (TEST.to_owned(), tiny(2))]);
    // So many attempts would be too many, did one that brought a byte count.
    bed.options.attempts = 2;
    bed.server.order(|request| match request.is_file() && request.path.ends_with(TRAIN) {
        true => Fault::Cut(1),
        false => Fault::None,
    });
    bed.fetch().unwrap();
    let asked = bed.server.log();
    let asked = asked.iter().filter(|request| request.is_file() && request.path.ends_with(TRAIN));
    assert_eq!(asked.count(), bytes);
}

#[test]
fn a_flipped_bit_is_quarantined_and_fetched_again() {
    let bed = Bed::new();
    bed.server.order(|request| match request.is_file() && request.before == 0 {
        true if request.path.ends_with(TRAIN) => Fault::Flip(300),
        _ => Fault::None,
    });
    bed.fetch().unwrap();
    assert!(bed.said("Quarantined"));
    assert_eq!(bed.files("quarantine").len(), 1);

    let bed = Bed::new();
    bed.server.order(|request| if request.is_file() { Fault::Flip(300) } else { Fault::None });
    let message = bed.error();
    assert!(message.contains("its SHA-256 is") && message.contains("quarantine"), "{message}");
    assert!(bed.files("blobs").is_empty());
    bed.is_whole_and_next_try_is_good();
}

#[test]
fn a_wrong_beginning_is_found_in_what_was_put_together() {
    let bed = Bed::new();
    // The first answer is a page, and shorter than the file; the second, taken up there, is right.
    bed.server.order(|request| match request.before {
        0 if request.is_file() => Fault::Html,
        _ => Fault::None,
    });
    bed.fetch().unwrap();
    assert!(bed.said("Quarantined"), "{:?}", bed.said);
}

#[test]
fn another_size_than_on_record_is_an_error() {
    for longer in [1, 5000] {
        let bed = Bed::new();
        bed.server.order(move |request| match request.is_file() {
            true => Fault::Longer(longer),
            false => Fault::None,
        });
        let message = bed.error();
        assert!(message.contains("the hub has") && message.contains("bytes"), "{message}");
        bed.is_whole_and_next_try_is_good();
    }
    let bed = Bed::new();
    bed.server.order(|request| if request.is_file() { Fault::Endless } else { Fault::None });
    assert!(bed.error().contains("on record"));
    assert!(!bed.server.was_endured());
    bed.is_whole_and_next_try_is_good();

    let mut bed = Bed::new();
    bed.options.attempts = 2;
    let record = |bytes| Fault::Record { bytes: Some(bytes), sha256: None };
    bed.server
        .order(move |request| if request.is_listing() { record(1 << 20) } else { Fault::None });
    let message = bed.error();
    assert!(message.contains("of 1048576 bytes") || message.contains("answers 416"), "{message}");
    bed.is_whole_and_next_try_is_good();
}

#[test]
fn refusals_say_what_to_do() {
    for (status, expected) in [
        (404, "has no such data set or file (404)"),
        (401, "HF_TOKEN"),
        (403, "does not let this token have it"),
        (503, "answers 503 Service Unavailable; given up after 5 attempts"),
        (418, "answers 418"),
    ] {
        for files in [false, true] {
            let bed = Bed::new();
            bed.server.order(move |request| match request.is_file() == files {
                true => Fault::Status(status),
                false => Fault::None,
            });
            let message = bed.error();
            assert!(message.contains(expected), "{message}");
            assert!(bed.files("blobs").iter().all(|name| name.ends_with(".incomplete")));
            bed.is_whole_and_next_try_is_good();
        }
    }
    // Busy twice, then not.
    let bed = Bed::new();
    bed.server.order(|request| if request.before < 2 { Fault::Status(503) } else { Fault::None });
    bed.fetch().unwrap();
    assert!(bed.said("Again"));
}

#[test]
fn a_page_in_place_of_an_answer_is_no_data() {
    let bed = Bed::new();
    bed.server.order(|request| if request.is_listing() { Fault::Html } else { Fault::None });
    assert!(bed.error().contains("something else than the hub's data"), "{}", bed.error());
    bed.is_whole_and_next_try_is_good();

    let mut bed = Bed::new();
    bed.options.attempts = 2;
    bed.server.order(|request| if request.is_file() { Fault::Html } else { Fault::None });
    bed.error();
    bed.is_whole_and_next_try_is_good();
}

#[test]
fn a_silent_hub_is_left_after_a_while() {
    let mut bed = Bed::new();
    (bed.options.attempts, bed.options.patience) = (2, Duration::from_millis(50));
    bed.server.order(|_| Fault::Silent(Duration::from_secs(1)));
    assert!(bed.error().contains("sent nothing for 0.05 s; given up after 2 attempts"));
    bed.options.patience = Duration::from_secs(20);
    bed.is_whole_and_next_try_is_good();
}

#[test]
fn no_hub_is_an_error_that_names_the_address() {
    let mut bed = Bed::new();
    (bed.options.attempts, bed.options.endpoint) = (2, Some("http://127.0.0.1:9".to_owned()));
    let message = bed.error();
    assert!(message.contains("127.0.0.1:9") && message.contains("given up after 2"), "{message}");
    assert!(message.contains("`--from DIR` reads files that are at hand"), "{message}");
    for wrong in ["no address", "127.0.0.1:9"] {
        bed.options.endpoint = Some(wrong.to_owned());
        let message = bed.error();
        assert!(message.contains("HF_ENDPOINT should be an address"), "{message}");
        assert!(!message.contains("given up"), "{message}");
    }
}

#[test]
fn a_hub_without_ranges_or_lengths_will_do() {
    let bed = Bed::new();
    bed.server.order(|request| match request.before {
        0 if request.is_file() => Fault::Cut(200),
        _ => Fault::WholeOnly,
    });
    bed.fetch().unwrap();
    assert!(bed.said("from its start only"));
    let bed = Bed::new();
    bed.server.order(|_| Fault::NoLength);
    bed.fetch().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_nothing_is_called_by_its_name() {
    let bed = Bed::new();
    let blobs = bed.cache().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let incomplete = blobs.join(format!("{}.incomplete", hash(&tiny(3))));
    std::os::unix::fs::symlink("/dev/full", &incomplete).unwrap();
    let message = bed.error();
    assert!(message.contains("make room") && message.contains("No space left"), "{message}");
    fs::remove_file(&incomplete).unwrap();
    bed.is_whole_and_next_try_is_good();
}

#[test]
fn a_damaged_cache_is_mended_and_offline_says_that_it_is() -> Result<()> {
    let mut bed = Bed::new();
    bed.options.offline = true;
    assert!(bed.error().contains("revision main is not on this machine"), "{}", bed.error());
    bed.options.offline = false;
    bed.fetch()?;
    bed.options.offline = true;
    bed.server.order(|_| Fault::Status(500));
    bed.fetch()?;
    assert!(bed.server.log().is_empty());
    let blob = bed.cache().join("blobs").join(&bed.files("blobs")[0]);
    fs::write(&blob, "rubbish").unwrap();
    assert!(bed.error().contains("the cache is damaged"), "{}", bed.error());
    bed.options.offline = false;
    bed.server.order(|_| Fault::None);
    bed.fetch()?;
    assert!(bed.said("Quarantined"));
    Ok(())
}

#[test]
fn two_at_once_fetch_once() {
    let bed = Bed::new();
    let name: DataName = "mnist-tiny".parse().unwrap();
    let lock = bed.store.lock(&name, || {}).unwrap();
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| bed.fetch());
        while !bed.said("Waiting") {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(bed.server.log().is_empty());
        drop(lock);
        fetch.join().unwrap().unwrap();
    });
}

#[test]
fn names_from_outside_do_not_lead_out_of_the_cache() {
    let mut bed = Bed::new();
    for revision in ["../../../etc", "/etc", ""] {
        bed.options.revision = Some(revision.to_owned());
        let message = bed.error();
        assert!(message.contains("revision should be the name of a branch"), "{message}");
    }
    let bed = Bed::new();
    let record = || Fault::Record { bytes: None, sha256: Some("../../x".to_owned()) };
    bed.server.order(move |request| if request.is_listing() { record() } else { Fault::None });
    assert!(bed.error().contains("no SHA-256 of it on record"), "{}", bed.error());
}

#[test]
fn what_is_not_readable_is_not_kept() {
    let other = written(&SCHEMA.replace("image", "picture"), &[]);
    let bed = Bed::with([(TRAIN.to_owned(), other), (TEST.to_owned(), tiny(2))]);
    let message = bed.error();
    assert!(
        message.contains("mnist/train: the files are as the hub has them, but not readable"),
        "{message}"
    );
    assert!(message.contains("should be one with a column image.bytes"), "{message}");
    assert!(bed.store.records().unwrap().is_empty());
    // A tiny data set is not MNIST.
    let bed = Bed::new();
    let message = bed.fetch_named("mnist").unwrap_err().to_string();
    assert!(
        message.contains("the number of images of mnist/train is 3, and the card has 60000"),
        "{message}"
    );
    assert!(message.contains("Nothing was kept"), "{message}");
    assert!(bed.fetch_named("digits").unwrap_err().to_string().contains("compiled in"));
}

/// A hub with the real files of a folder in the hub's layout, where there is one.
fn real(files: &[&str]) -> Option<Bed> {
    let hub = std::env::var_os("TAPER_TEST_HUB").map(PathBuf::from)?;
    let read = |file: &&str| {
        let (_, path) = file.split_once('/').unwrap().1.split_once('/').unwrap();
        (path.to_owned(), fs::read(hub.join(file)).unwrap())
    };
    Some(Bed::with(files.iter().map(read)))
}

#[test]
fn mnist_is_known_by_its_content() -> Result<()> {
    let files = [
        "ylecun/mnist/mnist/train-00000-of-00001.parquet",
        "ylecun/mnist/mnist/test-00000-of-00001.parquet",
    ];
    let Some(bed) = real(&files) else { return Ok(()) };
    // These files are not the hub's own: their content is.
    let record = bed.fetch_named("mnist")?;
    assert!(record.parts.iter().all(|part| part.proof == Proof::Digest));
    Ok(())
}

#[test]
fn a_compressed_copy_of_cifar10_is_a_variant() -> Result<()> {
    let files = [
        "uoft-cs/cifar10/plain_text/train-00000-of-00001.parquet",
        "uoft-cs/cifar10/plain_text/test-00000-of-00001.parquet",
    ];
    let Some(bed) = real(&files) else { return Ok(()) };
    let message = bed.fetch_named("cifar10").unwrap_err().to_string();
    assert!(message.contains("not the pixels and labels that its makers gave out"), "{message}");
    assert!(bed.store.records()?.is_empty());
    let record = bed.fetch_named("cifar10-jpeg")?;
    assert!(record.parts.iter().all(|part| part.proof == Proof::Variant));
    Ok(())
}
