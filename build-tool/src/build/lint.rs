//! The lint of a Dockerfile with its context and the base images that are here. Nothing is fetched for it.

use image_tool::layout::platform::Platform;

use crate::dockerfile::check::{self, Known, Outside, Settings};
use crate::dockerfile::{Dockerfile, Error, Warning};
use crate::source::context::Context;
use crate::stage::base::{self, Pull, Query};
use crate::stage::draft::Draft;

/// The build argument that replaces the settings in the file.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// The findings in a Dockerfile, and whether they are errors. `layout` is where base images are looked up, and `given`
/// the value of [`ARGUMENT`].
pub fn lint(
    context: &Context,
    file: &Dockerfile,
    layout: &str,
    given: Option<&str>,
) -> Result<(Vec<Warning>, bool), Error> {
    let failed = |problem| Error { file: context.dockerfile_name().to_owned(), line: 0, problem };
    let settings = Settings::of(file, given).map_err(failed)?;
    let platform = Platform::host();
    let image = |name: &str| {
        let query = Query { layout, name, platform: &platform, pull: Pull::Never, slip: None, report: None };
        let (layout, image) = base::find(&query).ok()?;
        let draft = Draft::of_image(&layout, &image).ok()?;
        Some(Known { env: draft.env(), shell: draft.has_shell() })
    };
    let outside = Outside { left_out: &|source| context.files().leaves_out(source), image: &image };
    Ok((check::check(file, &settings, &outside), settings.error))
}
