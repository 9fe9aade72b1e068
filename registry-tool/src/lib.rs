//! Between OCI registries and image layouts.
//!
//! Seven rooms, each of which knows only those before it:
//!
//! - [`reference`](mod@reference): the names that people type;
//! - [`trust`]: signatures of images;
//! - [`place`]: where a name may be found, whether it may be used, and as whom;
//! - [`client`]: the HTTP conversation with one registry;
//! - [`question`]: what is asked without moving an image;
//! - [`transfer`]: images to a layout, from one, or past it;
//! - [`serve`]: a layout as a registry, which may be a mirror of another one.
//!
//! Nothing here prints: whoever wants to watch a transfer is told by [`event`](transfer::event)s.
//!
//! ```
//! use registry_tool::place::mirror::{Mirrors, Sources};
//! use registry_tool::reference::ImageName;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name: ImageName = "python:3.8".parse()?;
//! assert_eq!(name.to_string(), "docker.io/library/python:3.8");
//!
//! let mirrors = Mirrors::read(&Sources::default())?;
//! let places = mirrors.pull_endpoints(name.reference())?;
//! assert_eq!(places[0].host(), "registry-1.docker.io");
//! # Ok(())
//! # }
//! ```

pub mod client;
pub mod place;
pub mod question;
pub mod reference;
pub mod serve;
pub mod transfer;
pub mod trust;
