//! containers-registries.d(5): where signatures of images lie that are not kept at the registry.
//!
//! A signature is a file beneath a folder or a web server: `REPOSITORY@sha256=HEX/signature-N`, from 1 on. What is said here of sigstore's
//! attachments (`use-sigstore-attachments`) is not asked for: those are at the registry, and looked for where the policy demands them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_tool::error::{During as _, Io};
use oci_distribution::Reference;
use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;

use super::configuration;
use super::scope::scopes;

/// Why it is not known where signatures lie.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LookasideError {
    /// A file is there but cannot be read.
    #[error(transparent)]
    Io(#[from] Io),
    /// The file is not what its format demands.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// Where in the file, and what is wrong.
        reason: String,
    },
    /// Two files speak of the same images.
    #[error("{} and {} both configure {scope}, keep one", paths[0].display(), paths[1].display())]
    Twice {
        /// The scope, `default-docker` for all.
        scope: String,
        /// The paths of the files.
        paths: [PathBuf; 2],
    },
    /// A place is none that can be used.
    #[error("{place:?} in registries.d: expected a URL file:///FOLDER, http://… or https://…")]
    Place {
        /// As it is written.
        place: String,
    },
    /// Nobody can write there.
    #[error(
        "{name}: signatures cannot be written to {place} (name a folder as lookaside-staging: file:///FOLDER in registries.d)"
    )]
    NotWritable {
        /// The whole name of the image.
        name: String,
        /// The URL.
        place: String,
    },
}

/// Where the signatures of images lie, as configured.
#[derive(Clone, Debug, Default)]
pub struct Lookaside {
    everywhere: Option<Section>,
    scopes: BTreeMap<String, Section>,
}

/// Where signatures lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Beneath a folder.
    Folder(PathBuf),
    /// Beneath a URL, whose path ends with a slash.
    Web(Url),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    default_docker: Option<Section>,
    docker: Option<BTreeMap<String, Option<Section>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Section {
    lookaside: Option<String>,
    lookaside_staging: Option<String>,
    sigstore: Option<String>,
    sigstore_staging: Option<String>,
}

impl Section {
    fn place(&self, is_written: bool) -> Option<&str> {
        let staging = [&self.lookaside_staging, &self.sigstore_staging].into_iter().filter(|_| is_written);
        let mut places = staging.chain([&self.lookaside, &self.sigstore]);
        places.find_map(|place| place.as_deref().filter(|place| !place.is_empty()))
    }
}

impl Lookaside {
    /// Reads the user's folder, else the machine's: one that is there hides the other, as for podman.
    ///
    /// # Errors
    /// A file that is there must be readable and well-formed.
    pub fn read() -> Result<Self, LookasideError> {
        let user = configuration::user_folder().map(|folder| folder.join("containers/registries.d"));
        for folder in user.into_iter().chain(["/etc/containers/registries.d".into()]) {
            let Some(entries) = configuration::if_there(std::fs::read_dir(&folder)).during("read", &folder)? else {
                continue;
            };
            let mut paths = Vec::new();
            for entry in entries {
                paths.push(entry.during("read", &folder)?.path());
            }
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
            paths.sort();
            let mut files = Vec::new();
            for path in paths {
                let text = std::fs::read_to_string(&path).during("read", &path)?;
                files.push((path, text));
            }
            return Self::parse(files);
        }
        Ok(Self::default())
    }

    fn parse(files: Vec<(PathBuf, String)>) -> Result<Self, LookasideError> {
        let mut found = Self::default();
        let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, text) in files {
            let options = serde_saphyr::options! { with_snippet: false };
            let document: Option<Document> = serde_saphyr::from_str_with_options(&text, options)
                .map_err(|error| LookasideError::Syntax { path: path.clone(), reason: error.to_string() })?;
            let Some(Document { default_docker, docker }) = document else { continue };
            let everywhere = default_docker.map(|section| ("default-docker".to_owned(), section));
            let scopes = docker.unwrap_or_default().into_iter();
            let scopes = scopes.map(|(scope, section)| (scope, section.unwrap_or_default()));
            for (scope, section) in everywhere.into_iter().chain(scopes) {
                if let Some(first) = known.insert(scope.clone(), path.clone()) {
                    return Err(LookasideError::Twice { scope, paths: [first, path] });
                }
                if scope == "default-docker" {
                    found.everywhere = Some(section);
                } else {
                    found.scopes.insert(scope, section);
                }
            }
        }
        Ok(found)
    }

    /// Where the signatures of an image lie: what the narrowest scope says that says anything, else podman's folder of this user.
    ///
    /// # Errors
    /// [`LookasideError::Place`].
    pub fn store(&self, reference: &Reference) -> Result<Store, LookasideError> {
        self.find(reference, false)
    }

    /// The folder into which signatures of an image are written.
    ///
    /// # Errors
    /// [`LookasideError::NotWritable`] if it is none, and as [`Self::store`].
    pub fn folder(&self, reference: &Reference) -> Result<PathBuf, LookasideError> {
        match self.find(reference, true)? {
            Store::Folder(folder) => Ok(folder),
            Store::Web(url) => Err(LookasideError::NotWritable { name: reference.to_string(), place: url.to_string() }),
        }
    }

    fn find(&self, reference: &Reference, is_written: bool) -> Result<Store, LookasideError> {
        let scopes = scopes(reference);
        let sections = scopes.iter().filter_map(|scope| self.scopes.get(scope)).chain(&self.everywhere);
        let mut places = sections.filter_map(|section| section.place(is_written));
        places.next().map_or_else(|| Ok(Store::Folder(usual())), store)
    }
}

/// podman's folder, if nothing is configured.
fn usual() -> PathBuf {
    let home = configuration::variable("HOME").filter(|_| !rustix::process::geteuid().is_root());
    let home = home.map(|home| home.join(".local/share/containers/sigstore"));
    home.unwrap_or_else(|| "/var/lib/containers/sigstore".into())
}

fn store(place: &str) -> Result<Store, LookasideError> {
    let wrong = || LookasideError::Place { place: place.to_owned() };
    let mut url: Url = place.parse().map_err(|_| wrong())?;
    match url.scheme() {
        "file" => url.to_file_path().map(Store::Folder).map_err(|()| wrong()),
        "http" | "https" if url.has_host() => {
            url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().push("");
            Ok(Store::Web(url))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Lookaside, LookasideError> {
        let file = |(number, text): (usize, &&str)| (PathBuf::from(format!("{number}.yaml")), (*text).to_owned());
        Lookaside::parse(texts.iter().enumerate().map(file).collect())
    }

    #[test]
    fn the_narrowest_scope_that_says_anything_decides() {
        let lookaside = parse(&[
            "default-docker:\n  sigstore: file:///old\n  sigstore-staging: file:///old-staging\n",
            "# nothing\n",
            "docker:\n  a.b/c:\n    lookaside: https://l.d/base\n    lookaside-staging: file:///st%20aging/\n  \
             a.b/c/d:\n    use-sigstore-attachments: true\n  a.b/c/e:1:\n    lookaside: http://u:p@l.d:1/\n    sigstore: file:///x\n",
            "docker:\n  \"*.corp\":\n    lookaside: file:///corp\n",
        ])
        .unwrap();
        for (name, read, written) in [
            ("x/y", "file:///old", "/old-staging"),
            ("a.b/c", "https://l.d/base/", "/st aging/"),
            ("a.b/c/d:1", "https://l.d/base/", "/st aging/"),
            ("a.b/c/e:2", "https://l.d/base/", "/st aging/"),
            ("a.b/c/e:1", "http://u:p@l.d:1/", "http://u:p@l.d:1/"),
            ("r.corp/x", "file:///corp", "/corp"),
        ] {
            let reference: Reference = name.parse().unwrap();
            match lookaside.store(&reference).unwrap() {
                Store::Folder(folder) => assert_eq!(format!("file://{}", folder.display()), read, "{name}"),
                Store::Web(url) => assert_eq!(url.as_str(), read, "{name}"),
            }
            match lookaside.folder(&reference) {
                Ok(folder) => assert_eq!(folder.display().to_string(), written, "{name}"),
                Err(error) => assert!(error.to_string().contains(written), "{name}: {error}"),
            }
        }
        let usual = Lookaside::default().folder(&"x/y".parse().unwrap()).unwrap();
        assert!(usual.ends_with("containers/sigstore"), "{}", usual.display());
    }

    #[test]
    fn what_is_wrong_in_registries_d_is_one_line() {
        let twice = parse(&["docker: {a.b: {lookaside: 'file:///x'}}", "docker: {a.b: {lookaside: 'file:///x'}}"]);
        assert_eq!(twice.unwrap_err().to_string(), "0.yaml and 1.yaml both configure a.b, keep one");
        let twice = parse(&["default-docker: {}", "default-docker: {}"]).unwrap_err().to_string();
        assert!(twice.contains("default-docker"), "{twice}");
        let error = parse(&["docker: [a]"]).unwrap_err().to_string();
        assert!(error.starts_with("0.yaml: ") && error.lines().count() == 1, "{error}");
        for place in ["/var/x", "ftp://a/b", "file://host/x", "http://"] {
            let lookaside = parse(&[&format!("default-docker:\n  lookaside: {place}\n")]).unwrap();
            let error = lookaside.store(&"a/b".parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains("expected a URL"), "{error}");
        }
    }
}
