//! The command line of `cargo xtask`.

// The macro makes its types public, which a binary's module cannot use.
#![allow(unreachable_pub)]

use std::ffi::OsString;

/// The commands whose arguments go on untouched, flags included.
const PASSED_ON: [&str; 7] = ["list", "run", "reproduce", "report", "tune", "new", "bench"];

xflags::xflags! {
    /// Builds and drives `taper`, and checks the project.
    ///
    /// `list` to `new` are taper's own commands: all that follows goes to it untouched, so
    /// `cargo xtask run --help` tells what `run` takes.
    cmd xtask {
        /// Shows the experiments.
        cmd list {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Runs experiments and prints their verdicts.
        cmd run {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Runs every experiment at quick scale and writes one report.
        cmd reproduce {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Writes the report of the runs that are in the store.
        cmd report {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Runs an experiment's tuning grid.
        cmd tune {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Writes the skeleton of a crate with an experiment of your own.
        cmd new {
            /// taper's arguments.
            repeated arguments: OsString
        }
        /// Checks everything: format, lints, tests, documentation, generated files.
        cmd ci {}
        /// Makes the golden files from their reference implementations (Python 3 and a network).
        cmd goldens {
            /// Compares with the files that are there and writes none.
            optional --check
            /// The crates whose goldens to make, such as taper-losses; all where none is named.
            repeated crates: String
        }
        /// Runs the benches.
        cmd bench {
            /// `cargo bench`'s arguments.
            repeated arguments: OsString
        }
        /// Writes docs/catalogue.md from the units' cards.
        cmd catalogue {
            /// Fails where the file is not what would be written, and writes nothing.
            optional --check
        }
    }
}

impl Xtask {
    /// Parses the process's arguments; prints help or an error, and ends the process, where they ask
    /// for it.
    pub fn of_process() -> Self {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let command = arguments.first().and_then(|first| first.to_str());
        if command.is_some_and(|command| PASSED_ON.contains(&command)) {
            arguments.insert(1, "--".into());
        }
        Self::from_vec(arguments).unwrap_or_else(|error| error.exit())
    }
}
