//! The packages in an image as an SPDX document: those of dpkg, apk and pip, from their own databases.

use std::collections::BTreeMap;
use std::path::Path;

use image_tool::address::digest;
use image_tool::beneath::Root;
use serde_json::{Value, json};

use crate::build::export::Finished;
use crate::build::export::error::Error;
use crate::build::export::files;
use crate::step::session::Session;

/// The type of the predicate.
pub(super) const TYPE: &str = "https://spdx.dev/Document";

/// The largest database that is read.
const LIMIT: u64 = 64 << 20;

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// The package manager's word in a package URL: `deb`, `apk`, `pypi`.
    kind: &'static str,
    name: String,
    version: String,
    architecture: String,
    license: String,
}

/// The document of one image.
pub(super) fn predicate(session: &Session<'_>, finished: &Finished) -> Result<Value, Error> {
    let folder = session.folder()?;
    let tree = files::create(folder.path(), "tree")?;
    files::unpack(finished, &tree)?;
    let root = Root::open(&tree)?;
    // What cannot be read is no database.
    let read = |path: &str| root.read(path, LIMIT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok();
    let mut packages = Vec::new();
    packages.extend(read("var/lib/dpkg/status").iter().flat_map(|text| dpkg(text)));
    for name in root.names("var/lib/dpkg/status.d").unwrap_or_default() {
        let path = format!("var/lib/dpkg/status.d/{}", name.to_string_lossy());
        packages.extend(read(&path).iter().flat_map(|text| dpkg(text)));
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        packages.extend(read(path).iter().flat_map(|text| apk(text)));
    }
    for path in python(&tree) {
        packages.extend(read(&path).iter().filter_map(|text| pip(text)));
    }
    packages.sort();
    packages.dedup();
    let distribution = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
    let distribution = distribution.as_deref().and_then(distribution_id).unwrap_or_default();
    Ok(document(&packages, &distribution, &session.now))
}

/// The metadata files of Python's packages, beneath the root.
fn python(tree: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(tree).sort_by_file_name().into_iter().flatten();
    let paths = entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    let metadata = paths.filter_map(|path| {
        let path = path.strip_prefix(tree).ok()?;
        let folder = path.parent()?.extension()?;
        let file = path.file_name()?;
        let fits = (folder == "dist-info" && file == "METADATA") || (folder == "egg-info" && file == "PKG-INFO");
        if fits { path.to_str().map(str::to_owned) } else { None }
    });
    metadata.collect()
}

/// The fields of each paragraph: `KEY: VALUE`, without continuation lines.
fn paragraphs(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    text.split("\n\n").map(|paragraph| {
        let lines = paragraph.lines().filter(|line| !line.starts_with([' ', '\t']));
        lines.filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect()
    })
}

fn dpkg(text: &str) -> Vec<Package> {
    let installed =
        |fields: &BTreeMap<&str, &str>| fields.get("Status").is_none_or(|status| status.ends_with(" installed"));
    let package = |fields: BTreeMap<&str, &str>| {
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        Some(Package {
            kind: "deb",
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture").unwrap_or_default(),
            license: String::new(),
        })
    };
    paragraphs(text).filter(installed).filter_map(package).collect()
}

fn apk(text: &str) -> Vec<Package> {
    let package = |fields: BTreeMap<&str, &str>| {
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        Some(Package {
            kind: "apk",
            name: field("P")?,
            version: field("V")?,
            architecture: field("A").unwrap_or_default(),
            license: field("L").unwrap_or_default(),
        })
    };
    paragraphs(text).filter_map(package).collect()
}

fn pip(text: &str) -> Option<Package> {
    let fields = paragraphs(text).next()?;
    let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
    Some(Package {
        kind: "pypi",
        name: field("Name")?,
        version: field("Version")?,
        architecture: String::new(),
        license: field("License-Expression").unwrap_or_default(),
    })
}

/// The `ID` of os-release(5).
fn distribution_id(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("ID=")).map(|id| id.trim_matches('"').to_owned())
}

fn document(packages: &[Package], distribution: &str, now: &str) -> Value {
    let mut listed = Vec::new();
    let mut relationships = Vec::new();
    for (number, package) in packages.iter().enumerate() {
        let Package { kind, name, version, architecture, license } = package;
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '-' };
        let id: String = format!("SPDXRef-Package-{number}-{kind}-{name}").chars().map(plain).collect();
        let namespace =
            if *kind == "pypi" || distribution.is_empty() { String::new() } else { format!("{distribution}/") };
        let qualifier = if architecture.is_empty() { String::new() } else { format!("?arch={architecture}") };
        let url =
            format!("pkg:{kind}/{namespace}{name}@{}{qualifier}", version.replace('+', "%2B").replace(':', "%3A"));
        listed.push(json!({
            "name": name,
            "SPDXID": id,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "comment": if license.is_empty() { Value::Null } else { json!(format!("license: {license}")) },
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": url,
            }],
        }));
        relationships.push(json!({
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": id,
        }));
    }
    for package in &mut listed {
        if package["comment"].is_null()
            && let Some(package) = package.as_object_mut()
        {
            package.remove("comment");
        }
    }
    let content = digest::sha256(json!(listed).to_string().as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "image",
        "documentNamespace": format!("urn:build-tool:sbom:{content}"),
        "creationInfo": {"created": now, "creators": [format!("Tool: build-tool-{}", env!("CARGO_PKG_VERSION"))]},
        "packages": listed,
        "relationships": relationships,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2+3\nDescription: x\n Package: no\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 1\n";
        let found = dpkg(status);
        assert_eq!((found.len(), found[0].name.as_str(), found[0].version.as_str()), (1, "a", "1:2+3"));
        let found = apk("C:Q1\nP:musl\nV:1.2-r0\nA:x86_64\nL:MIT\n\nP:busybox\nV:2\n");
        assert_eq!((found.len(), found[0].license.as_str(), found[1].name.as_str()), (2, "MIT", "busybox"));
        let found = pip("Metadata-Version: 2.1\nName: requests\nVersion: 2.0\n\nName: in the description\n").unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("requests", "2.0"));
        assert_eq!(distribution_id("NAME=x\nID=\"debian\"\n").as_deref(), Some("debian"));
    }

    #[test]
    fn packages_have_urls_and_ids() {
        let package = Package {
            kind: "deb",
            name: "a+b".into(),
            version: "1:2".into(),
            architecture: "amd64".into(),
            license: String::new(),
        };
        let document = document(&[package], "debian", "2020-01-01T00:00:00Z");
        let listed = &document["packages"][0];
        assert_eq!(listed["externalRefs"][0]["referenceLocator"], "pkg:deb/debian/a+b@1%3A2?arch=amd64");
        assert_eq!(listed["SPDXID"], "SPDXRef-Package-0-deb-a-b");
        assert!(listed.get("comment").is_none());
        assert_eq!(document["relationships"][0]["relatedSpdxElement"], "SPDXRef-Package-0-deb-a-b");
    }
}
