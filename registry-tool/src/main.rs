//! registry-tool.
fn main() {}
