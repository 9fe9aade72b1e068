//! `registry-tool copy`.

use crate::server::{Image, Reply, noise};
use crate::world::{World, honest, is_layer, keeping, moody};

#[test]
fn copy_streams_from_registry_to_registry() {
    let (world, image) = (World::new(), Image::new(&[noise(500_000, 1)]));
    let source = honest(&image);
    let (target, store) = keeping(|_| None);
    let (from, to) = (format!("{}/a:3.8", source.address()), format!("{}/b:1", target.address()));
    let ran = world.run(&["copy", &from, &to]);
    assert_eq!(ran.good().out(), format!("{to}@{}\n", image.digest()));
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    assert!(!world.path("oci").exists(), "nothing touches the disk");
    let liar = moody(&image, usize::MAX, is_layer(&image), |request, _| Reply::blob(request, &noise(500_000, 2)));
    let (target, store) = keeping(|_| None);
    let (from, to) = (format!("{}/a:3.8", liar.address()), format!("{}/b:1", target.address()));
    world.run(&["copy", "--retry", "0", &from, &to]).fails(&[&from, &image.layers[0]]);
    assert!(store.manifests.lock().unwrap().is_empty());
    world.run(&["copy", &format!("{}/a:9", source.address()), &to]).fails(&["no such image"]);
}
