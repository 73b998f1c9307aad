//! The tests of taper-bottleneck that need more than one file: counting, goldens, gradients, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod convolutions;
mod counting;
mod goldens;
mod made;
mod networks;
mod torchvision;
