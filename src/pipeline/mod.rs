//! The heart: what arrives becomes batches, what the API answers settles them.

pub mod verdict;
