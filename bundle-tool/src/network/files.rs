//! The content of /etc/hosts and /etc/resolv.conf in a container.
//!
//! They are files of the bundle, mounted over those of the image. The network hook changes `hosts` in place, since a mount is of the
//! file and not of its name.

use std::fs;
use std::net::IpAddr;
use std::str::FromStr;

/// A `--add-host`: NAME:ADDRESS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// The host name to add.
    pub name: String,
    /// The address of the host; `None` for `host-gateway`, the address of this host on the container's network.
    pub address: Option<IpAddr>,
}

impl FromStr for ExtraHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not valid (expected NAME:ADDRESS, where the address may be host-gateway)");
        // Docker also takes `=`, after which an IPv6 address is easier to read.
        let (name, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        let address = if address == "host-gateway" { None } else { Some(bare.parse().map_err(|_| wrong())?) };
        Ok(Self { name: name.into(), address })
    }
}

/// The values of `--dns`, `--dns-option` and `--dns-search`.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// The name servers; empty for those of the host.
    pub servers: Vec<IpAddr>,
    /// The options; empty for those of the host, a single `""` for none.
    pub options: Vec<String>,
    /// The search domains; empty for those of the host, a single `.` for none.
    pub search: Vec<String>,
}

/// A hosts file: the loopback names and those of `--add-host`.
///
/// `gateway` is the address of `host-gateway`. If it is not known yet, the network hook adds the names.
pub fn hosts(extra: &[ExtraHost], gateway: Option<IpAddr>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        ff00::0\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\n\
        ff02::2\tip6-allrouters\n"
        .to_owned();
    for host in extra {
        if let Some(address) = host.address.or(gateway) {
            text += &format!("{address}\t{}\n", host.name);
        }
    }
    text
}

/// The names in the line of a container's own address: the host name with its domain, then, if that is different, its first label.
pub fn host_names(hostname: &str, domain: &str) -> String {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    match full.split_once('.') {
        Some((short, _)) => format!("{full} {short}"),
        None => full,
    }
}

/// The host's resolv.conf with the options applied. In a network of the container's own, servers on the loopback network are left out,
/// since nothing listens there; the fallback is docker's, Google's servers.
pub fn resolv_conf(host: &str, dns: &Dns, own_network: bool) -> String {
    let mut servers: Vec<String> = dns.servers.iter().map(IpAddr::to_string).collect();
    let mut search = dns.search.clone();
    let mut options = dns.options.clone();
    let words = |key: &str| -> Vec<String> {
        let lines = host
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key).filter(|rest| rest.starts_with(char::is_whitespace)));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    if servers.is_empty() {
        servers = words("nameserver");
        if own_network {
            // A scoped address (fe80::1%eth0) names an interface that the container lacks.
            servers.retain(|server| server.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()));
            if servers.is_empty() {
                servers = vec!["8.8.8.8".into(), "8.8.4.4".into()];
            }
        }
    }
    if search.is_empty() {
        search = words("search");
        if search.is_empty() {
            search = words("domain");
        }
    }
    if options.is_empty() {
        options = words("options");
    }
    search.retain(|domain| domain != ".");
    options.retain(|option| !option.is_empty());
    // In docker's order.
    let mut text = String::new();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    text.extend(servers.iter().map(|server| format!("nameserver {server}\n")));
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    text
}

/// The host's resolv.conf. If /etc/resolv.conf only names the stub of systemd-resolved, its list of real servers is used.
pub fn host_resolv_conf() -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim);
    if servers.clone().count() == 1 && servers.next() == Some("127.0.0.53") {
        return fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_are_read_in_both_spellings() {
        let host = |text: &str| text.parse::<ExtraHost>();
        assert_eq!(host("db:10.0.0.2").unwrap().address, Some("10.0.0.2".parse().unwrap()));
        assert_eq!(host("db:::1").unwrap().address, Some("::1".parse().unwrap()));
        assert_eq!(host("db=[::1]").unwrap().address, Some("::1".parse().unwrap()));
        assert_eq!(host("me:host-gateway").unwrap().address, None);
        for text in ["", "db", "db:", ":1.2.3.4", "db:x", "a b:1.2.3.4", "a\nb:1.2.3.4"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hosts_file_has_what_was_added() {
        let extra = ["db:10.0.0.2".parse().unwrap(), "me:host-gateway".parse().unwrap()];
        let text = hosts(&extra, Some("10.9.0.1".parse().unwrap()));
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && text.ends_with("10.0.0.2\tdb\n10.9.0.1\tme\n"));
        assert!(!hosts(&extra, None).contains("\tme"));
    }

    #[test]
    fn a_host_name_with_a_domain_has_a_short_form() {
        for (hostname, domain, expected) in [
            ("plain", "", "plain"),
            ("host.example.com", "", "host.example.com host"),
            ("h1", "d.example", "h1.d.example h1"),
            ("a.b", "d", "a.b.d a"),
        ] {
            assert_eq!(host_names(hostname, domain), expected);
        }
    }

    #[test]
    fn the_hosts_servers_are_taken_but_for_loopback_ones() {
        let host =
            "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch a.example b.example\noptions ndots:2\n";
        assert_eq!(
            resolv_conf(host, &Dns::default(), true),
            "search a.example b.example\nnameserver 10.0.0.53\noptions ndots:2\n"
        );
        assert!(resolv_conf(host, &Dns::default(), false).contains("\nnameserver 127.0.0.1\n"));
        assert!(resolv_conf("", &Dns::default(), true).contains("8.8.8.8"));
        let dns =
            Dns { servers: vec!["1.1.1.1".parse().unwrap()], options: vec![String::new()], search: vec![".".into()] };
        assert_eq!(resolv_conf(host, &dns, true), "nameserver 1.1.1.1\n");
    }
}
