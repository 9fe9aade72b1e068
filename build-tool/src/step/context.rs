//! A context with a name as a stage of its own, where FROM or a mount needs one: its files are the only layer.

use image_tool::layer::{Compression, pack};
use image_tool::layout::platform::Platform;

use super::error::Error;
use super::session::Session;
use super::work::Built;
use crate::cache::{Key, Record, RecordedLayer};
use crate::copy::{self, Copier, Input};
use crate::source::ignore::Ignore;
use crate::stage::draft::Draft;
use crate::stage::tree::Tree;

/// Makes the stage whose files are those of the context of that name.
pub fn files(session: &Session<'_>, name: &str, platform: &Platform) -> Result<Built, Error> {
    let task = session.progress.start(format!("[context {name}] load"));
    let tree = session.contexts.tree(name, &session.access, &session.home)?;
    let files = &tree.files;
    let mut inputs = Vec::new();
    for source in files.sources(".")? {
        let found = files.walk(&source, &Ignore::default())?;
        inputs.push(Input::Files { files, source, found });
    }
    let epoch = session.options.epoch;
    let options = copy::Options { destination: "/".to_owned(), epoch, ..copy::Options::default() };
    let mut key = Key::builder("context");
    key.add(epoch.unwrap_or(i64::MIN).to_le_bytes());
    copy::add_to_key(&mut key, &inputs, &options, &session.digests, true)?;
    let key = key.finish();
    let mut draft = Draft::scratch(platform);
    if let Some((_, Some(layer))) = session.cache.get(&key) {
        draft.layers.push(layer);
        task.cached();
        return Ok(Built { draft, key });
    }
    let packer = pack::Packer::new(session.cache.writer(), Compression::Gzip)?;
    let packer = Copier::new(&mut Tree::default(), &options, &session.digests, packer).copy(&inputs)?;
    let (descriptor, diff_id) = packer.finish()?;
    let recorded = RecordedLayer { descriptor: descriptor.clone(), diff_id: diff_id.to_string() };
    let step = format!("context {name}");
    session
        .cache
        .put(&key, &Record { created: session.options.timestamp(), layer: Some(recorded), step, first: None })?;
    draft.layers.push(session.cache.layer(descriptor, diff_id));
    task.done();
    Ok(Built { draft, key })
}
