//! `features`: what this runtime can do.

pub(crate) mod document;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::print;

/// Print what this runtime can do, as the runtime spec's features document.
#[derive(Debug, Args)]
pub(crate) struct Features {}

impl Features {
    pub(super) fn run(self) -> Result<()> {
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        document::document().serialize(&mut serializer)?;
        text.push(b'\n');
        print(&String::from_utf8(text)?)
    }
}
