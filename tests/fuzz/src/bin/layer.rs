//! Any archive is applied or refused, and nothing outside the target changes.
#![no_main]

use std::fs;
use std::path::Path;

use image_tool::beneath::Root;
use image_tool::layer::apply::{Applier, Options};
use libfuzzer_sys::fuzz_target;

fn apply(target: &Path, options: Options, bytes: &[u8]) {
    fs::create_dir(target).expect("make the target");
    let mut applier = Applier::new(Root::open(target).expect("open the target"), options);
    if applier.layer(bytes).is_ok() {
        let _ = applier.finish();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("beside"), "beside").expect("write a file");
    apply(&folder.path().join("tree"), Options { entries: 1000, ..Options::tree() }, bytes);
    apply(&folder.path().join("lower"), Options { entries: 1000, ..Options::lower() }, bytes);
    assert_eq!(fs::read(folder.path().join("beside")).expect("it is there"), b"beside");
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 3);
});
