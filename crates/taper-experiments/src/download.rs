//! `taper download`: data sets from the hub or from files at hand, and published weights, verified and kept.

#[cfg(feature = "hub")]
mod progress;
mod weights;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as _, FromArgMatches};
use taper_data::{DataName, DataStore, Proof, Record, State, cards};
use taper_lab::{BoxError, Extension, say, table};

/// Fetches data sets or published weights from the Hugging Face hub, or reads data sets from files at hand, verifies them,
/// and keeps them.
#[derive(Debug, clap::Args)]
struct Args {
    /// The data sets. A name with `-` and more, such as cifar10-jpeg, is a variant: whatever the files hold is kept under
    /// it, apart from the data set itself, unless that is what they hold.
    #[arg(
        required_unless_present_any = ["all", "list", "weights"],
        conflicts_with_all = ["all", "list", "weights"],
        value_name = "NAME"
    )]
    names: Vec<DataName>,
    /// All data sets that there are cards of.
    #[arg(long, conflicts_with = "list")]
    all: bool,
    /// Shows the data sets, and which of them are here and whole; fetches nothing.
    #[arg(long)]
    list: bool,
    /// Reads the data set from the files below this folder (IDX, .gz, CIFAR's .bin, parquet, folders of images) and
    /// leaves the network alone.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["all", "list", "revision"])]
    from: Option<PathBuf>,
    /// The published weights of this repository of the hub, a safetensors file, instead of data sets.
    #[arg(long, value_name = "OWNER/NAME", conflicts_with_all = ["all", "list", "from"])]
    weights: Option<String>,
    /// Another file of weights than model.safetensors.
    #[arg(long, value_name = "FILE", requires = "weights", conflicts_with_all = ["names", "all", "list", "from"])]
    file: Option<String>,
    /// Another branch, tag or commit than the card's, or of weights than main; what comes is verified all the same.
    #[arg(long, value_name = "REVISION", conflicts_with = "list")]
    revision: Option<String>,
    /// Leaves the network alone and takes what the hub's cache has.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

/// The command for the binary's command line.
pub(crate) fn extension() -> Extension {
    let command = Args::augment_args(clap::Command::new("download")).after_help(
        "Files of the hub come into its cache (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_TOKEN mean what they mean to the \
         hub's other tools), data sets into TAPER_DATA.",
    );
    Extension { command, run }
}

fn run(matches: &clap::ArgMatches, out: &mut dyn Write) -> Result<(), BoxError> {
    let args = Args::from_arg_matches(matches)?;
    if let Some(repository) = &args.weights {
        return Ok(say(out, weights::fetch(repository, &args)?)?);
    }
    let store = DataStore::of_user()?;
    if args.list {
        return Ok(say(out, list(&store)?)?);
    }
    let names = match args.all {
        true => all()?,
        false => args.names.clone(),
    };
    if let (Some(_), [_, second, ..]) = (&args.from, &names[..]) {
        return Err(format!("--from is for one data set; {second} is another").into());
    }
    let mut failed = Vec::new();
    for name in &names {
        match fetch(name, &args, &store) {
            Ok(record) => say(out, summary(&record, &store))?,
            // One that fails leaves the others to be had.
            Err(error) if names.len() > 1 => {
                eprintln!("error: {error}");
                failed.push(name.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("{} could not be fetched, the others are here", failed.join(", ")).into())
        }
    }
}

/// The names of all data sets that are fetched.
fn all() -> Result<Vec<DataName>, BoxError> {
    let fetched = cards()?.into_iter().filter(|card| card.hub.is_some());
    fetched.map(|card| Ok(card.name.parse()?)).collect()
}

#[cfg(feature = "hub")]
fn fetch(name: &DataName, args: &Args, store: &DataStore) -> Result<Record, BoxError> {
    let progress = progress::Progress::new(name);
    if let Some(folder) = &args.from {
        let wait = || progress.observe(&taper_data::Event::Waiting);
        return Ok(taper_data::import(name, folder, store, wait)?);
    }
    let result =
        taper_data::download(name, &options(args), store, &|event| progress.observe(&event));
    progress.close();
    Ok(result?)
}

#[cfg(feature = "hub")]
fn options(args: &Args) -> taper_data::DownloadOptions {
    taper_data::DownloadOptions {
        revision: args.revision.clone(),
        offline: args.offline,
        ..Default::default()
    }
}

#[cfg(not(feature = "hub"))]
fn fetch(name: &DataName, _: &Args, _: &DataStore) -> Result<Record, BoxError> {
    Err(without_downloads(&name.to_string()))
}

#[cfg(not(feature = "hub"))]
fn without_downloads(arguments: &str) -> BoxError {
    format!(
        "this `taper` was built without downloads. In a checkout, `cargo xtask download {arguments}` builds them; an \
         installed one has them after `cargo install --path crates/taper-experiments --features hub`"
    )
    .into()
}

/// What is here now, whose it is, and what shows it.
fn summary(record: &Record, store: &DataStore) -> String {
    let parts = record.parts.iter().map(|part| {
        let shown = match part.proof {
            Proof::Digest => "the content is the card's",
            Proof::Originals => "the content is what its makers gave out",
            Proof::Files => "the files are the card's",
            Proof::FirstSeen => {
                "nothing is known to compare it with: a later copy must be the same"
            }
            Proof::Variant => "a variant: a later copy must be the same",
        };
        let digest = part.content_digest.get(..12).unwrap_or_default();
        format!("  {}: {} images, content {digest}: {shown}\n", part.name, part.images)
    });
    let parts: String = parts.collect();
    let licence = record.name.card().map(|card| card.licence).unwrap_or_default();
    let place = store.root().join(record.name.to_string());
    format!("{}\n{parts}  licence: {licence}\n  in {}", record.name, place.display())
}

/// What a list says of a data set that is fetched.
fn here(store: &DataStore, name: &DataName) -> Result<&'static str, BoxError> {
    Ok(match store.state(name)? {
        State::Absent => "no",
        State::Whole => "yes",
        State::Damaged { .. } => "damaged",
    })
}

/// A row a data set: what it is, how much it is to fetch, whether it is here.
fn list(store: &DataStore) -> Result<String, BoxError> {
    let records = store.records()?;
    let mut rows = Vec::new();
    for card in cards()? {
        let [channels, height, width] = card.shape;
        let images: Vec<String> = card.parts.iter().map(|part| part.images.to_string()).collect();
        let size: Option<u64> = card.files.iter().map(|file| file.bytes).sum();
        let size =
            size.map_or("unknown".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        let here = match &card.hub {
            None => "compiled in",
            Some(_) => here(store, &card.name.parse()?)?,
        };
        rows.push(vec![
            card.name,
            card.title,
            images.join(" + "),
            format!("{channels}x{height}x{width}"),
            card.classes.len().to_string(),
            size,
            here.to_owned(),
        ]);
    }
    for record in records.iter().filter(|record| record.name.variant().is_some()) {
        let images: Vec<String> = record.parts.iter().map(|part| part.images.to_string()).collect();
        let source = format!("variant, from {}", record.source);
        let card = record.name.card()?;
        let [channels, height, width] = card.shape;
        rows.push(vec![
            record.name.to_string(),
            source,
            images.join(" + "),
            format!("{channels}x{height}x{width}"),
            card.classes.len().to_string(),
            String::new(),
            here(store, &record.name)?.to_owned(),
        ]);
    }
    let header = ["name", "title", "images", "shape", "classes", "to fetch", "here"];
    Ok(format!("{}\n\ndata sets are kept in {}", table(&header, rows), store.root().display()))
}
