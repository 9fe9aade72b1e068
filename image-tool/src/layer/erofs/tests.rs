//! What the kernel would not forgive, and the image as bytes. That it shows the right tree is tested in tests/erofs.rs.

use super::*;
use crate::layer::entry::Kind;

fn directory<'a>(entry: &'a Entry, parent: usize, names: &[(&'a str, usize)]) -> Node<'a> {
    let names = names.iter().map(|(name, node)| (OsStr::new(*name), *node)).collect();
    Node { entry, content: Content::Directory { parent, names } }
}

fn written(nodes: &[Node<'_>]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let size = write(nodes, &[], [1; 16], &mut bytes)?;
    assert_eq!(bytes.len() as u64, size);
    Ok(bytes)
}

#[test]
fn an_empty_root_is_an_image() {
    let root = Entry::new("", Kind::Directory, 0o755);
    let bytes = written(&[directory(&root, 0, &[])]).unwrap();
    // The superblock and one inode with its two names.
    assert_eq!(bytes.len(), 2048);
    assert_eq!(&bytes[1024..1028], [0xe2, 0xe1, 0xf5, 0xe0]);
    assert_eq!(bytes[1024 + 12], 9);
    let root = u16::from_le_bytes([bytes[1024 + 14], bytes[1024 + 15]]);
    assert_eq!(u64::from(root) * 32, 1536);
}

#[test]
fn what_is_no_tree_is_refused() {
    let (folder, file) = (Entry::new("", Kind::Directory, 0o755), Entry::new("", Kind::Fifo, 0o644));
    let fifo = || Node { entry: &file, content: Content::Entry };
    for nodes in [
        vec![],
        vec![fifo()],
        vec![directory(&folder, 0, &[("a", 1)])],
        vec![directory(&folder, 0, &[("a", 0)])],
        vec![directory(&folder, 0, &[]), fifo()],
        vec![directory(&folder, 0, &[("a", 1)]), directory(&folder, 1, &[])],
        vec![directory(&folder, 0, &[("a", 1), ("b", 1)]), directory(&folder, 0, &[])],
        vec![
            directory(&folder, 0, &[("a", 1)]),
            directory(&folder, 0, &[("b", 2)]),
            directory(&folder, 1, &[("c", 2)]),
        ],
        vec![directory(&folder, 0, &[("a", 1)]), Node { entry: &folder, content: Content::Entry }],
    ] {
        assert!(matches!(written(&nodes), Err(Error::Tree { .. })), "{nodes:?}");
    }
    assert!(written(&[directory(&folder, 0, &[("a", 1), ("b", 1)]), fifo()]).is_ok());
}

#[test]
fn a_device_must_have_what_is_said_to_be_in_it() {
    let root = Entry::new("", Kind::Directory, 0o755);
    let entry = Entry { size: 1024, ..Entry::new("", Kind::File, 0o644) };
    let file = tempfile::tempfile().unwrap();
    for (device, offset, fits) in
        [(0, 512, true), (0, 1024, false), (0, 100, false), (1, 0, false), (0, u64::MAX - 511, false)]
    {
        let nodes =
            [directory(&root, 0, &[("f", 1)]), Node { entry: &entry, content: Content::File { device, offset } }];
        let devices = [Device { tag: "x", size: 1536, file: &file }];
        assert_eq!(write(&nodes, &devices, [0; 16], io::sink()).is_ok(), fits, "{device} {offset}");
    }
    let devices: Vec<Device<'_>> = (0..=DEVICES).map(|_| Device { tag: "x", size: 512, file: &file }).collect();
    let nodes = [directory(&root, 0, &[])];
    assert!(write(&nodes, &devices[1..], [0; 16], io::sink()).is_ok());
    assert!(matches!(write(&nodes, &devices, [0; 16], io::sink()), Err(Error::TooMany { .. })));
}
