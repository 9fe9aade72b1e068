//! What the layout lacks, fetched from another registry while the client waits, and kept.
//!
//! A manifest is handed on at once and kept in memory. It is written to the layout when all that it needs is there: an image's
//! blobs, or one of the images of an index. So the layout holds nothing that is not whole, and whoever pulled an image finds it
//! there again when the other registry is away. Blobs are handed on while they arrive, to everybody who wants them, from one download.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use image_tool::address::RefName;
use image_tool::address::digest::Digest;
use image_tool::layout::{Error, Layout, MANIFEST_LIMIT, Writer, is_index};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::{Descriptor, MediaType};
use tokio::sync::watch;

use super::failure::{Failure, blocking};
use super::store::catalog::{Document, is_elsewhere};
use super::store::{OCTETS, Store};
use super::upstream::Upstream;
use crate::client::Registry;
use crate::question::query;
use crate::reference::ImageName;
use crate::transfer::download::{DownloadError, download_in_view};
use crate::transfer::growth::Growth;

/// How many bytes of manifests are remembered whose blobs have not arrived.
const WAITING: usize = 64 << 20;

/// How long they are.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A layout that keeps what other registries have.
pub(super) struct Mirror {
    upstream: Upstream,
    /// For how long the answer of a registry about a tag is believed.
    trust: Duration,
    shared: Arc<Shared>,
}

/// What downloads need after the requests that began them.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Held by whoever moves manifests into the layout.
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<String, Waiting>,
    flights: HashMap<String, watch::Receiver<Growth>>,
    /// When it was last known which image a tag has.
    asked: HashMap<String, Instant>,
}

/// A manifest whose blobs have not all arrived.
struct Waiting {
    document: Arc<Document>,
    bytes: Bytes,
    refs: BTreeSet<RefName>,
    since: Instant,
}

/// Which image of which registry is meant.
pub(super) struct Origin<'a> {
    /// The registry.
    pub(super) host: Option<&'a str>,
    /// The repository there.
    pub(super) repository: &'a str,
    /// Whether the registry is mirrored.
    pub(super) is_mirrored: bool,
}

/// Something that may be fetched from elsewhere into a layout.
pub(super) struct Fetch<'a> {
    mirror: &'a Mirror,
    store: Arc<Store>,
    name: ImageName,
    /// The ref of a tag in the layout.
    reference: Option<RefName>,
}

/// A blob on its way in.
pub(super) struct Arriving {
    pub(super) size: u64,
    pub(super) file: Arc<File>,
    pub(super) growth: watch::Receiver<Growth>,
}

impl Mirror {
    pub(super) fn new(upstream: Upstream, trust: Duration) -> Self {
        Self { upstream, trust, shared: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Where a name comes from: the registry that the client says, the one that the name begins with, or the first that is mirrored.
    pub(super) fn origin<'a>(&'a self, name: &'a str, namespace: Option<&'a str>) -> Origin<'a> {
        let (host, repository) = match (namespace, name.split_once('/')) {
            (Some("index.docker.io" | "registry-1.docker.io"), _) => (Some("docker.io"), name),
            (Some(host), _) => (Some(host), name),
            (None, Some((host, rest))) if host.contains('.') => (Some(host), rest),
            (None, _) => (self.upstream.first(), name),
        };
        Origin { host, repository, is_mirrored: host.is_some_and(|host| self.upstream.has(host)) }
    }

    /// `name` on its way into a layout, where a tag of it has the ref `reference`.
    pub(super) fn fetch(&self, store: Arc<Store>, name: ImageName, reference: Option<RefName>) -> Fetch<'_> {
        Fetch { mirror: self, store, name, reference }
    }

    /// The tags that a repository has at its registry.
    pub(super) async fn tags(&self, name: &ImageName) -> Result<Vec<String>, Failure> {
        let registry = self.upstream.about(name).await?;
        self.upstream.judge(name, query::tags(&registry).await)
    }

    /// Forgets manifests that nobody fetched the blobs of.
    pub(super) fn expire(&self) {
        let mut state = self.state();
        state.waiting.retain(|_, waiting| waiting.since.elapsed() < PATIENCE);
        let trust = self.trust;
        state.asked.retain(|_, since| since.elapsed() < trust);
    }

    fn is_fresh(&self, reference: &RefName) -> bool {
        self.state().asked.get(reference.as_str()).is_some_and(|since| since.elapsed() < self.trust)
    }

    fn has_asked(&self, reference: &RefName) {
        if !self.trust.is_zero() {
            self.state().asked.insert(reference.to_string(), Instant::now());
        }
    }

    /// A manifest that waits for its blobs. The ref becomes its own.
    fn waiting(&self, digest: &str, reference: Option<&RefName>) -> Option<(Descriptor, Bytes)> {
        let mut state = self.state();
        let found = state.waiting.get_mut(digest)?;
        found.since = Instant::now();
        let found = (found.document.descriptor.clone(), found.bytes.clone());
        state.move_ref(digest, reference);
        Some(found)
    }

    /// The manifest that a tag was last known to have, if it waits.
    fn tagged(&self, reference: &RefName) -> Option<(Descriptor, Bytes)> {
        let state = self.state();
        let found = state.waiting.values().find(|waiting| waiting.refs.contains(reference))?;
        Some((found.document.descriptor.clone(), found.bytes.clone()))
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        let state = self.state();
        let mut blobs = state.waiting.values().flat_map(|waiting| &waiting.document.blobs);
        blobs.find(|blob| blob.digest() == digest).map(Descriptor::size)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the manifests to the layout that have all they need by now, and lets their tags lead to them.
    fn settle(&self, store: &Store) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left: Vec<(Arc<Document>, Bytes, BTreeSet<RefName>)> = {
            let state = self.state();
            let parts =
                |waiting: &Waiting| (Arc::clone(&waiting.document), waiting.bytes.clone(), waiting.refs.clone());
            state.waiting.values().map(parts).collect()
        };
        if left.is_empty() {
            return Ok(());
        }
        // What is there may be garbage so far: until it is an image's, none of it is collected.
        let writer = store.lease.hold(SETTLING)?;
        let mut ready: Vec<(Arc<Document>, BTreeSet<RefName>)> = Vec::new();
        let result = (|| {
            while let Some(next) = left.iter().position(|(document, ..)| is_whole(store.layout(), document)) {
                let (document, bytes, refs) = left.swap_remove(next);
                let descriptor = &document.descriptor;
                if store.layout().read(descriptor, MANIFEST_LIMIT).is_err() {
                    let mut blob = writer.expect(descriptor)?;
                    blob.write_all(&bytes).map_err(|error| blob.error("write", error))?;
                    blob.commit(descriptor.media_type().clone())?;
                }
                ready.push((document, refs));
            }
            if ready.is_empty() { Ok(()) } else { publish(store, &ready) }
        })();
        drop(writer);
        let mut done = vec![SETTLING.to_owned()];
        if result.is_ok() {
            let mut state = self.state();
            for (document, refs) in &ready {
                let digest = document.descriptor.digest().as_ref();
                // One that got another tag meanwhile waits for its turn.
                if state.waiting.get(digest).is_some_and(|waiting| waiting.refs == *refs) {
                    state.waiting.remove(digest);
                }
                done.extend(document.blobs.iter().map(|blob| blob.digest().to_string()));
            }
        }
        store.lease.release(done.iter().map(String::as_str));
        result
    }
}

/// The name under which a layout is kept from garbage collection while manifests are moved into it.
const SETTLING: &str = "mirror";

/// Whether an image has all its blobs, or an index one of its images.
fn is_whole(layout: &Layout, document: &Document) -> bool {
    if is_index(&document.descriptor) {
        return document.manifests.is_empty() || document.manifests.iter().any(|part| layout.has(part));
    }
    document.blobs.iter().all(|blob| is_elsewhere(blob) || layout.has(blob))
}

/// Lets tags lead to manifests. What they led to before is dropped: it can be fetched again.
fn publish(store: &Store, ready: &[(Arc<Document>, BTreeSet<RefName>)]) -> Result<(), Error> {
    let catalog = store.catalog()?;
    let result = store.layout().update_index(|index| {
        for (document, refs) in ready {
            let descriptor = &document.descriptor;
            for reference in refs {
                index.set(reference, descriptor);
            }
            let is_part = |other: &Document| other.manifests.iter().any(|part| part.digest() == descriptor.digest());
            let has_index = catalog.any(is_part) || ready.iter().any(|(other, _)| is_part(other));
            if !has_index {
                index.add(descriptor);
            }
        }
        for (document, _) in ready {
            for part in &document.manifests {
                index.remove_unnamed(part.digest());
            }
        }
        Ok(())
    });
    store.has_changed();
    result
}

impl State {
    fn move_ref(&mut self, digest: &str, reference: Option<&RefName>) {
        let Some(reference) = reference else { return };
        for (known, waiting) in &mut self.waiting {
            if known == digest {
                waiting.refs.insert(reference.clone());
            } else {
                waiting.refs.remove(reference);
            }
        }
    }

    fn add(&mut self, document: Document, bytes: Bytes, reference: Option<&RefName>) {
        let mut size = bytes.len();
        for waiting in self.waiting.values() {
            size += waiting.bytes.len();
        }
        while size > WAITING
            && let Some((oldest, _)) = self.waiting.iter().min_by_key(|(_, waiting)| waiting.since)
        {
            let oldest = oldest.clone();
            size -= self.waiting.remove(&oldest).map_or(0, |waiting| waiting.bytes.len());
        }
        let digest = document.descriptor.digest().to_string();
        let waiting = Waiting { document: Arc::new(document), bytes, refs: BTreeSet::new(), since: Instant::now() };
        self.waiting.entry(digest.clone()).or_insert(waiting);
        self.move_ref(&digest, reference);
    }
}

impl Fetch<'_> {
    /// A manifest that the layout does not have, or has not for this tag any more; `None` if what the layout has is right.
    pub(super) async fn manifest(&self) -> Result<Option<(Descriptor, Bytes)>, Failure> {
        let mirror = self.mirror;
        match (&self.reference, self.name.digest()) {
            (Some(reference), _) => {
                if mirror.is_fresh(reference) {
                    return Ok(mirror.tagged(reference));
                }
                let tag = self.name.tag().unwrap_or("latest").to_owned();
                let registry = mirror.upstream.about(&self.name).await?;
                let digest = mirror.upstream.judge(&self.name, registry.manifest_digest(&tag).await)?;
                if let Some(digest) = digest {
                    if self.has_tag(&digest).await? {
                        mirror.has_asked(reference);
                        return Ok(None);
                    }
                    if let Some(found) = mirror.waiting(&digest, Some(reference)) {
                        mirror.has_asked(reference);
                        self.settle().await?;
                        return Ok(Some(found));
                    }
                }
            }
            (None, Some(digest)) => {
                let (store, wanted) = (Arc::clone(&self.store), digest.to_owned());
                let is_held = blocking(move || {
                    let Ok(digest) = image_tool::address::digest::parse(&wanted) else { return Ok(false) };
                    Ok(store.catalog()?.document(&digest).is_some())
                });
                if is_held.await? {
                    return Ok(None);
                }
                if let Some(found) = mirror.waiting(digest, None) {
                    return Ok(Some(found));
                }
            }
            (None, None) => return Ok(None),
        }
        let name = &self.name;
        let registry = mirror.upstream.about(name).await?;
        let fetched = mirror.upstream.judge(name, query::manifest(&registry, name).await)?;
        let (mut descriptor, bytes) = (fetched.descriptor, fetched.bytes);
        descriptor.set_annotations(None);
        let document = Document::parse(&descriptor, &bytes).map_err(|reason| {
            tracing::warn!("mirror {name}: {reason}");
            Failure::bad(OciErrorCode::ManifestInvalid, "the manifest is not valid")
        })?;
        mirror.state().add(document, bytes.clone(), self.reference.as_ref());
        if let Some(reference) = &self.reference {
            mirror.has_asked(reference);
        }
        self.settle().await?;
        Ok(Some((descriptor, bytes)))
    }

    /// Whether the tag leads to this image in the layout.
    async fn has_tag(&self, digest: &str) -> Result<bool, Failure> {
        let (store, digest) = (Arc::clone(&self.store), digest.to_owned());
        let reference = self.reference.clone();
        blocking(move || {
            let entries = store.layout().index()?.entries()?;
            let is_same = |name: &str| {
                reference.as_ref().is_some_and(|wanted| image_tool::address::name::equal(name, wanted.as_str()))
            };
            Ok(entries.iter().any(|(name, descriptor)| {
                name.as_deref().is_some_and(is_same)
                    && descriptor.digest().as_ref() == digest
                    && store.layout().has(descriptor)
            }))
        })
        .await
    }

    /// The size of a blob at its registry.
    pub(super) async fn blob_size(&self, digest: &Digest) -> Result<u64, Failure> {
        if let Some(size) = self.mirror.size_of(digest) {
            return Ok(size);
        }
        let registry = self.mirror.upstream.about(&self.name).await?;
        let size = self.mirror.upstream.judge(&self.name, registry.blob_size(digest.as_ref()).await)?;
        size.ok_or_else(|| Failure::missing(OciErrorCode::BlobUnknown, "the size of the blob is not known"))
    }

    /// A blob that the layout lacks, once its first bytes have arrived.
    pub(super) async fn blob(&self, digest: &Digest) -> Result<Arriving, Failure> {
        let size = self.blob_size(digest).await?;
        let mut growth = match self.flight(digest) {
            Some(growth) => growth,
            None => self.begin(digest, size).await?,
        };
        let lost = || {
            let message = format!("{} did not give the blob", self.name.registry());
            let code = OciErrorCode::Other("UNKNOWN".into());
            Failure::new(hyper::StatusCode::BAD_GATEWAY, code, message)
        };
        let begun = |growth: &Growth| growth.end.is_some() || growth.file.is_some() && growth.size > 0;
        let begun = growth.wait_for(begun).await.map_err(|_| lost())?.clone();
        match (begun.end, begun.file) {
            (None | Some(true), Some(file)) => Ok(Arriving { size, file, growth }),
            _ => Err(lost()),
        }
    }

    fn flight(&self, digest: &Digest) -> Option<watch::Receiver<Growth>> {
        self.mirror.state().flights.get(digest.as_ref()).cloned()
    }

    /// Begins the download of a blob, which goes on whether or not somebody waits for it.
    async fn begin(&self, digest: &Digest, size: u64) -> Result<watch::Receiver<Growth>, Failure> {
        let registry = self.mirror.upstream.about(&self.name).await?;
        let (store, name) = (Arc::clone(&self.store), digest.to_string());
        let writer = blocking(move || Ok(store.lease.hold(&name)?)).await?;
        let (news, growth) = watch::channel(Growth::default());
        {
            let mut state = self.mirror.state();
            // Another request may have been faster.
            if let Some(known) = state.flights.get(digest.as_ref()) {
                return Ok(known.clone());
            }
            state.flights.insert(digest.to_string(), growth.clone());
        }
        let flight = Flight {
            registry,
            writer,
            store: Arc::clone(&self.store),
            shared: Arc::clone(&self.mirror.shared),
            descriptor: Descriptor::new(MediaType::Other(OCTETS.into()), size, digest.clone()),
            news,
        };
        tokio::spawn(flight.fly(self.name.to_string()));
        Ok(growth)
    }

    async fn settle(&self) -> Result<(), Failure> {
        let (shared, store) = (Arc::clone(&self.mirror.shared), Arc::clone(&self.store));
        blocking(move || Ok(shared.settle(&store)?)).await
    }
}

/// The download of a blob.
struct Flight {
    registry: Arc<Registry>,
    writer: Writer,
    store: Arc<Store>,
    shared: Arc<Shared>,
    descriptor: Descriptor,
    news: watch::Sender<Growth>,
}

impl Flight {
    /// Downloads the blob, moves the manifests that waited for it, and only then says that it is there.
    async fn fly(self, from: String) {
        let digest = self.descriptor.digest().clone();
        let is_good = match self.download().await {
            Ok(()) => {
                let (shared, store, wanted) = (Arc::clone(&self.shared), Arc::clone(&self.store), digest.clone());
                let settled = blocking(move || {
                    store.trust(&wanted);
                    Ok(shared.settle(&store)?)
                });
                // The blob has arrived all the same; the failure is in the log.
                let _ = settled.await;
                true
            }
            Err(error) => {
                tracing::warn!("mirror {from}: blob {digest}: {error}");
                self.store.lease.release([digest.as_ref()]);
                false
            }
        };
        self.shared.state().flights.remove(digest.as_ref());
        self.news.send_modify(|growth| growth.end = Some(is_good));
    }

    async fn download(&self) -> Result<(), DownloadError> {
        download_in_view(&self.registry, &self.writer, &self.descriptor, &self.news).await?;
        // Where nothing was shown, the blob had come by another way.
        let file = Arc::new(self.store.layout().open_blob(&self.descriptor)?);
        self.news.send_modify(|growth| {
            growth.file.get_or_insert(file);
        });
        Ok(())
    }
}
