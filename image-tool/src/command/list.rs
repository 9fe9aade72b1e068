use std::cmp::Reverse;
use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::Args;
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::show::summary::Summary;
use image_tool::show::template::Template;
use image_tool::{address::digest, address::name, show::human};
use jiff::Timestamp;
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::operand::LayoutOperand;
use super::print::print_bytes;
use super::table::{by_template, heading};

/// List images: as addresses, one a line, or as a table on a terminal.
///
/// The table is docker's: the image's identity is the digest of its config, the size that of its layers, uncompressed.
#[derive(Args)]
pub(crate) struct List {
    /// The layout, the default one if omitted; with a name, LAYOUT:REF, the images of that repository or that name.
    #[arg(default_value = "", hide_default_value = true, value_name = "LAYOUT")]
    operand: LayoutOperand,
    /// Print the table, terminal or not.
    #[arg(long)]
    table: bool,
    /// Print each image's descriptor, as JSON lines.
    #[arg(long, conflicts_with_all = ["table", "format", "quiet"])]
    json: bool,
    /// Print a line for each image by a template, as {{.Repository}}:{{.Tag}}; fields are .ID, .Repository, .Tag, .Digest,
    /// .CreatedSince, .CreatedAt, .Size and .Address.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Print identities only.
    #[arg(short, long)]
    quiet: bool,
    /// Show the digests of manifests.
    #[arg(long)]
    digests: bool,
    /// Do not shorten identities.
    #[arg(long)]
    no_trunc: bool,
    /// List only some: reference=PATTERN, label=KEY[=VALUE] or dangling=true|false.
    #[arg(short, long, value_name = "FILTER", value_parser = filter)]
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
        _ => Err("not a filter (reference=PATTERN, label=KEY[=VALUE], dangling=true)".into()),
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
                let line = if self.json { serde_json::to_string(&row.descriptor)? } else { row.address.to_string() };
                lines.push_str(&line);
                lines.push('\n');
            }
            return print_bytes(lines.as_bytes());
        }
        rows.sort_by_key(|row| Reverse(row.summary.as_ref().and_then(|summary| summary.created)));
        print_bytes(self.columns(&rows)?.as_bytes())
    }

    fn row(&self, layout: &Layout, reference: Option<String>, descriptor: Descriptor, summary: bool) -> Result<Row> {
        // One that cannot be read is listed all the same: how else could it be removed?
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

    fn columns(&self, rows: &[Row]) -> Result<String> {
        let now = Timestamp::now();
        let values: Vec<Value> = rows.iter().map(|row| self.value(row, now)).collect();
        if let Some(template) = &self.format {
            return by_template(template, &values);
        }
        let mut fields = vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
        if !self.digests {
            fields.retain(|field| *field != "Digest");
        }
        if self.quiet {
            let mut lines: Vec<&str> = values.iter().filter_map(|value| value["ID"].as_str()).collect();
            lines.dedup();
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        let mut table = vec![fields.iter().map(|field| heading(field)).collect()];
        for value in &values {
            table.push(fields.iter().map(|field| value[*field].as_str().unwrap_or_default().to_owned()).collect());
        }
        Ok(human::table(&table))
    }

    fn value(&self, row: &Row, now: Timestamp) -> Value {
        let none = || "<none>".to_owned();
        let (repository, tag) = match &row.reference {
            Some(reference) => {
                let (repository, tag) = name::familiar(reference);
                (human::plain(&repository), human::plain(tag))
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

/// Whether a pattern with `*` and `?` fits a whole text.
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
