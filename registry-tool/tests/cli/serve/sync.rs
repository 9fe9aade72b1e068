//! `registry-tool sync`, from a registry to another, to a layout, and back.

use super::client::Served;
use crate::server::{Image, noise};
use crate::world::{World, keeping};

/// A registry with two repositories, and one that is empty.
fn two(world: &World) -> (Served, Served, Image) {
    let image = Image::new(&[noise(500, 1)]);
    let full = Served::start(world, &["full"]);
    for tag in ["1.0", "1.1", "2.0", "latest"] {
        full.push("team/app", tag, &image);
    }
    full.push("tool", "1", &Image::new(&[noise(500, 2)]));
    (full, Served::start(world, &["empty"]), image)
}

fn tags(served: &Served, repository: &str) -> serde_json::Value {
    served.get(&format!("/v2/{repository}/tags/list")).is(200).json()["tags"].clone()
}

#[test]
fn the_images_of_a_file_are_copied_from_registry_to_registry() {
    let world = World::new();
    let (full, empty, image) = two(&world);
    let host = full.address();
    world.write(
        "all.yml",
        &format!("{host}:\n  images:\n    tool:\n      - \"1\"\n  images-by-semver:\n    team/app: ^1\n"),
    );
    let target = format!("{}/mirror", empty.address());
    let planned = world.run(&["sync", "--dry-run", "all.yml", &target]).good().out();
    assert_eq!(
        planned,
        format!(
            "{host}/tool:1\t{target}/tool:1\n{host}/team/app:1.0\t{target}/app:1.0\n{host}/team/app:1.1\t{target}/app:1.1\n"
        )
    );
    empty.get("/v2/mirror/app/tags/list").refused(404, "NAME_UNKNOWN");
    let copied = world.run(&["sync", "-q", "all.yml", &target]).good().out();
    assert_eq!(copied.lines().nth(1), Some(&*format!("{target}/app:1.0@{}", image.digest())));
    assert_eq!(copied.lines().count(), 3);
    assert_eq!(tags(&empty, "mirror/app"), serde_json::json!(["1.0", "1.1"]));
    // The whole name of each keeps apart what has the same last part.
    world.run(&["sync", "-q", "--scoped", "all.yml", empty.address()]).good();
    assert_eq!(tags(&empty, &format!("{}/team/app", host.replace(':', "-"))), serde_json::json!(["1.0", "1.1"]));
}

#[test]
fn a_copy_may_have_several_tags() {
    let world = World::new();
    let (full, empty, image) = two(&world);
    let (from, to) = (format!("{}/team/app:1.0", full.address()), format!("{}/app:1.0", empty.address()));
    let more = ["--additional-tag", "1", "--additional-tag", "latest"];
    world.run(&[&["copy", "-q"], &more[..], &[&from, &to]].concat()).good();
    assert_eq!(tags(&empty, "app"), serde_json::json!(["1", "1.0", "latest"]));
    assert_eq!(empty.head("/v2/app/manifests/1").is(200).header("Docker-Content-Digest"), image.digest());
    let wrong = world.run(&["copy", "--additional-tag", "a/b", &from, &to]);
    assert_eq!(wrong.0.status.code(), Some(2), "{}", wrong.err());
}

#[test]
fn what_refers_to_an_image_is_copied_with_it() {
    let world = World::new();
    let (full, empty, image) = two(&world);
    let from = format!("{}/team/app:1.0", full.address());
    world.write("sbom.json", "{}");
    let attach =
        |name: &str| world.run(&["attach", "--artifact-type", "application/spdx+json", name, "sbom.json"]).good().out();
    let artifact = attach(&from);
    // What refers to that: a signature of the SBOM, for example.
    attach(artifact.trim_end());
    let found = |name: &str| world.run(&["referrers", "--json", name]).good().out();
    let (plain, whole) = (format!("{}/plain:1", empty.address()), format!("{}/whole:1", empty.address()));
    world.run(&["copy", "-q", &from, &plain]).good();
    assert_eq!(found(&plain), "");
    world.run(&["copy", "-q", "--referrers", &from, &whole]).good();
    assert_eq!(found(&whole), found(&from));
    let copied =
        artifact.trim_end().replace(&format!("{}/team/app", full.address()), &format!("{}/whole", empty.address()));
    assert_eq!(found(&copied), found(artifact.trim_end()));
    assert_eq!(found(&copied).lines().count(), 1);
    // A registry that keeps no list gets one under a tag.
    let (server, store) = keeping(|_| None);
    world.run(&["copy", "-q", "--referrers", &from, &format!("{}/b:1", server.address())]).good();
    let tag = image.digest().replace(':', "-");
    assert!(
        store.manifests.lock().unwrap().keys().any(|name| name.ends_with(&tag)),
        "{:?}",
        store.manifests.lock().unwrap().keys()
    );
}

#[test]
fn a_layout_is_a_station_on_the_way() {
    let world = World::new();
    let (full, empty, _) = two(&world);
    let host = full.address();
    // Without tags, all of them.
    world.write("all.yml", &format!("{host}:\n  images:\n    team/app:\n    tool: []\n"));
    let pulled = world.run(&["sync", "-q", "--to-layout", "all.yml", "station"]).good().out();
    assert_eq!(pulled.lines().count(), 5, "{pulled}");
    assert!(pulled.starts_with(&format!("station:{host}/team/app:1.0@sha256:")), "{pulled}");
    world.assert_sound("station");
    world.run(&["sync", "-q", "--from-layout", "station", &format!("{}/x", empty.address())]).good();
    assert_eq!(tags(&empty, "x/app"), serde_json::json!(["1.0", "1.1", "2.0", "latest"]));
    assert_eq!(tags(&empty, "x/tool"), serde_json::json!(["1"]));
}

#[test]
fn one_that_fails_ends_it_unless_it_is_to_go_on() {
    let world = World::new();
    let (full, empty, _) = two(&world);
    let host = full.address();
    world.write("some.yml", &format!("{host}:\n  images:\n    team/app: [none, latest]\n"));
    let (target, none) = (empty.address(), format!("{host}/team/app:none"));
    world.run(&["sync", "-q", "some.yml", target]).fails_in_a_line(&[&none, "no such image"]);
    empty.get("/v2/app/tags/list").refused(404, "NAME_UNKNOWN");
    let went_on = world.run(&["sync", "-q", "--keep-going", "some.yml", target]);
    assert_eq!(went_on.0.status.code(), Some(1));
    assert!(went_on.err().contains(&none) && went_on.err().ends_with("1 of 2 images failed\n"), "{}", went_on.err());
    assert!(went_on.out().starts_with(&format!("{target}/app:latest@")), "{}", went_on.out());
    assert_eq!(tags(&empty, "app"), serde_json::json!(["latest"]));
    world.write("wrong.yml", &format!("{host}:\n  credentials:\n    username: a\n"));
    world.run(&["sync", "wrong.yml", target]).fails_in_a_line(&["wrong.yml", "credentials is not supported"]);
}
