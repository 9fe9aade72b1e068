//! build-tool.
fn main() {}
