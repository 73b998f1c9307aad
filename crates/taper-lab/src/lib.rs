//! The experiment harness: spec, run store, resume, statistics, verdicts and the command line.
