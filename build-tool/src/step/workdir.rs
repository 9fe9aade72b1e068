//! WORKDIR as a step: the directory is created if it is missing.

use std::path::Path;

use super::error::Error;
use super::work::Work;
use crate::copy;
use crate::stage::owner;

impl Work<'_> {
    /// Carries out WORKDIR. Returns whether the layer came from the cache.
    pub(super) fn workdir(&mut self, path: &str) -> Result<bool, Error> {
        let path = self.variables.expand(path)?;
        let path = self.absolute(&path);
        let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
        self.draft.set("WorkingDir", path.as_str());
        let text = format!("WORKDIR {path}");
        if path == "/" {
            self.note(&text);
            return Ok(false);
        }
        let user = self.draft.user().to_owned();
        let mut key = self.begin_key("workdir");
        key.add(&path).add(&user);
        let key = key.finish();
        if self.cached(&key, &text)? {
            return Ok(true);
        }
        let tree = self.tree()?;
        let resolved = tree.resolve(Path::new(&path))?;
        if tree.is_directory(&resolved) {
            self.finish(key, &text, None)?;
            return Ok(false);
        }
        let owner = if user.is_empty() { None } else { self.owner_of_workdir(&user)? };
        let options = copy::Options {
            destination: format!("{path}/"),
            owner,
            epoch: self.session.options.epoch,
            ..copy::Options::default()
        };
        let layer = self.pack_layer(&options, &[copy::Input::Nothing], false)?;
        self.finish(key, &text, Some(layer))?;
        Ok(false)
    }

    /// The ids of the user for whom a directory is made. As in BuildKit, root owns it if the image does not know the user, or not yet.
    fn owner_of_workdir(&mut self, user: &str) -> Result<Option<(u32, u32)>, Error> {
        match self.owner(user) {
            Err(Error::Owner(owner::Error::User { .. })) => Ok(None),
            found => Ok(Some(found?)),
        }
    }
}
