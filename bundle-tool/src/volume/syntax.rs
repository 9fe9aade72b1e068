//! Parsers for `-v`, `--mount` and `--tmpfs`.

use std::path::{Component, Path, PathBuf};

use super::{Attachment, Bind, Error, Recursive, Source};
use crate::bundle::name::is_name;
use crate::option::boolean;
use crate::option::csv;
use crate::option::path;
use crate::option::quantity::Size;

fn wrong(text: &str, reason: impl Into<String>) -> Error {
    Error::Syntax { text: text.into(), reason: reason.into() }
}

/// A target as docker cleans it: absolute, with `.` and `..` resolved.
fn target(text: &str, path: &str) -> Result<PathBuf, Error> {
    if !path.starts_with('/') {
        return Err(wrong(text, format!("the path in the container must be absolute: {path:?}")));
    }
    let clean = path::clean(path);
    if clean == Path::new("/") { Err(wrong(text, "the target must not be the root")) } else { Ok(clean) }
}

fn propagation(word: &str) -> Option<&'static str> {
    ["shared", "rshared", "slave", "rslave", "private", "rprivate"].into_iter().find(|each| *each == word)
}

fn bind(path: PathBuf, create: bool) -> Bind {
    Bind { path, create, propagation: "rprivate", recursive: Recursive::Enabled, relabel: false }
}

/// Parses `[SOURCE:]TARGET[:OPTIONS]`.
pub(super) fn volume(text: &str, base: &Path) -> Result<Attachment, Error> {
    if text.is_empty() {
        return Err(wrong(text, "invalid empty volume spec"));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, path, options) = match parts.as_slice() {
        [path] => (None, *path, ""),
        // There is no `TARGET:OPTIONS`: of two parts the first is the source.
        [source, path] => (Some(*source), *path, ""),
        [source, path, options] => (Some(*source), *path, *options),
        _ => return Err(wrong(text, "too many colons (expected SOURCE:TARGET:OPTIONS)")),
    };
    let target = target(text, path)?;
    let mut source = match source {
        None => Source::Volume { name: None, copy: true, subpath: None, labels: Vec::new(), options: Vec::new() },
        Some("") => return Err(wrong(text, "empty section between colons")),
        Some(path) if path.starts_with('/') => Source::Bind(bind(path.into(), true)),
        Some(path) if path == "." || path == ".." || path.starts_with("./") || path.starts_with("../") => {
            Source::Bind(bind(base.join(path), true))
        }
        Some(name) if is_name(name) => Source::Volume {
            name: Some(name.into()),
            copy: true,
            subpath: None,
            labels: Vec::new(),
            options: Vec::new(),
        },
        Some(name) => {
            return Err(wrong(text, format!("{name:?} is not a valid volume name (a path begins with / or ./)")));
        }
    };
    let mut readonly = false;
    let mut seen: Vec<&str> = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let kind = match (option, &mut source) {
            ("ro", _) => {
                readonly = true;
                "mode"
            }
            ("rw", _) => "mode",
            // For Docker Desktop; on Linux docker ignores them as well.
            ("consistent" | "cached" | "delegated", _) => "consistency",
            ("nocopy", Source::Volume { copy, .. }) => {
                *copy = false;
                "copy"
            }
            ("z" | "Z", Source::Bind(bind)) => {
                bind.relabel = true;
                "label"
            }
            ("z" | "Z", Source::Volume { .. }) => "label",
            (word, Source::Bind(bind)) if propagation(word).is_some() => {
                bind.propagation = propagation(word).unwrap_or(bind.propagation);
                "propagation"
            }
            _ => return Err(wrong(text, format!("{option:?} is not a valid option for this mount"))),
        };
        if seen.contains(&kind) {
            return Err(wrong(text, format!("{option:?} contradicts an earlier option")));
        }
        seen.push(kind);
    }
    Ok(Attachment { target, readonly, source })
}

/// Parses `key=value,…`.
pub(super) fn mount(text: &str, base: &Path) -> Result<Attachment, Error> {
    let mut kind = "volume".to_owned();
    let (mut source, mut path, mut readonly) = (None, None, false);
    let mut rest: Vec<(String, String)> = Vec::new();
    for field in csv::fields(text).map_err(|error| wrong(text, error.to_string()))? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        let given = || {
            value.clone().filter(|value| !value.is_empty()).ok_or_else(|| wrong(text, format!("{key} lacks a value")))
        };
        match key.as_str() {
            "type" => kind = given()?.to_ascii_lowercase(),
            "source" | "src" => source = Some(given()?),
            "target" | "dst" | "destination" => path = Some(given()?),
            "readonly" | "ro" => readonly = switch(text, &key, value.as_deref())?,
            "consistency" => match given()?.as_str() {
                "consistent" | "cached" | "delegated" | "default" => {}
                other => return Err(wrong(text, format!("{other:?} is not a valid consistency"))),
            },
            "bind-nonrecursive" | "volume-nocopy" | "bind-create-src" => {
                let value = switch(text, &key, value.as_deref())?;
                rest.push((key, value.to_string()));
            }
            "bind-propagation" | "bind-recursive" | "volume-label" | "volume-driver" | "volume-opt"
            | "volume-subpath" | "image-subpath" | "tmpfs-size" | "tmpfs-mode" => {
                rest.push((key.clone(), given()?));
            }
            _ => return Err(wrong(text, format!("{key:?} is not a valid key"))),
        }
    }
    let target = target(text, &path.ok_or_else(|| wrong(text, "missing target"))?)?;
    let prefix = format!("{kind}-");
    if let Some((key, _)) = rest.iter().find(|(key, _)| !key.starts_with(&prefix)) {
        return Err(wrong(text, format!("{key} is not valid for type={kind}")));
    }
    let source = match kind.as_str() {
        "bind" => Source::Bind(mount_bind(text, base, source, &rest)?),
        "volume" => mount_volume(text, source, &rest)?,
        "tmpfs" if source.is_some() => return Err(wrong(text, "a tmpfs has no source")),
        "tmpfs" => Source::Tmpfs { options: mount_tmpfs(text, &rest)? },
        "image" => {
            let reference = source.ok_or_else(|| wrong(text, "missing source"))?;
            let subpath = rest.last().map(|(key, value)| subpath(text, key, value)).transpose()?;
            // Its files are the image's; what a container writes would be lost.
            readonly = true;
            Source::Image { reference, subpath }
        }
        "npipe" | "cluster" => {
            return Err(wrong(text, format!("type={kind} is not supported (bind, volume, tmpfs and image are)")));
        }
        _ => return Err(wrong(text, format!("{kind:?} is not a valid type (bind, volume, tmpfs or image)"))),
    };
    if matches!(&source, Source::Bind(Bind { recursive: Recursive::Readonly, .. })) && !readonly {
        return Err(wrong(text, "bind-recursive=readonly needs readonly"));
    }
    Ok(Attachment { target, readonly, source })
}

fn mount_bind(text: &str, base: &Path, source: Option<String>, rest: &[(String, String)]) -> Result<Bind, Error> {
    let source = source.ok_or_else(|| wrong(text, "missing source"))?;
    let path = match source.as_str() {
        path if path.starts_with('/') => PathBuf::from(path),
        path if path.starts_with('.') => base.join(path),
        path => return Err(wrong(text, format!("the source must be an absolute path: {path:?}"))),
    };
    let mut made = bind(path, false);
    for (key, value) in rest {
        match (key.as_str(), value.as_str()) {
            ("bind-propagation", word) => {
                made.propagation =
                    propagation(word).ok_or_else(|| wrong(text, format!("{word:?} is not a valid propagation")))?;
            }
            ("bind-create-src", value) => made.create = value == "true",
            ("bind-nonrecursive", "true") | ("bind-recursive", "disabled") => made.recursive = Recursive::Disabled,
            ("bind-nonrecursive", _) | ("bind-recursive", "enabled") => made.recursive = Recursive::Enabled,
            ("bind-recursive", "writable") => made.recursive = Recursive::Writable,
            ("bind-recursive", "readonly") => made.recursive = Recursive::Readonly,
            (key, value) => return Err(wrong(text, format!("{value:?} is not a valid value of {key}"))),
        }
    }
    Ok(made)
}

fn mount_volume(text: &str, source: Option<String>, rest: &[(String, String)]) -> Result<Source, Error> {
    if let Some(name) = source.as_deref().filter(|name| !is_name(name)) {
        return Err(wrong(text, format!("{name:?} is not a valid volume name (type=bind mounts a folder)")));
    }
    let (mut copy, mut folder, mut labels, mut options) = (true, None, Vec::new(), Vec::new());
    for (key, value) in rest {
        match key.as_str() {
            "volume-nocopy" => copy = value != "true",
            "volume-label" => labels.push(value.clone()),
            "volume-subpath" => folder = Some(subpath(text, key, value)?),
            "volume-driver" if value == "local" => {}
            "volume-driver" => {
                return Err(wrong(text, format!("volume driver {value:?} is not supported (only local is)")));
            }
            _ if value.contains('=') => options.push(value.clone()),
            _ => return Err(wrong(text, format!("volume-opt: {value:?} is not KEY=VALUE"))),
        }
    }
    Ok(Source::Volume { name: source, copy, subpath: folder, labels, options })
}

/// A folder within a volume or an image.
fn subpath(text: &str, key: &str, value: &str) -> Result<PathBuf, Error> {
    let path = Path::new(value);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(path.to_owned())
    } else {
        Err(wrong(text, format!("{key} must be a relative path without \"..\"")))
    }
}

fn mount_tmpfs(text: &str, rest: &[(String, String)]) -> Result<Vec<String>, Error> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
    for (key, value) in rest {
        match key.as_str() {
            "tmpfs-size" => {
                let size: Size = value.parse().map_err(|error| wrong(text, format!("{error}")))?;
                options.push(format!("size={}", size.bytes().max(0)));
            }
            _ => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                let mode = mode.ok_or_else(|| wrong(text, format!("{value:?} is not a valid mode in octal")))?;
                options.push(format!("mode={mode:o}"));
            }
        }
    }
    Ok(options)
}

/// Parses `TARGET[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> Result<Attachment, Error> {
    let (path, given) = text.split_once(':').unwrap_or((text, ""));
    let target = target(text, path)?;
    let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    let mut readonly = false;
    for option in given.split(',').filter(|option| !option.is_empty()) {
        let positive = option.strip_prefix("no").unwrap_or(option);
        match option.split_once('=') {
            Some(("size", value)) => {
                // A tmpfs also takes a share of the memory, such as 50%.
                let percent = value
                    .strip_suffix('%')
                    .is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number <= 100));
                let size = value.parse::<Size>();
                options.push(match size {
                    Ok(size) if size.bytes() >= 0 => format!("size={}", size.bytes()),
                    _ if percent => option.to_owned(),
                    _ => return Err(wrong(text, format!("{value:?} is not a valid size"))),
                });
            }
            Some(("mode", value)) if u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777) => {
                options.push(option.to_owned());
            }
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", value)) if value.parse::<u64>().is_ok() => {
                options.push(option.to_owned());
            }
            Some(_) => return Err(wrong(text, format!("{option:?} is not a valid option for a tmpfs"))),
            None if option == "ro" => readonly = true,
            None if option == "rw" => readonly = false,
            None if ["exec", "suid", "dev", "atime", "diratime"].contains(&positive)
                || ["relatime", "strictatime", "sync", "async"].contains(&option) =>
            {
                options.retain(|known| known.strip_prefix("no").unwrap_or(known) != positive);
                options.push(option.to_owned());
            }
            None if ["private", "shared", "slave"].contains(&option.strip_prefix('r').unwrap_or(option)) => {
                options.push(option.to_owned());
            }
            None => return Err(wrong(text, format!("{option:?} is not a valid option for a tmpfs"))),
        }
    }
    Ok(Attachment { target, readonly, source: Source::Tmpfs { options } })
}

fn switch(text: &str, key: &str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None => Ok(true),
        Some(value) => boolean::parse(value).map_err(|error| wrong(text, format!("{key}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base() -> &'static Path {
        Path::new("/here")
    }

    fn named(name: Option<&str>) -> Source {
        Source::Volume {
            name: name.map(str::to_owned),
            copy: true,
            subpath: None,
            labels: Vec::new(),
            options: Vec::new(),
        }
    }

    #[test]
    fn volumes_are_read_as_docker_reads_them() {
        let cases = [
            ("/data", "/data", false, named(None)),
            ("data:/data", "/data", false, named(Some("data"))),
            ("data:/data:ro", "/data", true, named(Some("data"))),
            ("/host:/a//b/../c/:ro", "/a/c", true, Source::Bind(bind("/host".into(), true))),
            ("./x:/x", "/x", false, Source::Bind(bind("/here/./x".into(), true))),
            (
                "/h:/x:ro,rslave,z",
                "/x",
                true,
                Source::Bind(Bind { propagation: "rslave", relabel: true, ..bind("/h".into(), true) }),
            ),
            (
                "v:/x:nocopy",
                "/x",
                false,
                Source::Volume { name: Some("v".into()), copy: false, subpath: None, labels: vec![], options: vec![] },
            ),
        ];
        for (text, target, readonly, source) in cases {
            // A single letter is not a valid name.
            let text = text.replace("v:/x", "vv:/x");
            let source = if let Source::Volume { name: Some(name), .. } = &source
                && name == "v"
            {
                Source::Volume { name: Some("vv".into()), copy: false, subpath: None, labels: vec![], options: vec![] }
            } else {
                source
            };
            assert_eq!(
                volume(&text, base()).unwrap(),
                Attachment { target: target.into(), readonly, source },
                "{text}"
            );
        }
        for text in [
            "",
            ":",
            "a:b:c:d",
            "data:rel",
            "/h:/",
            "/h:/..",
            "a/b:/x",
            "/h:/x:bogus",
            "/h:/x:ro,rw",
            "/h:/x:nocopy",
            ":/x",
            "data:/x:rslave",
        ] {
            assert!(volume(text, base()).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_are_read_as_docker_reads_them() {
        let good = mount("type=bind,source=/a b,\"target=/x,y\",readonly,bind-propagation=shared", base()).unwrap();
        assert_eq!(good.target, Path::new("/x,y"));
        assert!(good.readonly);
        assert_eq!(good.source, Source::Bind(Bind { propagation: "shared", ..bind("/a b".into(), false) }));
        assert_eq!(mount("dst=/x", base()).unwrap().source, named(None));
        assert_eq!(mount("type=volume,src=vol,dst=/x,volume-driver=local", base()).unwrap().source, named(Some("vol")));
        let tmpfs = mount("type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=1770", base()).unwrap();
        let options = ["nosuid", "nodev", "noexec", "size=67108864", "mode=1770"].map(str::to_owned).to_vec();
        assert_eq!(tmpfs.source, Source::Tmpfs { options });
        let image = mount("type=image,src=bb:1,dst=/x,image-subpath=etc", base()).unwrap();
        assert_eq!(image.source, Source::Image { reference: "bb:1".into(), subpath: Some("etc".into()) });
        assert!(image.readonly);
        let local = mount("type=volume,src=vol,dst=/x,volume-opt=type=tmpfs,\"volume-opt=o=size=1m,uid=5\"", base());
        let options = vec!["type=tmpfs".to_owned(), "o=size=1m,uid=5".to_owned()];
        assert!(matches!(local.unwrap().source, Source::Volume { options: given, .. } if given == options));
        for (text, reason) in [
            ("type=bind,dst=/x", "missing source"),
            ("type=bind,src=rel,dst=/x", "the source must be an absolute path"),
            ("type=bind,src=/a", "missing target"),
            ("type=bind,src=/a,dst=/x,volume-nocopy", "volume-nocopy is not valid for type=bind"),
            ("type=tmpfs,src=/a,dst=/x", "a tmpfs has no source"),
            ("type=volume,src=/a,dst=/x", "is not a valid volume name"),
            ("type=volume,dst=/x,volume-subpath=../x", "volume-subpath must be a relative path"),
            ("type=image,dst=/x", "missing source"),
            ("type=image,src=bb:1,dst=/x,image-subpath=/etc", "image-subpath must be a relative path"),
            ("type=volume,dst=/x,volume-opt=size", "is not KEY=VALUE"),
            ("type=volume,dst=/x,volume-driver=nfs", "only local is"),
            ("type=npipe,dst=/x", "type=npipe is not supported"),
            ("type=bind,src=/a,dst=/x,ro=maybe", "ro: \"maybe\" is not a boolean"),
            ("foo=bar", "is not a valid key"),
            ("\"type=bind", "missing closing quote"),
            ("type=bind,src=/a,dst=/x,bind-recursive=readonly", "needs readonly"),
        ] {
            let message = mount(text, base()).unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    #[test]
    fn tmpfs_options_replace_the_defaults() {
        let read = tmpfs("/run:rw,exec,size=64k,mode=755").unwrap();
        assert_eq!(
            read.source,
            Source::Tmpfs {
                options: ["nosuid", "nodev", "exec", "size=65536", "mode=755"].map(str::to_owned).to_vec()
            }
        );
        assert!(tmpfs("/run:ro").unwrap().readonly);
        for text in ["run", "/run:bogus", "/run:size=x", "/run:mode=9", "/run:uid=a", "/"] {
            assert!(tmpfs(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_target_is_absolute_and_clean(text in "[a-z./:,=\"]{0,30}") {
            for read in [volume(&text, base()), mount(&text, base()), tmpfs(&text)].into_iter().flatten() {
                prop_assert!(read.target.is_absolute() && read.target != Path::new("/"));
                prop_assert!(read.target.components().skip(1).all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
