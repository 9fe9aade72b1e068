use std::cmp::Reverse;
use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::program::pipe;
use image_tool::show::summary::Summary;
use image_tool::show::template::Template;
use image_tool::{address::digest, address::name, show::human};
use jiff::Timestamp;
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::operand::LayoutOperand;
use super::table::heading;

/// List images.
///
/// Prints one address per line, or docker's table on a terminal. In the table, the ID of an image is the digest of its config, and
/// its size is that of its uncompressed layers.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool list
  image-tool list --json images
  image-tool list --filter label=stage=test --format \"{{.Address}}\"")]
pub(crate) struct List {
    /// Layout, or LAYOUT:REF for the images of one repository or name [default: $OCI_LAYOUT, else $OCI_HOME/images].
    #[arg(default_value = "", hide_default_value = true, value_name = "LAYOUT")]
    operand: LayoutOperand,
    /// Print the table even if standard output is not a terminal.
    #[arg(long)]
    table: bool,
    /// Print the descriptor of each image as a line of JSON.
    #[arg(long, conflicts_with_all = ["table", "format", "quiet"])]
    json: bool,
    /// Format each image with a Go template, such as "{{.Repository}}:{{.Tag}}".
    ///
    /// The fields are .ID, .Repository, .Tag, .Digest, .CreatedSince, .CreatedAt, .Size and .Address. A template that begins with
    /// `table` aligns them in columns.
    #[arg(long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<Template>,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Add a column with the digests of the manifests.
    #[arg(long)]
    digests: bool,
    /// Print IDs in full.
    #[arg(long)]
    no_trunc: bool,
    /// List only matching images: reference=PATTERN, label=KEY[=VALUE] or dangling=BOOL; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter, value_hint = ValueHint::Other)]
    filter: Vec<Filter>,
}

#[derive(Clone)]
enum Filter {
    Reference(String),
    Label(String, Option<String>),
    Dangling(bool),
}

fn filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some(("reference", pattern)) => Ok(Filter::Reference(pattern.into())),
        Some(("label", label)) => Ok(match label.split_once('=') {
            Some((key, value)) => Filter::Label(key.into(), Some(value.into())),
            None => Filter::Label(label.into(), None),
        }),
        Some(("dangling", "true" | "1")) => Ok(Filter::Dangling(true)),
        Some(("dangling", "false" | "0")) => Ok(Filter::Dangling(false)),
        _ => Err("not a valid filter (reference=PATTERN, label=KEY[=VALUE], dangling=true)".into()),
    }
}

struct Row {
    address: Address,
    descriptor: Descriptor,
    reference: Option<String>,
    summary: Option<Summary>,
}

impl List {
    pub(crate) fn run(self) -> Result<()> {
        let layout = self.operand.open()?;
        let columns = self.table || self.quiet || self.format.is_some() || (!self.json && io::stdout().is_terminal());
        let labels = self.filter.iter().any(|filter| matches!(filter, Filter::Label(..)));
        let mut rows = Vec::new();
        if let Some(layout) = &layout {
            for (reference, descriptor) in layout.index()?.entries()? {
                let row = self.row(layout, reference, descriptor, columns || labels)?;
                if self.wants(&row) {
                    rows.push(row);
                }
            }
        }
        if !columns {
            let mut lines = String::new();
            for row in rows {
                let line = if self.json {
                    human::json(&serde_json::to_string(&row.descriptor)?)
                } else {
                    row.address.to_string()
                };
                lines.push_str(&line);
                lines.push('\n');
            }
            return pipe::print(lines);
        }
        rows.sort_by_key(|row| Reverse(row.summary.as_ref().and_then(|summary| summary.created)));
        let now = Timestamp::now();
        let values: Vec<Value> = rows.iter().map(|row| self.value(row, now)).collect();
        match &self.format {
            Some(template) => pipe::print_exactly(template.lines(&values, heading, human::table, &io::stdout())?),
            None => pipe::print(self.columns(&values)),
        }
    }

    fn row(&self, layout: &Layout, reference: Option<String>, descriptor: Descriptor, summary: bool) -> Result<Row> {
        // List unreadable images too: otherwise nobody could remove them.
        let image = if summary { Summary::image(layout, &descriptor).ok() } else { None };
        let summary = image.map(|image| Summary::of(layout, &image));
        let address = self.operand.address_of(reference.as_deref(), Some(descriptor.digest()))?;
        Ok(Row { address, descriptor, reference, summary })
    }

    fn wants(&self, row: &Row) -> bool {
        let reference = row.reference.as_deref();
        let named = match self.operand.address.as_ref().map(|address| (address.reference(), address.digest())) {
            None => true,
            Some((_, Some(digest))) => row.descriptor.digest() == digest,
            Some((Some(wanted), None)) => reference.is_some_and(|reference| {
                let any_tag = name::split_tag(wanted.as_str()).1.is_none();
                name::equal(reference, wanted.as_str())
                    || (any_tag && name::canonical(reference).0 == name::canonical(wanted.as_str()).0)
            }),
            Some((None, None)) => true,
        };
        named
            && self.filter.iter().all(|filter| match filter {
                Filter::Dangling(wanted) => reference.is_none() == *wanted,
                Filter::Label(key, value) => row.summary.as_ref().is_some_and(|summary| {
                    summary
                        .labels
                        .iter()
                        .any(|(known, text)| known == key && value.as_ref().is_none_or(|value| value == text))
                }),
                Filter::Reference(pattern) => reference.is_some_and(|reference| {
                    let (repository, tag) = name::familiar(reference);
                    let whole = format!("{repository}:{tag}");
                    fits(pattern, &repository) || fits(pattern, &whole) || fits(pattern, reference)
                }),
            })
    }

    fn columns(&self, values: &[Value]) -> String {
        let mut fields = vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
        if !self.digests {
            fields.retain(|field| *field != "Digest");
        }
        if self.quiet {
            let mut lines: Vec<&str> = values.iter().filter_map(|value| value["ID"].as_str()).collect();
            lines.dedup();
            return lines.iter().map(|line| format!("{line}\n")).collect();
        }
        let mut table = vec![fields.iter().map(|field| heading(field)).collect()];
        for value in values {
            table.push(fields.iter().map(|field| value[*field].as_str().unwrap_or_default().to_owned()).collect());
        }
        human::table(&table)
    }

    fn value(&self, row: &Row, now: Timestamp) -> Value {
        let none = || "<none>".to_owned();
        let (repository, tag) = match &row.reference {
            Some(reference) => {
                let (repository, tag) = name::familiar(reference);
                (repository, tag.to_owned())
            }
            None => (none(), none()),
        };
        let (id, since, at, size) = match &row.summary {
            Some(summary) => (
                if self.no_trunc { summary.id.to_string() } else { digest::short(&summary.id).to_owned() },
                summary.created.map(|created| human::ago(created, now)),
                summary.created.map(created_at),
                Some(human::size(summary.size)),
            ),
            None => (none(), None, None, None),
        };
        let known = |text: Option<String>| text.unwrap_or_else(|| "N/A".into());
        json!({
            "Repository": repository, "Tag": tag, "ID": id, "CreatedSince": known(since), "CreatedAt": known(at), "Size": known(size),
            "Digest": row.descriptor.digest().to_string(), "Address": row.address.to_string(),
        })
    }
}

fn created_at(created: Timestamp) -> String {
    created.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Whether a pattern with `*` and `?` matches a whole text.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, text, expected) in [
            ("py*", "python", true),
            ("py", "python", false),
            ("*:3.?", "python:3.8", true),
            ("*o*o*", "foo", true),
            ("*x", "foo", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
