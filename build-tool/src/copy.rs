//! COPY and ADD: from sources to the entries of a layer.
//!
//! Nothing is mounted, and nothing but the layer is written: the tables of contents of the layers below tell where a
//! file goes, and its bytes flow from the source into the layer's archive, hashed on the way. The semantics are those
//! of BuildKit's file operations:
//!
//! - Sources are copied one after the other. A directory is copied as its contents, a file as itself. A destination that
//!   ends in `/` or is a directory by now takes files under their names.
//! - Links in the destination are followed inside the root file system; links below a copied directory are not, and a
//!   file replaces the link that has its name.
//! - Missing directories are created for root with mode 755, or with the owner of `--chown` and an octal `--chmod`. So is
//!   the destination of a directory.
//! - An existing directory keeps its owner and mode if it is the destination, and takes the source's if it is below it.
//! - With `--parents`, a directory on the way is created like the source's; if it exists, it gets the source's mode.
//! - Of extended attributes, a file's capabilities are copied and nothing else.
//! - What an archive holds replaces what is there, as tar(1) does it; `--chmod` is not for archives.
//!
//! This room may import [`crate::source`], [`crate::stage`] and [`crate::cache`]'s keys. It knows no step.

pub mod chmod;
mod copier;
mod error;
mod input;
mod options;
mod repository;

pub use copier::Copier;
pub use error::Error;
pub use input::{Input, add_to_key};
pub use options::Options;
pub use repository::Repository;
