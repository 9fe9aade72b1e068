//! COPY and ADD as steps: sources are found and keyed, and copied unless the cache holds the layer.

use std::io;
use std::path::Path;

use image_tool::error::During;

use super::error::Error;
use super::work::{Built, Work};
use crate::cache::{Key, KeyBuilder, Record};
use crate::copy::{self, Input, Options};
use crate::dockerfile::instruction::Copy;
use crate::progress::Task;
use crate::source::archive;
use crate::source::digests::Digests;
use crate::source::download;
use crate::source::files::{self, Files, Source};
use crate::source::ignore::Ignore;
use crate::stage::layer;
use crate::stage::snapshot;

/// A COPY or an ADD, its variables expanded.
struct Request<'c> {
    copy: &'c Copy,
    add: bool,
    sources: Vec<String>,
    exclude: Ignore,
    /// The value of `--chown`. It is looked up only if the cache does not hold the layer.
    chown: Option<String>,
    options: Options,
    /// The step's key so far, without what is copied.
    key: KeyBuilder,
    /// The text for the history.
    text: String,
}

impl<'a> Work<'a> {
    /// Carries out COPY or ADD. Returns whether the layer came from the cache.
    pub(super) fn copy(&mut self, copy: &Copy, add: bool, task: &Task<'_>) -> Result<bool, Error> {
        let request = self.request(copy, add)?;
        let below = self.key.clone();
        let cached = match &copy.from {
            None => self.copy_context(request, task)?,
            Some(name) => match self.from(name)? {
                Some(built) => self.copy_from(request, name, &built)?,
                None => {
                    let name = "scratch, which is empty".to_owned();
                    let path = request.sources.first().cloned().unwrap_or_default();
                    return Err(files::Error::NotFound { path, name, near: None }.into());
                }
            },
        };
        if copy.link {
            // The layer does not depend on what lies below, but the following steps do.
            let mut key = Key::builder("linked");
            key.add(below.hex()).add(self.key.hex());
            self.key = key.finish();
        }
        Ok(cached)
    }

    /// Expands the variables of a COPY or an ADD, and begins its key.
    fn request<'c>(&self, copy: &'c Copy, add: bool) -> Result<Request<'c>, Error> {
        let expand = |text: &String| self.variables.expand(text);
        let flag = |flag: &Option<String>| -> Result<Option<String>, Error> {
            Ok(flag.as_ref().map(expand).transpose()?.filter(|text| !text.is_empty()))
        };
        let sources = copy.sources.iter().map(expand).collect::<Result<Vec<_>, _>>()?;
        let destination = self.absolute(&expand(&copy.destination)?);
        let (chown, chmod) = (flag(&copy.chown)?, flag(&copy.chmod)?);
        let mode = chmod.as_deref().map(str::parse).transpose()?;
        let exclude = copy.exclude.iter().map(expand).collect::<Result<Vec<_>, _>>()?;
        let exclude = Ignore::of_patterns(&exclude)?;
        if sources.len() + copy.heredocs.len() > 1 && !destination.ends_with('/') && destination != "/" {
            return Err(Error::Several);
        }
        let keyword = if add { "ADD" } else { "COPY" };
        let text = format!("{keyword} {}", history(copy, &sources, &destination));
        let epoch = self.session.options.epoch;

        // The layer of `--link` does not depend on what lies below. Nor does its key, so it is kept when the base
        // changes.
        let mut key = if copy.link { Key::builder("link") } else { self.begin_key("copy") };
        key.add(keyword).add(&destination).add(chown.as_deref().unwrap_or("-")).add(chmod.as_deref().unwrap_or("-"));
        key.add([copy.parents.into(), copy.unpack.map_or(2, u8::from)]).add(epoch.unwrap_or(i64::MIN).to_le_bytes());
        key.list(copy.exclude.iter());
        let (parents, keep_owners) = (copy.parents, copy.from.is_some());
        let options = Options { destination, owner: None, mode, parents, keep_owners, epoch };
        Ok(Request { copy, add, sources, exclude, chown, options, key, text })
    }

    fn copy_context(&mut self, mut request: Request<'_>, task: &Task<'_>) -> Result<bool, Error> {
        let session = self.session;
        let inputs = self.inputs(&request, task)?;
        // If the layer is not in the cache, reading the files for the key would read them twice; if it is, they need
        // not be copied. So they are read for the key only if such a copy was made before, or if all digests are
        // already known.
        let family = request.key.finish();
        let seen = session.cache.reads() && session.cache.get(&family).is_some();
        let mut full = request.key.clone();
        let known = copy::add_to_key(&mut full, &inputs, &request.options, &session.digests, seen)?.is_some();
        if known && self.cached(&full.finish(), &request.text)? {
            return Ok(true);
        }
        request.options.owner = request.chown.as_deref().map(|text| self.owner(text)).transpose()?;
        let layer = self.pack_layer(&request.options, &inputs, request.copy.link)?;
        if !known {
            // Now the digests are known: copying has hashed the files.
            full = request.key;
            copy::add_to_key(&mut full, &inputs, &request.options, &session.digests, true)?;
        }
        self.finish(full.finish(), &request.text, Some(layer))?;
        session.cache.put(&family, &Record::mark(&session.now))?;
        Ok(false)
    }

    /// Collects what is copied: files of the context, downloads, and heredocs.
    fn inputs(&self, request: &Request<'_>, task: &Task<'_>) -> Result<Vec<Input<'a>>, Error> {
        let Request { copy, add, sources, exclude, options, .. } = request;
        let files = self.session.context.files();
        let mut inputs = Vec::new();
        for source in sources {
            if *add && is_git(source) {
                return Err(Error::Git(source.clone()));
            } else if *add && download::is_url(source) {
                task.note(&format!("fetching {source}"));
                inputs.push(fetch(source, copy, self.session.cache.path(), options.destination.ends_with('/'))?);
            } else {
                let unpack = *add && copy.unpack != Some(false);
                for found in files.sources(source)? {
                    inputs.push(local(files, found, exclude, unpack.then_some(&self.session.digests))?);
                }
            }
        }
        for heredoc in &copy.heredocs {
            let body = heredoc.body();
            let body = if heredoc.expand { self.variables.body(&body)? } else { body };
            inputs.push(Input::Bytes { name: heredoc.name.clone(), bytes: body.into_bytes(), mode: 0o644 });
        }
        Ok(inputs)
    }

    fn copy_from(&mut self, mut request: Request<'_>, name: &str, built: &Built) -> Result<bool, Error> {
        let session = self.session;
        // If the stage is the one seen before, so are its files, and nothing has to be mounted.
        let mut by_stage = request.key.clone();
        by_stage.add("from").add(built.key.hex()).list(request.sources.iter());
        let by_stage = by_stage.finish();
        if self.cached(&by_stage, &request.text)? {
            return Ok(true);
        }
        request.options.owner = request.chown.as_deref().map(|text| self.owner(text)).transpose()?;
        let unpacked = layer::unpack(&built.draft.layers, &session.layers)?;
        let folder = session.folder()?;
        let lower = unpacked.iter().map(|layer| layer.path().to_owned()).collect();
        let root = snapshot::open(lower, folder.path())?;
        let files = Files::new(root, Ignore::default(), format!("{name} (--from)"));
        let mut inputs = Vec::new();
        for source in &request.sources {
            for found in files.sources(source)? {
                inputs.push(local(&files, found, &request.exclude, None)?);
            }
        }
        // Another stage with the same files gives the same layer.
        let mut by_content = request.key;
        copy::add_to_key(&mut by_content, &inputs, &request.options, &session.digests, true)?;
        let by_content = by_content.finish();
        let hit = self.cached(&by_content, &request.text)?;
        if !hit {
            let layer = self.pack_layer(&request.options, &inputs, request.copy.link)?;
            self.finish(by_content.clone(), &request.text, Some(layer))?;
        }
        session.cache.alias(&by_stage, &by_content)?;
        // The next build finds this key without looking at the files.
        self.key = by_stage;
        Ok(hit)
    }
}

/// A source in a tree of files. With `unpack`, an archive is taken as such; its digest is looked up there.
fn local<'f>(files: &'f Files, source: Source, exclude: &Ignore, unpack: Option<&Digests>) -> Result<Input<'f>, Error> {
    let found = files.walk(&source, exclude)?;
    if let Some(digests) = unpack
        && !source.directory
    {
        let file = files.open(&source.path)?;
        let failed = |error| files.io("read", &source.path, error);
        if archive::is_archive(&file).map_err(failed)? {
            let rewound = || {
                let mut file = file.try_clone()?;
                io::Seek::rewind(&mut file)?;
                Ok(file)
            };
            let digest = digests.of(&found[0].stat, rewound).map_err(failed)?;
            return Ok(Input::Archive { file, digest: digest.to_vec(), name: source.named.display().to_string() });
        }
    }
    Ok(Input::Files { files, source, found })
}

/// Fetches a URL. The file is unpacked only with `--unpack`.
fn fetch(url: &str, copy: &Copy, folder: &Path, directory: bool) -> Result<Input<'static>, Error> {
    let found = download::fetch(url, copy.checksum.as_deref(), folder)?;
    let url = download::shown(url);
    if found.name.is_empty() && directory {
        return Err(download::Error::Nameless { url }.into());
    }
    let digest = found.digest.to_string();
    if copy.unpack == Some(true) && archive::is_archive(&found.file).during("read", &url)? {
        return Ok(Input::Archive { file: found.file, digest: digest.into_bytes(), name: url });
    }
    Ok(Input::Download { name: found.name, file: found.file, digest: digest.into_bytes(), modified: found.modified })
}

/// Whether a source of ADD is a git repository.
fn is_git(source: &str) -> bool {
    let path = source.split(['#', '?']).next().unwrap_or_default();
    ["git@", "git://", "ssh://"].iter().any(|scheme| source.starts_with(scheme))
        || (source.contains("://") && path.ends_with(".git"))
}

/// The words of the instruction as the history shows them.
fn history(copy: &Copy, sources: &[String], destination: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let flags = [("from", &copy.from), ("chown", &copy.chown), ("chmod", &copy.chmod)];
    words.extend(flags.into_iter().filter_map(|(flag, value)| value.as_ref().map(|value| format!("--{flag}={value}"))));
    words.extend(sources.iter().cloned());
    words.extend(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.name)));
    words.push(destination.to_owned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files() {
        for (source, expected) in [
            ("git@github.com:a/b.git", true),
            ("https://h/a.git#main:x", true),
            ("https://h/a.tar", false),
            ("local.git", false),
        ] {
            assert_eq!(is_git(source), expected, "{source}");
        }
    }
}
