//! run-tool.
fn main() {}
