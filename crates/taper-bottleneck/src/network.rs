//! Reference networks: one family each file.
