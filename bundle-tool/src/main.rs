//! bundle-tool.
fn main() {}
