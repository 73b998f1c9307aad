//! Cost functions for candle, each with the same options, a defined answer for empty means, and its evidence.
