//! What this version is called and when it was released. `scripts/release` sets both.

/// As in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// When this version was released, in milliseconds since 1970: a machine whose clock shows less has
/// lost its time. It is set with each release and is no time stamp of the build, so that the same
/// source gives the same binary.
pub const RELEASED_MS: i64 = 1_793_491_200_000;
