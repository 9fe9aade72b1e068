//! Any archive is packed so that its files can be read one by one, or is refused; what is packed is an archive again.
#![no_main]

use std::io::{Read, sink};

use image_tool::address::digest::Hasher;
use image_tool::layer::limit::Limits;
use image_tool::layer::pack::{Format, Packing, strip};
use image_tool::layer::{Compression, Decoder};
use image_tool::layout::Layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::create(folder.path()).expect("a layout");
    let writer = layout.writer().expect("a writer");
    let limits = Limits { size: Some(1 << 20), entries: Some(1000), ..Limits::default() };
    for (format, compression) in [(Format::Estargz, Compression::Gzip), (Format::ZstdChunked, Compression::Zstd)] {
        let packing = Packing::from(format).with_chunks_of(4096).expect("a size of chunks");
        let Ok(packed) = packing.pack(bytes, &writer, limits, false) else { continue };
        let blob = layout.open_blob(&packed.descriptor).expect("the blob");
        let mut archive = Vec::new();
        let mut decoder = Decoder::new(blob, compression).expect("the compression");
        decoder.read_to_end(&mut archive).expect("the whole blob");
        let mut hasher = Hasher::sha256();
        hasher.update(&archive);
        assert_eq!(hasher.finish(), packed.diff_id);
        strip(&archive[..], &mut sink(), Limits::default()).expect("an archive");
    }
});
