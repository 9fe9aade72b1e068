//! docker's `--format` for lists: a template for each line, `table` with a template for aligned columns, or `json`.

use std::io::IsTerminal;
use std::rc::Rc;

use super::human;
use super::table;
use super::template::{Error, Struct, Template, Value};

/// The format of a list, as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(String);

/// What docker's list of a kind of thing looks like.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// The headings of columns: the name of a field, and docker's heading for it.
    pub headings: &'a [(&'a str, &'a str)],
    /// The narrowest column, [`table::WIDE`] or [`table::NARROW`].
    pub narrowest: usize,
}

impl std::str::FromStr for Format {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Format {
    /// A table with a column for each field.
    #[must_use]
    pub fn columns(fields: &[&str]) -> Self {
        let cells: Vec<String> = fields.iter().map(|field| format!("{{{{.{field}}}}}")).collect();
        Self(format!("table {}", cells.join("\t")))
    }

    /// Whether this is the word `word`, of which a list has a meaning of its own.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.0 == word
    }

    /// Whether this is docker's word `table` alone, for its own columns.
    #[must_use]
    pub fn is_plain_table(&self) -> bool {
        self.0.trim_end() == "table"
    }

    /// Whether the format names a field.
    #[must_use]
    pub fn names(&self, field: &str) -> bool {
        self.0 == "json" || self.0.contains(field)
    }

    /// The template, in which docker replaces `\t` and `\n`, and whether it is for a table.
    fn template(&self) -> Result<(Template, bool), Error> {
        let (text, is_table) = match self.0.strip_prefix("table") {
            Some(rest) => (rest, true),
            None if self.0 == "json" => ("{{json .}}", false),
            None => (self.0.as_str(), false),
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok((text.parse()?, is_table))
    }

    /// Fills in the format for each row, a line each. A table has a line of headings and aligned columns.
    ///
    /// If `output` is a terminal, what it would obey is escaped in the values, but not in the template itself. In a pipe, values are
    /// not escaped, as with docker. The cells of a table are escaped in any case.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn lines(&self, rows: &[Value], list: List<'_>, output: &impl IsTerminal) -> Result<String, Error> {
        let (template, is_table) = self.template()?;
        let mut text = String::new();
        if is_table {
            let named =
                Struct::new("formatter.SubHeaderContext").hidden("Label", Value::Method(Rc::new(heading_of_label)));
            let headings = list.headings.iter().fold(named, |all, (field, heading)| all.with(field, *heading));
            text = template.headings(&headings.into()) + "\n";
        }
        // A line feed in a value must not look like another row; in JSON it is escaped anyhow.
        let is_escaped = is_table || (output.is_terminal() && !template.names("json"));
        for row in rows {
            let escaped = is_escaped.then(|| row.map_text(&|text: &str| human::plain(text)));
            text += &template.fill_in(escaped.as_ref().unwrap_or(row), output)?;
            text.push('\n');
        }
        Ok(if is_table { table::align(&text, list.narrowest) } else { text })
    }
}

/// docker's heading for a label: its last part, with blanks for hyphens.
fn heading_of_label(label: &str) -> Value {
    label.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List<'static> =
        List { headings: &[("ID", "CONTAINER ID"), ("Names", "NAMES")], narrowest: table::NARROW };

    fn rows() -> Vec<Value> {
        [("ec4c86b8a163", "eager"), ("1", "a\nb\u{9b}")]
            .map(|(id, name)| Struct::new("*formatter.ContainerContext").with("ID", id).with("Names", name).into())
            .to_vec()
    }

    fn filled_in(format: &str) -> Result<String, Error> {
        let format: Format = format.parse().expect("any text is a format");
        format.lines(&rows(), LIST, &tempfile::tempfile().unwrap())
    }

    #[test]
    fn a_list_is_lines_a_table_or_json() {
        for (format, expected) in [
            ("{{.ID}}", "ec4c86b8a163\n1\n"),
            ("{{.ID}}\\t{{len .Names}}", "ec4c86b8a163\t5\n1\t5\n"),
            ("table {{.ID}}\\t{{.Names}}", "CONTAINER ID   NAMES\nec4c86b8a163   eager\n1              a\\nb\\u{9b}\n"),
            ("table {{upper .Names}}\t{{.ID}}", "NAMES      CONTAINER ID\nEAGER      ec4c86b8a163\nA\\NB\\U{9B}   1\n"),
            ("json", "{\"ID\":\"ec4c86b8a163\",\"Names\":\"eager\"}\n{\"ID\":\"1\",\"Names\":\"a\\nb\\u009b\"}\n"),
            ("plain", "plain\nplain\n"),
        ] {
            assert_eq!(filled_in(format).unwrap(), expected, "{format}");
        }
        let error = filled_in("{{.Nope}}").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"#
        );
        assert_eq!(filled_in("{{.ID").unwrap_err().to_string(), "template: :1: unclosed action");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_and_no_line_feeds() {
        use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&pty).unwrap();
        let terminal = ptsname(&pty, Vec::new()).unwrap();
        let terminal = std::fs::File::options().write(true).open(terminal.to_str().unwrap()).unwrap();
        let lines = |format: &str| format.parse::<Format>().unwrap().lines(&rows()[1..], LIST, &terminal).unwrap();
        assert_eq!(lines("{{.Names}}\\n{{.ID}}"), "a\\nb\\u{9b}\n1\n");
        assert_eq!(lines("{{json .Names}}"), "\"a\\nb\\u009b\"\n");
    }
}
