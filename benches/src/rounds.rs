//! Rounds: the peers take turns at each work, so that what slows the machine down slows all of them.

mod busy;
mod machine;
mod memory;
mod page;
mod program;
mod record;
mod statistics;
mod times;
mod works;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use busy::Watch;
use program::Programs;
use record::Record;

pub use program::Paths;

/// What is to be measured, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The beginnings of the names of the rows; all rows where it is empty.
    pub only: Vec<String>,
    /// How many times the peers take turns.
    pub rounds: usize,
    /// How long a peer works in a turn.
    pub seconds: f64,
    /// How often a round is made again because the machine was busy.
    pub retries: usize,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// Refuses beginnings of names that no row has.
    pub fn check(&self) -> Result<()> {
        let names = works::rows().into_iter().map(|row| row.name);
        let names: Vec<String> = names.chain(works::STEPS.iter().map(works::memory_name)).collect();
        let unknown = |start: &&String| !names.iter().any(|name| name.starts_with(start.as_str()));
        match self.only.iter().find(unknown) {
            Some(start) => {
                bail!("no row begins with {start:?}; these are the rows: {}", names.join(", "))
            }
            None => Ok(()),
        }
    }
}

/// The files in the folder of results.
const RECORD: &str = "speed.json";
const PAGE: &str = "speed.md";

/// Measures, and writes the record and the page in `folder` after every row.
pub fn measure(plan: &Plan, paths: Paths, folder: &Path) -> Result<()> {
    let rows = works::rows();
    let wanted = |name: &str| plan.wants(name);
    let command = machine::command(plan, &paths);
    let mut programs = Programs::new(paths);
    let mut record = begun(plan, command, &mut programs, folder)?;
    let mut watch = Watch::new();
    for row in rows.iter().filter(|row| wanted(&row.name)) {
        let measured = times::row(row, plan, &mut programs, &mut watch)?;
        record.rows.insert(row.name.clone(), measured);
        write(&record, folder)?;
    }
    for step in works::STEPS.iter().filter(|step| wanted(&works::memory_name(step))) {
        let measured = memory::row(step, &mut programs);
        record.memory.insert(step.work.to_owned(), measured);
        write(&record, folder)?;
    }
    progress("");
    let written = format!("{}\n", folder.join(PAGE).display());
    std::io::stdout().write_all(written.as_bytes()).context("saying what was written")?;
    Ok(())
}

/// The record to add to: a new one, or, where only some rows are wanted, the one that is there.
fn begun(plan: &Plan, command: String, programs: &mut Programs, folder: &Path) -> Result<Record> {
    let new = Record::new(machine::machine(), programs.introductions(), command);
    let path = folder.join(RECORD);
    if plan.only.is_empty() || !path.exists() {
        return Ok(new);
    }
    let mut old = read(folder)?;
    if let Some(difference) = old.difference(&new) {
        bail!(
            "{} was measured with another {difference}: measure all rows, or write to another folder",
            path.display()
        );
    }
    old.programs.extend(new.programs);
    old.command = new.command;
    Ok(old)
}

/// Writes the page of the record that is in `folder`.
pub fn render(folder: &Path) -> Result<()> {
    write_page(&read(folder)?, folder)
}

fn read(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

fn write(record: &Record, folder: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(record)?;
    text.push('\n');
    write_whole(&folder.join(RECORD), &text)?;
    write_page(record, folder)
}

fn write_page(record: &Record, folder: &Path) -> Result<()> {
    let path = folder.join(PAGE);
    let old = fs::read_to_string(&path).unwrap_or_else(|_| page::EMPTY.to_owned());
    let new = page::filled(&old, record).with_context(|| format!("in {}", path.display()))?;
    write_whole(&path, &new)
}

/// Leaves the old file or the new one, whenever it is stopped.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Shows a line in the place of the last, if somebody watches.
fn progress(line: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{RECORD, page, read, render};

    #[test]
    fn the_page_shows_the_record() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let there = fs::read_to_string(docs.join("speed.md")).unwrap();
        let expected = if docs.join(RECORD).exists() {
            page::filled(&there, &read(&docs).unwrap()).unwrap()
        } else {
            page::with(&there, page::NOTHING).unwrap()
        };
        assert_eq!(there, expected, "`cargo xtask bench --peers --render` writes it anew");
    }

    #[test]
    fn a_page_is_made_of_a_record_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(render(folder.path()).is_err());
        fs::write(folder.path().join(RECORD), super::record::tests::FIXTURE).unwrap();
        render(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("speed.md")).unwrap();
        assert!(page.contains("| MLP"), "{page}");
        render(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("speed.md")).unwrap(), page);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
