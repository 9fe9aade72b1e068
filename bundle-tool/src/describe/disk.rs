//! What images, containers, volumes, stored layers and the build cache take on disk, for `docker system df`.
//!
//! Docker counts the layers as the images' own. Here images are compressed, and their layers are stored for containers beside them.

use std::collections::BTreeMap;

use image_tool::address::home::Home;
use image_tool::address::{digest, name};
use image_tool::layer::cache::Cache;
use image_tool::layer::stack::stock::{self, Form, Piece, Wanted};
use image_tool::layout::Layout;
use image_tool::show::format::List;
use image_tool::show::summary::{Summary, layer_size};
use image_tool::show::template::{Struct, Value};
use image_tool::show::{human, table};
use jiff::Timestamp;

use super::size::{self, Size};
use super::{row, volume};
use crate::bundle::annotation;
use crate::container::status::Container;
use crate::container::stored;
use crate::describe::image::Names;
use crate::volume::{Store, Volume};

/// docker's list of kinds.
pub const LIST: List<'static> = List {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    narrowest: table::NARROW,
};

/// docker's list of images in `system df -v`.
pub const IMAGES: List<'static> = List {
    headings: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    narrowest: table::NARROW,
};

/// The list of stored layers.
pub const LAYERS: List<'static> = List {
    headings: &[("ID", "LAYER ID"), ("Form", "FORM"), ("Size", "SIZE"), ("Users", "USERS")],
    narrowest: table::NARROW,
};

/// An image, each once.
struct Image {
    id: String,
    names: Vec<String>,
    created: Option<Timestamp>,
    /// Its layers by digest, with their sizes.
    layers: Vec<(String, u64)>,
    containers: usize,
}

/// What there is.
pub struct Disk {
    images: Vec<Image>,
    /// In how many images a layer is.
    layers: BTreeMap<String, (u64, usize)>,
    containers: Vec<(Container, u64)>,
    volumes: Vec<(Volume, u64, usize)>,
    stored: Vec<Stored>,
    cache: u64,
}

/// What is stored, and whether a bundle needs it.
struct Stored {
    piece: Piece,
    is_active: bool,
}

/// The layers that are stored, and the EROFS images of them.
fn stored(home: &Home) -> Vec<Stored> {
    let cache = Cache::of(home);
    let (mut bundles, mut all) = (Wanted::default(), Wanted::default());
    // What cannot be read needs nothing.
    let _ = stored::by_bundles(home, &mut bundles);
    let _ = stored::by_bundles(home, &mut all);
    let _ = stored::by_images(home, &mut all);
    let pieces = stock::list(&cache, &all).unwrap_or_default();
    pieces.into_iter().map(|piece| Stored { is_active: bundles.users(&piece) > 0, piece }).collect()
}

impl Disk {
    /// Measures all of it.
    #[must_use]
    pub fn measure(home: &Home, containers: Vec<Container>) -> Self {
        let images = images(home, &containers);
        let mut layers: BTreeMap<String, (u64, usize)> = BTreeMap::new();
        for (digest, size) in images.iter().flat_map(|image| &image.layers) {
            layers.entry(digest.clone()).or_insert((*size, 0)).1 += 1;
        }
        let store = Store::new(home.volumes());
        let users = |name: &str| {
            let uses = |container: &&Container| container.volumes().iter().any(|used| used.name == name);
            containers.iter().filter(uses).count()
        };
        let volumes = store.list().unwrap_or_default();
        let volumes = volumes.into_iter().map(|volume| {
            let (bytes, users) = (size::folder(&volume.data), users(&volume.name));
            (volume, bytes, users)
        });
        let volumes = volumes.collect();
        let cache = size::folder(&home.builds());
        let containers = containers.into_iter().map(|container| {
            let own = size::of(&container, home).own;
            (container, own)
        });
        Self { images, layers, containers: containers.collect(), volumes, stored: stored(home), cache }
    }

    /// What it takes together, in bytes, as docker counts: stored layers are the images'.
    #[must_use]
    pub fn total(&self) -> u64 {
        let layers = self.layers.values().map(|(size, _)| size);
        let containers = self.containers.iter().map(|(_, size)| size);
        let volumes = self.volumes.iter().map(|(_, size, _)| size);
        layers.chain(containers).chain(volumes).sum::<u64>() + self.cache
    }

    /// A row for each kind.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        let all: u64 = self.layers.values().map(|(size, _)| size).sum();
        let used: u64 = self.images.iter().filter(|image| image.containers > 0).map(|image| self.unique(image)).sum();
        let is_active = |container: &Container| container.is_up();
        let sum = |wanted: &dyn Fn(&Container) -> bool| -> u64 {
            self.containers.iter().filter(|(container, _)| wanted(container)).map(|(_, size)| size).sum()
        };
        let volumes: u64 = self.volumes.iter().map(|(_, size, _)| size).sum();
        let unused: u64 = self.volumes.iter().filter(|(.., users)| *users == 0).map(|(_, size, _)| size).sum();
        let active = self.images.iter().filter(|image| image.containers > 0).count();
        let running = self.containers.iter().filter(|(container, _)| is_active(container)).count();
        let sum_of = |wanted: &dyn Fn(&Stored) -> bool| -> u64 {
            self.stored.iter().filter(|stored| wanted(stored)).map(|stored| stored.piece.size).sum()
        };
        let stored: Vec<&Stored> = self.stored.iter().filter(|stored| stored.piece.form != Form::Image).collect();
        vec![
            kind("Images", self.images.len(), active, all, all - used.min(all)),
            kind("Containers", self.containers.len(), running, sum(&|_| true), sum(&|container| !is_active(container))),
            kind(
                "Local Volumes",
                self.volumes.len(),
                self.volumes.iter().filter(|(.., users)| *users > 0).count(),
                volumes,
                unused,
            ),
            kind(
                "Stored Layers",
                stored.len(),
                stored.iter().filter(|stored| stored.is_active).count(),
                sum_of(&|_| true),
                sum_of(&|stored| stored.piece.users == 0),
            ),
            kind("Build Cache", usize::from(self.cache > 0), 0, self.cache, self.cache),
        ]
    }

    /// The size of the layers that no other image has.
    fn unique(&self, image: &Image) -> u64 {
        let own = |digest: &String| self.layers.get(digest).is_some_and(|(_, images)| *images < 2);
        image.layers.iter().filter(|(digest, _)| own(digest)).map(|(_, size)| size).sum()
    }

    /// The size of the build cache.
    #[must_use]
    pub fn cache(&self) -> u64 {
        self.cache
    }

    /// A row for each image.
    #[must_use]
    pub fn image_rows(&self, now: Timestamp) -> Vec<Value> {
        let one = |image: &Image| {
            let all: u64 = image.layers.iter().map(|(_, size)| size).sum();
            let unique = self.unique(image);
            let (repository, tag) = match image.names.first() {
                Some(reference) => {
                    let (repository, tag) = name::familiar(reference);
                    (repository, tag.to_owned())
                }
                None => ("<none>".into(), "<none>".into()),
            };
            Struct::new("*formatter.imageContext")
                .with("Containers", image.containers.to_string())
                .with("CreatedSince", image.created.map_or("N/A".into(), |created| human::ago(created, now)))
                .with(
                    "ID",
                    digest::parse(&image.id).map_or_else(|_| image.id.clone(), |id| digest::short(&id).to_owned()),
                )
                .with("Repository", repository)
                .with("SharedSize", human::exact_size(all - unique))
                .with("Tag", tag)
                .with("UniqueSize", human::exact_size(unique))
                .with("VirtualSize", human::exact_size(all))
                .into()
        };
        self.images.iter().map(one).collect()
    }

    /// A row for each container, without the size of its image.
    #[must_use]
    pub fn container_rows(&self, home: &Home, now: Timestamp) -> Vec<Value> {
        let images = Names::read(home);
        let row = |(container, own): &(Container, u64)| {
            row::row(container, (home, &images), now, true, Some(Size { own: *own, all: 0 }))
        };
        self.containers.iter().map(row).collect()
    }

    /// A row for each stored layer, and for each EROFS image of them.
    #[must_use]
    pub fn stored_rows(&self) -> Vec<Value> {
        let row = |Stored { piece, .. }: &Stored| {
            Struct::new("*formatter.layerContext")
                .with("Form", piece.form.word())
                .with("ID", digest::short(&piece.digest).to_owned())
                .with("Size", human::exact_size(piece.size))
                .with("Users", piece.users.to_string())
                .into()
        };
        self.stored.iter().map(row).collect()
    }

    /// A row for each volume.
    #[must_use]
    pub fn volume_rows(&self) -> Vec<Value> {
        let row =
            |(own, size, users): &(Volume, u64, usize)| volume::row(own, &users.to_string(), &human::exact_size(*size));
        self.volumes.iter().map(row).collect()
    }
}

fn kind(name: &str, count: usize, active: usize, size: u64, reclaimable: u64) -> Value {
    let share = (reclaimable * 100).checked_div(size).map(|share| format!(" ({share}%)")).unwrap_or_default();
    Struct::new("*formatter.diskUsageContext")
        .with("Active", active.to_string())
        .with("Reclaimable", format!("{}{share}", human::exact_size(reclaimable)))
        .with("Size", human::exact_size(size))
        .with("TotalCount", count.to_string())
        .with("Type", name)
        .into()
}

fn images(home: &Home, containers: &[Container]) -> Vec<Image> {
    let Ok(layout) = Layout::open(&home.images()) else { return Vec::new() };
    let entries = layout.index().and_then(|index| index.entries()).unwrap_or_default();
    let mut all: BTreeMap<String, Image> = BTreeMap::new();
    for (reference, descriptor) in entries {
        let Ok(image) = Summary::image(&layout, &descriptor) else { continue };
        let id = image.manifest().config().digest().to_string();
        let known = all.entry(id.clone()).or_insert_with(|| {
            let layers = image.manifest().layers().iter();
            let layers = layers.map(|layer| (layer.digest().to_string(), layer_size(&layout, layer))).collect();
            let uses = |container: &&Container| container.annotation(annotation::IMAGE_ID) == Some(id.as_str());
            let created = Summary::of(&layout, &image).created;
            let count = containers.iter().filter(uses).count();
            Image { id, names: Vec::new(), created, layers, containers: count }
        });
        known.names.extend(reference);
    }
    let mut all: Vec<Image> = all.into_values().collect();
    all.sort_by_key(|image| std::cmp::Reverse(image.created));
    all
}
