//! Statistics and the verdict rule.

mod golden;
mod properties;
mod simulation;
