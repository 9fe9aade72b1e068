//! What lies where: every inode gets its place before the first byte is written.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::attribute::{self, Table};
use super::disk::{self, Inode, Layout, Superblock};
use super::extent::Extents;
use super::folder::Folder;
use super::{BLOCK, BYTES, Content, DEVICES, Device, Error, Node};
use crate::layer::entry::{Entry, Kind};

/// The longest target of a symbolic link, as for the kernel.
const TARGET: usize = 4095;

/// The bytes that a node has beside its inode and its attributes.
enum Data<'a> {
    Nothing,
    Link(&'a [u8]),
    Folder(Folder<'a>),
    File { extents: Extents, offset: u64 },
}

impl Data<'_> {
    /// The size that `stat` shows.
    fn size(&self, entry: &Entry) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Link(target) => target.len() as u64,
            Self::Folder(folder) => folder.size(),
            Self::File { .. } => entry.size,
        }
    }
}

/// A node with its place.
struct Placed<'a> {
    node: &'a Node<'a>,
    data: Data<'a>,
    attributes: Vec<u8>,
    links: u32,
    layout: Layout,
    /// Where the inode begins in the image.
    place: u64,
    /// The first of its blocks, and how many it has.
    block: u32,
    blocks: u64,
}

/// An image that is ready to be written.
pub(super) struct Plan<'a> {
    devices: &'a [Device<'a>],
    placed: Vec<Placed<'a>>,
    shared: Vec<u8>,
    /// Where the shared attributes begin, and where the blocks do.
    attributes: u64,
    blocks: u64,
    end: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(nodes: &'a [Node<'a>], devices: &'a [Device<'a>]) -> Result<Self, Error> {
        if devices.len() > DEVICES || devices.iter().any(|device| device.size / BLOCK >= u64::from(u32::MAX)) {
            return Err(Error::TooMany { what: "devices or bytes in one" });
        }
        if u32::try_from(nodes.len()).is_err() {
            return Err(Error::TooMany { what: "files" });
        }
        let links = links(nodes)?;
        let mut table = Table::default();
        let attributes = nodes.iter().map(|node| attribute::of(node.entry)).collect::<Result<Vec<_>, _>>()?;
        for attributes in &attributes {
            table.count(attributes);
        }
        attributes.iter().try_for_each(|attributes| table.share(attributes))?;
        let mut placed = Vec::with_capacity(nodes.len());
        let mut cursor = Cursor { place: disk::inodes(devices.len()) };
        for (number, (node, attributes)) in nodes.iter().zip(&attributes).enumerate() {
            let data = data(number, node, devices)?;
            placed.push(cursor.put(node, data, table.body(attributes), links[number])?);
        }
        if placed.is_empty() || !matches!(placed[0].data, Data::Folder(_)) {
            return Err(Error::Tree { number: 0, what: "no directory" });
        }
        let shared = table.shared().to_vec();
        let attributes = cursor.place.next_multiple_of(BLOCK);
        let blocks = (attributes + shared.len() as u64).next_multiple_of(BLOCK);
        let mut end = blocks;
        for placed in placed.iter_mut().filter(|placed| placed.blocks > 0) {
            let block = (end / BLOCK) as u32;
            placed.block = block;
            match &mut placed.layout {
                Layout::Plain { block: start } | Layout::Inline { block: start } => *start = block,
                Layout::Chunks { .. } => {}
            }
            end += placed.blocks * BLOCK;
            if end > BYTES {
                return Err(Error::TooMany { what: "bytes" });
            }
        }
        Ok(Self { devices, placed, shared, attributes, blocks, end })
    }

    /// Writes the image, and returns its size.
    pub(super) fn write<W: Write>(&self, uuid: [u8; 16], output: W) -> Result<u64, Error> {
        let superblock = Superblock {
            root: (self.placed[0].place / disk::UNIT) as u16,
            inodes: self.placed.len() as u64,
            blocks: (self.end / BLOCK) as u32,
            attributes: (self.attributes / BLOCK) as u32,
            uuid,
        };
        let devices: Vec<(&str, u32)> =
            self.devices.iter().map(|device| (device.tag, (device.size / BLOCK) as u32)).collect();
        let mut output = Output { inner: output, written: 0 };
        output.put(&disk::head(&superblock, &devices))?;
        for (number, placed) in self.placed.iter().enumerate() {
            self.inode(number, placed, &mut output)?;
        }
        output.fill(self.attributes)?;
        output.put(&self.shared)?;
        output.fill(self.blocks)?;
        for placed in self.placed.iter().filter(|placed| placed.blocks > 0) {
            self.blocks(placed, &mut output)?;
        }
        output.inner.flush().map_err(Error::Write)?;
        Ok(output.written)
    }

    fn inode<W: Write>(&self, number: usize, placed: &Placed<'_>, output: &mut Output<W>) -> Result<(), Error> {
        output.fill(placed.place)?;
        let inode = Inode {
            entry: placed.node.entry,
            layout: placed.layout,
            size: placed.data.size(placed.node.entry),
            links: placed.links,
            number: number as u32 + 1,
            attributes: placed.attributes.len() as u64,
        };
        output.put(&inode.bytes())?;
        output.put(&placed.attributes)?;
        match &placed.data {
            Data::File { extents, .. } if placed.node.entry.size > 0 => {
                output.fill(output.written.next_multiple_of(disk::INDEX))?;
                output.put(&extents.indexes(placed.block))
            }
            _ if matches!(placed.layout, Layout::Inline { .. }) => {
                let bytes = self.bytes(placed);
                output.put(&bytes[(placed.blocks * BLOCK) as usize..])
            }
            _ => Ok(()),
        }
    }

    /// Writes the blocks of a node.
    fn blocks<W: Write>(&self, placed: &Placed<'_>, output: &mut Output<W>) -> Result<(), Error> {
        if let Data::File { extents, offset } = &placed.data {
            return extents.copy(placed.node.entry, *offset, self.devices, |block| output.put(block));
        }
        let bytes = self.bytes(placed);
        let length = bytes.len().min((placed.blocks * BLOCK) as usize);
        output.put(&bytes[..length])?;
        output.fill(output.written.next_multiple_of(BLOCK))
    }

    /// The bytes of a directory or a link.
    fn bytes(&self, placed: &Placed<'_>) -> Vec<u8> {
        match &placed.data {
            Data::Folder(folder) => folder.bytes(|node| {
                let below = &self.placed[node];
                (below.place / disk::UNIT, disk::kind(below.node.entry))
            }),
            Data::Link(target) => target.to_vec(),
            Data::Nothing | Data::File { .. } => Vec::new(),
        }
    }
}

/// How many links each node has, if they make a tree: every node but the root has a name, and a directory one, in its parent.
fn links(nodes: &[Node<'_>]) -> Result<Vec<u32>, Error> {
    let mut links = vec![0u32; nodes.len()];
    let is_folder = |node: &Node<'_>| matches!(node.content, Content::Directory { .. });
    for (number, node) in nodes.iter().enumerate() {
        let bad = |what| Error::Tree { number, what };
        let Content::Directory { names, .. } = &node.content else { continue };
        // Its own name for itself, and the one that its parent has for it.
        links[number] += if number == 0 { 2 } else { 1 };
        for (_, below) in names {
            let found = nodes.get(*below).filter(|_| *below > 0).ok_or_else(|| bad("a name of nothing"))?;
            if let Content::Directory { parent, .. } = found.content {
                links[number] += 1;
                if parent != number {
                    return Err(bad("a directory of another parent"));
                }
            }
            links[*below] += 1;
        }
    }
    for (number, (node, links)) in nodes.iter().zip(&links).enumerate() {
        let below = match &node.content {
            Content::Directory { names, .. } => {
                names.iter().filter(|(_, below)| is_folder(&nodes[*below])).count() as u32 + 2
            }
            _ => (*links).max(1),
        };
        if *links != below {
            return Err(Error::Tree { number, what: "not one name" });
        }
    }
    Ok(links)
}

/// What a node has beside its attributes; refused if it contradicts itself.
fn data<'a>(number: usize, node: &'a Node<'a>, devices: &[Device<'_>]) -> Result<Data<'a>, Error> {
    let unfit = |what| Error::Unfit { path: PathBuf::from(node.entry.path.file_name().unwrap_or_default()), what };
    let bad = |what| Error::Tree { number, what };
    match (&node.entry.kind, &node.content) {
        (Kind::Directory, Content::Directory { parent, names }) => {
            Ok(Data::Folder(Folder::new(number, *parent, names)?))
        }
        (Kind::File, Content::File { device, offset }) => {
            Ok(Data::File { extents: Extents::new(node.entry, *device, *offset, devices)?, offset: *offset })
        }
        (Kind::Symlink(target), Content::Entry) => {
            let bytes = target.as_os_str().as_bytes();
            if bytes.is_empty() || bytes.len() > TARGET || bytes.contains(&0) {
                return Err(unfit("the target of this link"));
            }
            Ok(Data::Link(bytes))
        }
        (Kind::Character(major, minor) | Kind::Block(major, minor), Content::Entry) => {
            if !disk::is_device(*major, *minor) {
                return Err(unfit("the number of this device"));
            }
            if (*major, *minor) == (0, 0) && matches!(node.entry.kind, Kind::Character(..)) {
                // Overlayfs would take it for a deletion, but list it.
                return Err(unfit("a device that reads as a deletion"));
            }
            Ok(Data::Nothing)
        }
        (Kind::Fifo, Content::Entry) => Ok(Data::Nothing),
        _ => Err(bad("content of another type")),
    }
}

/// Where the next inode can lie.
struct Cursor {
    place: u64,
}

impl Cursor {
    /// Gives a node its place.
    fn put<'a>(
        &mut self,
        node: &'a Node<'a>,
        data: Data<'a>,
        attributes: Vec<u8>,
        links: u32,
    ) -> Result<Placed<'a>, Error> {
        let size = data.size(node.entry);
        let head = disk::INODE + attributes.len() as u64;
        let mut place = self.place.next_multiple_of(disk::UNIT);
        let mut layout = Layout::Plain { block: 0 };
        let mut blocks = 0;
        let mut end = place + head;
        match &data {
            Data::Nothing => {}
            Data::File { extents, .. } => {
                if size > 0 {
                    layout = Layout::Chunks { bits: extents.bits() };
                    end = end.next_multiple_of(disk::INDEX) + extents.chunks() * disk::INDEX;
                    blocks = extents.own();
                }
            }
            Data::Link(_) | Data::Folder(_) => {
                let tail = size % BLOCK;
                // What is inline may not reach into another block.
                let fits = |place: &u64| tail > 0 && (place + head) % BLOCK + tail <= BLOCK;
                let places = (0..BLOCK / disk::UNIT).map(|step| place + step * disk::UNIT);
                match places.into_iter().find(fits) {
                    // The kernel keeps a short link with its inode, but only one that is wholly inline.
                    Some(found) if matches!(data, Data::Folder(_)) || size < BLOCK => {
                        place = found;
                        layout = Layout::Inline { block: 0 };
                        blocks = size / BLOCK;
                        end = place + head + tail;
                    }
                    _ => blocks = size.div_ceil(BLOCK),
                }
            }
        }
        if end > BYTES {
            return Err(Error::TooMany { what: "bytes" });
        }
        self.place = end;
        Ok(Placed { node, data, attributes, links, layout, place, block: 0, blocks })
    }
}

/// A stream that knows how far it is.
struct Output<W> {
    inner: W,
    written: u64,
}

impl<W: Write> Output<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.inner.write_all(bytes).map_err(Error::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes zeros up to a place.
    fn fill(&mut self, place: u64) -> Result<(), Error> {
        let count = place.saturating_sub(self.written);
        io::copy(&mut io::Read::take(io::repeat(0), count), &mut self.inner).map_err(Error::Write)?;
        self.written += count;
        Ok(())
    }
}
