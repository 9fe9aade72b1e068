//! The values of `--cache-from` and `--cache-to`.

use anyhow::{Context, Result, bail};
use build_tool::build::output::{CacheExport, CachePlace};
use bundle_tool::option::csv;

/// Reads a value of `--cache-from`: `type=registry,ref=NAME`, `type=local,src=FOLDER`, or a name.
pub(super) fn from(text: &str) -> Result<CachePlace> {
    let wrong = || format!("--cache-from {text}");
    let fields = csv::fields(text).with_context(wrong)?;
    if let [name] = &fields[..]
        && !name.contains('=')
    {
        return Ok(CachePlace::Registry(name.clone()));
    }
    let mut place = Place::default();
    for field in &fields {
        if !place.take(field, "src").with_context(wrong)? {
            bail!("--cache-from {text}: {field}: unknown key (type, ref, src)");
        }
    }
    place.finish("src").with_context(wrong)
}

/// Reads a value of `--cache-to`: `type=registry,ref=NAME` or `type=local,dest=FOLDER`, and perhaps `mode=max`. `None` is `type=inline`,
/// the image itself, which holds its own steps only.
pub(super) fn to(text: &str) -> Result<Option<CacheExport>> {
    let wrong = || format!("--cache-to {text}");
    let fields = csv::fields(text).with_context(wrong)?;
    let (mut place, mut all, mut optional) = (Place::default(), false, false);
    if let [name] = &fields[..]
        && !name.contains('=')
    {
        return Ok(Some(CacheExport { place: CachePlace::Registry(name.clone()), all, optional }));
    }
    for field in &fields {
        match field.split_once('=') {
            Some(("mode", "min")) => all = false,
            Some(("mode", "max")) => all = true,
            Some(("mode", other)) => bail!("--cache-to {text}: mode={other}: neither min nor max"),
            Some(("ignore-error", "true")) => optional = true,
            Some(("ignore-error", "false")) => optional = false,
            // It is always an image, with OCI's media types.
            Some(("image-manifest" | "oci-mediatypes", "true")) => {}
            _ => {
                if !place.take(field, "dest").with_context(wrong)? {
                    bail!("--cache-to {text}: {field}: unknown key (type, ref, dest, mode, ignore-error)");
                }
            }
        }
    }
    if let Place { kind: "inline", reference: None, path: None } = place {
        return Ok(None);
    }
    Ok(Some(CacheExport { place: place.finish("dest").with_context(wrong)?, all, optional }))
}

#[derive(Default)]
struct Place<'a> {
    kind: &'a str,
    reference: Option<&'a str>,
    path: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// Takes a field, if it is one of a place's.
    fn take(&mut self, field: &'a str, path: &str) -> Result<bool> {
        match field.split_once('=') {
            None => bail!("{field}: expected KEY=VALUE"),
            Some(("type", kind)) => self.kind = kind,
            Some(("ref", reference)) => self.reference = Some(reference),
            Some((key, value)) if key == path => self.path = Some(value),
            Some(_) => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, path: &str) -> Result<CachePlace> {
        match (self.kind, self.reference, self.path) {
            ("registry", Some(reference), None) => Ok(CachePlace::Registry(reference.to_owned())),
            ("registry", _, _) => bail!("type=registry takes ref=NAME"),
            ("local", None, Some(path)) => Ok(CachePlace::Folder(path.into())),
            ("local", _, _) => bail!("type=local takes {path}=FOLDER"),
            ("", _, _) => bail!("missing type=registry or type=local"),
            ("inline", None, None) => bail!("type=inline: expected the name of the image (type=registry,ref=NAME)"),
            ("inline", _, _) => bail!("type=inline takes neither ref= nor {path}="),
            (kind @ ("gha" | "s3" | "azblob"), _, _) => {
                bail!("type={kind}: a service that is not supported (type=registry or type=local)")
            }
            (other, _, _) => bail!("type={other}: unknown type (registry, local)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dockers() {
        let registry = || CachePlace::Registry("host/app:cache".into());
        assert_eq!(from("host/app:cache").unwrap(), registry());
        assert_eq!(from("type=registry,ref=host/app:cache").unwrap(), registry());
        assert_eq!(from("type=local,src=dir").unwrap(), CachePlace::Folder("dir".into()));
        let export = |place, all, optional| Some(CacheExport { place, all, optional });
        assert_eq!(to("host/app:cache").unwrap(), export(registry(), false, false));
        assert_eq!(to("type=registry,ref=host/app:cache,mode=max").unwrap(), export(registry(), true, false));
        let local = "type=local,dest=dir,mode=min,ignore-error=true";
        assert_eq!(to(local).unwrap(), export(CachePlace::Folder("dir".into()), false, true));
        assert_eq!(to("type=inline").unwrap(), None);
        assert!(from("type=inline").is_err());
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, expected) in [
            ("type=gha", "type=gha: a service that is not supported (type=registry or type=local)"),
            ("type=inline,ref=x", "type=inline takes neither ref= nor dest="),
            ("type=tape", "type=tape: unknown type (registry, local)"),
            ("type=local", "type=local takes dest=FOLDER"),
            ("type=registry,dest=x", "type=registry takes ref=NAME"),
            ("mode=max", "missing type=registry or type=local"),
            ("type=local,dest=x,mode=most", "--cache-to type=local,dest=x,mode=most: mode=most: neither min nor max"),
            (
                "type=local,dest=x,compression=zstd",
                "--cache-to type=local,dest=x,compression=zstd: compression=zstd: unknown key (type, ref, dest, mode, ignore-error)",
            ),
        ] {
            assert_eq!(to(text).unwrap_err().root_cause().to_string(), expected, "{text}");
        }
    }
}
