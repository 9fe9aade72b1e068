//! Owners for `--chown`: numbers, or names that are looked up in the image's own /etc/passwd and /etc/group.
//!
//! The two files are read from the layers that hold them; nothing is mounted.

use std::io::{self, Read};
use std::path::Path;

use bundle_tool::rootfs::user;
use image_tool::address::home::Home;
use image_tool::beneath::{self, Root};
use image_tool::layer::entry::Reader;
use image_tool::layer::stream::{self, Stream};
use image_tool::layout;

use super::contents;
use super::layer::Layer;
use super::tree::{self, Tree};

/// Why an owner has no ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not known, or the number is too large.
    #[error("owner {text}")]
    User {
        /// The owner as written.
        text: String,
        /// Why there are no ids.
        source: user::Error,
    },
    /// The path of one of the files cannot be resolved.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The layer that holds one of the files is missing.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The unpacked layer cannot be read.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The layer that holds one of the files is broken.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// One of the files cannot be read.
    #[error("look up owners")]
    Io(#[source] io::Error),
}

/// The largest part of a file that is read.
const LIMIT: u64 = 16 << 20;

/// The ids, if the text holds no names. A user without a group means the group of the same number.
pub fn numeric(text: &str) -> Result<Option<(u32, u32)>, Error> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    match (user.parse(), group.parse()) {
        (Ok(user), Ok(group)) if user != u32::MAX && group != u32::MAX => Ok(Some((user, group))),
        _ => Ok(None),
    }
}

/// Looks up the ids of an owner that has names, in the root file system that these layers make.
pub fn look_up(text: &str, tree: &Tree, layers: &[Layer], home: &Home) -> Result<(u32, u32), Error> {
    let text_of = |name: &str| -> Result<String, Error> {
        let bytes = read(Path::new(name), tree, layers, home)?.unwrap_or_default();
        // Comments may have any encoding; the names that matter are compared as they are.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (passwd, group) = (text_of("etc/passwd")?, text_of("etc/group")?);
    let identity =
        user::resolve_in(&passwd, &group, text, &[]).map_err(|source| Error::User { text: text.to_owned(), source })?;
    Ok((identity.uid, identity.gid))
}

/// Reads a small file of the root file system.
fn read(path: &Path, tree: &Tree, layers: &[Layer], home: &Home) -> Result<Option<Vec<u8>>, Error> {
    let path = tree.resolve(path)?;
    let Some(layer) = tree.get(&path).and_then(|found| layers.get(found.layer)) else { return Ok(None) };
    if let Some(unpacked) = layer.unpacked(home).map_err(contents::Error::from)? {
        return Ok(Some(Root::open(unpacked.path())?.read(&path, LIMIT)?));
    }
    let digest = || layer.descriptor.digest().clone();
    let blob = layer.layout.open_blob(&layer.descriptor)?;
    let failed = |source| contents::Error::Stream { digest: digest(), source };
    let limit = stream::default_limit(layer.descriptor.size());
    let stream = Stream::open(blob, &layer.descriptor, Some(&layer.diff_id), limit).map_err(failed)?;
    let mut reader = Reader::new(stream);
    let mut found = None;
    while let Some(entry) =
        reader.next_entry().map_err(|source| contents::Error::Archive { digest: digest(), source })?
    {
        if beneath::clean(&entry.path).is_ok_and(|entry| entry == path) {
            let mut bytes = Vec::new();
            (&mut reader).take(LIMIT).read_to_end(&mut bytes).map_err(Error::Io)?;
            found = Some(bytes);
        }
    }
    reader.into_inner().finish().map_err(failed)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_lookup() {
        for (text, expected) in
            [("5", Some((5, 5))), ("5:6", Some((5, 6))), ("www", None), ("5:www", None), ("4294967295", None)]
        {
            assert_eq!(numeric(text).unwrap(), expected, "{text}");
        }
    }
}
