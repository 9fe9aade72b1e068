//! Signatures and other artifacts of images, made and judged by the tool, by openssl, and by what policy.json says.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::Served;
use crate::server::{Image, MANIFEST, digest, noise};
use crate::world::{World, keeping, layout_with};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

fn openssl(world: &World, arguments: &str) -> bool {
    let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(world.path(".")).output().unwrap();
    ran.status.success()
}

fn key(world: &World, name: &str) {
    assert!(openssl(world, &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key")));
    assert!(openssl(world, &format!("pkey -in {name}.key -pubout -out {name}.pub")));
}

/// A registry with an image `team/app:1`, and two keys.
fn signed_world(world: &World) -> (Served, Image, String) {
    let image = Image::new(&[noise(99, 1)]);
    key(world, "own");
    key(world, "other");
    let served = Served::start(world, &["registry"]);
    served.push("team/app", "1", &image);
    let name = format!("{}/team/app:1", served.address());
    (served, image, name)
}

/// The artifact with the signatures of an image.
fn artifact(served: &Served, image: &Image) -> Value {
    let tag = digest(&image.manifest).replace(':', "-");
    served.get(&format!("/v2/team/app/manifests/{tag}.sig")).is(200).json()
}

#[test]
fn a_signature_of_the_key_and_the_image_is_good_and_no_other() {
    let world = World::new();
    let (served, image, name) = signed_world(&world);
    let verify = |key: &str, name: &str| world.run(&["verify", "--key", key, name]);
    verify("own.pub", &name).fails_in_a_line(&["is not signed"]);
    let pinned = format!("{name}@{}\n", digest(&image.manifest));
    assert_eq!(world.run(&["sign", "--key", "own.key", &name]).good().out(), pinned);
    assert_eq!(verify("own.pub", &name).good().out(), pinned);
    verify("other.pub", &name).fails_in_a_line(&["none of its 1 signatures is good", "not that of a key"]);
    assert_eq!(world.run(&["verify", "--key", "other.pub", "--key", "own.pub", &name]).good().out(), pinned);

    // openssl agrees, byte for byte.
    let layer = artifact(&served, &image)["layers"][0].clone();
    let payload = served.get(&format!("/v2/team/app/blobs/{}", layer["digest"].as_str().unwrap())).is(200).body;
    std::fs::write(world.path("payload"), &payload).unwrap();
    let bytes = STANDARD.decode(layer["annotations"][SIGNATURE].as_str().unwrap()).unwrap();
    std::fs::write(world.path("signature"), bytes).unwrap();
    assert!(openssl(&world, "dgst -sha256 -verify own.pub -signature signature payload"));
    assert!(!openssl(&world, "dgst -sha256 -verify other.pub -signature signature payload"));

    // The same again is not repeated; others are added.
    world.run(&["sign", "--key", "own.key", &name]).good();
    assert_eq!(artifact(&served, &image)["layers"].as_array().unwrap().len(), 1);
    world.run(&["sign", "--key", "other.key", "-a", "env=prod", &name]).good();
    assert_eq!(artifact(&served, &image)["layers"].as_array().unwrap().len(), 2);
    verify("own.pub", &name).good();
    let said = world.run(&["verify", "--key", "other.pub", "-a", "env=prod", "--json", &name]).good().out();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["optional"], json!({ "env": "prod" }));
    world.run(&["verify", "--key", "other.pub", "-a", "env=dev", &name]).fails_in_a_line(&["does not sign env=dev"]);

    // A signature that is put beside another image says nothing of that.
    let second = Image::new(&[noise(99, 2)]);
    served.push("team/app", "2", &second);
    let tag = format!("{}.sig", digest(&second.manifest).replace(':', "-"));
    let stolen = artifact(&served, &image).to_string();
    served.manifest("team/app", &tag, MANIFEST, stolen.as_bytes()).is(201);
    let second = name.replace(":1", ":2");
    verify("own.pub", &second[..]).fails_in_a_line(&["that of another image"]);
    world.run(&["verify", &second]).0.status.code().map(|code| assert_eq!(code, 2)).unwrap();
}

/// Pushes a signature that openssl made, in the form that cosign gives it.
fn sign_by_hand(world: &World, served: &Served, image: &Image, payload: &Value) {
    let bytes = payload.to_string().into_bytes();
    std::fs::write(world.path("payload"), &bytes).unwrap();
    assert!(openssl(world, "dgst -sha256 -sign own.key -out signature payload"));
    let signature = STANDARD.encode(std::fs::read(world.path("signature")).unwrap());
    let config = br#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(),
            "digest": served.blob("team/app", config) },
        "layers": [{ "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": bytes.len(),
            "digest": served.blob("team/app", &bytes), "annotations": { SIGNATURE: signature } }],
    });
    let tag = format!("{}.sig", digest(&image.manifest).replace(':', "-"));
    served.manifest("team/app", &tag, MANIFEST, manifest.to_string().as_bytes()).is(201);
}

#[test]
fn a_signature_in_cosigns_form_counts_whoever_made_it() {
    let world = World::new();
    let (served, image, name) = signed_world(&world);
    let payload = |kind: &str, digest: &str| {
        json!({ "critical": { "identity": { "docker-reference": "registry.example/team/app" },
            "image": { "docker-manifest-digest": digest }, "type": kind }, "optional": { "creator": "by hand" } })
    };
    let kind = "cosign container image signature";
    sign_by_hand(&world, &served, &image, &payload(kind, &digest(&image.manifest)));
    world.run(&["verify", "--key", "own.pub", &name]).good();
    sign_by_hand(&world, &served, &image, &payload("something else", &digest(&image.manifest)));
    world.run(&["verify", "--key", "own.pub", &name]).fails_in_a_line(&["not that of an image's signature"]);
    sign_by_hand(&world, &served, &image, &payload(kind, &digest(b"x")));
    world.run(&["verify", "--key", "own.pub", &name]).fails_in_a_line(&["another image"]);
    sign_by_hand(&world, &served, &image, &json!({}));
    world.run(&["verify", "--key", "own.pub", &name]).fails_in_a_line(&["the payload is not valid"]);
}

#[test]
fn a_certificate_counts_if_a_trusted_root_vouches_for_it() {
    let world = World::new();
    let (_served, _, name) = signed_world(&world);
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9";
    for root in ["root", "strange"] {
        assert!(openssl(&world, &format!("req -x509 {curve} -keyout {root}.key -out {root}.pem -subj /CN={root}")));
    }
    let names = "subjectAltName=email:ci@example.com,URI:https://example.com/ci";
    assert!(openssl(
        &world,
        &format!(
            "req -x509 -CA root.pem -CAkey root.key {curve} -keyout leaf.key -out leaf.pem -subj /CN=leaf -addext \
             basicConstraints=critical,CA:FALSE -addext {names}"
        )
    ));
    world.run(&["sign", "--key", "leaf.key", "--certificate", "leaf.pem", &name]).good();
    let verify = |root: &str, identity: &str| {
        world.run(&["verify", "--ca-roots", root, "--certificate-identity", identity, &name])
    };
    verify("root.pem", "ci@example.com").good();
    verify("root.pem", "https://example.com/ci").good();
    verify("root.pem", "eve@example.com").fails_in_a_line(&["that of ci@example.com", "not of eve@example.com"]);
    verify("strange.pem", "ci@example.com").fails_in_a_line(&["not trusted"]);
    // A certificate that is good beside a signature of another key.
    world.run(&["sign", "--key", "own.key", "--certificate", "leaf.pem", "-a", "a=b", &name]).good();
    let args = ["verify", "--ca-roots", "root.pem", "--certificate-identity", "ci@example.com", "-a", "a=b", &name];
    world.run(&args).fails_in_a_line(&["not that of the certificate's key"]);
    assert_eq!(
        world.run(&["verify", "--ca-roots", "root.pem", &name]).0.status.code(),
        Some(2),
        "anybody's is nobody's"
    );
    world.run(&["verify", "--ca-roots", "own.pub", "--certificate-identity", "x", &name]).fails_in_a_line(&["own.pub"]);
}

#[test]
fn an_encrypted_or_foreign_key_says_what_it_lacks() {
    let world = World::new();
    let (_served, _, name) = signed_world(&world);
    assert!(openssl(&world, "ecparam -name prime256v1 -genkey -noout -out old.key"));
    assert!(openssl(&world, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out large.key"));
    assert!(openssl(&world, "pkcs8 -topk8 -in own.key -passout pass:x -out sealed.key"));
    for (key, said) in [
        ("old.key", "PKCS#8"),
        ("large.key", "P-256"),
        ("sealed.key", "not by cosign"),
        ("own.pub", "no private key"),
        ("none.key", "No such file"),
    ] {
        world.run(&["sign", "--key", key, &name]).fails_in_a_line(&[key, said]);
    }
}

#[test]
fn what_policy_json_demands_is_verified_when_an_image_is_pulled_or_copied() {
    let world = World::new();
    let (served, image, name) = signed_world(&world);
    let policy = |requirement: Value| {
        let document = json!({ "default": [{ "type": "insecureAcceptAnything" }],
            "transports": { "docker": { served.address(): [requirement] } } });
        world.write("user/.config/containers/policy.json", &document.to_string());
    };
    let path = |name: &str| world.path(name).display().to_string();
    let demand = |key: &str, identity: Value| json!({ "type": "sigstoreSigned", "keyPath": path(key), "signedIdentity": identity });
    let any = || json!({ "type": "matchRepository" });
    let pull = |layout: &str| world.run(&["pull", "-q", &name, layout]);
    policy(demand("own.pub", any()));
    pull("unsigned").fails(&["is not signed"]);
    assert!(!world.path("unsigned").exists());
    world.run(&["copy", "-q", &name, &name.replace(":1", ":3")]).fails(&["is not signed"]);
    world.run(&["pull", "-q", "--disable-content-trust", &name, "anyway"]).good();
    world.run(&["sign", "--key", "own.key", &name]).good();
    pull("signed").good();
    world.run(&["copy", "-q", &name, &name.replace(":1", ":3")]).good();
    policy(demand("other.pub", any()));
    pull("wrong").fails(&["not that of a key"]);
    // By default the name that was signed must be the very one; cosign signs without a tag.
    policy(json!({ "type": "sigstoreSigned", "keyPath": path("own.pub") }));
    pull("wrong").fails(&["one of the name"]);
    let by_digest = format!("{}/team/app@{}", served.address(), digest(&image.manifest));
    world.run(&["pull", "-q", &by_digest, "digest"]).good();
    policy(demand("own.pub", json!({ "type": "exactRepository", "dockerRepository": "other.example/app" })));
    pull("wrong").fails(&["one of the name"]);
    let data = STANDARD.encode(std::fs::read(world.path("own.pub")).unwrap());
    policy(json!({ "type": "sigstoreSigned", "keyDatas": [data], "signedIdentity": any() }));
    pull("data").good();
    policy(json!({ "type": "sigstoreSigned", "keyPath": path("own.pub"), "rekorPublicKeyPath": "x" }));
    pull("wrong").fails(&["rekorPublicKeyPath, which cannot be verified"]);
    assert!(!world.path("wrong").exists());
}

#[test]
fn the_keys_of_a_policy_are_read_once() {
    let world = World::new();
    let (served, _, name) = signed_world(&world);
    world.run(&["sign", "--key", "own.key", &name]).good();
    let pipe = world.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let requirement =
        json!({ "type": "sigstoreSigned", "keyPath": pipe, "signedIdentity": { "type": "matchRepository" } });
    let document = json!({ "default": [{ "type": "reject" }],
        "transports": { "docker": { served.address(): [requirement] } } });
    world.write("user/.config/containers/policy.json", &document.to_string());
    // Whoever reads it a second time gets another key.
    let keys = ["own.pub", "other.pub"].map(|name| std::fs::read(world.path(name)).unwrap());
    std::thread::spawn(move || {
        for key in keys {
            std::fs::write(&pipe, key).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    });
    world.run(&["pull", "-q", &name, "signed"]).good();
}

#[test]
fn what_is_attached_to_an_image_is_found() {
    let world = World::new();
    let (served, image, name) = signed_world(&world);
    world.write("sbom.json", "{\"spdxVersion\": \"SPDX-2.3\"}");
    world.run(&["inspect", "--sbom", &name]).fails_in_a_line(&["the registry has no SBOM of the image"]);
    let attach = |name: &str, kind: &str| {
        world
            .run(&["attach", "--artifact-type", kind, "-a", "by=ci", name, "sbom.json:application/spdx+json"])
            .good()
            .out()
    };
    let referrers = |name: &str, more: &[&str]| world.run(&[&["referrers"], more, &[name]].concat()).good().out();
    assert_eq!(referrers(&name, &[]), "");
    let (first, second) = (attach(&name, "application/spdx+json"), attach(&name, "text/x-report"));
    let line = |artifact: &str, kind: &str| format!("{}\t{kind}\n", artifact.trim_end());
    let listed = referrers(&name, &[]);
    for line in [line(&first, "application/spdx+json"), line(&second, "text/x-report")] {
        assert!(listed.contains(&line), "{line:?} is not in {listed:?}");
    }
    assert_eq!(referrers(&name, &["--artifact-type", "text/x-report"]), line(&second, "text/x-report"));
    let sbom = world.run(&["inspect", "--sbom", &name]).good().out();
    assert_eq!(sbom.matches("SPDX-2.3").count(), 2, "each artifact has one: {sbom}");
    world.run(&["inspect", "--provenance", &name]).fails_in_a_line(&["no provenance"]);
    let json: Value = serde_json::from_str(&referrers(&name, &["--json", "--artifact-type", "text/x-report"])).unwrap();
    assert_eq!(json["annotations"], json!({ "by": "ci" }));
    let (_, by_digest) = first.trim_end().split_once('@').unwrap();
    let manifest = served.get(&format!("/v2/team/app/manifests/{by_digest}")).is(200).json();
    assert_eq!(manifest["subject"]["digest"], digest(&image.manifest).as_str());
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], "sbom.json");

    // A registry that knows of no referrers gets a list under a tag.
    layout_with(&world, &image);
    let (old, _store) = keeping(|_| None);
    let name = format!("{}/team/app:1", old.address());
    world.run(&["push", "-q", "images:a", &name]).good();
    let (first, second) = (attach(&name, "text/one"), attach(&name, "text/two"));
    assert_eq!(referrers(&name, &[]), line(&first, "text/one") + &line(&second, "text/two"));
    world.run(&["attach", "--artifact-type", "a/b", &name, "none"]).fails_in_a_line(&["none: No such file"]);
}
