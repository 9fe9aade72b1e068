//! `RUN --mount=…`: what is mounted while one command runs, and is not part of the layer.

use std::fmt;

use bundle_tool::option::csv;
use bundle_tool::option::quantity::{self, Size};

use super::near::near;

/// One mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The type, with the fields that belong to it.
    pub kind: Kind,
    /// The path in the container. Empty only for a secret, which then is a variable or a file in /run/secrets.
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
        /// The cache's name; `None` means the target.
        id: Option<String>,
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

/// Parses the value of `--mount`, its variables already expanded.
pub fn parse(text: &str) -> Result<Mount, BadMount> {
    let fields = Fields::read(text)?;
    let kind = fields.text("type").unwrap_or_else(|| "bind".to_owned());
    fields.check(&kind)?;
    let source = fields.text("source").unwrap_or_default();
    let kind = match kind.as_str() {
        "bind" => Kind::Bind { from: fields.text("from"), source },
        "cache" => Kind::Cache {
            id: fields.text("id"),
            sharing: fields.sharing()?,
            from: fields.text("from"),
            source,
            owner: fields.owner()?,
        },
        "tmpfs" => Kind::Tmpfs { size: fields.text("size").map(|size| bytes(&size)).transpose()? },
        _ => fields.secret()?,
    };
    let read_only = match (fields.boolean("readonly")?, fields.boolean("readwrite")?) {
        (Some(read_only), _) => read_only,
        (None, Some(writable)) => !writable,
        (None, None) => !matches!(kind, Kind::Cache { .. } | Kind::Tmpfs { .. }),
    };
    let target = fields.text("target").unwrap_or_default();
    if target.is_empty() && !matches!(kind, Kind::Secret { .. }) {
        return Err(BadMount("missing target=".to_owned()));
    }
    Ok(Mount { kind, target, read_only })
}

/// The fields of a mount under their full names. If one is given twice, the last value counts.
struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    fn read(text: &str) -> Result<Self, BadMount> {
        let mut fields = Vec::new();
        for field in csv::fields(text).map_err(|error| BadMount(error.to_string()))? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
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
            "ssh" => {
                let reason = "type ssh is not supported: there is no agent to reach (use type=secret)";
                return Err(BadMount(reason.to_owned()));
            }
            other => {
                let hint = hint(other, &["bind", "cache", "tmpfs", "secret"]);
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
        match self.last("sharing").flatten() {
            None | Some("shared") => Ok(Sharing::Shared),
            Some("private") => Ok(Sharing::Private),
            Some("locked") => Ok(Sharing::Locked),
            Some(other) => Err(BadMount(format!("sharing={other} is none of shared, private and locked"))),
        }
    }

    fn secret(&self) -> Result<Kind, BadMount> {
        let given = |key: &str| self.text(key).filter(|value| !value.is_empty());
        let id = match (self.text("id"), given("source"), given("target")) {
            (Some(_), Some(_), _) => return Err(BadMount("a secret has an id or a source, not both".to_owned())),
            (Some(id), None, _) | (None, Some(id), _) => id,
            (None, None, Some(target)) => target.rsplit('/').next().unwrap_or_default().to_owned(),
            (None, None, None) => return Err(BadMount("a secret needs an id or a target".to_owned())),
        };
        let required = self.boolean("required")?.unwrap_or(false);
        Ok(Kind::Secret { id, required, env: self.text("env"), owner: self.owner()? })
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

    #[test]
    fn mounts_of_each_type() {
        let bind = parse("from=build,source=/a,target=/b,rw").unwrap();
        assert_eq!(bind.kind, Kind::Bind { from: Some("build".into()), source: "/a".into() });
        assert!(!bind.read_only);
        let cache = parse("type=cache,target=/root/.cache,sharing=locked,uid=5").unwrap();
        let owner = Owner { uid: Some(5), ..Owner::default() };
        let expected = Kind::Cache { id: None, sharing: Sharing::Locked, from: None, source: String::new(), owner };
        assert_eq!((cache.kind, cache.read_only), (expected, false));
        assert_eq!(parse("type=tmpfs,dst=/t,size=1k").unwrap().kind, Kind::Tmpfs { size: Some(1024) });
        let Kind::Secret { id, required, .. } = parse("type=secret,\"target=/run/a,b\",required").unwrap().kind else {
            panic!()
        };
        assert_eq!((id.as_str(), required), ("a,b", true));
    }

    #[test]
    fn wrong_mounts_say_why() {
        for (text, expected) in [
            ("type=bnd,target=/x", "unknown type \"bnd\" (did you mean bind?)"),
            ("type=ssh", "type ssh is not supported: there is no agent to reach (use type=secret)"),
            ("traget=/x", "unknown key \"traget\" (did you mean target?)"),
            ("type=tmpfs,target=/x,from=y", "from is not valid for type tmpfs"),
            ("source=/x", "missing target="),
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
