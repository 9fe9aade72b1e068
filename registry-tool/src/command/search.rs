//! `registry-tool search`.

use std::io::{self, IsTerminal};

use anyhow::bail;
use clap::{Args, ValueHint};
use image_tool::program::pipe;
use image_tool::show::format::{Format, List};
use image_tool::show::table;
use image_tool::show::template::{self, Struct, Value};
use registry_tool::question::search::{Found, search};

use super::{Network, block_on, mirrors};

/// Search a registry for images.
///
/// Docker Hub and its mirrors are searched, unless the term begins with the host of another registry, as in
/// localhost:5000/python. If a registry has no search, its list of repositories is searched instead.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool search python
  registry-tool search --filter is-official=true --limit 5 nginx
  registry-tool search --format '{{.Name}}' localhost:5000/team")]
pub(crate) struct Search {
    /// Word to search for in names.
    #[arg(value_hint = ValueHint::Other)]
    term: String,
    /// Show only matching images: is-official=BOOL, is-automated=BOOL or stars=N (at least N); may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter, value_hint = ValueHint::Other)]
    filter: Vec<Filter>,
    /// Show at most this many images.
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Show descriptions in full.
    #[arg(long)]
    no_trunc: bool,
    /// Format each image with a Go template, such as '{{.Name}}: {{.StarCount}}'.
    ///
    /// The fields are .Name, .Description, .StarCount, .IsOfficial and .IsAutomated. A template that begins with `table` aligns them
    /// in columns.
    #[arg(long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<Format>,
    #[command(flatten)]
    network: Network,
}

#[derive(Clone, Debug)]
enum Filter {
    IsOfficial(bool),
    IsAutomated(bool),
    Stars(u64),
}

fn filter(text: &str) -> Result<Filter, String> {
    let boolean = |value: &str| match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{value:?} is neither true nor false")),
    };
    match text.split_once('=') {
        Some(("is-official", value)) => boolean(value).map(Filter::IsOfficial),
        Some(("is-automated", value)) => boolean(value).map(Filter::IsAutomated),
        Some(("stars", value)) => {
            value.parse().map(Filter::Stars).map_err(|_| format!("{value:?} is not a valid number"))
        }
        _ => Err("expected is-official=BOOL, is-automated=BOOL or stars=N".to_owned()),
    }
}

impl Filter {
    fn fits(&self, found: &Found) -> bool {
        match self {
            Self::IsOfficial(wanted) => found.is_official == *wanted,
            Self::IsAutomated(wanted) => found.is_automated == *wanted,
            Self::Stars(least) => found.star_count >= *least,
        }
    }
}

/// docker's columns.
const COLUMNS: [&str; 5] = ["Name", "Description", "StarCount", "IsOfficial", "IsAutomated"];

/// docker's list.
const LIST: List<'static> = List {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    narrowest: table::WIDE,
};

impl Search {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.term.is_empty() || self.term.ends_with('/') {
            bail!("search: missing search term");
        }
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let found = block_on(async { Ok(search(&self.term, self.limit, &mirrors, &settings).await?) })?;
        let found = found.iter().filter(|one| self.filter.iter().all(|filter| filter.fits(one)));
        let format = self.format.filter(|format| !format.is_plain_table()).unwrap_or_else(|| Format::columns(&COLUMNS));
        let values: Vec<Value> = found.map(|one| value(one, self.no_trunc, format.names("json"))).collect();
        pipe::print_exactly(lines(&format, &values, &io::stdout())?)
    }
}

fn value(found: &Found, no_trunc: bool, is_json: bool) -> Value {
    let mark = |is_so: bool| match (is_json, is_so) {
        (true, is_so) => is_so.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    // docker's own words for a description of several lines.
    let description = found.description.replace(['\r', '\n'], " ");
    Struct::new("*registry.searchContext")
        .with("Name", &found.name)
        .with("Description", if no_trunc || is_json { description } else { ellipsis(&description, 45) })
        .with("StarCount", found.star_count.to_string())
        .with("IsOfficial", mark(found.is_official))
        .with("IsAutomated", mark(found.is_automated))
        .into()
}

/// docker's own cut: 45 columns, the last of which is the ellipsis.
fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn lines(format: &Format, values: &[Value], output: &impl IsTerminal) -> Result<String, template::Error> {
    format.lines(values, LIST, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, description: &str, star_count: u64, is_official: bool, is_automated: bool) -> Found {
        Found { name: name.into(), description: description.into(), star_count, is_official, is_automated }
    }

    fn shown(text: &str, all: &[Found]) -> String {
        let format: Format = text.parse().unwrap();
        let values: Vec<Value> = all.iter().map(|one| value(one, false, format.names("json"))).collect();
        lines(&format, &values, &tempfile::tempfile().unwrap()).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        let all = [
            found(
                "python",
                "Python is an interpreted, interactive, object-oriented, open-source programming language.",
                5757,
                true,
                false,
            ),
            found("joyzoursky/python-chromedriver", "Python with Chromedriver, for running automa…", 57, false, true),
        ];
        let expected = "\
NAME                             DESCRIPTION                                     STARS               OFFICIAL            AUTOMATED
python                           Python is an interpreted, interactive, objec…   5757                [OK]                
joyzoursky/python-chromedriver   Python with Chromedriver, for running automa…   57                                      [OK]
";
        let table = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}\t{{.IsAutomated}}";
        assert_eq!(shown(table, &all), expected);
    }

    #[test]
    fn templates_show_what_they_name() {
        let all = [found("a", "b", 3, true, false)];
        for (text, expected) in [
            ("{{.Name}}: {{.StarCount}}", "a: 3\n"),
            ("{{.Name}}\\t{{.IsOfficial}}", "a\t[OK]\n"),
            ("{{json .IsOfficial}}", "\"true\"\n"),
            ("table {{.Name}}\\t{{.StarCount}}", "NAME                STARS\na                   3\n"),
        ] {
            assert_eq!(shown(text, &all), expected, "{text}");
        }
    }

    #[test]
    fn a_description_cannot_disturb_a_terminal() {
        let row = shown("table {{.Name}}\t{{.Description}}", &[found("a", "x\u{1b}[2J\ny", 0, false, false)]);
        assert!(!row.contains('\u{1b}') && row.lines().count() == 2, "{row:?}");
    }
}
