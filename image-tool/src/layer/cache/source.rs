//! The layers of images as they are in a layout: blobs to be read, verified and applied.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use oci_spec::image::Descriptor;

use super::Error;
use crate::address::digest::Digest;
use crate::beneath::Root;
use crate::error::During;
use crate::layer::apply::{self, Applier, Options, Skipped};
use crate::layer::limit::Limits;
use crate::layer::stream::Stream;
use crate::layout::{Image, Layout};

/// A layer to unpack.
#[derive(Debug)]
pub struct Source {
    /// The opened blob.
    pub blob: File,
    /// The descriptor of the blob.
    pub descriptor: Descriptor,
    /// The expected diff ID.
    pub diff_id: Digest,
}

impl Source {
    /// The layers of an image, the lowest first, with their blobs opened.
    ///
    /// # Errors
    /// [`Error::Layout`], [`Error::DiffId`].
    pub fn of_image(layout: &Layout, image: &Image) -> Result<Vec<Self>, Error> {
        let open = |(descriptor, diff_id): (&Descriptor, &str)| {
            let diff_id = crate::address::digest::parse(diff_id).map_err(Error::DiffId)?;
            Ok(Self { blob: layout.open_blob(descriptor)?, descriptor: descriptor.clone(), diff_id })
        };
        image.layers().map(open).collect()
    }

    /// The same layer once more.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn again(&self) -> Result<Self, Error> {
        let digest = self.descriptor.digest();
        let blob = self.blob.try_clone().during("open", Path::new(digest.digest()))?;
        Ok(Self { blob, descriptor: self.descriptor.clone(), diff_id: self.diff_id.clone() })
    }

    /// Applies the layer with `applier`. It is verified only at the end, when all files have been written.
    ///
    /// # Errors
    /// [`Error::Blob`], [`Error::Apply`].
    pub fn apply(&self, applier: &mut Applier) -> Result<(), Error> {
        self.start()?.apply(applier)
    }

    /// Starts a thread that reads and decompresses the blob.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Blob`].
    pub fn start(&self) -> Result<Started, Error> {
        self.start_within(Limits::default())
    }

    /// As [`Self::start`], for an archive within the limits.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_within(&self, limits: Limits) -> Result<Started, Error> {
        let name = Path::new(self.descriptor.digest().digest());
        let mut blob = self.blob.try_clone().during("open", name)?;
        blob.rewind().during("rewind", name)?;
        Started::within(blob, &self.descriptor, &self.diff_id, limits)
    }
}

/// A layer whose blob is being read ahead.
pub struct Started {
    stream: Stream,
    digest: Digest,
}

impl Started {
    /// Starts a thread that reads and decompresses the blob of a layer, wherever it comes from.
    ///
    /// # Errors
    /// [`Error::Blob`].
    pub fn within<R: Read + Send + 'static>(
        blob: R,
        descriptor: &Descriptor,
        diff_id: &Digest,
        limits: Limits,
    ) -> Result<Self, Error> {
        let digest = descriptor.digest().clone();
        match Stream::open(blob, descriptor, Some(diff_id), limits.archive(descriptor.size())) {
            Ok(stream) => Ok(Self { stream, digest }),
            Err(source) => Err(Error::Blob { digest, source }),
        }
    }

    /// The archive, for another use; it is verified when the stream is finished.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// The digest of the blob.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Applies the layer, and verifies its blob and its archive.
    ///
    /// # Errors
    /// [`Error::Blob`], [`Error::Apply`].
    pub fn apply(mut self, applier: &mut Applier) -> Result<(), Error> {
        let digest = self.digest;
        let applied = applier.layer(&mut self.stream);
        // Report the corrupt blob, not the broken archive that results from it. But if the file system is to blame, do
        // not read the rest of the blob first.
        if let Err(source @ (apply::Error::File(_) | apply::Error::Io(_))) = applied {
            return Err(Error::Apply { digest, source });
        }
        match (self.stream.finish(), applied) {
            (Err(source), _) => Err(Error::Blob { digest, source }),
            (Ok(_), Err(source)) => Err(Error::Apply { digest, source }),
            (Ok(_), Ok(())) => Ok(()),
        }
    }
}

/// Applies all layers of an image to one directory, which must be empty, the lowest first. While one is applied, the next blob is read
/// ahead.
///
/// # Errors
/// [`Error`]. The directory is then incomplete.
pub fn apply_all(sources: &[Source], root: Root, options: Options) -> Result<Skipped, Error> {
    let limits = Limits { size: options.size, ..Limits::default() };
    let start = |source: &Source| source.start_within(limits);
    let mut next = sources.first().map(start).transpose()?;
    let mut applier = Applier::in_empty(root, options.clone()).map_err(Error::Tree)?;
    for index in 0..sources.len() {
        let current = next.take();
        next = sources.get(index + 1).map(start).transpose()?;
        if let Some(current) = current {
            current.apply(&mut applier)?;
        }
    }
    applier.finish().map_err(Error::Tree)
}
