//! Any `index.json` is read or refused, and so is each image that it names.
#![no_main]

use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::create(folder.path()).expect("an empty layout");
    std::fs::write(folder.path().join("index.json"), bytes).expect("write index.json");
    let Ok(index) = layout.index() else { return };
    for (name, descriptor) in index.entries().unwrap_or_default() {
        let _ = layout.image_of(&descriptor);
        let _ = layout.manifests(&descriptor);
        let address = format!("{}:{}", folder.path().display(), name.unwrap_or_default());
        if let Ok(address) = address.parse() {
            let _ = layout.image(&address, &Platform::host());
        }
    }
});
