//! The same work in Taper, candle-nn, burn and PyTorch, and what times them in turn. The criterion
//! benches are in `benches/`.

mod inputs;
pub mod ours;
pub mod peer;
pub mod rounds;
pub mod stock;
