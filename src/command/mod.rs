//! The logic of the sub-commands, over generic readers and writers. None chooses an exit code.

pub mod transform;
