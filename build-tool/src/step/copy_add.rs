//! COPY and ADD as steps: sources are found, keyed and, if the cache has no layer for them, copied.

use std::io;

use super::{Error, Work, io_error};
use crate::build::SourceImage;
use crate::cache::{Key, KeyBuilder, Record};
use crate::copy::{self, Input, Options};
use crate::dockerfile::expand::{self, Quoting};
use crate::dockerfile::instruction::Copy;
use crate::progress::Task;
use crate::source::archive;
use crate::source::download;
use crate::source::files::{Files, Source};
use crate::source::ignore::Ignore;
use crate::stage::snapshot;

impl<'a> Work<'a> {
    /// COPY, or ADD. Whether the layer came out of the cache.
    pub(super) fn copy(&mut self, copy: &Copy, add: bool, task: &Task<'_>) -> Result<bool, Error> {
        let sources = copy.sources.iter().map(|source| self.expand(source)).collect::<Result<Vec<_>, _>>()?;
        let destination = self.expand(&copy.destination)?;
        let destination = self.absolute(&destination);
        let chown = copy.chown.as_deref().map(|text| self.expand(text)).transpose()?.filter(|text| !text.is_empty());
        let chmod = copy.chmod.as_deref().map(|text| self.expand(text)).transpose()?.filter(|text| !text.is_empty());
        let mode = chmod.as_deref().map(str::parse).transpose()?;
        let exclude = copy.exclude.iter().map(|text| self.expand(text)).collect::<Result<Vec<_>, _>>()?;
        let exclude = Ignore::of_patterns(&exclude)?;
        if sources.len() + copy.heredocs.len() > 1 && !destination.ends_with('/') && destination != "/" {
            return Err(Error::Several);
        }
        let keyword = if add { "ADD" } else { "COPY" };
        let text = format!("{keyword} {}", history(copy, &sources, &destination));

        // `--link` makes a layer that does not depend on what lies below: it is keyed so, and stays when the base changes.
        let mut key = if copy.link { Key::builder("link") } else { self.begin_key("copy") };
        key.add(keyword).add(&destination).add(chown.as_deref().unwrap_or("-")).add(chmod.as_deref().unwrap_or("-"));
        key.add([copy.parents.into(), copy.unpack.map_or(2, u8::from)])
            .add(self.build.options.epoch.unwrap_or(i64::MIN).to_le_bytes());
        key.list(copy.exclude.iter());

        let from = match &copy.from {
            None => None,
            Some(name) => {
                let base = self.build.plan.from(name, self.number);
                Some((name.clone(), self.build.source(&base, &self.platform)?))
            }
        };
        let mut options = Options {
            destination,
            owner: None,
            mode,
            parents: copy.parents,
            keep_owners: from.is_some(),
            epoch: self.build.options.epoch,
        };
        let below = self.key.clone();
        let cached = match from {
            None => self.copy_context(copy, &sources, &exclude, add, key, chown.as_deref(), &mut options, &text, task),
            Some((name, source)) => {
                self.copy_from(copy, &sources, &exclude, &name, &source, key, chown.as_deref(), &mut options, &text)
            }
        }?;
        if copy.link {
            // The layer does not depend on what lies below, but the steps that follow do.
            let mut key = Key::builder("linked");
            key.add(below.hex()).add(self.key.hex());
            self.key = key.finish();
        }
        Ok(cached)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one instruction, each of them once")]
    fn copy_context(
        &mut self,
        copy: &Copy,
        sources: &[String],
        exclude: &Ignore,
        add: bool,
        key: KeyBuilder,
        chown: Option<&str>,
        options: &mut Options,
        text: &str,
        task: &Task<'_>,
    ) -> Result<bool, Error> {
        let build = self.build;
        let mut inputs = Vec::new();
        for source in sources {
            if add && is_git(source) {
                return Err(Error::Git(source.clone()));
            } else if add && download::is_url(source) {
                task.note(&format!("fetching {source}"));
                inputs.push(fetch(source, copy, build.cache.path(), options.destination.ends_with('/'))?);
            } else {
                for found in build.context.files().sources(source)? {
                    inputs.push(self.local(
                        build.context.files(),
                        found,
                        exclude,
                        add && copy.unpack != Some(false),
                    )?);
                }
            }
        }
        for heredoc in &copy.heredocs {
            let body = heredoc.body();
            let body = match heredoc.expand {
                true => expand::word(&body, build.plan.escape, Quoting::Literal, &|name| self.variable(name))?,
                false => body,
            };
            inputs.push(Input::Bytes { name: heredoc.name.clone(), bytes: body.into_bytes(), mode: 0o644 });
        }
        // Reading the files twice is a waste if the layer is not in the cache, and not reading them once is a gain if it is. So
        // they are read for the key if a copy like this was made before, or all that is to be read was read before.
        let family = key.finish();
        let seen = build.cache.reads() && build.cache.get(&family).is_some();
        let mut full = key.clone();
        let known = copy::add_to_key(&mut full, &inputs, options, &build.digests, seen)?.is_some();
        if known && self.cached(&full.finish(), text)? {
            return Ok(true);
        }
        options.owner = chown.map(|text| self.owner(text)).transpose()?;
        let layer = self.pack_layer(options, &inputs, copy.link)?;
        if !known {
            // The digests are now known: those of the bytes that went into the layer.
            full = key;
            copy::add_to_key(&mut full, &inputs, options, &build.digests, true)?;
        }
        self.finish(full.finish(), text, Some(layer))?;
        let mark = Record::mark(&build.now);
        build.cache.put(&family, &mark).map_err(io_error("write the step cache", build.cache.path()))?;
        Ok(false)
    }

    /// A source of the context: an archive to unpack, or files.
    fn local<'f>(&self, files: &'f Files, source: Source, exclude: &Ignore, unpack: bool) -> Result<Input<'f>, Error> {
        let found = files.walk(&source, exclude)?;
        if unpack && !source.directory {
            let file = files.open(&source.path)?;
            let failed = |error| files.io("read", &source.path, error);
            if archive::is_archive(&file).map_err(failed)? {
                let stat = found[0].stat;
                let digest = self.build.digests.of(&stat, || {
                    file.try_clone().and_then(|mut file| {
                        io::Seek::rewind(&mut file)?;
                        Ok(file)
                    })
                });
                let digest = digest.map_err(failed)?;
                return Ok(Input::Archive { file, digest: digest.to_vec(), name: source.named.display().to_string() });
            }
        }
        Ok(Input::Files { files, source, found })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one instruction, each of them once")]
    fn copy_from(
        &mut self,
        copy: &Copy,
        sources: &[String],
        exclude: &Ignore,
        name: &str,
        source: &SourceImage<'_>,
        key: KeyBuilder,
        chown: Option<&str>,
        options: &mut Options,
        text: &str,
    ) -> Result<bool, Error> {
        let build = self.build;
        let Some(built) = source.built()? else {
            let name = "scratch, which is empty".to_owned();
            let path = sources.first().cloned().unwrap_or_default();
            return Err(crate::source::files::Error::NotFound { path, name, near: None }.into());
        };
        // If the stage is the one seen before, so are its files: nothing has to be mounted to know it.
        let mut by_stage = key.clone();
        by_stage.add("from").add(built.key.hex()).list(sources.iter());
        let by_stage = by_stage.finish();
        if self.cached(&by_stage, text)? {
            return Ok(true);
        }
        options.owner = chown.map(|text| self.owner(text)).transpose()?;
        let unpacked = build.unpack(&built.draft.layers)?;
        let folder = build.folder().map_err(io_error("create a folder in", build.cache.path()))?;
        let lower = unpacked.iter().map(|layer| layer.path().to_owned()).collect();
        let root = snapshot::open(lower, folder.path())?;
        let files = Files::new(root, Ignore::default(), format!("{name} (--from)"));
        let mut inputs = Vec::new();
        for source in sources {
            for found in files.sources(source)? {
                inputs.push(self.local(&files, found, exclude, false)?);
            }
        }
        // Another stage with the same files gives the same layer.
        let mut by_content = key;
        copy::add_to_key(&mut by_content, &inputs, options, &build.digests, true)?;
        let by_content = by_content.finish();
        let hit = self.cached(&by_content, text)?;
        if !hit {
            let layer = self.pack_layer(options, &inputs, copy.link)?;
            self.finish(by_content.clone(), text, Some(layer))?;
        }
        build.cache.alias(&by_stage, &by_content).map_err(io_error("write the step cache", build.cache.path()))?;
        // The key is the one that the next build finds without looking at the files.
        self.key = by_stage;
        Ok(hit)
    }
}

/// A URL, fetched; unpacked only where that is asked for.
fn fetch(url: &str, copy: &Copy, folder: &std::path::Path, directory: bool) -> Result<Input<'static>, Error> {
    let found = download::fetch(url, copy.checksum.as_deref(), folder)?;
    if found.name.is_empty() && directory {
        return Err(download::Error::Nameless { url: url.to_owned() }.into());
    }
    let digest = found.digest.to_string();
    if copy.unpack == Some(true)
        && archive::is_archive(&found.file).map_err(io_error("read", std::path::Path::new(url)))?
    {
        return Ok(Input::Archive { file: found.file, digest: digest.into_bytes(), name: url.to_owned() });
    }
    Ok(Input::Download { name: found.name, file: found.file, digest: digest.into_bytes(), modified: found.modified })
}

/// Whether a source of ADD is a repository.
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
