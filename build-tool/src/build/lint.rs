//! The lint of a Dockerfile with its context and the base images that are here. Nothing is fetched for it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use image_tool::layer::limit::Limits;
use image_tool::layout::platform::Platform;
use serde_json::{Value, json};

use super::{Error, last_stage};
use crate::dockerfile::check::{self, Known, Outside, Settings, rule};
use crate::dockerfile::outline::Location;
use crate::dockerfile::{Dockerfile, Error as NoDockerfile, Problem, Span, Warning};
use crate::source::context::Context;
use crate::stage::base::{self, Pull, Query};
use crate::stage::draft::Draft;
use crate::step::session::{Options, predefined};

/// The build argument that replaces the settings in the file.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What is said of a Dockerfile without building it.
#[derive(Debug)]
pub struct Report {
    /// The findings, in the order of the lines.
    pub warnings: Vec<Warning>,
    /// Why it cannot be built, if that is known, and the lines that are to blame.
    pub error: Option<(String, Option<Span>)>,
}

/// Checks a Dockerfile: the target, if the options name one, or else all of its stages.
pub fn report(options: &Options, context: &Context) -> Result<Report, NoDockerfile> {
    let name = context.dockerfile_name();
    let said = |error: &Error| Some((error.to_string(), error.lines()));
    let file = match Dockerfile::parse(name, context.dockerfile()) {
        Ok(file) => file,
        Err(error) => return Ok(Report { warnings: Vec::new(), error: said(&error.into()) }),
    };
    let platform = options.platforms.first().cloned().unwrap_or_else(Platform::host);
    let plan = super::plan(options, name, &file, &platform);
    let needed = plan.as_ref().ok().filter(|_| options.target.is_some()).map(super::Plan::needed);
    let layout = options.tags.first().map_or("", |tag| tag.layout());
    let given = options.arguments.get(ARGUMENT).map(String::as_str);
    let linted = lint(context, &file, &platform, layout, given, needed.as_ref())?;
    let fatal = linted.fatal(name);
    let Linted { warnings, problem, .. } = linted;
    let error = match (plan, problem) {
        (Err(error), _) => said(&error),
        (Ok(_), Some((lines, problem))) => Some((format!("{name}:{}: {problem}", lines.start), Some(lines))),
        (Ok(_), None) => fatal.as_ref().and_then(said),
    };
    Ok(Report { warnings, error })
}

/// What the lint has found.
#[derive(Debug)]
pub struct Linted {
    /// The findings.
    pub warnings: Vec<Warning>,
    /// Whether they are errors.
    are_errors: bool,
    /// The first word that cannot be expanded, and the lines of its instruction.
    problem: Option<(Span, Problem)>,
}

impl Linted {
    /// The error that the findings are, if the file asks for that.
    pub fn fatal(&self, file: &str) -> Option<Error> {
        if !self.are_errors || self.warnings.is_empty() {
            return None;
        }
        let mut rules: Vec<&'static str> = self.warnings.iter().map(|warning| warning.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        Some(Error::Lint { file: file.to_owned(), rules })
    }
}

/// A finding in the form of BuildKit's `VertexWarning`.
pub(super) fn vertex_warning(context: &Context, warning: &Warning) -> Value {
    let Warning { lines, rule, message } = warning;
    let source = json!({
        "filename": context.dockerfile_name(), "data": BASE64.encode(context.dockerfile()), "language": "Dockerfile",
    });
    json!({
        "level": 1,
        "short": BASE64.encode(format!("{rule}: {message} (line {})", lines.start)),
        "detail": [BASE64.encode(rule::description(rule))],
        "url": rule::page(rule).unwrap_or_default(),
        "sourceInfo": source,
        "range": json!(Location::of(*lines))["ranges"],
    })
}

/// The findings in a Dockerfile for a platform. `layout` is where base images are looked up, `given` the value of
/// [`ARGUMENT`], and `needed` the stages that are looked into, if not all are.
pub fn lint(
    context: &Context,
    file: &Dockerfile,
    platform: &Platform,
    layout: &str,
    given: Option<&str>,
    needed: Option<&BTreeSet<usize>>,
) -> Result<Linted, NoDockerfile> {
    let failed = |problem| NoDockerfile { file: context.dockerfile_name().to_owned(), line: 0, problem };
    let settings = Settings::of(file, given).map_err(failed)?;
    let image = |name: &str| {
        let query =
            Query { layout, name, platform, pull: Pull::Never, limits: Limits::default(), slip: None, report: None };
        let (layout, image) = base::find(&query).ok()?;
        let draft = Draft::of_image(&layout, &image).ok()?;
        Some(Known { env: draft.env(), shell: draft.has_shell() })
    };
    let needed = |stage| needed.is_none_or(|needed| needed.contains(&stage));
    let stage = last_stage(file);
    let outside = Outside {
        left_out: &|source| context.files().leaves_out(source),
        image: &image,
        needed: &needed,
        predefined: &|name| predefined(platform, &stage, name),
    };
    let (warnings, problem) = check::check(file, &settings, &outside);
    Ok(Linted { warnings, are_errors: settings.error, problem })
}
