//! Tables and lines by a template, as docker prints them.

use anyhow::{Result, bail};
use image_tool::show::human;
use image_tool::show::template::Template;
use serde_json::Value;

/// Go's way to a heading: `CreatedSince` is headed CREATED.
pub(super) fn heading(field: &str) -> String {
    match field {
        "ID" => "IMAGE ID".into(),
        "CreatedSince" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        "CreatedBy" => "CREATED BY".into(),
        other => other.to_uppercase(),
    }
}

/// Lines by a template, aligned at its tabs if it is a table's.
pub(super) fn by_template(template: &Template, values: &[Value]) -> Result<String> {
    let mut lines = Vec::new();
    if template.is_table() {
        lines.push(template.headings(heading));
    }
    for value in values {
        lines.push(template.render(value)?);
    }
    if !template.is_table() {
        return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
    }
    let rows: Vec<Vec<String>> = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    if rows.iter().any(|row| row.len() != rows[0].len()) {
        bail!("a table's template has its tabs between the fields");
    }
    Ok(human::table(&rows))
}
