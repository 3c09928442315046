//! Herald's configuration → ours: pure, for `leek-agent import-herald`.

mod convert;
mod yaml;

pub use self::convert::{Imported, import};
