//! The binary: arguments → configuration → command → exit code.

fn main() {}
