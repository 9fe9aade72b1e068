//! image-tool.
fn main() {}
