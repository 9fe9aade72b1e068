//! The journal: docker's event documents, one JSON line each, in a file of the data folder.
//!
//! The runtime appends what happens to a container (run-tool, by the annotation that names the file), the other tools what happens to
//! images of the default layout, to bundles, volumes and networks. There is no daemon that could forget: [`Reader`] reads what has happened,
//! and waits for what comes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::image::Descriptor;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, inotify};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Layout;
use crate::address::home::Home;
use crate::address::name;
use crate::error::During as _;

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The id, or the name of a volume.
    #[serde(rename = "ID", default)]
    pub id: String,
    /// Its name, labels and what else belongs to the event.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

/// An event, as docker's API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The action, of a container or an image; absent for others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The id of the container or the image; absent for others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The image of the container; absent for others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `volume` or `network`.
    #[serde(rename = "Type", default)]
    pub kind: String,
    /// What happened, such as `start`.
    #[serde(rename = "Action", default)]
    pub action: String,
    /// To what it happened.
    #[serde(rename = "Actor", default)]
    pub actor: Actor,
    /// Always `local`.
    #[serde(default)]
    pub scope: String,
    /// The time in seconds since 1970.
    #[serde(default)]
    pub time: i64,
    /// The time in nanoseconds since 1970.
    #[serde(rename = "timeNano", default)]
    pub time_nano: i64,
}

/// An older journal is kept beside it once it is as large.
const LARGEST: u64 = 4 << 20;

fn older(path: &Path) -> PathBuf {
    path.with_extension("jsonl.old")
}

/// Records that something happened to a volume or a network.
pub fn record(home: &Home, kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let actor = Actor { id: id.to_owned(), attributes };
    append(&home.events(), Event { kind: kind.to_owned(), action: action.to_owned(), actor, ..Event::default() });
}

/// Records what happened to an image of the default layout: its id, its name if that is what changed, and its labels.
pub fn record_image(layout: &Layout, action: &str, image: &Descriptor, name: Option<&str>) {
    let Some(home) = home_of(layout) else { return };
    let found = layout.some_image(image).ok();
    let id = found.as_ref().map_or(image.digest(), |found| found.manifest().config().digest()).to_string();
    let config: Value = found.and_then(|found| serde_json::from_slice(found.config_bytes()).ok()).unwrap_or_default();
    let labels = config["config"]["Labels"].as_object().into_iter().flatten();
    let mut attributes: BTreeMap<String, String> =
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    attributes.insert("name".into(), name.map_or_else(|| id.clone(), name::short));
    image_event(&home, action, id, attributes);
}

/// Records what happened to an image of the default layout by its name, such as `pull`.
pub fn record_name(layout: &Layout, action: &str, name: &str) {
    let Some(home) = home_of(layout) else { return };
    let (own, digest) = name.split_once('@').map_or((name, None), |(own, digest)| (own, Some(digest)));
    let (repository, tag) = name::familiar(own);
    let id = digest.map_or_else(|| format!("{repository}:{tag}"), |digest| format!("{repository}@{digest}"));
    image_event(&home, action, id, [("name".to_owned(), repository)].into());
}

fn image_event(home: &Home, action: &str, id: String, attributes: BTreeMap<String, String>) {
    append(
        &home.events(),
        Event {
            status: action.to_owned(),
            id: id.clone(),
            kind: "image".into(),
            action: action.to_owned(),
            actor: Actor { id, attributes },
            ..Event::default()
        },
    );
}

/// The home of which a layout is the default one. What happens in another is nobody's business but its owner's.
fn home_of(layout: &Layout) -> Option<Home> {
    let home = Home::from_environment();
    let same = fs::canonicalize(home.images()).ok()? == fs::canonicalize(layout.path()).ok()?;
    same.then_some(home)
}

/// Appends an event that happens now. One that cannot be recorded is lost: what happened matters more.
pub fn append(path: &Path, mut event: Event) {
    let now = Timestamp::now();
    event.scope = "local".into();
    (event.time, event.time_nano) = (now.as_second(), i64::try_from(now.as_nanosecond()).unwrap_or_default());
    let Ok(json) = serde_json::to_string(&event) else { return };
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LARGEST) {
        let _ = fs::rename(path, older(path));
    }
    // Neither a link nor a pipe that nobody reads can be in the place of the file.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    // One write of a short line to the end of a file is not mixed with others.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all((json + "\n").as_bytes())) {
        tracing::debug!("record {} in {}: {error}", event.action, path.display());
    }
}

/// Reads the journal from its begin, and then waits for more.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// The file that is read now, of which more lines may come; absent before there is one.
    file: Option<BufReader<File>>,
    /// A line of which the end is not written yet.
    begun: String,
    watch: std::os::fd::OwnedFd,
}

impl Reader {
    /// Opens the journal, which need not exist yet.
    ///
    /// # Errors
    /// If the folder cannot be watched.
    pub fn open(home: &Home) -> Result<Self, crate::error::Io> {
        let path = home.events();
        fs::create_dir_all(home.path()).during("create", home.path())?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(io::Error::from)
            .during("watch", home.path())?;
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, home.path(), flags).map_err(io::Error::from).during("watch", home.path())?;
        let file = File::open(older(&path)).or_else(|_| File::open(&path)).ok().map(BufReader::new);
        Ok(Self { path, file, begun: String::new(), watch })
    }

    /// The next event that is recorded already; `None` if there is no more. Lines that are no events are left out.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let Some(file) = &mut self.file else {
                self.file = Some(BufReader::new(File::open(&self.path).ok()?));
                continue;
            };
            match file.read_line(&mut self.begun) {
                Ok(count) if count > 0 && self.begun.ends_with('\n') => {
                    let line = std::mem::take(&mut self.begun);
                    if let Ok(event) = serde_json::from_str(&line) {
                        return Some(event);
                    }
                }
                Ok(count) if count > 0 => {}
                // What is not text cannot be an event.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.begun.clear(),
                _ if self.is_current() => return None,
                // Another file has taken its place.
                _ => self.file = Some(BufReader::new(File::open(&self.path).ok()?)),
            }
        }
    }

    /// Whether the file that is read is the one to which events are appended.
    fn is_current(&self) -> bool {
        let own = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok());
        match (own, fs::metadata(&self.path)) {
            (Some(own), Ok(other)) => (own.dev(), own.ino()) == (other.dev(), other.ino()),
            _ => true,
        }
    }

    /// Waits until something is recorded, or the time is over.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut polled = [PollFd::new(&self.watch, PollFlags::IN)];
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        match rustix::event::poll(&mut polled, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        // What changed does not matter: all is read that is there.
        while rustix::io::read(&self.watch, &mut buffer).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_also_after_the_file_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let event = |action: &str| Event { kind: "volume".into(), action: action.into(), ..Event::default() };
        append(&path, event("create"));
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let mut reader = Reader { path: path.clone(), file: None, begun: String::new(), watch };
        assert_eq!(reader.event().unwrap().action, "create");
        assert_eq!(reader.event(), None);
        fs::write(folder.path().join("more"), "").unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"no event\n\xff\n{\"Type\":\"volume\",\"Act").unwrap();
        assert_eq!(reader.event(), None);
        file.write_all(b"ion\":\"mount\"}\n").unwrap();
        assert_eq!(reader.event().unwrap().action, "mount");
        fs::rename(&path, older(&path)).unwrap();
        append(&path, event("destroy"));
        let last = reader.event().unwrap();
        assert_eq!((last.action.as_str(), last.scope.as_str()), ("destroy", "local"));
        assert!(last.time > 0 && last.time_nano / 1_000_000_000 == last.time);
        assert_eq!(reader.event(), None);
    }
}
