//! `--call`: what is said of a Dockerfile instead of building it.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use build_tool::build::lint::{self, Report};
use build_tool::dockerfile::check::rule;
use build_tool::dockerfile::excerpt::excerpt;
use build_tool::dockerfile::outline::{self, Outline};
use build_tool::dockerfile::{Dockerfile, Warning};
use build_tool::source::context;
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
        let context = context::Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let name = context.dockerfile_name().to_owned();
        let print = |text: String, value: Value| -> Result<()> {
            let text = if json { human::json(&serde_json::to_string_pretty(&value)?) + "\n" } else { text };
            pipe::print(text)
        };
        match method {
            "check" => {
                let report = lint::report(&self.options()?, &context)?;
                print(check_text(&context, &report), check_json(&context, &report))?;
                match (report.error, report.warnings.len()) {
                    (Some((error, _)), _) => bail!("{error}"),
                    (None, 0) => Ok(()),
                    (None, found) => bail!("{name}: {found} found by the check"),
                }
            }
            "targets" => {
                let targets = outline::targets(&Dockerfile::parse(&name, context.dockerfile())?);
                let sources = [BASE64.encode(context.dockerfile())];
                print(outline::table_of_targets(&targets), json!({"targets": targets, "sources": sources}))
            }
            _ => {
                let file = Dockerfile::parse(&name, context.dockerfile())?;
                let options = self.options()?;
                let platform = options.platforms.first().cloned().unwrap_or_else(Platform::host);
                let argument = |name: &str| options.argument(&platform, "default", name);
                let given = |name: &str| options.arguments.get(name).cloned();
                let outline = Outline::of(&name, &file, options.target.as_deref(), &argument, &given)?;
                let mut value = json!(outline);
                value["sources"] = json!([BASE64.encode(context.dockerfile())]);
                print(outline.text(), value)
            }
        }
    }
}

/// The findings with their lines, as buildx shows them.
fn check_text(context: &context::Context, report: &Report) -> String {
    let mut text = match (report.warnings.len(), &report.error) {
        (0, None) => "Check complete, no warnings found.\n".to_owned(),
        (0, Some(_)) => "Check incomplete, an error has been found!\n".to_owned(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    let excerpt = |lines| excerpt(context.dockerfile_name(), context.dockerfile(), lines);
    for Warning { lines, rule, message } in &report.warnings {
        let page = rule::page(rule).map(|page| format!(" - {page}")).unwrap_or_default();
        text += &format!("\nWARNING: {rule}{page}\n{}\n{}", plain(message), excerpt(*lines));
    }
    if let Some((error, lines)) = &report.error {
        text += &format!("\nERROR: {}\n{}", plain(error), lines.map(excerpt).unwrap_or_default());
    }
    text
}

/// The findings in the form of BuildKit's `lint.LintResults`.
fn check_json(context: &context::Context, report: &Report) -> Value {
    let warnings: Vec<Value> = report
        .warnings
        .iter()
        .map(|Warning { lines, rule, message }| {
            json!({
                "ruleName": rule, "description": rule::description(rule), "url": rule::page(rule).unwrap_or_default(),
                "detail": message, "location": outline::Location::of(*lines),
            })
        })
        .collect();
    let source = json!({
        "filename": context.dockerfile_name(), "language": "Dockerfile", "data": BASE64.encode(context.dockerfile()),
    });
    let mut value = json!({"warnings": warnings, "sources": [source]});
    if let Some((error, lines)) = &report.error {
        value["buildError"] =
            json!({"message": error, "location": lines.map(outline::Location::of).unwrap_or_default()});
    }
    value
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
