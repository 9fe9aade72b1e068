//! `RUN --mount=…`: what is laid over the root filesystem while one command runs and is no part of the layer.

use std::fmt;

use super::near::near;

/// One mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: Kind,
    /// Where; empty only for a secret that goes to an environment variable or under /run/secrets.
    pub target: String,
    /// Whether the command may write to it.
    pub read_only: bool,
}

/// The types of `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A path of the context, of a stage or of an image. What the command writes to it is thrown away.
    Bind {
        /// The stage or image; `None` is the context.
        from: Option<String>,
        /// The path in it.
        source: String,
    },
    /// A directory that lives on from build to build.
    Cache {
        /// Its name; the target if none is given.
        id: Option<String>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// What a new one begins with.
        from: Option<String>,
        /// The path in that.
        source: String,
        /// Owner and mode of a new one.
        owner: Owner,
    },
    /// Memory.
    Tmpfs {
        /// Its limit in bytes.
        size: Option<u64>,
    },
    /// Something given with `build --secret`.
    Secret {
        /// Its name.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// The environment variable that takes it, beside or instead of a file.
        env: Option<String>,
        /// Owner and mode of the file.
        owner: Owner,
    },
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// Owner and mode that a mount asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// A mount that cannot be read.
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

/// Read the value of `--mount`, its variables already expanded.
pub fn parse(text: &str) -> Result<Mount, BadMount> {
    let bad = |reason: String| Err(BadMount(reason));
    let mut fields: Vec<(String, Option<String>)> = Vec::new();
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        let key = match key.as_str() {
            "src" => "source".to_owned(),
            "dst" | "destination" => "target".to_owned(),
            "ro" => "readonly".to_owned(),
            "rw" => "readwrite".to_owned(),
            _ => key,
        };
        if !KEYS.contains(&key.as_str()) {
            let near = near(&key, KEYS).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return bad(format!("unknown key {key:?}{near}"));
        }
        if value.is_none() && !["readonly", "readwrite", "required"].contains(&key.as_str()) {
            return bad(format!("{key} lacks its =value"));
        }
        fields.push((key, value));
    }
    let kind =
        fields.iter().rev().find(|(key, _)| key == "type").and_then(|(_, value)| value.as_deref()).unwrap_or("bind");
    let allowed: &[&str] = match kind {
        "bind" => &["from", "source"],
        "cache" => &["from", "source", "id", "sharing", "mode", "uid", "gid"],
        "tmpfs" => &["size"],
        "secret" => &["id", "source", "required", "env", "mode", "uid", "gid"],
        "ssh" => return bad("type ssh is not supported: there is no agent to reach (use type=secret)".to_owned()),
        other => {
            let near = near(other, ["bind", "cache", "tmpfs", "secret"]).map(|near| format!(" (did you mean {near}?)"));
            return bad(format!("unknown type {other:?}{}", near.unwrap_or_default()));
        }
    };
    for (key, _) in &fields {
        if !["type", "target", "readonly", "readwrite"].contains(&key.as_str()) && !allowed.contains(&key.as_str()) {
            return bad(format!("{key} is not for type {kind}"));
        }
    }
    let text_of = |key: &str| fields.iter().rev().find(|(k, _)| k == key).and_then(|(_, value)| value.clone());
    let boolean = |key: &str| match fields.iter().rev().find(|(k, _)| k == key) {
        None => Ok(None),
        Some((_, None)) => Ok(Some(true)),
        Some((_, Some(value))) => match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" => Ok(Some(true)),
            "false" | "0" | "f" => Ok(Some(false)),
            _ => Err(BadMount(format!("{key}={value} is neither true nor false"))),
        },
    };
    let number = |key: &str, radix: u32| match text_of(key) {
        None => Ok(None),
        Some(value) => {
            u32::from_str_radix(&value, radix).map(Some).map_err(|_| BadMount(format!("{key}={value} is no number")))
        }
    };
    let owner = Owner { uid: number("uid", 10)?, gid: number("gid", 10)?, mode: number("mode", 8)? };
    let read_only = match (boolean("readonly")?, boolean("readwrite")?) {
        (Some(read_only), _) => read_only,
        (None, Some(writable)) => !writable,
        (None, None) => !matches!(kind, "cache" | "tmpfs"),
    };
    let target = text_of("target").unwrap_or_default();
    let source = text_of("source").unwrap_or_default();
    let kind = match kind {
        "bind" => Kind::Bind { from: text_of("from"), source },
        "cache" => Kind::Cache {
            id: text_of("id"),
            sharing: match text_of("sharing").as_deref() {
                None | Some("shared") => Sharing::Shared,
                Some("private") => Sharing::Private,
                Some("locked") => Sharing::Locked,
                Some(other) => return bad(format!("sharing={other} is none of shared, private and locked")),
            },
            from: text_of("from"),
            source,
            owner,
        },
        "tmpfs" => Kind::Tmpfs { size: text_of("size").map(|size| bytes(&size)).transpose()? },
        _ => {
            let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            let id = match (text_of("id"), source.is_empty(), target.is_empty()) {
                (Some(_), false, _) => return bad("a secret has an id or a source, not both".to_owned()),
                (Some(id), ..) => id,
                (None, false, _) => source,
                (None, true, false) => name(&target),
                (None, true, true) => return bad("a secret needs an id or a target".to_owned()),
            };
            Kind::Secret { id, required: boolean("required")?.unwrap_or(false), env: text_of("env"), owner }
        }
    };
    if target.is_empty() && !matches!(kind, Kind::Secret { .. }) {
        return bad("it lacks a target=".to_owned());
    }
    Ok(Mount { kind, target, read_only })
}

/// Split at commas outside double quotes; inside them two quotes are one.
fn csv(text: &str) -> Result<Vec<String>, BadMount> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is always a field");
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    match quoted {
        true => Err(BadMount("no closing \" to be found".to_owned())),
        false => Ok(fields),
    }
}

/// A size in docker's notation: `64m`, `1GiB`, `100`.
pub fn bytes(text: &str) -> Result<u64, BadMount> {
    let bad = || BadMount(format!("{text:?} is no size (64m, 1g)"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let factor = match unit {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(bad()),
    };
    let size = number * factor as f64;
    if size.is_finite() && size < i64::MAX as f64 { Ok(size as u64) } else { Err(bad()) }
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
            ("type=tmpfs,target=/x,from=y", "from is not for type tmpfs"),
            ("source=/x", "it lacks a target="),
            ("type=cache,target=/x,mode=9", "mode=9 is no number"),
            ("target", "target lacks its =value"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [("64m", 64 << 20), ("1GiB", 1 << 30), ("100", 100), ("1.5k", 1536)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert!(bytes("x").is_err() && bytes("1x").is_err());
    }
}
