//! A layout, or a folder of layouts, as a registry: the server's side of the distribution-spec 1.1, and what its main branch adds.
//!
//! A [`Namespace`] says which layout a repository's name leads to, a [`Server`] holds the conversations. The layouts on disk are the
//! only truth: nothing else is written, other programs may change them at the same time, and a server that is killed leaves layouts
//! that are whole. As a mirror it is a client too: `upstream` converses with other registries, and `mirror` keeps what they have.
//!
//! Within: `route` and `range` parse, `access` and `rules` say who may do what, `store` knows one layout and no HTTP, `pull`, `list`,
//! `push`, `publish` and `remove` carry requests out, `dispatch` chooses among them, and `server` holds the connections.

mod access;
mod ask;
mod content;
mod dispatch;
mod failure;
mod list;
mod metrics;
mod mirror;
mod namespace;
mod page;
mod publish;
mod pull;
mod push;
mod range;
mod receive;
mod remove;
mod route;
mod rules;
mod server;
mod settings;
mod store;
mod stream;
pub mod tls;
mod upstream;
mod visit;

pub use self::access::{Access, AccessError};
pub use self::ask::Guard;
pub use self::namespace::{Namespace, NamespaceError};
pub use self::rules::{Rules, RulesError};
pub use self::server::Server;
pub use self::settings::Settings;
pub use self::upstream::Upstream;
pub use self::visit::{Visit, Watcher};
