//! OCI image layouts: the library that the container tools share.
//!
//! A *layout* is a folder with an `oci-layout` file, an `index.json` and content-addressed `blobs/` (image-spec
//! image-layout.md). [`layout`] opens and creates layouts, verifies blobs while they are written, replaces `index.json` under
//! a lock, and chooses among platforms. [`address`] names images.
//!
//! ```
//! use image_tool::address::Address;
//! use image_tool::layout::Layout;
//! use oci_spec::image::MediaType;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("images");
//! let layout = Layout::create(&path)?;
//! let writer = layout.writer()?;
//! let blob = writer.put(MediaType::EmptyJSON, b"{}")?;
//! assert_eq!(layout.read(&blob, 16)?, b"{}");
//!
//! let address: Address = "images:python:3.8".parse()?;
//! assert_eq!(address.reference().map(|name| name.as_str()), Some("python:3.8"));
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod archive;
pub mod beneath;
pub mod edit;
pub mod error;
pub mod interrupt;
pub mod layer;
pub mod layout;
pub mod program;
pub mod show;
pub mod verify;
