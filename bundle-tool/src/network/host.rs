//! What the host's network has: its interfaces and the addresses that they and routes lead to.
//!
//! All of it is that of the network namespace of this process; /sys may show another one.

use std::collections::BTreeMap;
use std::io;

use super::native::{self, Socket};
use super::subnet::Subnet;

/// The number of the interface of that name; `None` if there is none. A number is not given again while the host runs.
pub(super) fn index(name: &str) -> Option<u32> {
    native::find(&Socket::route().ok()?, name).ok()?.map(|link| link.index)
}

/// The names of all interfaces.
pub(super) fn names() -> Vec<String> {
    // Without an answer nothing can be chosen apart from them, but what is taken is refused when it is made.
    let names = Socket::route().and_then(|socket| native::names(&socket)).unwrap_or_default();
    names.into_iter().map(|(_, name)| name).collect()
}

/// The subnets of the host's interfaces, with the name of the interface.
pub(super) fn interfaces() -> Vec<(Subnet, String)> {
    ask(native::addresses)
}

/// The subnets of the host's interfaces and routes, with the name of the interface.
pub(super) fn subnets() -> Vec<(Subnet, String)> {
    let mut found = interfaces();
    found.extend(ask(native::routes));
    found
}

fn ask(what: impl FnOnce(&Socket) -> io::Result<Vec<(Subnet, u32)>>) -> Vec<(Subnet, String)> {
    let answer = || -> io::Result<_> {
        let socket = Socket::route()?;
        let names: BTreeMap<u32, String> = native::names(&socket)?.into_iter().collect();
        let named = what(&socket)?.into_iter().filter_map(|(subnet, index)| Some((subnet, names.get(&index)?.clone())));
        // Every host has the loopback interface.
        Ok(named.filter(|(_, interface)| interface != "lo").collect())
    };
    answer().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_known_by_name() {
        assert!(index("lo").is_some());
        assert_eq!(index("no-such-if0"), None);
        assert!(names().iter().any(|name| name == "lo"));
        assert!(subnets().iter().all(|(_, interface)| interface != "lo"));
    }
}
