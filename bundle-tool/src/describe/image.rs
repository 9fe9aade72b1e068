//! The name of a container's image, as ps shows it.

use image_tool::address::home::Home;
use image_tool::address::name;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use oci_spec::image::Descriptor;

use crate::bundle::annotation;
use crate::container::status::Container;

/// The images of the default layout, by which names are looked up.
#[derive(Debug)]
pub struct Names {
    layout: Option<Layout>,
    path: String,
    entries: Vec<(Option<String>, Descriptor)>,
}

impl Names {
    /// Reads the index of the default layout.
    #[must_use]
    pub fn read(home: &Home) -> Self {
        let path = std::path::absolute(home.images()).map(|path| path.display().to_string()).unwrap_or_default();
        let layout = Layout::open(&home.images()).ok();
        let entries = layout.as_ref().and_then(|layout| layout.index().ok()?.entries().ok()).unwrap_or_default();
        Self { layout, path, entries }
    }

    /// The name by which the container's image was given, or the image's id once that name leads to another image or to none.
    #[must_use]
    pub fn of(&self, container: &Container, truncates: bool) -> String {
        let given = container.annotation(annotation::IMAGE).unwrap_or_default();
        let id = container.annotation(annotation::IMAGE_ID).unwrap_or_default();
        if id.is_empty()
            || container.annotation(annotation::LAYOUT) != Some(&self.path)
            || self.leads_to(given, container)
        {
            let named = given.split_once('@').map(|(name, _)| name).filter(|_| truncates);
            return named.unwrap_or(given).to_owned();
        }
        match id.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).filter(|_| truncates) {
            Some(short) => short.to_owned(),
            None => id.to_owned(),
        }
    }

    fn leads_to(&self, given: &str, container: &Container) -> bool {
        let is_named = |reference: &Option<String>| reference.as_deref().is_some_and(|own| name::equal(own, given));
        let manifest = container.annotation(annotation::DIGEST).unwrap_or_default();
        if self.entries.iter().any(|(own, descriptor)| is_named(own) && descriptor.digest().to_string() == manifest) {
            return true;
        }
        // An index of several platforms, or an image that was given by its id.
        let image = || self.layout.as_ref()?.image(&format!(":{given}").parse().ok()?, &Platform::host()).ok();
        let id = image().map(|image| image.manifest().config().digest().to_string());
        id.as_deref() == container.annotation(annotation::IMAGE_ID)
    }
}
