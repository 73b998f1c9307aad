//! The command line that every binary with a registry gets.

mod list;
mod new;
mod progress;
mod reproduce;
mod run;
mod select;
mod table;
mod threads;
mod tune;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::table::table;
use crate::error::{BoxError, Error, Result};
use crate::experiment::Registry;

/// Who the binary is: for `--version`, the runs' keys and the report.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The binary's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The digest of its sources, from `env!("TAPER_SOURCES_DIGEST")` after `taper_sources::emit`.
    pub sources: &'static str,
}

/// A command that a binary adds to the harness's own.
#[derive(Debug, Clone)]
pub struct Extension {
    /// Its name, arguments and help.
    pub command: clap::Command,
    /// Does what its arguments say, and writes to standard output by [`say`]; an error is shown, and the exit code is 1.
    pub run: fn(&clap::ArgMatches, &mut dyn Write) -> std::result::Result<(), BoxError>,
}

/// Turns claims into verdicts: runs experiments, keeps their runs, writes the report.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the experiments: what each asks, at which scales.
    List,
    /// Runs experiments (what is there already is not run again), prints their verdicts and writes their
    /// report.
    Run(run::Args),
    /// Runs every experiment at quick scale and writes one report.
    Reproduce(reproduce::Args),
    /// Writes the report of the runs that are in the store, running nothing.
    Report(run::ReportArgs),
    /// Runs an experiment's tuning grid and prints the winners for its spec.
    Tune(tune::Args),
    /// Writes the skeleton of a crate with an experiment of your own.
    New(new::Args),
}

/// Parses the process's arguments, does what they say, and returns the exit code: 0 done, 1 failed,
/// 2 typed or written wrongly, 130 interrupted.
pub fn main(registry: Registry, build: Build) -> ExitCode {
    main_with(registry, build, &[])
}

/// [`main`] with more commands.
pub fn main_with(registry: Registry, build: Build, extensions: &[Extension]) -> ExitCode {
    let mut command = Cli::command().name(build.name).version(build.version);
    command = command.subcommands(extensions.iter().map(|extension| extension.command.clone()));
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    if let Some((name, matches)) = matches.subcommand()
        && let Some(own) = extensions.iter().find(|own| own.command.get_name() == name)
    {
        let mut out = io::stdout().lock();
        let result = (own.run)(matches, &mut out);
        return done(result.map_err(|error| (error.to_string(), 1)));
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let jobs = match &cli.command {
        Command::Run(args) => Some(args.how.jobs()),
        Command::Reproduce(args) => Some(args.how.jobs()),
        Command::Tune(args) => Some(args.how.jobs()),
        Command::List | Command::Report(_) | Command::New(_) => None,
    };
    if let Some(jobs) = jobs {
        threads::share_out(jobs);
    }
    let mut out = io::stdout().lock();
    let result = dispatch(cli.command, &registry, build, &mut out).and_then(|()| flushed(&mut out));
    done(result.map_err(|error| (error.to_string(), error.exit_code())))
}

fn done(result: std::result::Result<(), (String, u8)>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, code)) => {
            eprintln!("error: {message}");
            ExitCode::from(code)
        }
    }
}

fn dispatch(
    command: Command,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    match command {
        Command::List => list::list(registry, out),
        Command::Run(args) => run::run(&args, registry, build, out),
        Command::Reproduce(args) => reproduce::reproduce(&args, registry, build, out),
        Command::Report(args) => run::report(&args, registry, build, out),
        Command::Tune(args) => tune::tune(&args, registry, build, out),
        Command::New(args) => new::new(&args, out),
    }
}

/// Writes a line to standard output. A reader that went away (`| head`) is no error.
pub fn say(out: &mut dyn Write, line: impl std::fmt::Display) -> Result<()> {
    ignore_closed(writeln!(out, "{line}"))
}

fn flushed(out: &mut dyn Write) -> Result<()> {
    ignore_closed(out.flush())
}

fn ignore_closed(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output".as_ref())(error))
        }
        _ => Ok(()),
    }
}
