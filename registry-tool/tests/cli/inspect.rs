//! `registry-tool inspect` and `digest`.

use crate::server::{Image, digest, noise};
use crate::world::{World, honest};

#[test]
fn inspect_shows_what_skopeo_shows() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    let name = format!("{}/a:3.8", server.address());
    let shown = world.run(&["inspect", "--no-tags", &name]);
    let document: serde_json::Value = serde_json::from_str(&shown.good().out()).unwrap();
    assert_eq!(document["Digest"], image.digest());
    assert_eq!(document["Architecture"], "amd64");
    assert_eq!(document["Layers"][0], image.layers[0]);
    assert_eq!(document["Env"][0], "A=1");
    assert_eq!(world.run(&["inspect", "--raw", &name]).good().0.stdout, image.manifest);
    let config = world.run(&["inspect", "--config", &name]).good().0.stdout.clone();
    assert_eq!(image.blobs[&digest(&config)], config);
}
