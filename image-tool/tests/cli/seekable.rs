//! convert to the forms that are read file by file. What is written is read by a small reader that shares nothing with the writer: from
//! the end of the blob to the table of contents, and from there to every chunk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::ops::Range;
use std::process::{Command, Stdio};

use image_tool::address::digest::sha256;
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::stream::default_limit;
use oci_spec::image::MediaType;
use proptest::prelude::*;
use serde_json::Value;

use crate::work::{Work, address, tar};

const STARGZ: &str = "containerd.io/snapshot/stargz/toc.digest";
const CHUNKED: &str = "io.github.containers.zstd-chunked.";

/// An image's manifest and config, and the blob of its first layer.
struct Image {
    manifest: Value,
    config: Value,
    blob: Vec<u8>,
}

impl Image {
    fn of(work: &Work, name: &str) -> Self {
        let manifest: Value = serde_json::from_str(&work.run(&format!("show images:{name}")).ok()).unwrap();
        let read = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            fs::read(work.path("images/blobs/sha256").join(&digest["sha256:".len()..])).unwrap()
        };
        let config = serde_json::from_slice(&read(&manifest["config"])).unwrap();
        Self { config, blob: read(&manifest["layers"][0]), manifest }
    }

    fn annotation(&self, key: &str) -> &str {
        self.manifest["layers"][0]["annotations"][key].as_str().unwrap_or_else(|| panic!("{key}: {}", self.manifest))
    }

    fn diff_id(&self) -> &str {
        self.config["rootfs"]["diff_ids"][0].as_str().unwrap()
    }
}

/// What a program of the system makes of bytes.
fn piped(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let feed = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// An archive as the crate `tar` reads it: what each entry is, and its content.
fn entries(archive: &[u8]) -> Vec<(String, char, u64, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry: tar::Entry<'_, &[u8]> = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let name = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        (name, char::from(entry.header().entry_type().as_byte()), entry.header().mode().unwrap().into(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

/// The chunks of each file of a table: name, digest of the whole, and for each chunk its place in the file, the range of the blob
/// that it is read from, its size and digest.
type Chunks = Vec<(u64, Range<usize>, u64, Option<String>)>;

fn files(toc: &Value, end: usize) -> Vec<(String, String, u64, Chunks)> {
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap_or_default();
    let all = toc["entries"].as_array().unwrap();
    let mut files: Vec<(String, String, u64, Chunks)> = Vec::new();
    for (index, entry) in all.iter().enumerate() {
        let is_file = entry["type"] == "reg";
        if is_file {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            files.push((text("name"), text("digest"), number(entry, "size"), Vec::new()));
        }
        if (is_file && number(entry, "size") > 0) || entry["type"] == "chunk" {
            let (name, _, size, chunks) = files.last_mut().unwrap();
            assert_eq!(entry["name"], name.as_str());
            let offset = number(entry, "offset") as usize;
            let next = all[index + 1..].iter().map(|entry| number(entry, "offset") as usize).find(|next| *next > 0);
            let at = number(entry, "chunkOffset");
            let length = Some(number(entry, "chunkSize")).filter(|size| *size > 0).unwrap_or(*size - at);
            let digest = entry["chunkDigest"].as_str().map(str::to_owned);
            chunks.push((at, offset..next.unwrap_or(end), length, digest));
        }
    }
    files
}

/// Reads all files by their places, and compares them with the archive.
fn check_files(blob: &[u8], toc: &Value, end: usize, archive: &[u8], decompress: fn(&[u8], usize) -> Vec<u8>) {
    assert_eq!(toc["version"], 1);
    let named: Vec<&Value> =
        toc["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] != "chunk").collect();
    let mut contents = BTreeMap::new();
    for (name, digest, size, chunks) in files(toc, end) {
        let mut content = Vec::new();
        for (at, range, length, digest) in chunks {
            assert_eq!(at, content.len() as u64, "{name}");
            let chunk = decompress(&blob[range], length as usize);
            if let Some(digest) = digest {
                assert_eq!(digest, sha256(&chunk).to_string(), "{name} at {at}");
            }
            content.extend(chunk);
        }
        assert_eq!(content.len() as u64, size, "{name}");
        if size > 0 {
            assert_eq!(digest, sha256(&content).to_string(), "{name}");
        }
        contents.insert(name, content);
    }
    let archive = entries(archive);
    assert_eq!(named.len(), archive.len());
    for (told, (name, flag, mode, content)) in named.iter().zip(&archive) {
        assert_eq!(told["name"], name.as_str());
        let kind = match flag {
            '0' => "reg",
            '1' => "hardlink",
            '2' => "symlink",
            '3' => "char",
            '4' => "block",
            '5' => "dir",
            _ => "fifo",
        };
        assert_eq!((&told["type"], told["mode"].as_u64()), (&kind.into(), Some(*mode)), "{name}");
        if kind == "reg" {
            assert!(contents[name] == *content, "{name}");
        }
    }
}

/// One member of gzip, of which so many bytes are wanted.
fn gunzip(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    flate2::read::GzDecoder::new(bytes).read_exact(&mut content).unwrap();
    content
}

fn unzstd(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    zstd::stream::read::Decoder::new(bytes).unwrap().read_exact(&mut content).unwrap();
    content
}

/// Reads eStargz from its last bytes on; returns the archive without what belongs to the form.
fn check_estargz(image: &Image) -> Vec<u8> {
    let blob = &image.blob;
    let footer = &blob[blob.len() - 51..];
    assert_eq!(footer[..16], [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0]);
    assert_eq!(footer[32..38], *b"STARGZ");
    let offset = usize::from_str_radix(str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
    // One member holds the table and the end of the archive, and nothing else.
    let mut end = Vec::new();
    let mut member = flate2::bufread::GzDecoder::new(&blob[offset..]);
    member.read_to_end(&mut end).unwrap();
    assert_eq!(member.into_inner().len(), 51);
    let last = entries(&end);
    let [(name, '0', _, text)] = &last[..] else { panic!("{last:?}") };
    assert_eq!(name, "stargz.index.json");
    assert_eq!(image.annotation(STARGZ), sha256(text).to_string());
    let archive = piped("gzip", blob);
    assert_eq!(image.diff_id(), sha256(&archive).to_string());
    assert_eq!(image.annotation("io.containers.estargz.uncompressed-size"), archive.len().to_string());
    let rest = &archive[..archive.len() - end.len()];
    check_files(blob, &serde_json::from_slice(text).unwrap(), offset, rest, gunzip);
    let landmark = &entries(rest)[0];
    assert_eq!((landmark.0.as_str(), &landmark.3[..]), (".no.prefetch.landmark", &[0xf][..]));
    rest[1024..].to_vec()
}

/// Reads zstd:chunked from its last bytes on; returns the archive, which is made again from both tables too.
fn check_chunked(image: &Image) -> Vec<u8> {
    let blob = &image.blob;
    let footer = &blob[blob.len() - 72..];
    assert_eq!(footer[..8], [0x50, 0x2a, 0x4d, 0x18, 64, 0, 0, 0]);
    assert_eq!(footer[64..], *b"GNUlInUx");
    let numbers: Vec<usize> =
        footer[8..64].chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()) as usize).collect();
    let [at, size, length, 1, split_at, split_size, split_length] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!(image.annotation(&format!("{CHUNKED}manifest-position")), format!("{at}:{size}:{length}:1"));
    let position = format!("{split_at}:{split_size}:{split_length}");
    assert_eq!(image.annotation(&format!("{CHUNKED}tarsplit-position")), position);
    assert_eq!(image.annotation(&format!("{CHUNKED}manifest-checksum")), sha256(&blob[at..][..size]).to_string());
    let toc: Value = serde_json::from_slice(&unzstd(&blob[at..][..size], length)).unwrap();
    assert_eq!(toc["tarSplitDigest"], sha256(&blob[split_at..][..split_size]).to_string());
    let archive = piped("zstd", blob);
    assert_eq!(image.diff_id(), sha256(&archive).to_string());
    check_files(blob, &toc, at - 8, &archive, unzstd);

    let split = unzstd(&blob[split_at..][..split_size], split_length);
    let files: BTreeMap<String, Vec<u8>> =
        entries(&archive).into_iter().map(|(name, _, _, content)| (name, content)).collect();
    let mut again = Vec::new();
    for (position, line) in split.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let line: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(line["position"], position);
        if line["type"] == 2 {
            again.extend(base64(line["payload"].as_str().unwrap()));
        } else if line["size"].as_u64().is_some() {
            again.extend(&files[line["name"].as_str().unwrap()]);
        }
    }
    assert!(again == archive, "from the second table");
    archive
}

/// Base 64 as RFC 4648 has it.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.trim_end_matches('=');
    let digits = text.bytes().map(|digit| DIGITS.iter().position(|known| *known == digit).unwrap() as u32);
    let (mut bits, mut count, mut bytes) = (0, 0, Vec::new());
    for digit in digits {
        (bits, count) = (bits << 6 | digit, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Bytes that do not compress.
fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// An archive with one of everything.
fn rich() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let long = vec!["a-long-name"; 20].join("/");
    let time = image_tool::beneath::Time { seconds: 1_700_000_000, nanoseconds: 5 };
    writer.entry(&Entry::new("bin", Kind::Directory, 0o755)).unwrap();
    let big = noise(700_000, 1);
    let entry = Entry { modified: time, uid: 70_000, ..Entry::new("bin/big", Kind::File, 0o4755) };
    writer.file(&entry, &[&big[..300_000], &vec![0; 100_000], &big[300_000..]].concat()).unwrap();
    writer.entry(&Entry::new("bin/hard", Kind::HardLink("bin/big".into()), 0o4755)).unwrap();
    writer.entry(&Entry::new("bin/soft", Kind::Symlink("big".into()), 0o777)).unwrap();
    writer.entry(&Entry::new("bin/empty", Kind::File, 0o600)).unwrap();
    let xattrs = vec![("user.x".into(), b"1\n\0\xff".to_vec())];
    writer.file(&Entry { xattrs, ..Entry::new(long, Kind::File, 0o644) }, b"deep").unwrap();
    writer.entry(&Entry::new("null", Kind::Character(1, 3), 0o666)).unwrap();
    writer.entry(&Entry::new("fifo", Kind::Fifo, 0o644)).unwrap();
    writer.file(&Entry::new(".wh.gone", Kind::File, 0), b"").unwrap();
    writer.finish().unwrap()
}

#[test]
fn each_file_is_found_from_the_end_of_the_blob() {
    let work = Work::new();
    let archive = rich();
    work.image("rich", &[&archive], MediaType::ImageLayer);
    for size in ["", "--chunk-size 65536"] {
        work.run(&format!("convert --compress estargz {size} --ref lazy images:rich")).ok();
        let lazy = Image::of(&work, "lazy");
        let rest = check_estargz(&lazy);
        assert!(rest == archive[..archive.len() - 1024], "the archive as it was, without its end");
        let chunks = String::from_utf8(piped("gzip", &lazy.blob)).map_err(|error| error.into_bytes());
        let chunks = String::from_utf8_lossy(&chunks.unwrap_err()).matches("\"type\":\"chunk\"").count();
        assert_eq!(chunks, if size.is_empty() { 0 } else { 12 });

        work.run(&format!("convert --compress zstd:chunked {size} --ref chunked images:rich")).ok();
        let chunked = Image::of(&work, "chunked");
        assert!(check_chunked(&chunked) == archive);
        assert_eq!(chunked.manifest["config"], Image::of(&work, "rich").manifest["config"], "the image's ID");
    }
    work.run("verify images").ok();
    for name in ["lazy", "chunked"] {
        let exported = work.run_bytes(&format!("export images:{name}"), b"").stdout;
        let names: Vec<String> = entries(&exported).into_iter().map(|entry| entry.0).collect();
        // Whoever unpacks eStargz as what its media type says has its files, with every tool.
        let own = names.iter().filter(|name| name.contains("stargz") || name.contains("landmark")).count();
        assert_eq!(own, if name == "lazy" { 2 } else { 0 }, "{names:?}");
    }
}

#[test]
fn there_and_back_is_the_same_image() {
    let work = Work::new();
    let before = Image::of(&work, "python:3.8").manifest;
    for form in ["estargz", "zstd:chunked"] {
        work.run(&format!("convert --compress {form} --ref lazy images:python:3.8")).ok();
        let lazy = address(&work, "lazy");
        assert_eq!(
            work.run_with("convert --compress estargz -", lazy.as_bytes()).ok() == format!("{lazy}\n"),
            form == "estargz"
        );
        work.run(&format!("convert --compress {form} --ref lazy images:python:3.8")).ok();
        assert_eq!(address(&work, "lazy"), lazy, "equal input gives equal bytes");
        work.run("convert --compress gzip --ref back images:lazy").ok();
        assert_eq!(Image::of(&work, "back").manifest, before, "from {form}");
        for other in ["zstd", "none", "zstd:chunked", "estargz"] {
            work.run(&format!("convert --compress {other} --ref other images:lazy")).ok();
            work.run("convert --compress gzip --ref back images:other").ok();
            assert_eq!(Image::of(&work, "back").manifest, before, "from {form} by {other}");
        }
    }
    work.run("verify images").ok();
}

#[test]
fn a_layer_without_a_place_in_a_table_is_compressed_as_a_whole() {
    let work = Work::new();
    let twice = tar(&[("a", "1"), ("b", "2"), ("./a", "3")]);
    let link = {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&Entry::new("link", Kind::HardLink("lower".into()), 0o644)).unwrap();
        writer.finish().unwrap()
    };
    let name = {
        use std::os::unix::ffi::OsStrExt;
        let mut writer = Writer::new(Vec::new());
        writer.file(&Entry::new(std::ffi::OsStr::from_bytes(b"\xff"), Kind::File, 0o644), b"x").unwrap();
        writer.finish().unwrap()
    };
    let global = {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XGlobalHeader);
        header.set_size(12);
        header.set_cksum();
        let mut archive = [header.as_bytes(), &b"12 comment=x"[..], &[0; 500]].concat();
        archive[512 + 11] = b'\n';
        archive.extend(tar(&[("a", "1")]));
        archive
    };
    for (what, archive) in [("twice", twice), ("link", link), ("name", name), ("global", global)] {
        work.image(what, &[&archive], MediaType::ImageLayer);
        for (form, media_type) in [("estargz", "gzip"), ("zstd:chunked", "zstd")] {
            work.run(&format!("convert --compress {form} --ref lazy images:{what}")).ok();
            let image = Image::of(&work, "lazy");
            let layer = &image.manifest["layers"][0];
            assert_eq!(layer["mediaType"], format!("application/vnd.oci.image.layer.v1.tar+{media_type}"), "{what}");
            assert_eq!(layer.get("annotations"), None, "{what}");
            assert_eq!(image.diff_id(), sha256(&archive).to_string(), "{what}");
        }
    }
}

#[test]
fn sparse_files_are_stored_with_their_zeros() {
    let work = Work::new();
    let mut writer = Writer::new(Vec::new());
    let mut entry = Entry { size: 3_000_001, ..Entry::new("sparse", Kind::File, 0o644) };
    entry.sparse = Some(vec![(1_000_000, 4), (3_000_001, 0)]);
    writer.entry(&entry).unwrap();
    writer.write_all(b"data").unwrap();
    writer.file(&Entry::new("z", Kind::File, 0o644), b"last").unwrap();
    let archive = writer.finish().unwrap();
    work.image("sparse", &[&archive], MediaType::ImageLayer);
    let unpacked = |name: &str| {
        work.run(&format!("unpack images:{name} at-{name}")).ok();
        let folder = work.path(&format!("at-{name}"));
        (fs::read(folder.join("sparse")).unwrap(), fs::read(folder.join("z")).unwrap())
    };
    let before = unpacked("sparse");
    assert_eq!((before.0.len(), &before.0[1_000_000..1_000_004]), (3_000_001, &b"data"[..]));
    work.run("convert --compress estargz --ref lazy images:sparse").ok();
    check_estargz(&Image::of(&work, "lazy"));
    work.run("convert --compress zstd:chunked --ref chunked images:sparse").ok();
    check_chunked(&Image::of(&work, "chunked"));
    assert!(unpacked("lazy") == before && unpacked("chunked") == before);
    work.run("verify images").ok();

    // A hole that makes the archive larger than any may be stays one.
    entry.size = default_limit(0) + 1;
    entry.sparse = Some(vec![(entry.size, 0)]);
    let mut writer = Writer::new(Vec::new());
    writer.entry(&entry).unwrap();
    work.image("bomb", &[&writer.finish().unwrap()], MediaType::ImageLayer);
    work.run("convert --compress estargz --ref bomb images:bomb").ok();
    assert_eq!(Image::of(&work, "bomb").manifest["layers"][0].get("annotations"), None);
}

#[test]
fn docker_s_images_become_oci_s() {
    let work = Work::new();
    let writer = work.layout().writer().unwrap();
    let image = Image::of(&work, "python:3.8");
    let mut manifest = image.manifest.clone();
    manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    for layer in manifest["layers"].as_array_mut().unwrap() {
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    }
    let media_type = MediaType::from(manifest["mediaType"].as_str().unwrap());
    let manifest = writer.put(media_type, manifest.to_string().as_bytes()).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest],
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"});
    let media_type = MediaType::from(index["mediaType"].as_str().unwrap());
    let index = writer.put(media_type, index.to_string().as_bytes()).unwrap();
    writer.publish(&"docker".parse().unwrap(), index).unwrap();
    drop(writer);
    work.run("convert --compress zstd:chunked --all-platforms images:docker").ok();
    let all: Value = serde_json::from_str(&work.run("show images:docker").ok()).unwrap();
    assert_eq!(all["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(all["manifests"][0]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let digest = all["manifests"][0]["digest"].as_str().unwrap();
    let shown = work.run(&format!("show images@{digest}")).ok();
    assert!(!shown.contains("vnd.docker"), "{shown}");
    check_chunked(&Image::of(&work, &format!("docker@{digest}")));
    work.run("verify images").ok();
}

#[test]
fn the_archive_of_a_lazy_layer_is_as_large_as_it_is_said_to_be() {
    let work = Work::new();
    work.image("rich", &[&rich()], MediaType::ImageLayer);
    work.run("convert --compress zstd:chunked --ref chunked images:rich").ok();
    let size = |name: &str| work.run(&format!("list --format {{{{.Size}}}} images:{name}")).ok();
    assert_eq!(size("chunked"), size("rich"));
    work.run("convert --compress gzip --chunk-size 65536 images:rich").fails(1, &["gzip has no chunks"]);
    work.run("convert --compress estargz --chunk-size 1 images:rich").fails(1, &["chunks of 1 bytes: expected 4096"]);
    work.run("convert --compress estargz --level 10 images:rich")
        .fails(1, &["estargz has no level 10 (it has 0 to 9)"]);
}

/// An archive of a few entries of all kinds: files with attributes, second names and holes.
fn any_archive() -> impl Strategy<Value = Vec<u8>> {
    let node = prop_oneof![
        4 => (0usize..40_000, any::<u64>(), 0usize..9000).prop_map(|(length, seed, zeros)| {
            let mut bytes = noise(length, seed);
            let (from, to) = (length / 3, (length / 3 + zeros).min(length));
            bytes[from..to].fill(0);
            (Kind::File, bytes)
        }),
        1 => Just((Kind::Directory, Vec::new())),
        1 => Just((Kind::Symlink("x/y".into()), Vec::new())),
        1 => Just((Kind::Fifo, Vec::new())),
    ];
    let xattrs = proptest::collection::vec(any::<u8>(), 0..30);
    let entry = (node, 0u32..0o10000, 0u32..100_000, any::<i32>(), 0u32..1_000_000_000, xattrs, any::<bool>());
    proptest::collection::btree_map("[a-zé]{1,60}(/[a-z]{1,60}){0,3}", entry, 0..8).prop_map(|entries| {
        let mut writer = Writer::new(Vec::new());
        for (name, ((kind, content), mode, uid, seconds, nanoseconds, xattr, linked)) in entries {
            let modified = image_tool::beneath::Time { seconds: seconds.into(), nanoseconds };
            let xattrs = if xattr.is_empty() { Vec::new() } else { vec![("user.x".into(), xattr)] };
            let is_file = kind == Kind::File;
            let mut entry = Entry { uid, gid: uid / 2, modified, xattrs, ..Entry::new(name.clone(), kind, mode) };
            entry.size = content.len() as u64;
            if content.len() > 20_000 && linked {
                // A hole before the content.
                entry.size += 70_000;
                entry.sparse = Some(vec![(70_000, content.len() as u64)]);
            }
            writer.entry(&entry).unwrap();
            writer.write_all(&content).unwrap();
            if is_file && linked {
                writer.entry(&Entry::new(format!("{name}.link"), Kind::HardLink(name.into()), mode)).unwrap();
            }
        }
        writer.finish().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_tree_is_read_file_by_file(archive in any_archive()) {
        let work = Work::new();
        work.image("any", &[&archive], MediaType::ImageLayer);
        work.run("convert --compress estargz --chunk-size 4096 --ref lazy images:any").ok();
        check_estargz(&Image::of(&work, "lazy"));
        work.run("convert --compress zstd:chunked --chunk-size 4096 --ref chunked images:any").ok();
        check_chunked(&Image::of(&work, "chunked"));
        work.run("verify images").ok();
        let exported = |name: &str| work.run_bytes(&format!("export images:{name}"), b"").stdout;
        work.run("convert --compress gzip --ref back images:lazy").ok();
        // Holes are zeros then.
        if !String::from_utf8_lossy(&archive).contains("GNU.sparse") {
            prop_assert!(exported("chunked") == exported("any") && exported("back") == exported("any"));
        }
        prop_assert!(exported("chunked") == exported("back"));
    }
}
