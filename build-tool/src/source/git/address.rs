//! The address of a repository: `https://host/repo.git#ref:folder`, `git@host:repo`, `ssh://…`, `git://…`, and queries
//! (`?ref=…&subdir=…`), as BuildKit reads them.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::source::download::shown;

/// A repository, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// What git is given: the URL without query and fragment.
    pub remote: String,
    /// The branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// The folder of the repository that is taken; empty for all of it.
    pub folder: String,
    /// The commit that is expected, or the beginning of its hash.
    pub checksum: Option<String>,
    /// Whether `.git` is kept, if the address says so.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// Whether files have the time of the checkout, not that of the commit.
    pub checkout_time: bool,
    /// Whether the commit of [`Self::checksum`] is fetched whatever the reference leads to.
    pub by_commit: bool,
    /// Whether the address looks like a path (`github.com/user/repo`); then it is one for ADD.
    pub like_path: bool,
}

/// An address that is meant to be a repository's, and is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct BadAddress {
    /// The address without user and password.
    pub address: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The protocols that an address may have. Git's own list is as short: `ext::` would run a command.
const SCHEMES: [&str; 4] = ["https", "http", "ssh", "git"];

impl Address {
    /// Reads an address; `None` if the text is not that of a repository.
    pub fn parse(text: &str) -> Result<Option<Self>, BadAddress> {
        let bad = |reason: String| BadAddress { address: shown(text), reason };
        let like_path = text.starts_with("github.com/");
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let remote = match rest.split_once("://") {
            _ if like_path => format!("https://{rest}"),
            Some((scheme, path)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                let scheme = scheme.to_ascii_lowercase();
                // An address of the web is a repository only if it says so.
                if !SCHEMES.contains(&scheme.as_str()) || (scheme.starts_with("http") && !path.ends_with(".git")) {
                    return Ok(None);
                }
                format!("{scheme}://{path}")
            }
            None if is_scp(rest) => rest.to_owned(),
            _ => return Ok(None),
        };
        let host = host(&remote);
        if host.is_empty() || host.starts_with('-') || remote.starts_with('-') || remote.contains(char::is_control) {
            return Err(bad("not a valid host".to_owned()));
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (reference, folder) = match decode(fragment).split_once(':') {
            Some((reference, folder)) => (reference.to_owned(), clean(folder)),
            None => (decode(fragment), String::new()),
        };
        let mut address = Self { remote, reference, folder, submodules: true, like_path, ..Self::default() };
        address.query(query).map_err(bad)?;
        if let Some(reason) = wrong_reference(&address.reference) {
            return Err(bad(format!("{:?} is not a valid reference: {reason}", address.reference)));
        }
        if let Some(checksum) = address.checksum.as_deref().filter(|checksum| !is_hex(checksum)) {
            return Err(bad(format!("{checksum:?} is not the hash of a commit")));
        }
        Ok(Some(address))
    }

    /// Reads the query.
    fn query(&mut self, query: &str) -> Result<(), String> {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let (mut branch, mut tag) = (None, None);
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key), decode(value));
            if seen.contains(&key) {
                return Err(format!("query {key:?} is given twice"));
            }
            let switch = || match value.as_str() {
                "" | "1" | "t" | "true" => Ok(true),
                "0" | "f" | "false" => Ok(false),
                _ => Err(format!("{key}={value:?} is neither true nor false")),
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(switch()?),
                "submodules" => self.submodules = switch()?,
                "fetch-by-commit" => self.by_commit = switch()?,
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" if value.is_empty() => {
                    return Err(format!("query {key:?} has no value"));
                }
                "ref" => self.set_reference(value.clone())?,
                "tag" => tag = Some(value.clone()),
                "branch" => branch = Some(value.clone()),
                "subdir" if !self.folder.is_empty() && self.folder != clean(&value) => {
                    return Err(format!("two folders: {:?} and {value:?}", self.folder));
                }
                "subdir" => self.folder = clean(&value),
                "checksum" | "commit" => self.checksum = Some(value.clone()),
                "mtime" if ["checkout", "commit"].contains(&value.as_str()) => self.checkout_time = value == "checkout",
                "mtime" => return Err(format!("mtime={value:?} is neither checkout nor commit")),
                _ => return Err(format!("unknown query {key:?}")),
            }
            seen.push(key);
        }
        match (branch, tag) {
            (Some(_), Some(_)) => Err("both a branch and a tag".to_owned()),
            (Some(branch), None) => self.set_reference(full("refs/heads/", &branch)),
            (None, Some(tag)) => self.set_reference(full("refs/tags/", &tag)),
            (None, None) => Ok(()),
        }
    }

    fn set_reference(&mut self, reference: String) -> Result<(), String> {
        if !self.reference.is_empty() && self.reference != reference {
            return Err(format!("two references: {:?} and {reference:?}", self.reference));
        }
        self.reference = reference;
        Ok(())
    }

    /// The host, without user and port.
    pub fn host(&self) -> &str {
        host(&self.remote)
    }

    /// Whether the repository is reached by ssh.
    pub fn is_ssh(&self) -> bool {
        self.remote.starts_with("ssh://") || !self.remote.contains("://")
    }

    /// The remote without user and password, for messages and for `.git/config`.
    pub fn shown(&self) -> String {
        shown(&self.remote)
    }
}

impl fmt::Display for Address {
    /// The address without a password, and with the reference and the folder that it names.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown())?;
        match (self.reference.as_str(), self.folder.as_str()) {
            ("", "") => Ok(()),
            (reference, "") => write!(formatter, "#{reference}"),
            (reference, folder) => write!(formatter, "#{reference}:{folder}"),
        }
    }
}

/// Whether a text is the full hash of a commit, SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn full(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// A folder of the repository: `..` stops at its root.
fn clean(folder: &str) -> String {
    crate::source::files::inside(folder).to_string_lossy().into_owned()
}

/// Whether a text has scp's form, `user@host:path`.
fn is_scp(text: &str) -> bool {
    let word = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    text.split_once('@')
        .and_then(|(user, rest)| Some((user, rest.split_once(':')?.0)))
        .is_some_and(|(user, host)| word(user, "-_") && word(host, "-.") && !user.starts_with('-'))
}

fn host(remote: &str) -> &str {
    let (authority, rest) = match remote.split_once("://") {
        Some((_, rest)) => (rest.split('/').next().unwrap_or_default(), true),
        None => (remote.split(':').next().unwrap_or_default(), false),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if rest => host.split(':').next().unwrap_or_default(),
        None => host,
    }
}

/// Why a text cannot be a reference, by git-check-ref-format(1). What git would read as an option, a range or a pattern is
/// none.
fn wrong_reference(text: &str) -> Option<&'static str> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if text.starts_with('-') {
        Some("it begins with -")
    } else if text.contains(bad) || text.contains("..") || text.contains("@{") || text.contains("//") {
        Some("it holds a character that no reference has")
    } else if text.starts_with('/') || text.ends_with(['/', '.']) || text.ends_with(".lock") {
        Some("it ends in what no reference ends in")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repositories_are_told_from_urls_and_paths() {
        for (text, expected) in [
            ("https://h/a.git", Some(("https://h/a.git", "", ""))),
            ("https://h/a.git#main", Some(("https://h/a.git", "main", ""))),
            ("https://h/a.git#release/1.2:docs/x", Some(("https://h/a.git", "release/1.2", "docs/x"))),
            ("https://h/a.git#:docs/../../x", Some(("https://h/a.git", "", "x"))),
            ("HTTPS://u:p@h:8/a.git", Some(("https://u:p@h:8/a.git", "", ""))),
            ("https://h/a.git?ref=v1&subdir=/d", Some(("https://h/a.git", "v1", "d"))),
            ("https://h/a.git?tag=v1", Some(("https://h/a.git", "refs/tags/v1", ""))),
            ("https://h/a.git?branch=b", Some(("https://h/a.git", "refs/heads/b", ""))),
            ("git@h:a/b.git?subdir=/d#v1", Some(("git@h:a/b.git", "v1", "d"))),
            ("git@h:a/b", Some(("git@h:a/b", "", ""))),
            ("ssh://git@h:2222/~/x.git", Some(("ssh://git@h:2222/~/x.git", "", ""))),
            ("git://h/x", Some(("git://h/x", "", ""))),
            ("github.com/a/b#c", Some(("https://github.com/a/b", "c", ""))),
            ("https://h/a.git/", None),
            ("https://h/a", None),
            ("https://h/a.git.tar", None),
            ("http://h/a.git:#b", None),
            ("./x.git", None),
            ("local.git", None),
            ("file:///x.git", None),
            ("ext::sh -c x.git", None),
            ("a:b@c", None),
            ("user@", None),
        ] {
            let found = Address::parse(text).unwrap();
            let found = found.as_ref().map(|a| (a.remote.as_str(), a.reference.as_str(), a.folder.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn queries_say_what_is_wanted() {
        let query = "?keep-git-dir&submodules=false&mtime=checkout&fetch-by-commit=1&checksum=aBc&branch=a%2Fb";
        let address = Address::parse(&format!("https://h/a.git{query}")).unwrap().unwrap();
        assert_eq!((address.keep_git_dir, address.submodules, address.checkout_time), (Some(true), false, true));
        assert_eq!((address.by_commit, address.checksum.as_deref()), (true, Some("aBc")));
        assert_eq!(address.reference, "refs/heads/a/b");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, expected) in [
            ("?invalid=1", "unknown query \"invalid\""),
            ("?ref", "query \"ref\" has no value"),
            ("?ref=a#b", "two references: \"b\" and \"a\""),
            ("?ref=a&tag=b", "two references: \"a\" and \"refs/tags/b\""),
            ("?tag=a&branch=b", "both a branch and a tag"),
            ("?ref=a&ref=a", "query \"ref\" is given twice"),
            ("?mtime=x", "mtime=\"x\" is neither checkout nor commit"),
            ("?submodules=x", "submodules=\"x\" is neither true nor false"),
            ("?checksum=xyz", "\"xyz\" is not the hash of a commit"),
            ("#-u", "\"-u\" is not a valid reference: it begins with -"),
            ("#--upload-pack=x", "\"--upload-pack=x\" is not a valid reference: it begins with -"),
            ("#a..b", "\"a..b\" is not a valid reference: it holds a character that no reference has"),
            ("#a%0ab", "\"a\\nb\" is not a valid reference: it holds a character that no reference has"),
            ("#x.lock", "\"x.lock\" is not a valid reference: it ends in what no reference ends in"),
        ] {
            let error = Address::parse(&format!("https://me:secret@h/a.git{text}")).unwrap_err().to_string();
            assert_eq!(error, format!("https://h/a.git{text}: {expected}"));
        }
        assert!(Address::parse("ssh://-oProxyCommand=x/a.git").is_err());
        assert!(Address::parse("ssh://git@-x/a.git").is_err());
        assert_eq!(Address::parse("-x@host:a").unwrap(), None);
    }

    #[test]
    fn hosts_have_neither_user_nor_port() {
        for (text, expected) in
            [("https://u:p@h:8/a.git", "h"), ("git@h:a", "h"), ("ssh://[::1]:22/a", "::1"), ("git://h/x", "h")]
        {
            assert_eq!(Address::parse(text).unwrap().unwrap().host(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_git_is_given_looks_like_an_option(text in "[-a-z@:/#?&=%.\\[\\]\n]{0,24}") {
            for text in [text.clone(), format!("https://h/a.git{text}"), format!("ssh://{text}"), format!("git@{text}")] {
                if let Ok(Some(address)) = Address::parse(&text) {
                    for word in [address.remote.as_str(), &address.reference, address.host()] {
                        prop_assert!(!word.starts_with('-') && !word.contains(char::is_control), "{address:?}");
                    }
                }
            }
        }
    }
}
