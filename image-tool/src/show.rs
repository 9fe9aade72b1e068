//! Images as people see them: summaries, trees, templates, tables.
//!
//! The room only reads. It may know `address`, `beneath`, `layer` and `layout`; only commands and `program` may know
//! it.

pub mod compare;
pub mod document;
pub mod format;
pub mod human;
pub mod moment;
mod plain;
pub mod summary;
pub mod table;
pub mod template;
pub mod tree;
