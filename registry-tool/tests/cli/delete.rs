//! `registry-tool delete`.

use crate::server::{Image, Reply, Server, noise};
use crate::world::World;

#[test]
fn delete_takes_a_tag_or_an_image() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    let server = Server::new(move |request| match (request.method.as_str(), request.path.ends_with("/3.8")) {
        ("DELETE", true) => Reply::new(405, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
        ("DELETE", false) => Reply::new(202, ""),
        _ => shown.answer(request),
    });
    let name = format!("{}/a", server.address());
    world.run(&["delete", &format!("{name}:3.8")]).fails(&["cannot delete a tag alone", &image.digest()]);
    world.run(&["delete", &format!("{name}@{}", image.digest())]).good();
    world.run(&["delete", &format!("{name}:9")]).fails(&["not found"]);
    world.run(&["delete", &name]).fails(&["missing the tag or digest"]);
}
