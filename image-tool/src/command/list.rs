use std::cmp::Reverse;
use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::{Layout, index};
use image_tool::program::caller::caller;
use image_tool::program::pflag::Unread;
use image_tool::program::{dockers, pipe};
use image_tool::show::format::{self, Format};
use image_tool::show::moment;
use image_tool::show::summary::Summary;
use image_tool::show::table;
use image_tool::show::template::{Struct, Value};
use image_tool::{address::digest, address::name, show::human};
use jiff::Timestamp;
use oci_spec::image::Descriptor;

use super::operand::LayoutOperand;

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
    /// `table` aligns them in columns; `json` prints all fields.
    #[arg(long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<Format>,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Add a column with the digests of the manifests.
    #[arg(long)]
    digests: bool,
    /// Print IDs in full.
    #[arg(long)]
    no_trunc: bool,
    /// List the images between the steps of a build as well, of which a layout has none.
    #[arg(short, long)]
    all: bool,
    /// List only matching images: reference=PATTERN, label=KEY[=VALUE], label!=KEY[=VALUE], dangling=BOOL, before=IMAGE, since=IMAGE or
    /// until=TIME (created before it); may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter, value_hint = ValueHint::Other)]
    filter: Vec<Filter>,
}

#[derive(Clone)]
enum Filter {
    Reference(String),
    Label { key: String, value: Option<String>, negated: bool },
    Until(Timestamp),
    Dangling(bool),
    Before(String),
    Since(String),
}

fn filter(text: &str) -> Result<Filter, Wrong> {
    let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    // As docker reads it: the case of the key and the spaces around both do not matter.
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    match key.as_str() {
        "reference" => Ok(Filter::Reference(value.into())),
        "label" | "label!" => {
            let (name, text) =
                value.split_once('=').map_or((value, None), |(name, text)| (name, Some(text.to_owned())));
            Ok(Filter::Label { key: name.into(), value: text, negated: key == "label!" })
        }
        "until" => Ok(Filter::Until(moment::parse(value, Timestamp::now())?)),
        "dangling" => match value {
            "true" | "1" => Ok(Filter::Dangling(true)),
            "false" | "0" => Ok(Filter::Dangling(false)),
            _ => Err(refused(format!("dangling=[{value}]"))),
        },
        "before" => Ok(Filter::Before(value.into())),
        "since" => Ok(Filter::Since(value.into())),
        _ => Err(refused(key)),
    }
}

type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// What there is no such filter for; docker's daemon tells it, not its client.
fn refused(filter: String) -> Wrong {
    match caller() {
        Some(_) => Unread(dockers::invalid_filter(&filter)).into(),
        None => "not a valid filter (reference=PATTERN, label=KEY[=VALUE], label!=KEY, dangling=true, before=IMAGE, since=IMAGE, until=TIME)"
            .into(),
    }
}

struct Row {
    address: Address,
    descriptor: Descriptor,
    reference: Option<String>,
    summary: Option<Summary>,
}

/// docker's list, with the address in addition.
const LIST: format::List<'static> = format::List {
    headings: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Address", "ADDRESS"),
    ],
    narrowest: table::WIDE,
};

impl List {
    pub(crate) fn run(self) -> Result<()> {
        let layout = self.operand.open()?;
        let columns = self.table || self.quiet || self.format.is_some() || (!self.json && io::stdout().is_terminal());
        // All are heads: see the option.
        let _ = self.all;
        let needs_summary = |filter: &Filter| !matches!(filter, Filter::Reference(_) | Filter::Dangling(_));
        let summaries = columns || self.filter.iter().any(needs_summary);
        let mut rows = Vec::new();
        if let Some(layout) = &layout {
            let bounds = self.bounds(layout)?;
            for (reference, descriptor) in layout.index()?.entries()? {
                let row = self.row(layout, reference, descriptor, summaries)?;
                if self.wants(&row) && bounds.hold(&row) {
                    rows.push(row);
                }
            }
        }
        if !columns {
            return self.addresses(&rows);
        }
        rows.sort_by_key(|row| Reverse(row.summary.as_ref().and_then(|summary| summary.created)));
        let now = Timestamp::now();
        let values: Vec<Value> = rows.iter().map(|row| self.value(row, now)).collect();
        let format = self.format.clone().filter(|format| !format.is_plain_table());
        if self.quiet && format.is_none() {
            let mut lines: Vec<&str> = values.iter().filter_map(|value| value.text_of("ID")).collect();
            lines.dedup();
            return pipe::print(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        }
        let format = format.unwrap_or_else(|| {
            let mut fields = vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
            fields.retain(|field| self.digests || *field != "Digest");
            Format::columns(&fields)
        });
        pipe::print_exactly(format.lines(&values, LIST, &io::stdout())?)
    }

    fn addresses(&self, rows: &[Row]) -> Result<()> {
        let mut lines = String::new();
        for row in rows {
            if self.json {
                lines.push_str(&human::json(&serde_json::to_string(&row.descriptor)?));
            } else {
                lines.push_str(&row.address.to_string());
            }
            lines.push('\n');
        }
        pipe::print(lines)
    }

    /// The times of the images that `before` and `since` name.
    fn bounds(&self, layout: &Layout) -> Result<Bounds> {
        let mut bounds = Bounds::default();
        for filter in &self.filter {
            let (Filter::Before(image) | Filter::Since(image)) = filter else { continue };
            let address: Address = format!("{}:{image}", self.operand.layout).parse()?;
            let found = Summary::image(layout, &layout.resolve(&address)?)?;
            let created = Summary::of(layout, &found).created;
            match filter {
                Filter::Before(_) => bounds.before = Some(created),
                _ => bounds.since = Some(created),
            }
        }
        Ok(bounds)
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
        let pulled = index::pulled(&row.descriptor).map(|(name, _)| name);
        // A name that was pulled with a digest has no tag.
        let was_pulled =
            |wanted: &str| pulled.is_some_and(|name| name::split_tag(wanted).1.is_none() && is_like(wanted, name));
        let named = match self.operand.address.as_ref().map(|address| (address.reference(), address.digest())) {
            None => true,
            Some((_, Some(digest))) => row.descriptor.digest() == digest,
            Some((Some(wanted), None)) if reference.is_none() => was_pulled(wanted.as_str()),
            Some((Some(wanted), None)) => reference.is_some_and(|reference| {
                let any_tag = name::split_tag(wanted.as_str()).1.is_none();
                name::equal(reference, wanted.as_str())
                    || (any_tag && name::canonical(reference).0 == name::canonical(wanted.as_str()).0)
                    || is_like(wanted.as_str(), reference)
            }),
            Some((None, None)) => true,
        };
        // Patterns are alternatives, as in docker; labels are not.
        let mut patterns = self.filter.iter().filter_map(|filter| match filter {
            Filter::Reference(pattern) => Some(pattern),
            _ => None,
        });
        let is_like =
            |pattern: &String| reference.map_or_else(|| was_pulled(pattern), |reference| is_like(pattern, reference));
        let fits = patterns.clone().next().is_none() || patterns.any(is_like);
        named
            && fits
            && self.filter.iter().all(|filter| match filter {
                // One that was pulled by its digest has a repository.
                Filter::Dangling(wanted) => (reference.is_none() && pulled.is_none()) == *wanted,
                Filter::Label { key, value, negated } => row.summary.as_ref().is_some_and(|summary| {
                    let is_it = |(known, text): &(String, String)| {
                        known == key && value.as_ref().is_none_or(|value| value == text)
                    };
                    summary.labels.iter().any(is_it) != *negated
                }),
                Filter::Until(until) => {
                    row.summary.as_ref().and_then(|summary| summary.created).is_some_and(|created| created < *until)
                }
                Filter::Reference(_) | Filter::Before(_) | Filter::Since(_) => true,
            })
    }

    fn value(&self, row: &Row, now: Timestamp) -> Value {
        let none = || "<none>".to_owned();
        let (repository, tag) = match &row.reference {
            Some(reference) => {
                let (repository, tag) = name::familiar(reference);
                (repository, tag.to_owned())
            }
            None => match index::pulled(&row.descriptor) {
                Some((name, _)) => (name::familiar(name).0, none()),
                None => (none(), none()),
            },
        };
        let summary = row.summary.as_ref();
        let known = |text: Option<String>| text.unwrap_or_else(|| "N/A".into());
        let id = summary.map_or_else(none, |summary| {
            if self.no_trunc { summary.id.to_string() } else { digest::short(&summary.id).to_owned() }
        });
        let created = summary.and_then(|summary| summary.created);
        let size = known(summary.map(|summary| human::size(summary.size)));
        // The order of JSON is that of docker's fields, sorted.
        Struct::new("*formatter.imageContext")
            .with("Containers", "N/A")
            .with("CreatedAt", known(created.map(created_at)))
            .with("CreatedSince", known(created.map(|created| human::ago(created, now))))
            .with("Digest", row.descriptor.digest().to_string())
            .with("ID", id)
            .with("Repository", repository)
            .with("SharedSize", "N/A")
            .with("Size", size.as_str())
            .with("Tag", tag)
            .with("UniqueSize", "N/A")
            .with("VirtualSize", size)
            .hidden("Address", row.address.to_string())
            .into()
    }
}

/// The times of creation between which images are listed. `Some(None)` is that of an image without a time.
#[derive(Default)]
struct Bounds {
    before: Option<Option<Timestamp>>,
    since: Option<Option<Timestamp>>,
}

impl Bounds {
    fn hold(&self, row: &Row) -> bool {
        let created = row.summary.as_ref().and_then(|summary| summary.created);
        self.before.is_none_or(|before| created < before) && self.since.is_none_or(|since| created > since)
    }
}

/// Whether a ref fits a pattern of docker's: its repository, its repository and tag, or the ref as it is.
fn is_like(pattern: &str, reference: &str) -> bool {
    let (repository, tag) = name::familiar(reference);
    fits(pattern, &repository) || fits(pattern, &format!("{repository}:{tag}")) || fits(pattern, reference)
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
