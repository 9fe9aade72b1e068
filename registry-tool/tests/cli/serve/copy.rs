//! `registry-tool copy` and its kin between two real registries: as whom, how safely, what of an image, and in which form.

use image_tool::layer::entry::{Entry, Kind, Writer};
use serde_json::{Value, json};

use super::access::USERS;
use super::client::Served;
use crate::server::{INDEX, Image, MANIFEST, digest, noise};
use crate::tls::certificate;
use crate::world::{Ran, World};

/// The archive of a layer that compresses well.
fn tar(seed: u64) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.file(&Entry::new("text", Kind::File, 0o644), "all work and no play ".repeat(5000).as_bytes()).unwrap();
    writer.file(&Entry::new("noise", Kind::File, 0o644), &noise(2000, seed)).unwrap();
    writer.finish().unwrap()
}

/// A registry with an index `multi:1` of three images, of which the first has an attestation; returns the images.
fn multi(world: &World) -> (Served, Vec<Image>) {
    let served = Served::start(world, &["full"]);
    let images: Vec<Image> = ["amd64", "arm64", "s390x"]
        .iter()
        .enumerate()
        .map(|(seed, architecture)| Image::of(architecture, &[tar(seed as u64)]))
        .collect();
    let attestation = Image::of("unknown", &[br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec()]);
    let mut attested: Value = serde_json::from_slice(&attestation.manifest).unwrap();
    attested["layers"][0]["mediaType"] = "application/vnd.in-toto+json".into();
    let attestation = Image { manifest: attested.to_string().into_bytes(), ..attestation };
    let entry = |image: &Image, architecture: &str| {
        json!({ "mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
                "platform": {"os": "linux", "architecture": architecture} })
    };
    let mut manifests = vec![entry(&images[0], "amd64"), entry(&images[1], "arm64"), entry(&images[2], "s390x")];
    let mut last = entry(&attestation, "unknown");
    last["platform"]["os"] = "unknown".into();
    last["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
                                 "vnd.docker.reference.digest": images[0].digest()});
    manifests.push(last);
    for image in images.iter().chain([&attestation]) {
        served.push("multi", &image.digest(), image);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": {"a": "b"}});
    served.manifest("multi", "1", INDEX, index.to_string().as_bytes()).is(201);
    (served, images)
}

fn manifest(served: &Served, name: &str) -> Value {
    served.get(&format!("/v2/{}", name.replacen(':', "/manifests/", 1))).is(200).json()
}

#[track_caller]
fn misused(ran: &Ran, said: &str) {
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.err());
    assert!(ran.err().contains(said) && ran.err().lines().count() == 1, "{}", ran.err());
}

#[test]
fn each_side_has_credentials_of_its_own() {
    let world = World::new();
    world.write("users", USERS);
    world.write("others", &USERS.replace("xag", "bob"));
    let image = Image::new(&[noise(500, 1)]);
    let open = Served::start(&world, &["one"]);
    open.push("a", "1", &image);
    drop(open);
    let one = Served::start(&world, &["--htpasswd", "users", "one"]);
    let two = Served::start(&world, &["--htpasswd", "others", "two"]);
    let (from, to) = (format!("{}/a:1", one.address()), format!("{}/b:1", two.address()));
    let copy = |words: &[&str]| world.run(&[&["copy", "-q", "--retry", "0"], words, &[&from, &to]].concat());
    copy(&["--dest-creds", "bob:s3cret"]).fails(&[one.address(), "registry-tool login"]);
    copy(&["--src-creds", "xag:s3cret"]).fails(&[two.address()]);
    copy(&["--src-creds", "xag:s3cret", "--dest-creds", "xag:s3cret"]).fails(&[two.address()]);
    copy(&["--src-creds", "xag:s3cret", "--dest-creds", "bob:s3cret"]).good();
    let secret = copy(&["--src-creds", "onlythesecret"]);
    misused(&secret, "--src-creds: expected USER:PASSWORD");
    misused(&copy(&["--dest-creds", ":"]), "--dest-creds: expected USER:PASSWORD");
    misused(&world.run(&["digest", "--creds", "x", &from]), "--creds: expected USER:PASSWORD");
    assert!(!secret.err().contains("onlythesecret"), "{}", secret.err());
    // Two accounts at one registry need two files.
    let auth = |host: &str, pair: &str| {
        use base64::Engine as _;
        json!({"auths": {host: {"auth": base64::engine::general_purpose::STANDARD.encode(pair)}}}).to_string()
    };
    world.write("source.json", &auth(one.address(), "xag:s3cret"));
    world.write("target.json", &auth(two.address(), "bob:s3cret"));
    copy(&["--src-authfile", "source.json"]).fails(&[two.address()]);
    copy(&["--src-authfile", "source.json", "--dest-authfile", "target.json"]).good();
    copy(&["--src-authfile", "none.json"]).fails_in_a_line(&["none.json: No such file"]);
}

#[test]
fn one_registry_has_the_same_options() {
    let world = World::new();
    world.write("users", USERS);
    let open = Served::start(&world, &["one"]);
    open.push("a", "1", &Image::new(&[noise(500, 1)]));
    drop(open);
    let served = Served::start(&world, &["--htpasswd", "users", "one"]);
    let (repository, name) = (format!("{}/a", served.address()), format!("{}/a:1", served.address()));
    for command in [
        &["tags", &repository][..],
        &["inspect", &name],
        &["digest", &name],
        &["manifest", "get", &name],
        &["pull", "-q", &name, "images:a"],
        &["push", "-q", "images:a", &name],
        &["tag", &name, "2"],
        &["delete", &format!("{repository}:2")],
    ] {
        assert_eq!(world.run(&[command, &["--retry", "0"]].concat()).0.status.code(), Some(1), "{command:?}");
        world.run(&[command, &["--creds", "xag:s3cret"]].concat()).good();
    }
    // A mirror of the registry does not see them.
    world.write(
        "registries.conf",
        &format!("[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"{}\"\n", served.address()),
    );
    world
        .run(&["inspect", "--retry", "0", "--creds", "xag:s3cret", "--timeout", "5", "r.example/a:1"])
        .fails(&[served.address(), "authentication required"]);
}

#[test]
fn each_side_is_verified_or_not_as_it_is_said() {
    let world = World::new();
    let image = Image::new(&[noise(500, 1)]);
    certificate(&world);
    let plain = Served::start(&world, &["one"]);
    plain.push("a", "1", &image);
    let safe = Served::start(&world, &["--tls-cert", "cert", "--tls-key", "key", "two"]);
    let (from, to) = (format!("{}/a:1", plain.address()), format!("{}/b:1", safe.address()));
    let copy = |words: &[&str]| world.run(&[&["copy", "-q", "--retry", "0"], words, &[&from, &to]].concat());
    copy(&["--src-tls-verify"]).fails(&[plain.address()]);
    copy(&["--dest-tls-verify=true"]).fails(&[safe.address(), "certificate"]);
    copy(&["--src-tls-verify=false", "--dest-tls-verify=false"]).good();
    world.run(&["digest", "--retry", "0", "--tls-verify", &to]).fails(&["certificate"]);
    world.run(&["digest", "--tls-verify=false", &to]).good();
}

#[test]
fn several_platforms_make_an_index_of_these() {
    let world = World::new();
    let (full, images) = multi(&world);
    let empty = Served::start(&world, &["empty"]);
    let (from, to) = (format!("{}/multi:1", full.address()), format!("{}/two:1", empty.address()));
    let two = ["--platform", "linux/amd64", "--platform", "s390x"];
    world.run(&[&["copy", "-q"], &two[..], &[&from, &to]].concat()).good();
    let index = manifest(&empty, "two:1");
    let entries = index["manifests"].as_array().unwrap();
    let digests: Vec<&str> = entries.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    assert_eq!(digests[..2], [images[0].digest(), images[2].digest()]);
    assert_eq!((entries.len(), &entries[2]["annotations"]["vnd.docker.reference.digest"]), (3, &json!(digests[0])));
    assert_eq!(index["annotations"], json!({"a": "b"}));
    let pulled = world.run(&[&["pull", "-q"], &two[..], &[&from, "images:two"]].concat()).good().out();
    assert_eq!(pulled.trim_end(), format!("images:two@{}", digest(index.to_string().as_bytes())));
    world.assert_sound("images");
    let arm = world.path("images/blobs").join(images[1].digest().replace(':', "/"));
    assert!(!arm.exists());
    // All of them are the index as it is.
    let all = ["amd64", "arm64", "s390x"].map(|platform| ["--platform", platform]).concat();
    world.run(&[&["copy", "-q"], &all[..], &[&from, &to]].concat()).good();
    assert_eq!(manifest(&empty, "two:1"), manifest(&full, "multi:1"));
    let none = [&["copy", "-q"], &two[..], &["--platform", "riscv64", &from, &to]].concat();
    world.run(&none).fails(&["no image for linux/riscv64", "linux/arm64"]);
    misused(&world.run(&[&["pull", "--unpack"], &two[..], &[&from]].concat()), "one platform");
}

#[test]
fn manifests_are_rewritten_in_the_other_format() {
    let world = World::new();
    let (full, images) = multi(&world);
    let empty = Served::start(&world, &["empty"]);
    let (from, to) = (format!("{}/multi:1", full.address()), format!("{}/d:1", empty.address()));
    let copy = |words: &[&str], from: &str, to: &str| world.run(&[&["copy", "-q"], words, &[from, to]].concat());
    // What is attested of the first has no room in docker's index.
    copy(&["--format", "v2s2"], &from, &to).fails(&[&from, "docker's schema 2 has no layers of type"]);
    let two = ["--format", "v2s2", "--platform", "arm64", "--platform", "s390x"];
    copy(&two, &from, &to).good();
    let list = manifest(&empty, "d:1");
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    assert_eq!(list["manifests"][0]["platform"]["architecture"], "arm64");
    assert!(list.get("annotations").is_none());
    let docker = manifest(&empty, &format!("d:{}", list["manifests"][0]["digest"].as_str().unwrap()));
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(docker["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(docker["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar");
    assert_eq!(docker["layers"][0]["digest"], images[1].layers[0], "blobs stay");
    world.run(&["pull", "-q", "--platform", "arm64", &to, "images:d"]).good();
    // There and back, and what is in the format already stays as it is.
    let back = format!("{}/back:1", empty.address());
    copy(&["--format", "oci"], &to, &back).good();
    let (again, first) = (manifest(&empty, "back:1"), manifest(&full, "multi:1"));
    assert_eq!(again["manifests"][0]["digest"], first["manifests"][1]["digest"]);
    let same = format!("{}/same:1", empty.address());
    copy(&["--format", "oci"], &from, &same).good();
    assert_eq!(manifest(&empty, "same:1"), first);
    // A layout too is pushed in either, and under more tags.
    let pushed = format!("{}/p:1", empty.address());
    world.run(&["push", "-q", "--format", "oci", "--additional-tag", "2", "images:d", &pushed]).good();
    assert_eq!(manifest(&empty, "p:2")["mediaType"], MANIFEST);
    assert_eq!(manifest(&empty, "p:1"), manifest(&empty, "p:2"));
    misused(&copy(&["--format", "oci", "--referrers"], &from, &to), "--referrers");
}

#[test]
fn layers_are_compressed_anew_and_the_image_stays_the_same() {
    let world = World::new();
    let (full, images) = multi(&world);
    let empty = Served::start(&world, &["empty"]);
    std::fs::create_dir(world.path("tmp")).unwrap();
    let from = format!("{}/multi:1", full.address());
    let copy = |words: &[&str], to: &str| {
        let target = format!("{}/{to}", empty.address());
        let words = [&["copy", "-q"], words, &[&from, &target]].concat();
        Ran(world.command(&words).env("TMPDIR", world.path("tmp")).output().unwrap())
    };
    copy(&["--dest-compress-format", "gzip", "--additional-tag", "2"], "g:1").good();
    let index = manifest(&empty, "g:1");
    assert_eq!(manifest(&empty, "g:2"), index);
    let first = index["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(index["manifests"][3]["annotations"]["vnd.docker.reference.digest"], first);
    assert_eq!(index["manifests"][3]["digest"], manifest(&full, "multi:1")["manifests"][3]["digest"]);
    let image = manifest(&empty, &format!("g:{first}"));
    let before: Value = serde_json::from_slice(&images[0].manifest).unwrap();
    assert_eq!(image["config"], before["config"], "the image's ID");
    assert_eq!(image["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    world.run(&["pull", "-q", "--all-platforms", &format!("{}/g:1", empty.address()), "images:g"]).good();
    let size = |level: &str, to: &str| {
        copy(&["--platform", "amd64", "--dest-compress-format", "zstd", "--dest-compress-level", level], to).good();
        let image = manifest(&empty, to);
        assert_eq!(image["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        (image["layers"][0]["digest"].clone(), image["layers"][0]["size"].as_u64().unwrap())
    };
    let (fast, small) = (size("1", "z:1"), size("19", "z:2"));
    assert!(fast.0 != small.0 && small.1 < tar(0).len() as u64 / 10, "{fast:?} {small:?}");
    // Forms that are read file by file; estargz adds files, so the ID is another.
    for (form, key, is_same) in [
        ("estargz", "containerd.io/snapshot/stargz/toc.digest", false),
        ("zstd:chunked", "io.github.containers.zstd-chunked.manifest-position", true),
    ] {
        copy(&["--dest-compress-format", form, "--platform", "amd64"], "lazy:1").good();
        let image = manifest(&empty, "lazy:1");
        assert!(image["layers"][0]["annotations"][key].is_string(), "{image}");
        assert_eq!(image["config"] == before["config"], is_same, "{form}");
        world.run(&["pull", "-q", &format!("{}/lazy:1", empty.address()), "images:lazy"]).good();
        copy(&["--dest-compress-format", form, "--format", "v2s2"], "g:3")
            .fails_in_a_line(&["docker's schema 2 has no annotations", form]);
    }
    copy(&["--dest-compress-format", "gzip", "--dest-compress-level", "10"], "g:3").fails_in_a_line(&["0 to 9"]);
    copy(&["--dest-compress-format", "zstd", "--format", "v2s2", "--platform", "amd64"], "g:3")
        .fails(&["docker's schema 2 has no layers of type"]);
    assert_eq!(std::fs::read_dir(world.path("tmp")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_rehearsal_sends_nothing_and_a_digest_is_written_to_a_file() {
    let world = World::new();
    let (full, images) = multi(&world);
    let empty = Served::start(&world, &["empty"]);
    let (from, to) = (format!("{}/multi:1", full.address()), format!("{}/a:1", empty.address()));
    let one = ["--platform", "amd64", &from, &to];
    let ran = world.run(&[&["copy", "--dry-run"], &one[..]].concat());
    assert_eq!(ran.good().out(), format!("{from}\t{to}@{}\n", images[0].digest()));
    assert!(ran.err().contains("the target lacks 2 of 2 blobs"), "{}", ran.err());
    empty.get("/v2/a/tags/list").refused(404, "NAME_UNKNOWN");
    world.run(&[&["copy", "-q", "--digestfile", "digest"], &one[..]].concat()).good();
    assert_eq!(std::fs::read_to_string(world.path("digest")).unwrap(), images[0].digest());
    let again = world.run(&[&["copy", "--dry-run"], &one[..]].concat());
    assert!(again.good().err().contains("the target lacks 0 of 2 blobs, 0B"), "{}", again.err());
    // A rehearsal fails as the copy would.
    world.run(&["copy", "--dry-run", &format!("{}/multi:2", full.address()), &to]).fails(&["no such image"]);
}

#[test]
fn a_pull_has_limits() {
    let world = World::new();
    let (full, _) = multi(&world);
    let from = format!("{}/multi:1", full.address());
    let pull = |words: &[&str]| world.run(&[&["pull", "-q"], words, &[&from, "images:a"]].concat());
    pull(&["--max-layers", "0"]).fails_in_a_line(&[&from, "image refused: 1 layers are more than 0"]);
    pull(&["--max-size", "1k"]).fails_in_a_line(&[&from, "larger than 1024 bytes"]);
    assert!(!world.path("images").exists(), "nothing was downloaded");
    misused(&pull(&["--max-entries", "1"]), "--max-entries needs --unpack");
    pull(&["--max-layers", "1", "--max-size", "1M"]).good();
}
