//! The `m2mesh` command.

fn main() {}
