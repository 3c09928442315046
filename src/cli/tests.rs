//! Command lines, environments and files, and what they come to.
