//! Any archive becomes an EROFS image or is refused; nothing is mounted.
#![no_main]

use std::io::Write as _;

use image_tool::address::digest;
use image_tool::layer::limit::Limits;
use image_tool::layer::merge::{Archive, Options, index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("write the archive");
    let diff_id = digest::sha256(bytes);
    let archive = Archive { diff_id: &diff_id, file: &file, size: bytes.len() as u64 };
    let limits = Limits { entries: Some(1000), ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    // Twice the same layer: whiteouts and links meet something.
    let layers = [archive, archive];
    let mut first = Vec::new();
    if let Ok(size) = index(&layers, [0; 16], &mut first, &options) {
        assert_eq!(first.len() as u64, size);
        assert_eq!(size % 512, 0);
        let mut second = Vec::new();
        index(&layers, [0; 16], &mut second, &options).expect("it was written before");
        assert!(first == second, "equal input gives equal bytes");
    }
});
