//! Reading blobs: beneath the layout's descriptor, only as regular files, verified.

use std::fs::File;
use std::io::{self, Read};

use oci_spec::image::Descriptor;
use rustix::fs::OFlags;

use super::{Error, Layout};
use crate::address::digest::{self, Verifier};
use crate::error::{During, Io};

impl Layout {
    /// Opens a blob without verifying it; use [`Self::blob`] for verified content.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], or [`Error::BadBlob`] if its size is wrong.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File, Error> {
        let digest = descriptor.digest();
        let bad = |source| Error::BadBlob { digest: digest.clone(), source };
        digest::Hasher::of(digest).map_err(bad)?;
        let path = Self::blob_path(digest);
        let file = match self.open_beneath(&path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingBlob { digest: digest.clone() });
            }
            Err(error) => return Err(Io::new("open", self.path().join(path), error).into()),
        };
        let actual = file.metadata().during("stat", self.path().join(path))?.len();
        if actual != descriptor.size() {
            return Err(bad(digest::Error::Size { expected: descriptor.size(), actual }));
        }
        Ok(file)
    }

    /// A reader of a blob that fails at its end unless digest and size are right.
    ///
    /// # Errors
    /// Those of [`Self::open_blob`].
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Verifier<File>, Error> {
        let file = self.open_blob(descriptor)?;
        Verifier::new(file, descriptor.digest(), descriptor.size())
            .map_err(|source| Error::BadBlob { digest: descriptor.digest().clone(), source })
    }

    /// The content of a small blob, verified.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than `limit` bytes, and those of [`Self::open_blob`].
    pub fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        if descriptor.size() > limit {
            return Err(Error::TooLarge { digest: descriptor.digest().clone(), size: descriptor.size(), limit });
        }
        let mut bytes = Vec::new();
        self.blob(descriptor)?.read_to_end(&mut bytes).map_err(|error| self.read_error(descriptor, error))?;
        Ok(bytes)
    }

    /// Converts an error of reading a blob, and adds its digest.
    #[must_use]
    pub fn read_error(&self, descriptor: &Descriptor, error: io::Error) -> Error {
        let digest = descriptor.digest().clone();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<digest::Error>()) {
            Some(source) => Error::BadBlob { source: source.clone(), digest },
            None => Io::new("read", self.path().join(Self::blob_path(&digest)), error).into(),
        }
    }

    /// Whether the blob exists with the right size. Its content is not read.
    #[must_use]
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        self.open_blob(descriptor).is_ok()
    }
}
