//! `RUN --mount=…`: what is mounted while one command runs, and is not part of the layer.

use std::fmt;

use bundle_tool::option::csv;
use bundle_tool::option::quantity::{self, Size};

use super::near::near;
use super::problem::Problem;

/// One mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The type, with the fields that belong to it.
    pub kind: Kind,
    /// The path in the container, as written. Empty for the type's default: the working directory, or a path below /run
    /// for a secret and a socket.
    pub target: String,
    /// Whether the command may write to it.
    pub read_only: bool,
}

impl Mount {
    /// The stage or image that it takes from.
    pub fn from(&self) -> Option<&str> {
        match &self.kind {
            Kind::Bind { from, .. } | Kind::Cache { from, .. } => from.as_deref(),
            _ => None,
        }
    }
}

/// The types of `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A path of the context, of a stage or of an image. What the command writes to it is discarded.
    Bind {
        /// The stage or image; `None` is the context.
        from: Option<String>,
        /// The path in the source.
        source: String,
    },
    /// A directory that persists from build to build.
    Cache {
        /// The cache's name; by default the target as written.
        id: String,
        /// Whether several builds may use it at the same time.
        sharing: Sharing,
        /// The stage or image that a new cache is filled from.
        from: Option<String>,
        /// The path in that stage or image.
        source: String,
        /// The owner and mode of a new cache.
        owner: Owner,
    },
    /// A file system in memory.
    Tmpfs {
        /// The limit in bytes.
        size: Option<u64>,
    },
    /// A secret that was given with `build --secret`.
    Secret {
        /// The secret's name.
        id: String,
        /// Whether the step fails if the secret is not given.
        required: bool,
        /// The environment variable that holds the secret, in addition to a file if there is a target.
        env: Option<String>,
        /// The owner and mode of the file.
        owner: Owner,
    },
    /// A socket of an SSH agent that was given with `build --ssh`.
    Ssh {
        /// The agent's name.
        id: String,
        /// Whether the step fails if the agent is not given.
        required: bool,
        /// The owner and mode of the socket.
        owner: Owner,
    },
}

/// Whether several builds may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All of them.
    Shared,
    /// Each has one of its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// The owner and mode of what is mounted; what is not given is root's, with the type's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The user id.
    pub uid: Option<u32>,
    /// The group id.
    pub gid: Option<u32>,
    /// The permission bits.
    pub mode: Option<u32>,
}

/// A mount that cannot be parsed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMount(String);

impl fmt::Display for BadMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadMount {}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Parses the value of `--mount`. `expand` gives their values to the variables in a field; a value never becomes
/// another field, whatever is in it.
pub fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String, Problem>) -> Result<Mount, BadMount> {
    let fields = Fields::read(text, expand)?;
    let kind = fields.text("type").map_or_else(|| "bind".to_owned(), |kind| kind.to_ascii_lowercase());
    fields.check(&kind)?;
    let source = fields.text("source").unwrap_or_default();
    let target = fields.text("target").unwrap_or_default();
    let kind = match kind.as_str() {
        "bind" => Kind::Bind { from: fields.given("from"), source },
        "cache" => Kind::Cache {
            id: fields.given("id").unwrap_or_else(|| clean(&target)),
            sharing: fields.sharing()?,
            from: fields.given("from"),
            source,
            owner: fields.owner()?,
        },
        "tmpfs" => {
            let size = fields.text("size").map(|size| bytes(&size)).transpose()?;
            // As for mount(8), 0 is no limit.
            Kind::Tmpfs { size: size.filter(|size| *size != 0) }
        }
        "ssh" => Kind::Ssh {
            id: fields.given("id").unwrap_or_else(|| "default".to_owned()),
            required: fields.boolean("required")?.unwrap_or(false),
            owner: fields.owner()?,
        },
        _ => fields.secret()?,
    };
    let read_only = match (fields.boolean("readonly")?, fields.boolean("readwrite")?) {
        (Some(read_only), _) => read_only,
        (None, Some(writable)) => !writable,
        (None, None) => !matches!(kind, Kind::Cache { .. } | Kind::Tmpfs { .. }),
    };
    Ok(Mount { kind, target, read_only })
}

/// Parses what is known before variables have values: everything if the text holds none, and else the fields' names.
pub fn check(text: &str) -> Result<(), BadMount> {
    if !text.contains('$') {
        return parse(text, &|value| Ok(value.to_owned())).map(drop);
    }
    Fields::read(text, &|value| Ok(value.to_owned()))?;
    match from(text) {
        Some(from) if from.contains('$') => {
            // The stages that a build needs are found before any of them begins.
            Err(BadMount(format!("from={from}: variables have no value here (name a stage: FROM {from} AS NAME)")))
        }
        _ => Ok(()),
    }
}

/// What a mount takes from, whatever else it says.
pub fn from(text: &str) -> Option<String> {
    Fields::read(text, &|value| Ok(value.to_owned())).ok()?.given("from")
}

/// The path without `.`, `..` and doubled slashes. It may be relative: then it is `.` if nothing is left.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => {
                parts.pop();
            }
            None if part == ".." && path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    match (path.starts_with('/'), parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// The fields of a mount under their full names. If one is given twice, the last value counts.
struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    fn read(text: &str, expand: &dyn Fn(&str) -> Result<String, Problem>) -> Result<Self, BadMount> {
        let mut fields = Vec::new();
        for field in csv::fields(text).map_err(|error| BadMount(error.to_string()))? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => {
                    let value = expand(value).map_err(|problem| BadMount(problem.to_string()))?;
                    (key.to_ascii_lowercase(), Some(value))
                }
                None => (field.to_ascii_lowercase(), None),
            };
            if !KEYS.contains(&key.as_str()) {
                return Err(BadMount(format!("unknown key {key:?}{}", hint(&key, &KEYS))));
            }
            let key = match key.as_str() {
                "src" => "source",
                "dst" | "destination" => "target",
                "ro" => "readonly",
                "rw" => "readwrite",
                key => key,
            };
            if value.is_none() && !["readonly", "readwrite", "required"].contains(&key) {
                return Err(BadMount(format!("{key}: missing =value")));
            }
            fields.push((key.to_owned(), value));
        }
        Ok(Self(fields))
    }

    /// Refuses fields that a mount of that type does not have.
    fn check(&self, kind: &str) -> Result<(), BadMount> {
        let allowed: &[&str] = match kind {
            "bind" => &["from", "source"],
            "cache" => &["from", "source", "id", "sharing", "mode", "uid", "gid"],
            "tmpfs" => &["size"],
            "secret" => &["id", "source", "required", "env", "mode", "uid", "gid"],
            "ssh" => &["id", "required", "mode", "uid", "gid"],
            other => {
                let hint = hint(other, &["bind", "cache", "tmpfs", "secret", "ssh"]);
                return Err(BadMount(format!("unknown type {other:?}{hint}")));
            }
        };
        let always = ["type", "target", "readonly", "readwrite"];
        match self.0.iter().find(|(key, _)| !always.contains(&key.as_str()) && !allowed.contains(&key.as_str())) {
            Some((key, _)) => Err(BadMount(format!("{key} is not valid for type {kind}"))),
            None => Ok(()),
        }
    }

    fn last(&self, key: &str) -> Option<Option<&str>> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_deref())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.last(key).flatten().map(str::to_owned)
    }

    /// The text of a field that is as good as missing if it is empty.
    fn given(&self, key: &str) -> Option<String> {
        self.text(key).filter(|value| !value.is_empty())
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, BadMount> {
        let Some(value) = self.last(key) else { return Ok(None) };
        match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "1" | "t") => Ok(Some(true)),
            Some("false" | "0" | "f") => Ok(Some(false)),
            Some(value) => Err(BadMount(format!("{key}={value} is neither true nor false"))),
        }
    }

    fn number(&self, key: &str, radix: u32) -> Result<Option<u32>, BadMount> {
        let number = |value: String| {
            u32::from_str_radix(&value, radix).map_err(|_| BadMount(format!("{key}={value} is not a valid number")))
        };
        self.text(key).map(number).transpose()
    }

    fn owner(&self) -> Result<Owner, BadMount> {
        Ok(Owner { uid: self.number("uid", 10)?, gid: self.number("gid", 10)?, mode: self.number("mode", 8)? })
    }

    fn sharing(&self) -> Result<Sharing, BadMount> {
        match self.text("sharing").map(|sharing| sharing.to_ascii_lowercase()).as_deref() {
            None | Some("shared") => Ok(Sharing::Shared),
            Some("private") => Ok(Sharing::Private),
            Some("locked") => Ok(Sharing::Locked),
            Some(other) => Err(BadMount(format!("sharing={other} is none of shared, private and locked"))),
        }
    }

    fn secret(&self) -> Result<Kind, BadMount> {
        let id = match (self.given("id"), self.given("source"), self.given("target")) {
            (Some(_), Some(_), _) => return Err(BadMount("a secret has an id or a source, not both".to_owned())),
            (Some(id), None, _) | (None, Some(id), _) => id,
            (None, None, Some(target)) => {
                target.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
            }
            (None, None, None) => return Err(BadMount("a secret needs an id or a target".to_owned())),
        };
        let required = self.boolean("required")?.unwrap_or(false);
        let env = self.text("env");
        if env.as_deref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(BadMount("env= needs the name of a variable".to_owned()));
        }
        Ok(Kind::Secret { id, required, env, owner: self.owner()? })
    }
}

fn hint(word: &str, known: &[&str]) -> String {
    near(word, known.iter().copied()).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// A size in docker's notation: `64m`, `1GiB`, `100`.
fn bytes(text: &str) -> Result<u64, BadMount> {
    let size: Size = text.parse().map_err(|error: quantity::Error| BadMount(error.to_string()))?;
    // Docker's -1, no limit, is not valid for a mount.
    u64::try_from(size.bytes()).map_err(|_| BadMount(quantity::Error::Size(text.to_owned()).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, BadMount> {
        super::parse(text, &|value| Ok(value.replace("$V", "a,target=/elsewhere")))
    }

    #[test]
    fn mounts_of_each_type() {
        let bind = parse("from=build,source=/a,target=/b,rw").unwrap();
        assert_eq!(bind.kind, Kind::Bind { from: Some("build".into()), source: "/a".into() });
        assert!(!bind.read_only);
        let cache = parse("type=cache,target=/root/.cache,sharing=locked,uid=5").unwrap();
        let owner = Owner { uid: Some(5), ..Owner::default() };
        let id = "/root/.cache".to_owned();
        let expected = Kind::Cache { id, sharing: Sharing::Locked, from: None, source: String::new(), owner };
        assert_eq!((cache.kind, cache.read_only), (expected, false));
        assert_eq!(parse("type=tmpfs,dst=/t,size=1k").unwrap().kind, Kind::Tmpfs { size: Some(1024) });
        let Kind::Secret { id, required, .. } = parse("type=secret,\"target=/run/a,b\",required").unwrap().kind else {
            panic!()
        };
        assert_eq!((id.as_str(), required), ("a,b", true));
        let owner = Owner { mode: Some(0o660), ..Owner::default() };
        let ssh = parse("type=SSH,id=github,mode=0660,required").unwrap();
        assert_eq!(ssh.kind, Kind::Ssh { id: "github".into(), required: true, owner });
        let bare = parse("type=ssh").unwrap();
        assert_eq!(bare.kind, Kind::Ssh { id: "default".into(), required: false, owner: Owner::default() });
        assert_eq!((parse("type=bind").unwrap().target, bare.target), (String::new(), String::new()));
    }

    #[test]
    fn a_cache_is_named_by_its_target_as_written() {
        for (target, expected) in
            [("/a//b/../c/", "/a/c"), ("x/./y", "x/y"), ("../x", "../x"), ("a/..", "."), ("/..", "/"), ("", ".")]
        {
            let Kind::Cache { id, .. } = parse(&format!("type=cache,target={target}")).unwrap().kind else { panic!() };
            assert_eq!(id, expected, "{target}");
        }
    }

    #[test]
    fn the_value_of_a_variable_is_no_field() {
        let mount = parse("target=/t,source=$V").unwrap();
        assert_eq!(mount.target, "/t");
        assert_eq!(mount.kind, Kind::Bind { from: None, source: "a,target=/elsewhere".into() });
    }

    #[test]
    fn what_has_no_variable_is_checked_early() {
        assert_eq!(check("type=$T,target=$X,from=build"), Ok(()));
        assert_eq!(from("type=$T,target=$X,from=build").as_deref(), Some("build"));
        assert!(check("type=bnd").is_err() && check("traget=$X").is_err());
        let message = check("from=$V,target=/x").unwrap_err().to_string();
        assert_eq!(message, "from=$V: variables have no value here (name a stage: FROM $V AS NAME)");
    }

    #[test]
    fn wrong_mounts_say_why() {
        for (text, expected) in [
            ("type=bnd,target=/x", "unknown type \"bnd\" (did you mean bind?)"),
            ("type=ssh,source=/x", "source is not valid for type ssh"),
            ("type=secret,id=a,env=", "env= needs the name of a variable"),
            ("traget=/x", "unknown key \"traget\" (did you mean target?)"),
            ("type=tmpfs,target=/x,from=y", "from is not valid for type tmpfs"),
            ("type=cache,target=/x,mode=9", "mode=9 is not a valid number"),
            ("target", "target: missing =value"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [("64m", 64 << 20), ("1GiB", 1 << 30), ("100", 100), ("1.5k", 1536)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert!(bytes("x").is_err() && bytes("1x").is_err() && bytes("-1").is_err());
    }
}
