//! What people see of an image: summaries, trees, templates, tables.
//!
//! Everything here only reads. The room may know `address`, `beneath`, `layer` and `layout`; nothing but commands may know
//! it, except [`human`], which any program may use for what it says.

pub mod human;
pub mod summary;
pub mod template;
pub mod tree;
