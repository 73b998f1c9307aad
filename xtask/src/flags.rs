//! The command line of `cargo xtask`.

// The macro makes its types public, which a binary's module cannot use.
#![allow(unreachable_pub)]

use std::ffi::OsString;
use std::path::PathBuf;

/// The commands whose arguments go on untouched, flags included.
const PASSED_ON: [&str; 8] =
    ["list", "run", "reproduce", "report", "tune", "new", "download", "bench"];

/// The flags that make `bench` read its arguments itself.
const OF_PEERS: [&str; 10] = [
    "--peers",
    "--without",
    "--only",
    "--rounds",
    "--seconds",
    "--retries",
    "--folder",
    "--render",
    "--help",
    "-h",
];

xflags::xflags! {
    /// Builds and drives `taper`, and checks the project.
    ///
    /// `list` to `download` are taper's own commands: all that follows goes to it untouched, so
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
        /// Fetches data sets, verifies them and keeps them; builds that part at the first call.
        cmd download {
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
        /// Runs the benches; with --peers, times the same work here and in other frameworks by turns.
        cmd bench {
            /// Also builds candle-nn's, burn's and PyTorch's peers (Python 3 and a network), and writes
            /// docs/speed.json and docs/speed.md.
            optional --peers
            /// Of the peers: those to leave out, torch or burn, with a comma between.
            optional --without peers: String
            /// Of the peers: the beginnings of the names of the rows to measure, with commas between.
            optional --only rows: String
            /// Of the peers: how many times they take turns (7).
            optional --rounds count: usize
            /// Of the peers: how long each works in a turn (0.4).
            optional --seconds seconds: f64
            /// Of the peers: how often a round is made again because the machine was busy (4).
            optional --retries count: usize
            /// Of the peers: the folder of the results, another than docs.
            optional --folder folder: PathBuf
            /// Of the peers: measures nothing, but writes speed.md from speed.json.
            optional --render
            /// Without --peers: `cargo bench`'s arguments.
            repeated arguments: OsString
        }
        /// Writes docs/catalogue.md from the units' cards, and the figures of the losses.
        cmd catalogue {
            /// Fails where they are not what would be written, and writes nothing.
            optional --check
        }
    }
}

impl Bench {
    /// Whether there is a flag that has a meaning with `--peers` only.
    pub fn is_of_peers(&self) -> bool {
        let Self { peers, without, only, rounds, seconds, retries, folder, render, arguments: _ } =
            self;
        let values = [without.is_some(), only.is_some(), rounds.is_some(), seconds.is_some()];
        *peers || *render || retries.is_some() || folder.is_some() || values.contains(&true)
    }
}

impl Xtask {
    /// Parses the process's arguments; prints help or an error, and ends the process, where they ask
    /// for it.
    pub fn of_process() -> Self {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let command = arguments.first().and_then(|first| first.to_str());
        // These are no flags of `cargo bench`.
        let own = command == Some("bench")
            && arguments
                .iter()
                .take_while(|it| *it != "--")
                .any(|it| OF_PEERS.iter().any(|flag| it == flag));
        if command.is_some_and(|command| PASSED_ON.contains(&command)) && !own {
            arguments.insert(1, "--".into());
        }
        Self::from_vec(arguments).unwrap_or_else(|error| error.exit())
    }
}
