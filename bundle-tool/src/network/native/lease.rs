//! The addresses of a network that are in use: a file for each, as CNI's plugin host-local keeps them, so that a network can be brought up
//! here or by the plugin, whichever comes next.
//!
//! A file is named by its address and holds the id of the container and the name of its interface. `last_reserved_ip.N` holds the address
//! that was given last, after which the search for the next begins, so that an address is not given again at once.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use image_tool::error::During as _;
use rustix::fs::FlockOperation;

use crate::network::Error;
use crate::network::subnet::{Subnet, number, same_family};

/// A range of addresses that containers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) subnet: Subnet,
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
    /// The address of the host.
    pub(super) gateway: IpAddr,
}

/// The leases of a network.
pub(super) struct Leases<'a> {
    pub(super) network: &'a str,
    pub(super) folder: PathBuf,
}

/// The lock of host-local.
struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

impl Leases<'_> {
    fn lock(&self) -> Result<Lock, Error> {
        fs::create_dir_all(&self.folder).during("create", &self.folder)?;
        let path = self.folder.join("lock");
        let file = File::options().create(true).append(true).open(&path).during("open", &path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).during("lock", &path)?;
        Ok(Lock(file))
    }

    /// Gives the container one address of each of `sets`: one of `wanted` if it is in the set, else the next free one.
    pub(super) fn take(
        &self,
        sets: &[Vec<Range>],
        wanted: &[IpAddr],
        owner: &str,
    ) -> Result<Vec<(IpAddr, Range)>, Error> {
        let within = |ip: &IpAddr| sets.iter().flatten().any(|range| range.subnet.contains(*ip));
        if let Some(stray) = wanted.iter().find(|ip| !within(ip)) {
            return Err(self.refused(*stray, "in no subnet of the network"));
        }
        let _lock = self.lock()?;
        let mut taken = self.taken();
        let mut given = Vec::new();
        for (index, set) in sets.iter().enumerate() {
            let asked = wanted.iter().find(|ip| set.iter().any(|range| range.subnet.contains(**ip)));
            let (ip, range) = match asked {
                Some(ip) => self.asked(set, *ip, &taken)?,
                None => self.next(index, set, &taken)?,
            };
            self.write(&ip.to_string(), owner)?;
            if asked.is_none() {
                self.write(&format!("last_reserved_ip.{index}"), &ip.to_string())?;
            }
            taken.insert(ip);
            given.push((ip, range));
        }
        Ok(given)
    }

    fn refused(&self, address: IpAddr, reason: &'static str) -> Error {
        Error::Address { network: self.network.into(), address, reason }
    }

    fn asked(&self, set: &[Range], ip: IpAddr, taken: &HashSet<IpAddr>) -> Result<(IpAddr, Range), Error> {
        if set.iter().any(|range| range.gateway == ip) {
            return Err(self.refused(ip, "the host's own"));
        }
        if taken.contains(&ip) {
            return Err(self.refused(ip, "Address already in use"));
        }
        // Addresses that are kept from the search, by --ip-range, can be asked for.
        let range = set
            .iter()
            .find(|range| range.subnet.contains(ip))
            .ok_or_else(|| self.refused(ip, "in no subnet of the network"))?;
        let (first, last) = range.subnet.hosts();
        if !(number(first)..=number(last)).contains(&number(ip)) {
            return Err(self.refused(ip, "not an address for a host"));
        }
        Ok((ip, range.clone()))
    }

    /// The first free address after the one that was given last.
    fn next(&self, index: usize, set: &[Range], taken: &HashSet<IpAddr>) -> Result<(IpAddr, Range), Error> {
        let last: Option<IpAddr> = fs::read_to_string(self.folder.join(format!("last_reserved_ip.{index}")))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let within = |range: &Range, ip: IpAddr| (number(range.first)..=number(range.last)).contains(&number(ip));
        let start = last.and_then(|last| {
            let at = set.iter().position(|range| range.subnet.contains(last) && within(range, last))?;
            Some((at, number(last) + 1))
        });
        let (at, from) = start.unwrap_or((0, set.first().map_or(0, |range| number(range.first))));
        // From there to the end of its range, through all others, and from the beginning of its range.
        let free = |range: &Range, from: u128| {
            let mut candidates = (from..=number(range.last)).map(|number| same_family(range.first, number));
            candidates.find(|ip| *ip != range.gateway && !taken.contains(ip)).map(|ip| (ip, range.clone()))
        };
        let order = (0..=set.len()).map(|step| ((at + step) % set.len().max(1), step > 0));
        let mut found = order.filter_map(|(index, whole)| {
            let range = set.get(index)?;
            free(range, if whole { number(range.first) } else { from })
        });
        found.next().ok_or_else(|| Error::NoAddress { network: self.network.into() })
    }

    fn taken(&self) -> HashSet<IpAddr> {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        let write = || -> io::Result<()> { File::create(&path)?.write_all(text.as_bytes()) };
        Ok(write().during("write", &path)?)
    }

    /// Takes the addresses of a container back.
    pub(super) fn release(&self, owner: &str) -> Result<(), Error> {
        if !self.folder.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for ip in self.taken() {
            let path = self.folder.join(ip.to_string());
            if fs::read_to_string(&path).is_ok_and(|text| text.trim() == owner) {
                fs::remove_file(&path).during("remove", &path)?;
            }
        }
        Ok(())
    }
}

/// What is in the file of an address.
pub(super) fn owner(id: &str, interface: &str) -> String {
    format!("{id}\r\n{interface}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(subnet: &str, first: &str, last: &str, gateway: &str) -> Range {
        Range { subnet: subnet.parse().unwrap(), first: ip(first), last: ip(last), gateway: ip(gateway) }
    }

    fn give(leases: &Leases<'_>, sets: &[Vec<Range>], wanted: &[&str], id: &str) -> Result<Vec<String>, String> {
        let wanted: Vec<IpAddr> = wanted.iter().map(|text| ip(text)).collect();
        let given = leases.take(sets, &wanted, &owner(id, "eth0")).map_err(|error| error.to_string())?;
        Ok(given.iter().map(|(ip, _)| ip.to_string()).collect())
    }

    #[test]
    fn addresses_are_given_in_turn_and_not_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let leases = Leases { network: "shop", folder: folder.path().join("shop") };
        let sets = [
            vec![
                range("10.9.0.0/24", "10.9.0.1", "10.9.0.2", "10.9.0.1"),
                range("10.9.0.0/24", "10.9.0.5", "10.9.0.6", "10.9.0.1"),
            ],
            vec![range("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1")],
        ];
        assert_eq!(give(&leases, &sets, &[], "a").unwrap(), ["10.9.0.2", "fd00::2"]);
        assert_eq!(give(&leases, &sets, &[], "b").unwrap(), ["10.9.0.5", "fd00::3"]);
        leases.release(&owner("a", "eth0")).unwrap();
        assert_eq!(give(&leases, &sets, &[], "c").unwrap(), ["10.9.0.6", "fd00::4"]);
        assert_eq!(give(&leases, &sets, &[], "d").unwrap()[0], "10.9.0.2", "from the beginning again");
        assert!(give(&leases, &sets, &[], "e").unwrap_err().contains("shop: no free address"));
        // The files are host-local's.
        let text = fs::read_to_string(folder.path().join("shop/10.9.0.2")).unwrap();
        assert_eq!(text, "d\r\neth0");
        assert_eq!(fs::read_to_string(folder.path().join("shop/last_reserved_ip.0")).unwrap(), "10.9.0.2");
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let leases = Leases { network: "shop", folder: folder.path().join("shop") };
        let sets = [vec![range("10.9.0.0/24", "10.9.0.16", "10.9.0.31", "10.9.0.254")]];
        assert_eq!(give(&leases, &sets, &["10.9.0.5"], "a").unwrap(), ["10.9.0.5"]);
        for (wanted, reason) in [
            ("10.9.0.5", "10.9.0.5: Address already in use"),
            ("10.9.0.254", "10.9.0.254: the host's own"),
            ("10.9.0.0", "10.9.0.0: not an address"),
            ("10.9.0.255", "10.9.0.255: not an address"),
            ("10.8.0.1", "10.8.0.1: in no subnet"),
        ] {
            let message = give(&leases, &sets, &[wanted], "b").unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
        leases.release(&owner("b", "eth0")).unwrap();
        assert_eq!(give(&leases, &sets, &[], "c").unwrap(), ["10.9.0.16"]);
    }
}
