//! The values of `--output` and `--annotation`.

use anyhow::{Context, Result, anyhow, bail};
use build_tool::build::output::{Annotation, Arrangement, Form, Layers, Level, Order, Output, Target};
use bundle_tool::option::csv;
use image_tool::address::RefName;
use image_tool::archive::Format;
use image_tool::layer::Compression;
use image_tool::layer::pack::{self, Packing};
use image_tool::layout::platform::Platform;

/// Reads a value of `--output`: `type=tar,dest=FILE`, or a folder, or `-`.
pub(super) fn output(text: &str) -> Result<Order> {
    let wrong = || format!("--output {text}");
    let fields = csv::fields(text).with_context(wrong)?;
    if let [path] = &fields[..]
        && !path.contains('=')
    {
        let output = match path.as_str() {
            "" => bail!("--output: missing type=TYPE or a folder"),
            "-" => Output::Tar { to: Target::Stdout, arrangement: Arrangement::default() },
            path => Output::Files { to: path.into(), arrangement: Arrangement::default(), delete: false },
        };
        return Ok(Order { output, form: Form::default() });
    }
    let read = || -> Result<Order> {
        let fields = Fields::read(&fields)?;
        let form = Form { annotations: fields.annotations()?, layers: fields.layers()?, ..Form::default() };
        Ok(Order { output: fields.output()?, form })
    };
    read().with_context(wrong)
}

/// The names that a value of `--output` gives to the image: `name=NAME`, or several with commas in between.
pub(super) fn names(text: &str) -> Result<Vec<RefName>> {
    let wrong = || format!("--output {text}");
    let fields = csv::fields(text).with_context(wrong)?;
    let names = fields.iter().filter_map(|field| field.split_once('='));
    let names =
        names.filter(|(key, _)| key.trim().eq_ignore_ascii_case("name")).flat_map(|(_, names)| names.split(','));
    names.map(|name| name.trim().parse().with_context(wrong)).collect()
}

/// The keys of a value.
const KEYS: &str = "type, dest, name, push, tar, oci-mediatypes, compression, compression-level, force-compression, \
                    rewrite-timestamp, annotation.KEY, platform-split, attestation-prefix, mode";

/// The fields of a value, as written.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a str,
    dest: Option<&'a str>,
    push: bool,
    tar: bool,
    name: bool,
    split: Option<bool>,
    prefix: Option<&'a str>,
    mode: Option<&'a str>,
    compression: Option<&'a str>,
    level: Option<&'a str>,
    force: bool,
    /// The keys that begin with `annotation`, with their values.
    annotations: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn read(fields: &'a [String]) -> Result<Self> {
        let mut read = Self { tar: true, ..Self::default() };
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                bail!("{field}: expected KEY=VALUE");
            };
            match key.trim().to_lowercase().as_str() {
                "type" => read.kind = value,
                "dest" => read.dest = Some(value),
                "push" => read.push = boolean(key, value)?,
                "tar" => read.tar = boolean(key, value)?,
                // What is always so may be asked for.
                "oci-mediatypes" if value == "true" => {}
                "rewrite-timestamp" if value == "true" => {}
                "oci-mediatypes" => bail!("{field}: images are written with OCI's media types only"),
                "rewrite-timestamp" => bail!("{field}: with SOURCE_DATE_EPOCH, nothing in a layer is newer"),
                "compression" => read.compression = Some(value),
                "compression-level" => read.level = Some(value),
                "force-compression" => read.force = boolean(key, value)?,
                "name" => read.name = true,
                "platform-split" => read.split = Some(boolean(key, value)?),
                "attestation-prefix" if value.contains('/') => {
                    bail!("{field}: expected the beginning of a file's name")
                }
                "attestation-prefix" => read.prefix = Some(value),
                "mode" => read.mode = Some(value),
                // The name of an annotation is taken as it is written.
                _ if is_annotation(key) => read.annotations.push((key.trim(), value)),
                _ => bail!("{key}: unknown key ({KEYS})"),
            }
        }
        Ok(read)
    }

    /// How layers are packed, if something is said about it.
    fn layers(&self) -> Result<Option<Layers>> {
        let compression = match self.compression {
            None if self.level.is_none() && !self.force => return Ok(None),
            None | Some("gzip") => Compression::Gzip.into(),
            Some("zstd") => Compression::Zstd.into(),
            Some("uncompressed") => Compression::None.into(),
            Some("estargz") => pack::Format::Estargz,
            Some("zstd:chunked") => pack::Format::ZstdChunked,
            Some(other) => {
                bail!("compression={other}: unknown compression (gzip, zstd, estargz, zstd:chunked, uncompressed)")
            }
        };
        let level = |text: &str| text.parse().map_err(|_| anyhow!("compression-level={text}: expected a number"));
        let level = self.level.map(level).transpose()?;
        let packing = Packing::new(compression, level).context("compression-level")?;
        Ok(Some(Layers { packing, all: self.force }))
    }

    /// The annotations: `annotation.KEY`, or for other documents and for one platform `annotation-DOCUMENT[PLATFORM].KEY`.
    fn annotations(&self) -> Result<Vec<Annotation>> {
        let mut all = Vec::new();
        for (key, value) in &self.annotations {
            let Some((documents, name)) = key.split_once('.') else { bail!("{key}: expected annotation.KEY=VALUE") };
            let document = documents["annotation".len()..].trim_start_matches('-');
            let document = match document.strip_prefix('[') {
                Some(platform) => format!("manifest[{platform}"),
                None if document.is_empty() => "manifest".to_owned(),
                None => document.to_owned(),
            };
            all.extend(annotations(&format!("{document}:{name}={value}"))?);
        }
        Ok(all)
    }

    fn output(&self) -> Result<Output> {
        let takes = |keys: &[&str]| {
            for (key, given) in [
                ("dest", self.dest.is_some()),
                ("push", self.push),
                ("tar", !self.tar),
                ("name", self.name),
                ("platform-split", self.split.is_some()),
                ("attestation-prefix", self.prefix.is_some()),
                ("mode", self.mode.is_some()),
                ("compression", self.compression.is_some()),
                ("compression-level", self.level.is_some()),
                ("force-compression", self.force),
                ("annotation", !self.annotations.is_empty()),
            ] {
                if given && !keys.contains(&key) {
                    bail!("type={} takes no {key}=", self.kind);
                }
            }
            Ok(())
        };
        let image = |keys: &[&str]| {
            takes(&[&["name", "compression", "compression-level", "force-compression", "annotation"], keys].concat())
        };
        let target = || match self.dest {
            None | Some("-") => Target::Stdout,
            Some(path) => Target::File(path.into()),
        };
        let folder = || match self.dest {
            None | Some("" | "-") => bail!("type={} needs dest=FOLDER", self.kind),
            Some(path) => Ok(path.into()),
        };
        let arrangement = || Arrangement { split: self.split, prefix: self.prefix.unwrap_or_default().to_owned() };
        let delete = || match self.mode {
            None | Some("copy") => Ok(false),
            Some("delete") => Ok(true),
            Some(mode) => bail!("mode={mode}: neither copy nor delete"),
        };
        match self.kind {
            "" => bail!("missing type=TYPE (image, registry, docker, oci, tar, local)"),
            "image" => image(&["push"]).map(|()| if self.push { Output::Push } else { Output::Image }),
            "registry" => image(&["push"]).map(|()| Output::Push),
            // What docker would load into its store belongs into the layout here.
            "docker" if self.dest.is_none() => image(&[]).map(|()| Output::Image),
            "docker" => takes(&["dest", "name"]).map(|()| Output::Archive { format: Format::Docker, to: target() }),
            "oci" if !self.tar => image(&["dest", "tar"]).and_then(|()| Ok(Output::Layout(folder()?))),
            "oci" => image(&["dest"]).map(|()| Output::Archive { format: Format::Oci, to: target() }),
            "tar" => takes(&["dest", "platform-split", "attestation-prefix"])
                .map(|()| Output::Tar { to: target(), arrangement: arrangement() }),
            "local" => takes(&["dest", "platform-split", "attestation-prefix", "mode"])
                .and_then(|()| Ok(Output::Files { to: folder()?, arrangement: arrangement(), delete: delete()? })),
            other => bail!("type={other}: unknown type (image, registry, docker, oci, tar, local)"),
        }
    }
}

/// Whether a key is that of an annotation.
fn is_annotation(key: &str) -> bool {
    let rest = key.trim().strip_prefix("annotation");
    rest.is_some_and(|rest| rest.starts_with(['.', '-', '[']))
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => bail!("{key}={value}: neither true nor false"),
    }
}

/// Reads a value of `--annotation`: `KEY=VALUE`, after the documents that it is for: `index,manifest[linux/amd64]:`.
pub(super) fn annotations(text: &str) -> Result<Vec<Annotation>> {
    let wrong = || format!("--annotation {text}");
    let Some((key, value)) = text.split_once('=') else { bail!("--annotation {text}: expected KEY=VALUE") };
    let (levels, name) = match key.split_once(':') {
        Some((levels, name)) => (levels, name),
        None => ("manifest", key),
    };
    if name.is_empty() {
        bail!("--annotation {text}: the key is empty");
    }
    let one = |level: &str| -> Result<Annotation> {
        let (level, platform) = match level.strip_suffix(']').and_then(|level| level.split_once('[')) {
            Some((level, platform)) => (level, Some(platform.parse::<Platform>().with_context(wrong)?)),
            None => (level, None),
        };
        let level = match level {
            "manifest" => Level::Manifest,
            "index" => Level::Index,
            "manifest-descriptor" => Level::ManifestDescriptor,
            "index-descriptor" => Level::IndexDescriptor,
            _ => bail!(
                "--annotation {text}: {level}: unknown document (manifest, index, manifest-descriptor, index-descriptor)"
            ),
        };
        if platform.is_some() && matches!(level, Level::Index | Level::IndexDescriptor) {
            bail!("--annotation {text}: an index is for all platforms");
        }
        Ok(Annotation { level, platform, name: name.to_owned(), value: value.to_owned() })
    };
    levels.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_dockers() {
        let file = |name: &str| Target::File(name.into());
        let tar = |to| Output::Tar { to, arrangement: Arrangement::default() };
        let files = |to: &str, split, prefix: &str, delete| Output::Files {
            to: to.into(),
            arrangement: Arrangement { split, prefix: prefix.into() },
            delete,
        };
        for (text, expected) in [
            ("out", files("out", None, "", false)),
            ("-", tar(Target::Stdout)),
            ("type=local,dest=out", files("out", None, "", false)),
            ("type=local,dest=o,platform-split=false,mode=delete", files("o", Some(false), "", true)),
            ("type=local,dest=o,platform-split=true,attestation-prefix=a-", files("o", Some(true), "a-", false)),
            ("type=tar", tar(Target::Stdout)),
            ("type=tar,dest=a.tar", tar(file("a.tar"))),
            ("type=oci,dest=a.tar", Output::Archive { format: Format::Oci, to: file("a.tar") }),
            ("type=oci,tar=false,dest=l", Output::Layout("l".into())),
            ("type=docker", Output::Image),
            ("type=docker,dest=-", Output::Archive { format: Format::Docker, to: Target::Stdout }),
            ("type=image", Output::Image),
            ("type=image,push=true", Output::Push),
            ("type=registry", Output::Push),
            ("\"type=tar\",\"dest=a,b\"", tar(file("a,b"))),
        ] {
            assert_eq!(output(text).unwrap().output, expected, "{text}");
        }
        for (text, expected) in [
            ("", "--output: missing type=TYPE or a folder"),
            ("type=tarr", "type=tarr: unknown type (image, registry, docker, oci, tar, local)"),
            ("type=local", "type=local needs dest=FOLDER"),
            ("dest=x", "missing type=TYPE (image, registry, docker, oci, tar, local)"),
            ("type=image,dest=x", "type=image takes no dest="),
            ("type=tar,push=true", "type=tar takes no push="),
            (
                "type=image,unpack=true",
                "unpack: unknown key (type, dest, name, push, tar, oci-mediatypes, compression, compression-level, \
                 force-compression, rewrite-timestamp, annotation.KEY, platform-split, attestation-prefix, mode)",
            ),
            ("type=image,platform-split=true", "type=image takes no platform-split="),
            ("type=local,dest=o,platform-split=maybe", "platform-split=maybe: neither true nor false"),
            (
                "type=local,dest=o,attestation-prefix=../",
                "attestation-prefix=../: expected the beginning of a file's name",
            ),
            ("type=local,dest=o,mode=move", "mode=move: neither copy nor delete"),
            ("type=tar,mode=delete", "type=tar takes no mode="),
            ("type=tar,name=x", "type=tar takes no name="),
            (
                "type=image,compression=nydus",
                "compression=nydus: unknown compression (gzip, zstd, estargz, zstd:chunked, uncompressed)",
            ),
            ("type=image,compression-level=10", "gzip has no level 10 (it has 0 to 9)"),
            ("type=oci,compression=zstd,compression-level=x", "compression-level=x: expected a number"),
            ("type=oci,compression=uncompressed,compression-level=1", "plain tar has no level 1"),
            ("type=docker,dest=a,compression=zstd", "type=docker takes no compression="),
            ("type=tar,annotation.a=b", "type=tar takes no annotation="),
            (
                "type=image,annotation-x.a=b",
                "--annotation x:a=b: x: unknown document (manifest, index, manifest-descriptor, index-descriptor)",
            ),
            (
                "type=image,rewrite-timestamp=false",
                "rewrite-timestamp=false: with SOURCE_DATE_EPOCH, nothing in a layer is newer",
            ),
        ] {
            assert_eq!(output(text).unwrap_err().root_cause().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn outputs_say_what_an_image_is_like() {
        let form = |text: &str| output(text).unwrap().form;
        let layers =
            |format: pack::Format, level, all| Some(Layers { packing: Packing::new(format, level).unwrap(), all });
        for (text, expected) in [
            ("type=image", None),
            ("type=image,compression=gzip", layers(Compression::Gzip.into(), None, false)),
            ("type=registry,compression=zstd,compression-level=22", layers(Compression::Zstd.into(), Some(22), false)),
            (
                "type=oci,dest=a,compression=uncompressed,force-compression=true",
                layers(Compression::None.into(), None, true),
            ),
            ("type=image,compression=estargz,compression-level=9", layers(pack::Format::Estargz, Some(9), false)),
            ("type=oci,compression=zstd:chunked", layers(pack::Format::ZstdChunked, None, false)),
            ("type=oci,compression-level=9,rewrite-timestamp=true", layers(Compression::Gzip.into(), Some(9), false)),
        ] {
            assert_eq!(form(text).layers, expected, "{text}");
        }
        let given =
            form("type=image,annotation.org.a=b=c,annotation[linux/arm64].K=v,annotation-index.i=j").annotations;
        let mut expected = annotations("org.a=b=c").unwrap();
        expected.extend(annotations("manifest[linux/arm64]:K=v").unwrap());
        expected.extend(annotations("index:i=j").unwrap());
        assert_eq!(given, expected);
    }

    #[test]
    fn outputs_may_name_the_image() {
        let given: Vec<String> =
            names("type=image,\"name=a:1,h:5000/b\"").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(given, ["a:1", "h:5000/b"]);
        assert!(names("out").unwrap().is_empty() && names("type=image,name=").is_err());
    }

    #[test]
    fn annotations_name_their_documents() {
        let one = |level, platform: Option<&str>| Annotation {
            level,
            platform: platform.map(|platform| platform.parse().unwrap()),
            name: "k".into(),
            value: "v=w".into(),
        };
        for (text, expected) in [
            ("k=v=w", vec![one(Level::Manifest, None)]),
            ("index,manifest:k=v=w", vec![one(Level::Index, None), one(Level::Manifest, None)]),
            ("manifest[linux/arm64]:k=v=w", vec![one(Level::Manifest, Some("linux/arm64"))]),
            ("manifest-descriptor:k=v=w", vec![one(Level::ManifestDescriptor, None)]),
        ] {
            assert_eq!(annotations(text).unwrap(), expected, "{text}");
        }
        for text in ["k", "=v", "x:k=v", "index[linux/amd64]:k=v", "manifest[]:k=v", "index:=v"] {
            assert!(annotations(text).is_err(), "{text}");
        }
    }
}
