//! `--call`: what is said of a Dockerfile instead of building it.

use anyhow::{Context, Result, bail};
use build_tool::build::lint;
use build_tool::dockerfile::excerpt::excerpt;
use build_tool::dockerfile::outline::{self, Outline};
use build_tool::dockerfile::{Dockerfile, Span};
use build_tool::source;
use bundle_tool::option::csv;
use image_tool::address::home::Home;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::human::{self, plain};
use serde_json::{Value, json};

use super::Build;

impl Build {
    /// Answers a call by its name: `check`, `outline` or `targets`, and perhaps `,format=json`.
    pub(super) fn answer(self, call: &str) -> Result<()> {
        let (method, json) = format(call)?;
        let context = source::context::Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let name = context.dockerfile_name().to_owned();
        let file = Dockerfile::parse(&name, context.dockerfile())?;
        let print = |text: String, value: Value| -> Result<()> {
            let text = if json { human::json(&serde_json::to_string_pretty(&value)?) + "\n" } else { text };
            pipe::print(text)
        };
        match method {
            "check" => {
                let layout = self.tags.first().map_or("", |tag| tag.layout()).to_owned();
                let arguments = self.options()?.arguments;
                let given = arguments.get(lint::ARGUMENT).map(String::as_str);
                let (found, _) = lint::lint(&context, &file, &layout, given)?;
                let mut text = match found.len() {
                    0 => "Check complete, no warnings found.\n".to_owned(),
                    1 => "Check complete, 1 warning has been found!\n".to_owned(),
                    count => format!("Check complete, {count} warnings have been found!\n"),
                };
                for warning in &found {
                    let lines = Span { start: warning.line, end: warning.line };
                    text += &format!("\nWARNING: {}\n{}\n", warning.rule, plain(&warning.message));
                    text += &excerpt(&name, context.dockerfile(), lines);
                }
                let warnings: Vec<Value> = found
                    .iter()
                    .map(|warning| json!({"ruleName": warning.rule, "detail": warning.message, "line": warning.line}))
                    .collect();
                print(text, json!({"warnings": warnings, "file": name}))?;
                if found.is_empty() { Ok(()) } else { bail!("{name}: {} found by the check", found.len()) }
            }
            "targets" => {
                let targets = outline::targets(&file);
                print(outline::table_of_targets(&targets), json!({"targets": targets}))
            }
            _ => {
                let options = self.options()?;
                let platform = options.platforms.first().cloned().unwrap_or_else(Platform::host);
                let argument = |name: &str| options.argument(&platform, "default", name);
                let given = |name: &str| options.arguments.get(name).cloned();
                let outline = Outline::of(&name, &file, options.target.as_deref(), &argument, &given)?;
                print(outline.text(), json!(outline))
            }
        }
    }
}

fn format(call: &str) -> Result<(&str, bool)> {
    let fields = csv::fields(call).with_context(|| format!("--call {call}"))?;
    let mut json = false;
    for field in &fields[1..] {
        match field.as_str() {
            "format=json" => json = true,
            "format=text" | "format=txt" => json = false,
            _ => bail!("--call {call}: {field}: expected format=json or format=text"),
        }
    }
    let method = call.split(',').next().unwrap_or_default();
    let method = method.strip_prefix("method=").unwrap_or(method);
    match method {
        "check" | "lint" => Ok(("check", json)),
        "outline" | "targets" => Ok((method, json)),
        other => bail!("--call {other}: unknown method (check, outline, targets)"),
    }
}
