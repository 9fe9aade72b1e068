//! A layout, or a folder of layouts, as a registry: the server's side of the distribution-spec 1.1, and what its main branch adds.
//!
//! A [`Namespace`] says which layout a repository's name leads to, a [`Server`] holds the conversations. The layouts on disk are the
//! only truth: nothing else is written, other programs may change them at the same time, and a server that is killed leaves layouts
//! that are whole. Of the crate's other rooms this one knows only `reference`.
//!
//! Within: `route` and `range` parse, `store` knows one layout and no HTTP, `pull`, `list`, `push`, `publish` and `remove` carry
//! requests out, `dispatch` chooses among them, and `server` holds the connections.

mod access;
mod ask;
mod content;
mod dispatch;
mod failure;
mod list;
mod metrics;
mod namespace;
mod page;
mod publish;
mod pull;
mod push;
mod range;
mod receive;
mod remove;
mod route;
mod server;
mod settings;
mod store;
mod stream;
pub mod tls;
mod visit;

pub use self::access::{Access, AccessError};
pub use self::namespace::{Namespace, NamespaceError};
pub use self::server::Server;
pub use self::settings::Settings;
pub use self::visit::{Visit, Watcher};
