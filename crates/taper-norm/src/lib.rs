//! Normalization layers for candle with right gradients and explicit state.
