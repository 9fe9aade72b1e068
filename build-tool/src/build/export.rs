//! Writing the finished image into layouts, under its names.

use image_tool::address::Address;
use image_tool::layout::{self, Layout};

use crate::stage::draft::Draft;
use crate::step::session::Session;

/// Writes the image under each of its names, or into the default layout if it has none, and returns the first address.
pub(super) fn write(session: &Session<'_>, draft: &Draft) -> Result<Address, layout::Error> {
    let task = session.progress.start("exporting to image");
    let mut draft = draft.clone();
    for (name, value) in &session.options.labels {
        draft.set_member("Labels", name, value.as_str());
    }
    let created = draft.created(&session.now);
    let mut names: Vec<Option<&Address>> = session.options.tags.iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut first = None;
    for name in names {
        let path = name.map_or_else(|| session.home.images(), Address::layout_path);
        let writer = Layout::create(&path)?.writer()?;
        let descriptor = draft.write(&writer, &created)?;
        match name.and_then(Address::reference) {
            Some(reference) => writer.publish(reference, descriptor.clone())?,
            None => writer.layout().update_index(|index| {
                index.add(&descriptor);
                Ok(())
            })?,
        }
        let digest = descriptor.digest();
        if first.is_none() {
            task.note(&format!("writing image {digest} done"));
        }
        if let Some(name) = name {
            task.note(&format!("naming to {name} done"));
        }
        first.get_or_insert_with(|| match name {
            Some(name) => name.with_digest(digest),
            None => Address::new("", None, Some(digest.clone())).expect("it has a digest"),
        });
    }
    task.done();
    Ok(first.expect("there is at least one name"))
}
