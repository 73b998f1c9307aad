//! What stands between the network and the weights of a network.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use candle_core::{DType, Device};
use taper_core::{LinearConfig, Parameters, linear, stream};
use taper_data::{DownloadOptions, Result, Weights, download_weights};
use tempfile::TempDir;

use crate::server::{COMMIT, Fault, Server, hash};

const REPOSITORY: &str = "somebody/tiny.v1";
const FILE: &str = "model.safetensors";

/// The parameters of a tiny network.
fn network(seed: u64) -> Parameters {
    let parameters = Parameters::new(&stream(seed, "init"));
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    linear(3, 2, LinearConfig::default(), vb.pp("fc")).unwrap();
    parameters
}

fn tiny() -> Vec<u8> {
    network(1).to_safetensors().unwrap()
}

/// A hub with one file of weights, and a cache.
struct Bed {
    server: Server,
    folder: TempDir,
    options: DownloadOptions,
}

impl Bed {
    fn new() -> Self {
        Self::with(FILE, tiny())
    }

    fn with(file: &str, bytes: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new([(file.to_owned(), bytes)]);
        let options = options(server.address(), folder.path());
        Self { server, folder, options }
    }

    fn fetch(&self) -> Result<Weights> {
        self.fetch_named(REPOSITORY, FILE)
    }

    fn fetch_named(&self, repository: &str, file: &str) -> Result<Weights> {
        download_weights(repository, file, &self.options, &|_| {})
    }

    fn error(&self) -> String {
        self.fetch().unwrap_err().to_string()
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/models--somebody--tiny.v1")
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache().join("blobs")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

fn options(endpoint: &str, folder: &Path) -> DownloadOptions {
    DownloadOptions {
        endpoint: Some(endpoint.to_owned()),
        cache: Some(folder.join("cache")),
        pause: Duration::from_millis(1),
        patience: Duration::from_secs(20),
        ..Default::default()
    }
}

#[test]
fn weights_come_into_the_cache_and_load() -> Result<()> {
    let bed = Bed::new();
    let weights = bed.fetch()?;
    let path = bed.cache().join("snapshots").join(COMMIT).join(FILE);
    assert_eq!((&weights.path, weights.commit.as_str()), (&path, COMMIT));
    assert_eq!((weights.bytes, weights.tensors), (tiny().len() as u64, 2));
    assert_eq!(weights.sha256, hash(&tiny()));
    assert_eq!(weights.page, format!("{}/{REPOSITORY}", bed.server.address()));
    assert_eq!(fs::read_to_string(bed.cache().join("refs/main")).unwrap(), COMMIT);
    assert!(bed.server.log().iter().all(|request| !request.path.contains("datasets")));

    let parameters = network(2);
    parameters.load_safetensors(&fs::read(&weights.path).unwrap())?;
    assert!(parameters.to_safetensors()? == tiny());

    // A second time the file is there, and at a commit no branch is asked for.
    let mut bed = bed;
    bed.options.revision = Some(COMMIT.to_owned());
    bed.server.order(|_| Fault::None);
    assert_eq!(bed.fetch()?, weights);
    let idle = |request: &crate::server::Request| !request.is_file();
    assert!(bed.server.log().iter().all(idle));
    assert!(bed.server.log().iter().all(|request| !request.path.contains("/revision/")));
    Ok(())
}

#[test]
fn what_breaks_off_goes_on_and_what_is_changed_is_not_kept() {
    let bed = Bed::new();
    bed.server.order(|request| match request.is_file() && request.before == 0 {
        true => Fault::Cut(50),
        false => Fault::None,
    });
    bed.fetch().unwrap();
    let ranges: Vec<_> = bed.server.log().into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges, [format!("bytes=50-{}", tiny().len() - 1)]);

    let bed = Bed::new();
    bed.server.order(|request| if request.is_file() { Fault::Flip(100) } else { Fault::None });
    assert!(bed.error().contains("the hub has"), "{}", bed.error());
    assert!(bed.blobs().is_empty());
}

#[test]
fn offline_takes_what_is_there_and_sees_damage() -> Result<()> {
    let mut bed = Bed::new();
    bed.options.offline = true;
    assert!(bed.error().contains("revision main is not on this machine"), "{}", bed.error());
    bed.options.offline = false;
    let weights = bed.fetch()?;
    bed.options.offline = true;
    bed.server.order(|_| Fault::Status(500));
    assert_eq!(bed.fetch()?, weights);
    assert!(bed.server.log().is_empty());
    fs::write(&bed.blobs()[0], "rubbish").unwrap();
    assert!(bed.error().contains("the cache is damaged"), "{}", bed.error());
    Ok(())
}

#[test]
fn a_pickle_is_not_asked_for() {
    let bed = Bed::new();
    let pickle = "a safetensors file, since a pickle runs any code that is in it when it is read; most repositories have a \
                  model.safetensors beside it";
    for (file, expected) in [
        ("pytorch_model.bin", pickle),
        ("resnet18-f37072fd.pth", pickle),
        ("last.CKPT", pickle),
        ("model.gguf", "a safetensors file"),
        ("model", "a safetensors file"),
        ("../model.safetensors", "a path inside the repository"),
        ("", "a path inside the repository"),
    ] {
        let message = bed.fetch_named(REPOSITORY, file).unwrap_err().to_string();
        assert_eq!(message, format!("download: file should be {expected}, got `{file}`"));
    }
    for repository in ["resnet18", "a/b/c", "../b", "a/", "a b/c", "a/.."] {
        let message = bed.fetch_named(repository, FILE).unwrap_err().to_string();
        let expected = "a repository of the hub, OWNER/NAME";
        assert_eq!(message, format!("download: weights should be {expected}, got `{repository}`"));
    }
    assert!(bed.server.log().is_empty());
}

#[test]
fn what_is_called_safetensors_and_is_none_is_refused() -> Result<()> {
    let header = |length: u64, json: &str| [&length.to_le_bytes()[..], json.as_bytes()].concat();
    let whole = tiny();
    for (bytes, expected) in [
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
            "it is a pickle, which runs any code",
        ),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00".to_vec(), "it is a pickle, which runs any code"),
        (b"tiny".to_vec(), "it has no header"),
        (header(1 << 40, "{}"), "its header would have 1099511627776 bytes, and it has 10"),
        (header(2, "[]"), "its header: invalid type"),
        (header(2, "{}x"), "by its header it has 10 bytes, and it has 11"),
        (whole[..whole.len() - 1].to_vec(), "by its header it has"),
    ] {
        let bed = Bed::with(FILE, bytes);
        let message = bed.error();
        assert!(
            message.contains("it is as the hub has it on record, and no safetensors file"),
            "{message}"
        );
        assert!(message.contains(expected) && message.contains("take another file"), "{message}");
    }
    // A header of this length begins as a pickle does.
    let bed = Bed::with(FILE, header(0x280, &format!("{{}}{}", " ".repeat(0x280 - 2))));
    assert_eq!(bed.fetch()?.tensors, 0);
    Ok(())
}

#[test]
fn refusals_say_what_to_do() {
    let bed = Bed::new();
    let message = bed.fetch_named(REPOSITORY, "other.safetensors").unwrap_err().to_string();
    let page = format!("{}/{REPOSITORY}/tree/{COMMIT}", bed.server.address());
    let expected = format!(
        "other.safetensors of {REPOSITORY} at {COMMIT}: the hub has no such file; {page} shows those that there are, and \
         `--file NAME` takes another"
    );
    assert_eq!(message, expected);
    for (status, expected) in [
        (404, "has no such model or file (404)"),
        (401, "HF_TOKEN"),
        (503, "`--offline` takes what its cache has"),
    ] {
        let bed = Bed::new();
        bed.server.order(move |_| Fault::Status(status));
        let message = bed.error();
        assert!(message.contains(expected) && !message.contains("--from"), "{message}");
    }
}

/// The stand-in of the hub, where there is one, over a folder with one model.
struct StandIn(Child, String);

impl StandIn {
    fn new(root: &Path) -> Option<Self> {
        let script = PathBuf::from(std::env::var_os("TAPER_TEST_HUB")?).join("serve.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["0", "--lfs-redirect", "--root"]).arg(root);
        let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
        let address = line.trim().strip_prefix("listening on ")?.to_owned();
        Some(Self(child, address))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_stand_in_of_the_hub_gives_weights() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("hub").join(REPOSITORY);
    fs::create_dir_all(repository.join("half")).unwrap();
    fs::write(repository.join(FILE), tiny()).unwrap();
    fs::write(repository.join("half/model.safetensors"), network(3).to_safetensors()?).unwrap();
    let Some(hub) = StandIn::new(&folder.path().join("hub")) else { return Ok(()) };
    let options = options(&hub.1, folder.path());
    for (file, seed) in [(FILE, 1), ("half/model.safetensors", 3)] {
        let weights = download_weights(REPOSITORY, file, &options, &|_| {})?;
        assert!(fs::read(&weights.path).unwrap() == network(seed).to_safetensors()?, "{file}");
    }
    let message = download_weights("nobody/tiny", FILE, &options, &|_| {}).unwrap_err();
    assert!(message.to_string().contains("has no such model or file (404)"), "{message}");
    Ok(())
}
