//! The registry of experiments and the taper binary.
