//! Sums of losses, and penalties.
