//! `reproduce`: every experiment at quick scale, and one report.

use std::io::Write;

use clap::Args as ClapArgs;

use super::select::{MakeArgs, StoreArgs};
use super::{Build, run};
use crate::error::Result;
use crate::experiment::Registry;
use crate::plan::Selection;
use crate::spec::Scale;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: StoreArgs,
    #[command(flatten)]
    pub(super) how: MakeArgs,
}

pub(super) fn reproduce(
    args: &Args,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let selections = registry
        .checked()?
        .iter()
        .filter(|entry| entry.spec.scale(Scale::Quick).is_some())
        .map(|entry| Selection::new(entry, Scale::Quick, None, &[]))
        .collect::<Result<Vec<_>>>()?;
    let store = args.place.open()?;
    run::made_and_reported(&store, selections, &args.place, &args.how, &[], build, out)
}
