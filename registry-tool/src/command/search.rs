//! `registry-tool search`.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use registry_tool::search::{Found, search};

use super::documents::write_all;
use super::{Network, block_on, mirrors};

/// Look for images by a word.
///
/// Asks Docker Hub, its mirrors first; or the registry whose host stands before the word, as in localhost:5000/python. A
/// registry that cannot search has its list of repositories looked through.
#[derive(Args)]
pub(crate) struct Search {
    /// The word.
    term: String,
    /// Show only what fits: is-official=true, is-automated=true, stars=N (at least).
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter)]
    filter: Vec<Filter>,
    /// Show at most this many.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Show descriptions whole.
    #[arg(long)]
    no_trunc: bool,
    /// Show each by a template, of which {{.Name}}, {{.Description}}, {{.StarCount}}, {{.IsOfficial}}, {{.IsAutomated}} and {{json .}} are known; 'table …' makes columns.
    #[arg(long, value_name = "TEMPLATE", value_parser = template)]
    format: Option<Template>,
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
        Some(("stars", value)) => value.parse().map(Filter::Stars).map_err(|_| format!("{value:?} is no number")),
        _ => Err("known are is-official=BOOL, is-automated=BOOL and stars=N".to_owned()),
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

impl Search {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.term.is_empty() || self.term.ends_with('/') {
            bail!("search: name a word to look for");
        }
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let found = block_on(async { Ok(search(&self.term, self.limit, &mirrors, &settings).await?) })?;
        let found: Vec<Found> =
            found.into_iter().filter(|one| self.filter.iter().all(|filter| filter.fits(one))).collect();
        let standard = Template::standard();
        let template = self.format.as_ref().unwrap_or(&standard);
        write_all(template.render(&found, self.no_trunc).as_bytes())
    }
}

/// The part of Go's templates that docker's users write here.
#[derive(Clone, Debug, PartialEq)]
struct Template {
    is_table: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
    Json(Option<Field>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Name,
    Description,
    StarCount,
    IsOfficial,
    IsAutomated,
}

impl Field {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            ".Name" => Self::Name,
            ".Description" => Self::Description,
            ".StarCount" => Self::StarCount,
            ".IsOfficial" => Self::IsOfficial,
            ".IsAutomated" => Self::IsAutomated,
            _ => return Err(format!("{text}: no such field (.Name .Description .StarCount .IsOfficial .IsAutomated)")),
        })
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Description => "DESCRIPTION",
            Self::StarCount => "STARS",
            Self::IsOfficial => "OFFICIAL",
            Self::IsAutomated => "AUTOMATED",
        }
    }

    fn value(self, found: &Found, no_trunc: bool) -> String {
        let mark = |is_so| if is_so { "[OK]".to_owned() } else { String::new() };
        match self {
            Self::Name => printable(&found.name),
            Self::Description if no_trunc => printable(&found.description),
            Self::Description => ellipsis(&printable(&found.description), 45),
            Self::StarCount => found.star_count.to_string(),
            Self::IsOfficial => mark(found.is_official),
            Self::IsAutomated => mark(found.is_automated),
        }
    }
}

/// On one line, and without what could disturb a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// docker's own cut: 45 columns, the last of which is the ellipsis.
fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn template(text: &str) -> Result<Template, String> {
    let (is_table, rest) = match text.strip_prefix("table") {
        Some(rest) if rest.trim().is_empty() => return Ok(Template::standard()),
        Some(rest) if rest.starts_with([' ', '\t', '\\']) => (true, rest.trim_start()),
        _ => (false, text),
    };
    let mut rest = rest.replace("\\t", "\t").replace("\\n", "\n");
    let mut parts = Vec::new();
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = action.split_once("}}").ok_or("{{ without }}")?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(match action.trim() {
            "json ." => Part::Json(None),
            action => match action.strip_prefix("json ") {
                Some(field) => Part::Json(Some(Field::parse(field.trim())?)),
                None => Part::Field(Field::parse(action)?),
            },
        });
        rest = after.to_owned();
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(Template { is_table, parts })
}

impl Template {
    fn standard() -> Self {
        let fields = [Field::Name, Field::Description, Field::StarCount, Field::IsOfficial, Field::IsAutomated];
        let mut parts = Vec::new();
        for field in fields {
            parts.extend((!parts.is_empty()).then(|| Part::Text("\t".into())));
            parts.push(Part::Field(field));
        }
        Self { is_table: true, parts }
    }

    fn render(&self, found: &[Found], no_trunc: bool) -> String {
        let rows = found.iter().map(|one| self.row(one, no_trunc));
        if !self.is_table {
            return rows.map(|row| row + "\n").collect();
        }
        let heading = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) | Part::Json(Some(field)) => field.heading().to_owned(),
            Part::Json(None) => String::new(),
        });
        columns(&std::iter::once(heading.collect()).chain(rows).collect::<Vec<String>>())
    }

    fn row(&self, found: &Found, no_trunc: bool) -> String {
        let mut row = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => row.push_str(text),
                Part::Field(field) => row.push_str(&field.value(found, no_trunc)),
                Part::Json(None) => {
                    let value = serde_json::json!({
                        "Name": found.name, "Description": found.description, "StarCount": found.star_count.to_string(),
                        "IsOfficial": found.is_official.to_string(), "IsAutomated": found.is_automated.to_string(),
                    });
                    let _ = write!(row, "{value}");
                }
                Part::Json(Some(field)) => {
                    let _ = write!(row, "{}", serde_json::Value::from(field.value(found, true)));
                }
            }
        }
        row
    }
}

/// Go's tabwriter as docker sets it: cells are at least 20 wide and 3 apart; what follows the last tab is no cell.
fn columns(rows: &[String]) -> String {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let count = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let longest = cells.iter().filter(|row| row.len() > column + 1).map(|row| row[column].chars().count()).max();
        longest.map_or(0, |longest| (longest + 3).max(20))
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in cells {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, description: &str, star_count: u64, is_official: bool, is_automated: bool) -> Found {
        Found { name: name.into(), description: description.into(), star_count, is_official, is_automated }
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
        let table = Template::standard().render(&all, false);
        let expected = "\
NAME                             DESCRIPTION                                     STARS               OFFICIAL            AUTOMATED
python                           Python is an interpreted, interactive, objec…   5757                [OK]                
joyzoursky/python-chromedriver   Python with Chromedriver, for running automa…   57                                      [OK]
";
        assert_eq!(table, expected);
    }

    #[test]
    fn templates_show_what_they_name() {
        let all = [found("a", "b", 3, true, false)];
        for (text, expected) in [
            ("{{.Name}}: {{.StarCount}}", "a: 3\n"),
            ("{{.Name}}\\t{{.IsOfficial}}", "a\t[OK]\n"),
            ("{{json .Description}}", "\"b\"\n"),
            ("table {{.Name}}\\t{{.StarCount}}", "NAME                STARS\na                   3\n"),
        ] {
            assert_eq!(template(text).unwrap().render(&all, false), expected, "{text}");
        }
        for text in ["{{.Nothing}}", "{{.Name", "{{range .}}"] {
            assert!(template(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_description_cannot_disturb_a_terminal() {
        let row = Template::standard().render(&[found("a", "x\u{1b}[2J\ny", 0, false, false)], false);
        assert!(!row.contains('\u{1b}') && row.lines().count() == 2, "{row:?}");
    }
}
