//! The `hull` program.
fn main() {}
