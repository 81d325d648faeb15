//! Where log records go: one trait, and the reporters that implement it.
