//! Store and forward, for what no broker keeps.

mod order;

pub use self::order::{Answer, Figures, Kept, Order, Outcome, RecordId};
