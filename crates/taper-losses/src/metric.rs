//! Losses of pairs, triplets and batches of embeddings.
