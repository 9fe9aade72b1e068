//! COPY and ADD: from sources to the entries of a layer.
//!
//! Nothing is mounted, and nothing but the layer is written: the tables of contents of the layers below tell where a
//! file goes, and its bytes flow from the source into the layer's archive, hashed on the way. The semantics are those
//! of BuildKit's file operations:
//!
//! - A directory is copied as its contents, a file as itself. A destination that ends in `/` or is a directory takes
//!   files under their names.
//! - Links in the destination are followed inside the root file system; links below a copied directory are not.
//! - Missing directories are created with mode 755 and, with `--chown`, that owner.
//! - An existing directory keeps its owner and mode if it is the destination, and takes the source's if it is below it.
//!
//! This room may import [`crate::source`], [`crate::stage`] and [`crate::cache`]'s keys. It knows no step.

pub mod chmod;
mod copier;
mod error;
mod input;
mod options;

pub use copier::Copier;
pub use error::Error;
pub use input::{Input, add_to_key};
pub use options::Options;
