//! Build-script helper: one digest of the sources and the lock file that a run's numbers depend on.
