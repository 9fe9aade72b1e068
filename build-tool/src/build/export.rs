//! Delivering a finished build: the image into layouts, archives and registries, or its files.
//!
//! A layout sees nothing of an image before all of its blobs are there. An archive is written from a layout of its own in
//! the step cache's folder, which holds links to the blobs, and vanishes. `document` makes an image's documents, `files` unpacks
//! it, `place` opens what is written to.

mod attest;
mod document;
mod error;
mod files;
mod place;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use image_tool::address::digest::Digest;
use image_tool::address::{Address, RefName, name};
use image_tool::archive::Format;
use image_tool::archive::save::{Subject, save};
use image_tool::layer::merge;
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::layout::platform::Platform;
use image_tool::program::caller::caller;
use oci_spec::image::{Descriptor, MediaType};

use super::output::{Arrangement, Delivery, Form, Order, Output, Target};
use crate::progress::{Show, Task};
use crate::stage::base::{report_on, sibling};
use crate::step::Built;
use crate::step::session::Session;

pub(super) use self::error::Error;

/// The image for one platform.
pub(super) struct Finished {
    pub(super) platform: Platform,
    pub(super) built: Arc<Built>,
}

/// What a build gave.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The image's address in the layout of its first name, if it was put into one.
    pub address: Option<Address>,
    /// Files and folders that were written, as they were named.
    pub paths: Vec<String>,
    /// The names of the image.
    pub names: Vec<String>,
    /// The manifest or index, if there is an image.
    pub descriptor: Option<Descriptor>,
    /// The config of the image, if it is for one platform.
    pub config: Option<Digest>,
}

/// Delivers the images of a build.
pub(super) fn write(session: &Session<'_>, finished: &[Finished], delivery: &Delivery) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for Order { output, form } in &delivery.outputs {
        let exporter = Exporter { session, finished, form };
        match output {
            Output::Image => exporter.image(false, &mut outcome)?,
            Output::Push => exporter.image(true, &mut outcome)?,
            Output::Archive { format, to } => exporter.archive(*format, to, &mut outcome)?,
            Output::Layout(path) => exporter.layout(path, &mut outcome)?,
            Output::Tar { to, arrangement } => exporter.tar(to, arrangement, &mut outcome)?,
            Output::Files { to, arrangement, delete } => exporter.files(to, arrangement, *delete, &mut outcome)?,
        }
    }
    Ok(outcome)
}

struct Exporter<'a> {
    session: &'a Session<'a>,
    finished: &'a [Finished],
    form: &'a Form,
}

/// A name of the image: its address, or for docker, which has one place for images, the name in full.
fn shown(address: &Address) -> String {
    match address.reference() {
        Some(reference) if caller().is_some() && address.layout().is_empty() => {
            let (repository, tag) = name::canonical(reference.as_str());
            format!("{repository}:{tag}")
        }
        _ => address.to_string(),
    }
}

impl Exporter<'_> {
    /// Writes the image under each of its names, or into the default layout if it has none.
    fn image(&self, push: bool, outcome: &mut Outcome) -> Result<(), Error> {
        let tags = &self.session.options.tags;
        if push && tags.iter().all(|tag| tag.reference().is_none()) {
            return Err(Error::NoName);
        }
        let task = self.session.progress.start("exporting to image");
        let mut names: Vec<Option<&Address>> = tags.iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        for name in names {
            let path = name.map_or_else(|| self.session.home.images(), Address::layout_path);
            let descriptor = self.store(&Layout::create(&path)?, name.and_then(Address::reference), outcome)?;
            let digest = descriptor.digest();
            if outcome.address.is_none() {
                let kind = if *descriptor.media_type() == MediaType::ImageIndex { "manifest list" } else { "manifest" };
                task.note(&format!("exporting {kind} {digest} done"));
                // docker's line, which scripts read: the id that `docker images` shows.
                if let Some(config) = &outcome.config {
                    task.note(&format!("writing image {config} done"));
                }
                outcome.address = Some(match name {
                    Some(name) => name.with_digest(digest),
                    None => Address::new("", None, Some(digest.clone())).expect("it has a digest"),
                });
            }
            if let Some(name) = name {
                task.note(&format!("naming to {} done", shown(name)));
            }
        }
        for name in tags.iter().filter(|tag| push && tag.reference().is_some()) {
            self.push(name, &task)?;
        }
        task.done();
        Ok(())
    }

    /// Writes the image into a layout, under a name if it has one there.
    fn store(&self, layout: &Layout, reference: Option<&RefName>, outcome: &mut Outcome) -> Result<Descriptor, Error> {
        let writer = layout.writer()?.keeping_former(caller().is_some());
        let (descriptor, config) = document::write(self.session, self.finished, self.form, &writer)?;
        match reference {
            Some(reference) => {
                writer.publish(reference, descriptor.clone())?;
                journal::record_image(layout, "tag", &descriptor, Some(reference.as_str()));
            }
            None => layout.update_index(|index| {
                index.add(&descriptor);
                Ok(())
            })?,
        }
        let names = self.session.options.tags.iter().filter_map(Address::reference);
        outcome.names = names.map(ToString::to_string).collect();
        outcome.descriptor = Some(descriptor.clone());
        outcome.config = config;
        Ok(descriptor)
    }

    /// Sends the image to the registry in its name, by registry-tool.
    fn push(&self, name: &Address, task: &Task<'_>) -> Result<(), Error> {
        task.note(&format!("pushing {name}"));
        let mut command = Command::new(sibling("registry-tool"));
        command.arg("push");
        let report: &dyn Fn(&str) = &|line| task.note(line);
        let report = (self.session.options.show != Show::Quiet).then_some(report);
        if report.is_none() {
            command.arg("--quiet");
        }
        command.arg(name.to_string());
        let failed = |source| Error::NoTool { name: name.to_string(), source };
        let status = report_on(&mut command, report).map_err(failed)?;
        if status.success() { Ok(()) } else { Err(Error::Push { name: name.to_string(), status }) }
    }

    /// Writes the image as an archive.
    fn archive(&self, format: Format, to: &Target, outcome: &mut Outcome) -> Result<(), Error> {
        if format == Format::Docker && self.finished.len() > 1 {
            return Err(Error::SeveralPlatforms);
        }
        let kind = if format == Format::Docker { "docker" } else { "oci" };
        let task = self.session.progress.start(format!("exporting to {kind} image format"));
        let folder = self.session.folder()?;
        let layout = Layout::create(&folder.path().join("layout"))?;
        let descriptor = self.store(&layout, None, outcome)?;
        let image = match format {
            Format::Docker => {
                let manifests = layout.manifests(&descriptor)?;
                manifests.first().map(|manifest| layout.image_of(manifest)).transpose()?
            }
            Format::Oci => None,
        };
        let subject = |name: Option<&RefName>| Subject {
            layout: layout.clone(),
            descriptor: descriptor.clone(),
            image: image.clone(),
            name: name.cloned(),
        };
        let tags = &self.session.options.tags;
        let mut subjects: Vec<Subject> = tags.iter().map(|tag| subject(tag.reference())).collect();
        if subjects.is_empty() {
            subjects.push(subject(None));
        }
        place::write(to, |output| {
            save(output, &subjects, format)?;
            Ok(())
        })?;
        outcome.paths.extend(place::name(to));
        task.done();
        Ok(())
    }

    /// Writes the image into a layout of its own.
    fn layout(&self, path: &Path, outcome: &mut Outcome) -> Result<(), Error> {
        let task = self.session.progress.start("exporting to oci image format");
        let layout = Layout::create(path)?;
        let tags = &self.session.options.tags;
        let mut names: Vec<Option<&RefName>> = tags.iter().map(Address::reference).collect();
        if names.is_empty() {
            names.push(None);
        }
        for name in names {
            self.store(&layout, name, outcome)?;
        }
        outcome.paths.push(path.display().to_string());
        task.done();
        Ok(())
    }

    /// Writes the files as an archive.
    fn tar(&self, to: &Target, arrangement: &Arrangement, outcome: &mut Outcome) -> Result<(), Error> {
        let task = self.session.progress.start("sending tarball");
        place::write(to, |output| {
            if let Some(image) = self.alone(arrangement) {
                return files::flatten(image, output, &self.merging());
            }
            let folder = self.session.folder()?;
            let tree = self.unpack(arrangement, folder.path())?;
            files::pack(&tree, output, self.session.options.epoch)
        })?;
        outcome.paths.extend(place::name(to));
        task.done();
        Ok(())
    }

    /// Writes the files into a folder.
    fn files(&self, path: &Path, arrangement: &Arrangement, delete: bool, outcome: &mut Outcome) -> Result<(), Error> {
        let task = self.session.progress.start("exporting to client directory");
        if let Some(image) = self.alone(arrangement).filter(|_| !delete) {
            files::write(image, path, self.merging())?;
        } else {
            let folder = self.session.folder()?;
            let tree = self.unpack(arrangement, folder.path())?;
            files::merge(&tree, path, self.session.options.epoch)?;
            if delete {
                files::delete_others(&tree, path)?;
            }
        }
        outcome.paths.push(path.display().to_string());
        task.done();
        Ok(())
    }

    /// The image whose files are all that is written. They need not be unpacked to be gathered.
    fn alone(&self, arrangement: &Arrangement) -> Option<&Finished> {
        let attested = self.form.sbom || self.form.provenance.is_some();
        match self.finished {
            [image] if !attested && arrangement.split != Some(true) => Some(image),
            _ => None,
        }
    }

    /// How the layers of an image are made one archive.
    fn merging(&self) -> merge::Options {
        let options = self.session.options;
        merge::Options { latest: options.epoch, limits: options.limits, ..merge::Options::default() }
    }

    /// Unpacks the images below `folder`, with their attestations, as the files are to be laid out.
    fn unpack(&self, arrangement: &Arrangement, folder: &Path) -> Result<PathBuf, Error> {
        let (session, several) = (self.session, self.finished.len() > 1);
        let split = arrangement.split.unwrap_or(several);
        let tree = files::create(folder, "tree")?;
        let mut gathered = files::Gathered::default();
        for finished in self.finished {
            let name = finished.platform.to_string().replace('/', "_");
            let place = if split {
                files::create(&tree, &name)?
            } else if several {
                files::create(folder, &name)?
            } else {
                tree.clone()
            };
            files::unpack(finished, &place)?;
            let suffix = if several && !split { format!(".{name}") } else { String::new() };
            attest::place(session, finished, self.form, &place, (&arrangement.prefix, &suffix))?;
            if several && !split {
                gathered.add(&finished.platform, &place, &tree)?;
            }
        }
        Ok(tree)
    }
}
