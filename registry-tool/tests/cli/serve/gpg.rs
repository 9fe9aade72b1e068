//! Signatures of GnuPG's keys, made by gpg, skopeo and the tool, and judged by the tool and by skopeo.

use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::Served;
use crate::server::{Image, Reply, Server, digest, noise};
use crate::world::{Ran, World};

/// A registry with an image `team/app:1`, and a folder `aside` for signatures.
struct Fixture {
    world: World,
    served: Served,
    image: Image,
    name: String,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.command("gpgconf", &["--kill", "gpg-agent"]).output();
    }
}

impl Fixture {
    fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt as _;
        let world = World::new();
        let image = Image::new(&[noise(99, 1)]);
        let served = Served::start(&world, &["registry"]);
        served.push("team/app", "1", &image);
        let name = format!("{}/team/app:1", served.address());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(world.path("user/.gnupg")).unwrap();
        let fixture = Self { world, served, image, name };
        fixture.registries(&format!("lookaside: file://{}", fixture.world.path("aside").display()));
        fixture
    }

    /// Writes what registries.d says of the registry.
    fn registries(&self, section: &str) {
        let text = format!("docker:\n  {}:\n    {section}\n", self.served.address());
        self.world.write("user/.config/containers/registries.d/own.yaml", &text);
    }

    /// Writes a policy with one requirement for the registry.
    fn policy(&self, requirement: &Value) {
        let document = json!({ "default": [{ "type": "insecureAcceptAnything" }],
            "transports": { "docker": { self.served.address(): [requirement] } } });
        self.world.write("user/.config/containers/policy.json", &document.to_string());
    }

    fn demand(&self, key: &str) {
        self.policy(&json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": self.world.path(key) }));
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.world.path(".")).env_clear();
        command.env("PATH", std::env::var("PATH").unwrap()).env("HOME", self.world.path("user"));
        command
    }

    #[track_caller]
    fn gpg(&self, arguments: &[&str]) -> String {
        let loopback = ["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"];
        said(&self.command("gpg", &[&loopback, arguments].concat()).output().unwrap())
    }

    /// Makes a key, exports it as `NAME.gpg`, and returns its fingerprint.
    fn key(&self, name: &str, kind: &str, usage: &str, more: &[&str]) -> String {
        let arguments = ["--passphrase", "", "--quick-generate-key", name, kind, usage, "never"];
        self.gpg(&[more, &arguments].concat());
        self.export(name);
        let listed = self.gpg(&["--with-colons", "--list-keys", name]);
        let line = listed.lines().find(|line| line.starts_with("fpr")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn export(&self, name: &str) {
        let file = format!("{name}.gpg");
        self.gpg(&["--output", &file, "--export", name]);
    }

    #[track_caller]
    fn skopeo(&self, arguments: &[&str]) -> Output {
        self.command("skopeo", arguments).output().unwrap()
    }

    /// The path of a signature of an image.
    fn aside(&self, image: &Image, number: usize) -> PathBuf {
        let folder = digest(&image.manifest).replace(':', "=");
        self.world.path(&format!("aside/team/app@{folder}/signature-{number}"))
    }

    /// Puts a signature aside as the only one of an image.
    fn put(&self, image: &Image, signature: &[u8]) {
        let path = self.aside(image, 1);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, signature).unwrap();
    }

    /// A signature that skopeo makes of an image.
    fn signed_by_skopeo(&self, key: &str, image: &Image, name: &str) -> Vec<u8> {
        std::fs::write(self.world.path("manifest"), &image.manifest).unwrap();
        said(&self.skopeo(&["standalone-sign", "manifest", name, key, "--output", "signature"]));
        std::fs::read(self.world.path("signature")).unwrap()
    }

    /// A message that gpg signs.
    fn signed_by_gpg(&self, text: &str, options: &[&str]) -> Vec<u8> {
        self.world.write("text", text);
        self.gpg(&[&["--output", "signature"], options, &["--sign", "text"]].concat());
        std::fs::read(self.world.path("signature")).unwrap()
    }

    fn payload(&self) -> String {
        json!({ "critical": { "identity": { "docker-reference": self.name }, "type": "atomic container signature",
            "image": { "docker-manifest-digest": digest(&self.image.manifest) } }, "optional": {} })
        .to_string()
    }

    fn pull(&self) -> Ran {
        let _ = std::fs::remove_dir_all(self.world.path("pulled"));
        self.world.run(&["pull", "-q", &self.name, "pulled"])
    }

    fn pull_with_skopeo(&self) -> Output {
        let _ = std::fs::remove_dir_all(self.world.path("pulled"));
        // A layout has no room for signatures.
        let options = ["copy", "-q", "--src-tls-verify=false", "--remove-signatures"];
        self.skopeo(&[&options[..], &[&format!("docker://{}", self.name), "oci:pulled:x"]].concat())
    }

    /// Asserts that a pull is refused for this reason, and that nothing is there then. skopeo must refuse it too.
    #[track_caller]
    fn refuses(&self, reason: &str) {
        self.pull().fails(&[reason]);
        assert!(!self.world.path("pulled").exists());
        assert!(!self.pull_with_skopeo().status.success(), "skopeo accepts what was refused: {reason}");
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_skopeo_signed_satisfies_a_policy_and_nothing_else_does() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    let other = own.key("other", "ed25519", "sign", &[]);
    own.demand("own.gpg");
    own.refuses("is not signed");
    let good = own.signed_by_skopeo(&key, &own.image, &own.name);
    own.put(&own.image, &good);
    own.pull().good();
    said(&own.pull_with_skopeo());
    let copy = own.name.replace(":1", ":3");
    own.world.run(&["copy", "-q", &own.name, &copy]).good();
    own.world.run(&["verify", "--gpg-key", "own.gpg", &own.name]).good();

    // Other keys, another image, another name.
    own.demand("other.gpg");
    own.refuses("not that of a key that is trusted");
    own.world.run(&["copy", "-q", &own.name, &copy]).fails(&["not that of a key"]);
    own.world.run(&["verify", "--gpg-key", "other.gpg", &own.name]).fails_in_a_line(&["not that of a key"]);
    own.world.run(&["verify", "--gpg-key", "other.gpg", "--gpg-key", "own.gpg", &own.name]).good();
    own.world.run(&["pull", "-q", "--disable-content-trust", &own.name, "anyway"]).good();
    own.demand("own.gpg");
    let second = Image::new(&[noise(99, 2)]);
    own.put(&own.image, &own.signed_by_skopeo(&key, &second, &own.name));
    own.refuses("it is that of another image");
    own.put(&own.image, &own.signed_by_skopeo(&key, &own.image, &own.name.replace(":1", ":2")));
    own.refuses("it is one of the name");
    own.policy(&json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": own.world.path("own.gpg"),
        "signedIdentity": { "type": "matchRepository" } }));
    own.pull().good();
    own.demand("own.gpg");
    own.put(&own.image, &own.signed_by_skopeo(&other, &own.image, &own.name));
    own.refuses("not that of a key");

    // One good signature among bad ones is enough.
    std::fs::write(own.aside(&own.image, 2), b"\x88noise").unwrap();
    std::fs::write(own.aside(&own.image, 3), &good).unwrap();
    own.pull().good();
    std::fs::remove_file(own.aside(&own.image, 2)).unwrap();
    own.refuses("not that of a key");
}

#[test]
fn the_keys_of_a_policy_are_files_or_data_armored_or_not() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    own.key("other", "ed25519", "sign", &[]);
    own.put(&own.image, &own.signed_by_skopeo(&key, &own.image, &own.name));
    let armored = ["other", "own"].map(|name| own.gpg(&["--armor", "--export", name]));
    let both = format!("Keys of the team.\n\n{}\nMore:\n{}", armored[0], armored[1]);
    own.world.write("both.asc", &both);
    let path = |name: &str| own.world.path(name);
    let data = STANDARD.encode(std::fs::read(path("own.gpg")).unwrap());
    for keys in [
        json!({ "keyPath": path("both.asc") }),
        json!({ "keyPaths": [path("other.gpg"), path("own.gpg")] }),
        json!({ "keyData": data }),
        json!({ "keyData": STANDARD.encode(&both) }),
    ] {
        let mut requirement = json!({ "type": "signedBy", "keyType": "GPGKeys" });
        requirement.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        own.policy(&requirement);
        own.pull().good();
    }
    own.world.write("half.asc", &armored[1][..armored[1].len() / 2]);
    own.demand("half.asc");
    own.pull().fails(&["half.asc: signedBy: not an OpenPGP public key"]);
    let bytes = std::fs::read(path("own.gpg")).unwrap();
    std::fs::write(path("half.gpg"), &bytes[..bytes.len() / 2]).unwrap();
    own.demand("half.gpg");
    own.pull().fails(&["half.gpg: signedBy: not an OpenPGP public key"]);
    own.gpg(&["--passphrase", "", "--output", "secret.gpg", "--export-secret-keys", "own"]);
    own.demand("secret.gpg");
    own.pull().fails(&["secret.gpg: signedBy: no OpenPGP public key in it"]);
}

#[test]
fn a_forged_signature_is_refused_whichever_byte_is_wrong() {
    let own = Fixture::new();
    let key = own.key("own", "ed25519", "sign", &[]);
    let good = own.signed_by_skopeo(&key, &own.image, &own.name);
    std::fs::write(own.world.path("good"), &good).unwrap();
    let verify = |file: &str| own.world.run(&["verify", "--gpg-key", "own.gpg", "--signature", file, &own.name]);
    verify("good").good();
    let mut accepted = Vec::new();
    // Not compressed, so that a byte is one of the message.
    let plain = own.signed_by_gpg(&own.payload(), &["--compress-algo", "none", "--local-user", &key]);
    std::fs::write(own.world.path("plain"), &plain).unwrap();
    verify("plain").good();
    for at in (0..plain.len()).step_by(7) {
        let mut forged = plain.clone();
        forged[at] ^= 0x10;
        std::fs::write(own.world.path("forged"), &forged).unwrap();
        if verify("forged").0.status.success() {
            accepted.push(at);
        }
    }
    // What no signature covers: the one-pass packet's fields, the name and date of the text, notes beside the signature.
    let text = plain.windows(11).position(|part| part == b"{\"critical\"").unwrap();
    let inner = text..text + own.payload().len();
    assert!(accepted.iter().all(|at| !inner.contains(at)), "{accepted:?} of {inner:?}");
    for (end, name) in [(good.len() - 1, "cut"), (0, "empty")] {
        std::fs::write(own.world.path(name), &good[..end]).unwrap();
        verify(name).fails_in_a_line(&[""]);
    }
    std::fs::write(own.world.path("twice"), [&plain[..], &plain[..]].concat()).unwrap();
    verify("twice").fails_in_a_line(&["not one text with one signature"]);
}

#[test]
fn only_a_signed_message_with_podmans_payload_counts() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    own.key("other", "ed25519", "sign", &[]);
    own.demand("own.gpg");
    let by = ["--local-user", &key];
    own.put(&own.image, &own.signed_by_gpg(&own.payload(), &by));
    own.pull().good();
    said(&own.pull_with_skopeo());
    let cosign = own.payload().replace("atomic container", "cosign container image");
    let added = own.payload().replace("\"optional\":{}", "\"optional\":{},\"more\":1");
    let twice = own.payload().replace("\"identity\"", "\"identity\":{\"docker-reference\":\"a.b/c\"},\"identity\"");
    for (text, reason) in [
        (cosign.as_str(), "not that of an image's signature"),
        (&added, "unknown field `more`"),
        (&twice, "duplicate field `identity`"),
        ("{}", "missing field `critical`"),
        ("", "the payload is not valid"),
    ] {
        own.put(&own.image, &own.signed_by_gpg(text, &by));
        own.refuses(reason);
    }
    // Messages of other kinds.
    for (options, reason) in [
        (&["--textmode"][..], "not a signature of a document"),
        (&["--digest-algo", "SHA1"], "its hash, SHA1, is too weak"),
        (&["--local-user", "other"], "not one text with one signature"),
        (&["--cert-notation", "!a@b.c=d", "--sig-notation", "!a@b.c=d"], "critical field that is not known"),
    ] {
        let signature = own.signed_by_gpg(&own.payload(), &[&by, options].concat());
        own.put(&own.image, &signature);
        own.pull().fails(&[reason]);
    }
    own.world.write("text", &own.payload());
    for (arguments, reason) in [
        (&["--detach-sign"][..], "a signature without its text"),
        (&["--clear-sign"], "not a signed message"),
        (&["--armor", "--sign"], "not a signed message"),
        (&["--store"], "not one text with one signature"),
    ] {
        own.gpg(&[&by[..], &["--output", "signature"], arguments, &["text"]].concat());
        own.put(&own.image, &std::fs::read(own.world.path("signature")).unwrap());
        own.pull().fails(&[reason]);
    }
    // A message that inflates to more than any payload.
    own.world.write("text", &" ".repeat(64 << 20));
    own.gpg(&[&by[..], &["--output", "signature", "--sign", "text"]].concat());
    own.put(&own.image, &std::fs::read(own.world.path("signature")).unwrap());
    own.refuses("its text has more than");
    own.put(&own.image, &vec![0x88; 300 << 10]);
    own.pull().fails(&["signature-1: answer of more than"]);
}

#[test]
fn a_key_counts_as_long_as_it_does_for_gpg() {
    let own = Fixture::new();
    let then = ["--faked-system-time", "20200101T000000!"];
    let signs = |key: &str, options: &[&str]| {
        own.put(&own.image, &own.signed_by_gpg(&own.payload(), &[options, &["--local-user", key]].concat()));
    };

    // Expired since, although it was valid then; and valid again, with another end.
    let key = own.key("old", "ed25519", "sign", &then);
    signs(&key, &then);
    own.demand("old.gpg");
    own.pull().good();
    let later = ["--faked-system-time", "20200103T000000!", "--passphrase", ""];
    own.gpg(&[&later[..], &["--quick-set-expire", &key, "1d"]].concat());
    own.export("old");
    own.refuses("has expired");
    own.gpg(&["--passphrase", "", "--quick-set-expire", &key, "0"]);
    own.export("old");
    own.pull().good();
    said(&own.pull_with_skopeo());

    // The signature itself has an end.
    signs(&key, &[&then[..], &["--default-sig-expire", "1d"]].concat());
    own.refuses("it has expired");
    signs(&key, &["--default-sig-expire", "1d"]);
    own.pull().good();

    // Revoked, whenever the signature was made.
    let revocation =
        std::fs::read_to_string(own.world.path(&format!("user/.gnupg/openpgp-revocs.d/{key}.rev"))).unwrap();
    own.world.write("revocation", &revocation.replace(":-----BEGIN", "-----BEGIN"));
    signs(&key, &then);
    own.pull().good();
    own.gpg(&["--import", "revocation"]);
    own.export("old");
    own.refuses("is revoked");

    // A key that only certifies, and its subkey that signs.
    let key = own.key("sub", "rsa2048", "cert", &[]);
    own.gpg(&["--passphrase", "", "--quick-add-key", &key, "rsa2048", "sign", "never"]);
    own.export("sub");
    own.demand("sub.gpg");
    signs(&key, &[]);
    own.pull().good();
    // Without the subkey, nobody knows whose signature that is; an expired or revoked one signs nothing.
    own.gpg(&[
        "--export-options",
        "export-minimal",
        "--export-filter",
        "drop-subkey=usage=~s",
        "--output",
        "sub.gpg",
        "--export",
        "sub",
    ]);
    own.refuses("not that of a key");
    own.export("sub");
    own.gpg(&["--passphrase", "", "--quick-set-expire", &key, "seconds=1", "*"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    own.export("sub");
    own.refuses("has a subkey that has expired");
}

#[test]
fn skopeo_accepts_what_the_tool_signs() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    own.demand("own.gpg");
    assert!(!own.pull_with_skopeo().status.success());
    let pinned = format!("{}@{}\n", own.name, digest(&own.image.manifest));
    assert_eq!(own.world.run(&["sign", "--sign-by", &key, &own.name]).good().out(), pinned);
    said(&own.pull_with_skopeo());
    own.pull().good();
    assert_eq!(own.world.run(&["verify", "--gpg-key", "own.gpg", &own.name]).good().out(), pinned);
    let json = own.world.run(&["verify", "--gpg-key", "own.gpg", "--json", &own.name]).good().out();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["critical"]["identity"]["docker-reference"], own.name.as_str());
    assert!(json["optional"]["creator"].as_str().unwrap().starts_with("registry-tool "));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(own.aside(&own.image, 1)).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "a web server may read it");

    // A second one is added, a third goes into a file, under another name.
    own.world.run(&["sign", "--sign-by", &key, &own.name]).good();
    assert!(own.aside(&own.image, 2).exists() && !own.aside(&own.image, 3).exists());
    let identity = "registry.example.com/app:1";
    let args = ["sign", "--sign-by", &key, "--sign-identity", identity, "--output", "file", &own.name];
    own.world.run(&args).good();
    assert!(!own.aside(&own.image, 3).exists());
    std::fs::write(own.world.path("manifest"), &own.image.manifest).unwrap();
    said(&own.skopeo(&["standalone-verify", "manifest", identity, &key, "file"]));
    let verify = |more: &[&str]| {
        let all = [&["verify", "--gpg-key", "own.gpg", "--signature", "file"], more, &[&own.name]].concat();
        own.world.run(&all)
    };
    verify(&[]).fails_in_a_line(&["it is one of the name \"registry.example.com/app:1\""]);
    verify(&["--sign-identity", identity]).good();

    // By digest, each name of the repository is good.
    let by_digest = format!("{}/team/app@{}", own.served.address(), digest(&own.image.manifest));
    own.world.run(&["verify", "--gpg-key", "own.gpg", &by_digest]).good();
    own.world.run(&["pull", "-q", &by_digest, "digest"]).good();

    // A passphrase from a file.
    own.gpg(&["--passphrase", "s3cret", "--quick-generate-key", "locked", "ed25519", "sign", "never"]);
    own.export("locked");
    own.world.write("right", "s3cret\n");
    own.world.write("wrong", "guess\n");
    let _ = own.command("gpgconf", &["--kill", "gpg-agent"]).output();
    let sign = |file: &str| own.world.run(&["sign", "--sign-by", "locked", "--sign-passphrase-file", file, &own.name]);
    sign("wrong").fails_in_a_line(&["gpg does not sign with locked", "Bad passphrase"]);
    sign("right").good();
    own.world.run(&["verify", "--gpg-key", "locked.gpg", &own.name]).good();
    own.world.run(&["sign", "--sign-by", "nobody", &own.name]).fails_in_a_line(&["gpg does not sign with nobody"]);
    let mut without = own.world.command(&["sign", "--sign-by", &key, &own.name]);
    Ran(without.env("PATH", own.world.path("bin")).output().unwrap()).fails_in_a_line(&["Debian's package gpg"]);
    assert_eq!(own.world.run(&["sign", &own.name]).0.status.code(), Some(2));
    assert_eq!(own.world.run(&["sign", "--key", "x", "--sign-by", &key, &own.name]).0.status.code(), Some(2));
}

#[test]
fn signatures_are_written_to_one_place_and_read_from_another() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    own.demand("own.gpg");
    let (staging, aside) = (own.world.path("staging"), own.world.path("aside"));
    let publish = || {
        let _ = std::fs::remove_dir_all(&aside);
        std::fs::rename(&staging, &aside).unwrap();
    };
    for names in [["lookaside", "lookaside-staging"], ["sigstore", "sigstore-staging"]] {
        let section =
            format!("{}: file://{}\n    {}: file://{}", names[0], aside.display(), names[1], staging.display());
        own.registries(&section);
        let _ = std::fs::remove_dir_all(&aside);
        own.world.run(&["sign", "--sign-by", &key, &own.name]).good();
        own.refuses("is not signed");
        publish();
        own.pull().good();

        // skopeo signs while it copies.
        let _ = std::fs::remove_dir_all(&aside);
        let (from, to) = (format!("docker://{}", own.name), format!("docker://{}", own.name.replace(":1", ":2")));
        own.policy(&json!({ "type": "insecureAcceptAnything" }));
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        said(&own.skopeo(&[&["copy", "-q"], &tls[..], &["--sign-by", &key, &from, &to]].concat()));
        publish();
        own.demand("own.gpg");
        own.refuses("it is one of the name");
        own.world.run(&["pull", "-q", &own.name.replace(":1", ":2"), "second"]).good();
    }
    own.registries("lookaside: https://signatures.example.com/");
    own.world
        .run(&["sign", "--sign-by", &key, &own.name])
        .fails_in_a_line(&["cannot be written to https://", "lookaside-staging"]);
    own.registries("lookaside: /var/lib");
    own.pull().fails(&["\"/var/lib\" in registries.d", "expected a URL"]);
    own.registries("- wrong");
    own.pull().fails_in_a_line(&["own.yaml: "]);
    // Without a word on it, in podman's folder.
    std::fs::remove_dir_all(own.world.path("user/.config/containers/registries.d")).unwrap();
    own.pull().fails(&["is not signed"]);
}

#[test]
fn signatures_are_fetched_from_a_web_server_until_there_is_none() {
    let own = Fixture::new();
    let key = own.key("own", "rsa2048", "sign", &[]);
    own.demand("own.gpg");
    let good = own.signed_by_skopeo(&key, &own.image, &own.name);
    let path = format!("/base/team/app@{}/signature-", digest(&own.image.manifest).replace(':', "="));
    // By port: one good signature as the third, none, an error, more than anybody reads, too large a one.
    let shelf = |answer: Box<dyn Fn(usize) -> Reply + Send + Sync>| {
        let path = path.clone();
        Server::new(move |request| match request.path.strip_prefix(&path) {
            Some(number) => answer(number.parse().unwrap()),
            None => Reply::new(404, ""),
        })
    };
    let signature = good.clone();
    let third = shelf(Box::new(move |number| match number {
        3 => Reply::new(200, signature.clone()),
        1 | 2 => Reply::new(200, *b"\x88"),
        _ => Reply::new(404, ""),
    }));
    let none = shelf(Box::new(|_| Reply::new(404, "")));
    let broken = shelf(Box::new(|_| Reply::new(500, "")));
    let denied = shelf(Box::new(|_| Reply::new(403, "")));
    let endless = shelf(Box::new(|_| Reply::new(200, *b"\x88")));
    let large = shelf(Box::new(|_| Reply::new(200, vec![0x88; 300 << 10])));
    let at = |server: &Server| own.registries(&format!("lookaside: http://{}/base", server.address()));
    at(&third);
    own.pull().good();
    said(&own.pull_with_skopeo());
    for (server, reason) in [
        (&none, "is not signed"),
        (&broken, "HTTP status 500"),
        (&denied, "HTTP status 403"),
        (&endless, "has more than 128 signatures"),
        (&large, "answer of more than 262144 bytes refused"),
    ] {
        at(server);
        let pulled = own.world.run(&["pull", "-q", "--retry", "1", "--retry-delay", "0", &own.name, "pulled"]);
        pulled.fails(&[reason]);
    }
    own.world.run(&["copy", "-q", "--retry", "0", &own.name, &own.name.replace(":1", ":9")]).fails(&["answer of more"]);
}
