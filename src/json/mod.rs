//! JSON as Python reads and writes it.
//!
//! A body is checked once by [`scan::check`], without allocating; after that its values are
//! borrowed slices, looked into only where they are needed ([`read`]). What goes out is written by
//! [`mod@write`], which knows nothing but how text and numbers look.

pub mod loads;
pub mod read;
pub mod scan;
#[cfg(test)]
mod tests;
pub mod write;
