//! COPY and ADD as steps: sources are found and keyed, and copied unless the cache holds the layer.

use std::io;

use super::error::Error;
use super::work::{Built, Origin, Work};
use crate::cache::{Key, KeyBuilder, Record};
use crate::copy::{self, Input, Options, Repository};
use crate::dockerfile::instruction::Copy;
use crate::progress::Task;
use crate::source::archive;
use crate::source::digests::Digests;
use crate::source::download::{self, Remote};
use crate::source::files::{self, Files, Source};
use crate::source::git;
use crate::source::ignore::Ignore;

/// A COPY or an ADD, its variables expanded.
struct Request<'c> {
    copy: &'c Copy,
    add: bool,
    sources: Vec<String>,
    exclude: Ignore,
    checksum: Option<String>,
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
        let cached = match self.origin(copy.from.as_deref())? {
            Origin::Files(tree) => self.copy_files(request, &tree.files, task)?,
            Origin::Stage(built) | Origin::Image(built) => self.copy_from(request, &built, task)?,
            Origin::Nothing => {
                let name = "scratch, which is empty".to_owned();
                let path = request.sources.first().cloned().unwrap_or_default();
                return Err(files::Error::NotFound { path, name, near: None }.into());
            }
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
    fn request<'c>(&mut self, copy: &'c Copy, add: bool) -> Result<Request<'c>, Error> {
        let expand = |text: &String| self.variables.expand(text);
        let flag = |flag: &Option<String>| -> Result<Option<String>, Error> {
            Ok(flag.as_ref().map(expand).transpose()?.filter(|text| !text.is_empty()))
        };
        let sources = copy.sources.iter().map(expand).collect::<Result<Vec<_>, _>>()?;
        let destination = self.absolute(&expand(&copy.destination)?);
        let (chown, chmod) = (flag(&copy.chown)?, flag(&copy.chmod)?);
        let mode = chmod.as_deref().map(str::parse).transpose()?;
        // BuildKit does not expand the variables of `--exclude`.
        let exclude = Ignore::of_patterns(&copy.exclude)?;
        let checksum = flag(&copy.checksum)?;
        check_sources(add, &sources, copy.heredocs.len(), checksum.is_some())?;
        let keyword = if add { "ADD" } else { "COPY" };
        let text = format!("{keyword} {}", history(copy, &sources, &destination));
        let epoch = self.session.options.epoch;

        // The layer of `--link` does not depend on what lies below. Nor does its key, so it is kept when the base
        // changes.
        let mut key = if copy.link { Key::builder("link") } else { self.begin_key("copy") };
        key.add(keyword).add(&destination).add(chown.as_deref().unwrap_or("-")).add(chmod.as_deref().unwrap_or("-"));
        key.add([copy.parents.into(), copy.unpack.map_or(2, u8::from)]).add(epoch.unwrap_or(i64::MIN).to_le_bytes());
        key.list(copy.exclude.iter());
        let mut owner = None;
        if let Some(text) = chown.as_deref().filter(|_| copy.link) {
            // The key holds nothing of what lies below, where the name is looked up.
            let (uid, gid) = self.owner(text)?;
            key.add(uid.to_le_bytes()).add(gid.to_le_bytes());
            owner = Some((uid, gid));
        }
        let options = Options { destination, owner, mode, keep_owners: false, epoch };
        Ok(Request { copy, add, sources, exclude, checksum, chown, options, key, text })
    }

    /// Copies from a tree of files that is there: the context, or one with a name.
    fn copy_files(&mut self, mut request: Request<'_>, files: &Files, task: &Task<'_>) -> Result<bool, Error> {
        let session = self.session;
        let exclude = std::mem::take(&mut request.exclude);
        let sources = std::mem::take(&mut request.sources);
        let inputs = self.inputs(&request, &sources, &exclude, files, task)?;
        // If the layer is not in the cache, reading the files for the key would read them twice; if it is, they need
        // not be copied. So they are read for the key only if such a copy was made before, or if all digests are
        // already known.
        let family = {
            let mut family = request.key.clone();
            family.list(sources.iter()).finish()
        };
        let seen = session.cache.reads() && session.cache.get(&family).is_some();
        let mut full = request.key.clone();
        let known = copy::add_to_key(&mut full, &inputs, &request.options, &session.digests, seen)?.is_some();
        self.note_fetched(&inputs)?;
        if known && self.cached(&full.finish(), &request.text)? {
            return Ok(true);
        }
        if let Some(text) = request.chown.as_deref().filter(|_| request.options.owner.is_none()) {
            request.options.owner = Some(self.owner(text)?);
        }
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

    /// Collects what is copied: files, URLs, repositories, and heredocs.
    fn inputs<'i>(
        &self,
        request: &Request<'_>,
        sources: &'i [String],
        exclude: &'i Ignore,
        files: &'i Files,
        task: &Task<'_>,
    ) -> Result<Vec<Input<'i>>, Error>
    where
        'a: 'i,
    {
        let Request { copy, add, checksum, .. } = request;
        let session = self.session;
        let builds = session.cache.path();
        let mut inputs = Vec::new();
        for source in sources {
            if let Some(mut address) = repository(*add, source)? {
                let keep_git_dir = keep_git_dir(copy, &address)?;
                address.checksum = same_checksum(&address, checksum.as_deref())?;
                task.note(&format!("resolving {}", address.shown()));
                let access = session.added().map_err(crate::run::Error::from)?;
                let pin = git::resolve(&address, access, builds)?;
                inputs.push(Input::Repository(Repository::new(pin, keep_git_dir, exclude, access, builds)));
            } else if *add && download::is_url(source) {
                let remote = Remote::new(source, checksum.as_deref(), &session.access, builds)?;
                task.note(&format!("fetching {}", download::shown(source)));
                inputs.push(Input::Download { remote, unpack: copy.unpack == Some(true) });
            } else {
                let unpack = *add && copy.unpack != Some(false);
                local(&mut inputs, files, source, copy.parents, exclude, unpack.then_some(&session.digests), task)?;
            }
        }
        for heredoc in &copy.heredocs {
            let body = heredoc.body();
            let body = if heredoc.expand { self.variables.body(&body)? } else { body };
            inputs.push(Input::Bytes { name: heredoc.name.clone(), bytes: body.into_bytes(), mode: 0o644 });
        }
        Ok(inputs)
    }

    /// Notes what ADD takes from outside.
    fn note_fetched(&self, inputs: &[Input<'_>]) -> Result<(), Error> {
        for input in inputs {
            let (address, digest) = match input {
                Input::Download { remote, .. } => (remote.shown(), remote.digest()?.to_string()),
                Input::Repository(repository) => {
                    (repository.pin.address.to_string(), git::named(&repository.pin.commit))
                }
                _ => continue,
            };
            self.session.materials().fetched.insert(address, digest);
        }
        Ok(())
    }

    fn copy_from(&mut self, mut request: Request<'_>, built: &Built, task: &Task<'_>) -> Result<bool, Error> {
        let session = self.session;
        request.options.keep_owners = true;
        request.key.add("from");
        // If the stage is the one seen before, so are its files, and nothing has to be mounted.
        let mut by_stage = request.key.clone();
        by_stage.add(built.key.hex()).list(request.sources.iter());
        for heredoc in &request.copy.heredocs {
            let body = heredoc.body();
            by_stage.add(&heredoc.name).add(if heredoc.expand { self.variables.body(&body)? } else { body });
        }
        let by_stage = by_stage.finish();
        if self.cached(&by_stage, &request.text)? {
            return Ok(true);
        }
        if let Some(text) = request.chown.as_deref().filter(|_| request.options.owner.is_none()) {
            request.options.owner = Some(self.owner(text)?);
        }
        let folder = session.folder()?;
        let (files, _stack) = self.files_of(request.copy.from.as_deref().unwrap_or_default(), built, &folder)?;
        let exclude = std::mem::take(&mut request.exclude);
        let sources = std::mem::take(&mut request.sources);
        let inputs = self.inputs(&request, &sources, &exclude, &files, task)?;
        // Another stage with the same files gives the same layer.
        let mut by_content = request.key;
        copy::add_to_key(&mut by_content, &inputs, &request.options, &session.digests, true)?;
        let by_content = by_content.finish();
        let hit = self.cached(&by_content, &request.text)?;
        if !hit {
            let layer = self.pack_layer(&request.options, &inputs, request.copy.link)?;
            self.finish(by_content.clone(), &request.text, Some(layer))?;
        }
        // The next build finds it without looking at the files. What follows is keyed by them.
        session.cache.alias(&by_stage, &by_content)?;
        Ok(hit)
    }
}

/// Adds what a word means in a tree of files. With `unpack`, an archive is taken as such; its digest is looked up there.
fn local<'i>(
    inputs: &mut Vec<Input<'i>>,
    files: &'i Files,
    written: &str,
    parents: bool,
    exclude: &Ignore,
    unpack: Option<&Digests>,
    task: &Task<'_>,
) -> Result<(), Error> {
    if parents {
        inputs.push(Input::Parents { files, found: files.walk_parents(written, exclude)? });
        return Ok(());
    }
    let found = files.matching(written)?;
    if found.is_empty() {
        task.note(&format!("nothing matches {written}"));
    }
    for source in found {
        let found = files.walk(&source, exclude)?;
        match unpack.filter(|_| !source.directory && !found.is_empty()) {
            Some(digests) => inputs.push(unpacked(files, source, found, digests)?),
            None => inputs.push(Input::Files { files, source, found }),
        }
    }
    Ok(())
}

/// A file for ADD, which is an archive or not.
fn unpacked<'i>(
    files: &'i Files,
    source: Source,
    found: Vec<files::File>,
    digests: &Digests,
) -> Result<Input<'i>, Error> {
    let file = files.open(&source.path)?;
    let failed = |error| files.io("read", &source.path, error);
    if !archive::is_archive(&file).map_err(failed)? {
        return Ok(Input::Files { files, source, found });
    }
    let rewound = || {
        let mut file = file.try_clone()?;
        io::Seek::rewind(&mut file)?;
        Ok(file)
    };
    let digest = digests.of(&found[0].stat, rewound).map_err(failed)?;
    Ok(Input::Archive { file, digest: digest.to_vec(), name: source.named.display().to_string() })
}

/// Refuses sources and checksums that an instruction cannot have.
fn check_sources(add: bool, sources: &[String], heredocs: usize, checksum: bool) -> Result<(), Error> {
    let is_remote = |source: &String| -> Result<bool, Error> {
        Ok(download::is_url(source) || repository(true, source)?.is_some())
    };
    if !add {
        for source in sources {
            if is_remote(source)? {
                return Err(Error::RemoteCopy(download::shown(source)));
            }
        }
    }
    match sources {
        _ if !checksum => Ok(()),
        [source] if heredocs == 0 && is_remote(source)? => Ok(()),
        [_] if heredocs == 0 => Err(Error::LocalChecksum),
        _ => Err(Error::SeveralChecksum),
    }
}

/// The repository that a source of ADD is, if it is one. What looks like a path is a path.
fn repository(add: bool, source: &str) -> Result<Option<git::Address>, Error> {
    if !add {
        return Ok(None);
    }
    Ok(git::Address::parse(source)?.filter(|address| !address.like_path))
}

/// Whether `.git` is kept, by the flag or by the address.
fn keep_git_dir(copy: &Copy, address: &git::Address) -> Result<bool, Error> {
    match (copy.keep_git_dir, address.keep_git_dir) {
        (Some(flag), Some(query)) if flag != query => Err(Error::KeepGitDir),
        (flag, query) => Ok(flag.or(query).unwrap_or(false)),
    }
}

/// The expected commit, by the flag or by the address.
fn same_checksum(address: &git::Address, flag: Option<&str>) -> Result<Option<String>, Error> {
    let Some(flag) = flag else { return Ok(address.checksum.clone()) };
    if !flag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::GitChecksum(flag.to_owned()));
    }
    match &address.checksum {
        Some(query) if query != flag => Err(Error::GitChecksum(format!("{flag} and {query}"))),
        _ => Ok(Some(flag.to_owned())),
    }
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
    fn checksums_are_for_one_remote_source() {
        let check = |add: bool, sources: &[&str], heredocs: usize, checksum: bool| {
            let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
            check_sources(add, &sources, heredocs, checksum).map_err(|error| error.to_string())
        };
        for (sources, heredocs, expected) in [
            (&["https://h/a"][..], 0, Ok(())),
            (&["git@h:a"], 0, Ok(())),
            (&["f"], 0, Err("--checksum is for a URL or a git repository, not for a file of the context")),
            (&["github.com/a/b"], 0, Err("--checksum is for a URL or a git repository, not for a file of the context")),
            (&["https://h/a", "f"], 0, Err("--checksum is for one source only")),
            (&["https://h/a"], 1, Err("--checksum is for one source only")),
        ] {
            assert_eq!(check(true, sources, heredocs, true), expected.map_err(str::to_owned), "{sources:?}");
            assert_eq!(check(true, sources, heredocs, false), Ok(()), "{sources:?}");
        }
        let error = "https://h/a.git: COPY takes files only (ADD takes URLs and git repositories)".to_owned();
        assert_eq!(check(false, &["https://u:p@h/a.git"], 0, false), Err(error));
    }

    #[test]
    fn flags_and_addresses_must_agree() {
        let address = git::Address::parse("https://h/a.git?keep-git-dir=0&checksum=ab").unwrap().unwrap();
        let copy = |keep_git_dir| Copy { keep_git_dir, ..Copy::default() };
        assert!(!keep_git_dir(&copy(None), &address).unwrap());
        assert!(keep_git_dir(&copy(Some(true)), &address).is_err());
        assert_eq!(same_checksum(&address, None).unwrap().as_deref(), Some("ab"));
        assert!(same_checksum(&address, Some("abc")).is_err() && same_checksum(&address, Some("sha256:ab")).is_err());
    }
}
