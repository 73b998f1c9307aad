//! Divergences between distributions.
