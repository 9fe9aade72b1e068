//! `build --output` and what else a build writes: archives, folders, several platforms, annotations, metadata.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// The files of a tar archive.
fn archive(bytes: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut reader = Reader::new(std::io::BufReader::new(Cursor::new(bytes)));
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        files.insert(entry.path.to_str().unwrap().trim_start_matches("./").trim_end_matches('/').to_owned(), data);
    }
    files
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A work with a context that needs no base image.
fn work() -> Work {
    let work = Work::new();
    work.file("context/app", "app\n");
    work.file("context/Dockerfile", "FROM scratch\nCOPY app /bin/app\nCMD [\"/bin/app\"]\n");
    work
}

#[test]
fn files_go_into_a_folder_or_a_tar() {
    let work = work();
    work.file("out/kept", "kept");
    work.file("out/bin/other", "other");
    symlink("/nowhere", work.path("out/bin/app")).unwrap();
    let run = work.run(&["build", "-o", "out", "context"]).ok();
    assert_eq!(run.stdout, "out\n");
    assert_eq!(fs::read_to_string(work.path("out/bin/app")).unwrap(), "app\n", "a link in the way is replaced");
    assert!(work.path("out/kept").exists() && work.path("out/bin/other").exists(), "what was there stays");
    assert!(!work.path("home/images").exists(), "no image is made");

    work.run(&["build", "--output", "type=tar,dest=out.tar", "context"]).ok();
    assert_eq!(archive(fs::read(work.path("out.tar")).unwrap())["bin/app"], b"app\n");
    let output = work.command(&["build", "-q", "-o", "-", "context"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(archive(output.stdout)["bin/app"], b"app\n");

    work.run(&["build", "-o", "both", "--platform", "linux/amd64,linux/arm64", "context"]).ok();
    for folder in ["linux_amd64", "linux_arm64"] {
        assert_eq!(fs::read_to_string(work.path(&format!("both/{folder}/bin/app"))).unwrap(), "app\n");
    }
    work.run(&["build", "-o", "type=local,dest=out,mode=delete", "context"]).ok();
    assert!(work.path("out/bin/app").exists(), "what was built stays");
    assert!(!work.path("out/kept").exists() && !work.path("out/bin/other").exists(), "what was there goes");
    work.is_clean();
}

#[test]
fn platforms_share_a_folder_or_have_their_own() {
    let work = work();
    let host = Platform::host().to_string().replace('/', "_");
    work.run(&["build", "-o", "type=local,dest=one,platform-split=true", "context"]).ok();
    assert!(work.path(&format!("one/{host}/bin/app")).exists());

    work.file("context/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY --chown=7:8 app /bin/app-$TARGETARCH\n");
    let both = ["build", "--provenance", "--platform", "linux/amd64,linux/arm64"];
    work.run(&[&both[..], &["-o", "type=local,dest=shared,platform-split=false", "context"]].concat()).ok();
    for name in ["bin/app-amd64", "bin/app-arm64", "provenance.linux_amd64.json", "provenance.linux_arm64.json"] {
        assert!(work.path("shared").join(name).exists(), "{name}");
    }
    let mut tar = work.command(&[&both[..], &["-q", "-o", "type=tar,platform-split=false", "context"]].concat());
    let files = archive(tar.output().unwrap().stdout);
    assert!(files.contains_key("bin/app-amd64") && files.contains_key("bin/app-arm64"), "{:?}", files.keys());

    work.file("context/Dockerfile", "FROM scratch\nCOPY app /bin/app\n");
    work.run(&[&both[..], &["-o", "type=local,dest=no,platform-split=false", "context"]].concat()).fails(
        "bin/app is in the images for linux/amd64 and linux/arm64, which share a folder (platform-split=true gives each one \
         its own)",
    );
    assert!(!work.path("no").exists());
    work.is_clean();
}

#[test]
fn files_say_how_they_were_made() {
    let work = work();
    work.run(&["build", "--sbom", "--provenance", "-o", "type=local,dest=out,attestation-prefix=of-", "context"]).ok();
    let statement = json(&fs::read(work.path("out/of-provenance.json")).unwrap());
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], "bin/app");
    let digest = image_tool::address::digest::sha256(b"app\n");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.digest());
    assert!(work.path("out/of-sbom.spdx.json").exists());

    // The image has a link of that name: it is replaced, and nothing is written through it.
    work.file("victim", "kept");
    work.file("context/linked/file", "");
    symlink(work.path("victim"), work.path("context/linked/provenance.json")).unwrap();
    work.file("context/Dockerfile", "FROM scratch\nCOPY linked /\n");
    let run = work.command(&["build", "-q", "--provenance", "-o", "-", "context"]).output().unwrap();
    assert!(archive(run.stdout)["provenance.json"].starts_with(b"{"));
    assert_eq!(fs::read_to_string(work.path("victim")).unwrap(), "kept");
}

#[test]
fn archives_are_dockers_or_ocis() {
    let work = work();
    let run = work.run(&["build", "-t", "images:app:1", "-o", "type=docker,dest=docker.tar", "context"]).ok();
    assert_eq!(run.stdout, "docker.tar\n");
    let files = archive(fs::read(work.path("docker.tar")).unwrap());
    assert_eq!(json(&files["manifest.json"])[0]["RepoTags"][0], "docker.io/library/app:1");
    work.run(&["build", "-t", "images:app:1", "-o", "type=oci,dest=oci.tar", "context"]).ok();
    let files = archive(fs::read(work.path("oci.tar")).unwrap());
    assert!(files.contains_key("oci-layout") && !files.contains_key("manifest.json"));
    assert!(!work.path("images").exists(), "the image is in the archives only");
    work.run(&["build", "-t", "images:app:1", "-o", "type=oci,tar=false,dest=layout", "context"]).ok();
    let layout = Layout::open(&work.path("layout")).unwrap();
    layout.image(&"layout:app:1".parse().unwrap(), &Platform::host()).unwrap();
    let arguments = ["build", "-o", "type=docker,dest=x.tar", "--platform", "linux/amd64,linux/arm64", "context"];
    work.run(&arguments)
        .fails("type=docker: an archive in docker's format is for one platform (type=oci takes several)");
    assert!(!work.path("x.tar").exists());
    for (arguments, line) in [
        (
            &["-o", "type=zip"][..],
            "--output type=zip: type=zip: unknown type (image, registry, docker, oci, tar, local)",
        ),
        (&["-o", "type=local"], "--output type=local: type=local needs dest=FOLDER"),
        (&["-o", "-", "-o", "type=oci"], "--output: only one of them can go to standard output (dest=FILE)"),
        (&["--push"], "--push: the image has no name (-t LAYOUT:REF)"),
        (&["--iidfile", "id", "-o", "out"], "--iidfile: only an image has an ID (type=image, oci or docker)"),
        (&["--progress", "tty"], "--progress tty: standard error is not a terminal (--progress plain)"),
    ] {
        work.run(&[&["build"], arguments, &["context"]].concat()).fails(line);
    }
    assert_eq!(work.run(&["build", "--builder", "other", "context"]).status, 2);
    assert_eq!(work.run(&["build", "--progress", "loud", "context"]).status, 2);
    work.is_clean();
}

#[test]
fn ids_and_metadata_are_buildxs() {
    let work = work();
    let arguments =
        ["build", "-t", "images:built", "-t", "images:b", "--iidfile", "id", "--metadata-file", "meta.json", "context"];
    work.run(&arguments).ok();
    let image = work.image().1;
    let id = image.manifest().config().digest().to_string();
    assert_eq!(fs::read_to_string(work.path("id")).unwrap(), id);
    let metadata = json(&fs::read(work.path("meta.json")).unwrap());
    assert_eq!(metadata["containerimage.config.digest"], id);
    assert_eq!(metadata["containerimage.digest"], image.descriptor().digest().to_string());
    assert_eq!(metadata["containerimage.descriptor"]["size"], image.descriptor().size());
    assert_eq!(metadata["image.name"], "built,b");
    // A build that fails leaves none behind, least of all an earlier one.
    work.file("context/Dockerfile", "FROM scratch\nCOPY nosuch /\n");
    assert_eq!(work.run(&["build", "--iidfile", "id", "context"]).status, 1);
    assert!(!work.path("id").exists());
}

#[test]
fn several_platforms_make_an_index() {
    let work = work();
    work.file("context/Dockerfile", "FROM scratch\nCOPY app /bin/app\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n");
    let arguments = [
        "build",
        "-t",
        "images:built",
        "--platform",
        "linux/amd64",
        "--platform",
        "linux/arm64",
        "--annotation",
        "a=1",
        "--annotation",
        "index:b=2",
        "--annotation",
        "manifest[linux/arm64]:c=3",
        "--annotation",
        "manifest-descriptor:d=4",
        "--iidfile",
        "id",
        "context",
    ];
    let run = work.run(&arguments).ok();
    assert!(run.shows("[linux/arm64 1/1] COPY app /bin/app"), "{}", run.stderr);
    let layout = Layout::open(&work.path("images")).unwrap();
    let address: Address = "images:built".parse().unwrap();
    let index = layout.resolve(&address).unwrap();
    assert_eq!(fs::read_to_string(work.path("id")).unwrap(), index.digest().to_string());
    let document = json(&layout.read(&index, 1 << 20).unwrap());
    assert_eq!(document["annotations"], serde_json::json!({"b": "2"}));
    assert_eq!(document["manifests"][1]["annotations"], serde_json::json!({"d": "4"}));
    for (platform, annotations) in
        [("linux/amd64", serde_json::json!({"a": "1"})), ("linux/arm64", serde_json::json!({"a": "1", "c": "3"}))]
    {
        let image = layout.image(&address, &platform.parse().unwrap()).unwrap();
        assert_eq!(json(image.config_bytes())["config"]["Labels"]["arch"], platform.split_once('/').unwrap().1);
        assert_eq!(json(image.manifest_bytes())["annotations"], annotations);
    }
    work.run(&["build", "--annotation", "index:b=2", "context"])
        .fails("--annotation b: the image has no index (it is for one platform)");
}

#[test]
fn a_foreign_platform_is_never_taken_for_another() {
    let work = Work::with_base();
    work.build("FROM --platform=linux/s390x base\n").fails(
        "Dockerfile:1: FROM --platform=linux/s390x base: base: no image for linux/s390x (available: linux/amd64)"
            .replace("amd64", Platform::host().architecture())
            .as_str(),
    );
    work.build_with("FROM base\nRUN x\n", &["--platform", "linux/s390x"]).fails(
        "Dockerfile:1: FROM base: base: no image for linux/s390x (available: linux/amd64)"
            .replace("amd64", Platform::host().architecture())
            .as_str(),
    );
    let dockerfile = "FROM --platform=$BUILDPLATFORM base AS cross\nARG TARGETARCH\nRUN echo $TARGETARCH >/arch\n\
                      FROM scratch\nCOPY --from=cross /arch /arch\n";
    work.build_with(dockerfile, &["--platform", "linux/s390x"]).ok();
    let layout = Layout::open(&work.path("images")).unwrap();
    let image = layout.image(&"images:built".parse().unwrap(), &"linux/s390x".parse().unwrap()).unwrap();
    assert_eq!(json(image.config_bytes())["architecture"], "s390x");
    assert_eq!(text(&work.top(), "arch"), "s390x\n", "the compiler's stage knows the target");
    if !Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        work.file("context/sh", "");
        let run = work.build_with("FROM scratch\nCOPY sh /bin/sh\nRUN x\n", &["--platform", "linux/s390x"]);
        let line = run.stderr.lines().last().unwrap_or_default();
        assert!(line.contains("RUN x: this machine cannot run commands for linux/s390x (register"), "{line}");
    }
    work.is_clean();
}

#[test]
fn a_stage_can_be_done_again() {
    let work = Work::with_base();
    let dockerfile = "FROM base AS one\nRUN echo one\nFROM one AS two\nRUN echo two\n";
    work.build(dockerfile).ok();
    let run = work.build_with(dockerfile, &["--no-cache-filter", "TWO"]).ok();
    assert_eq!(run.stderr.lines().filter(|line| line.ends_with("CACHED")).count(), 1, "{}", run.stderr);
    assert!(run.stderr.lines().any(|line| line.ends_with(" two")), "{}", run.stderr);
}

#[test]
fn progress_is_json_where_that_is_asked_for() {
    let work = Work::with_base();
    let run = work.build_with("FROM base\nRUN echo hello\nRUN exit 3\n", &["--progress", "rawjson"]);
    let (error, events) = run.stderr.trim_end().rsplit_once('\n').map(|(events, error)| (error, events)).unwrap();
    assert_eq!(error, "build-tool: Dockerfile:3: RUN exit 3: exit status 3");
    let events: Vec<Value> = events.lines().map(|line| json(line.as_bytes())).collect();
    assert!(events.iter().any(|event| event["logs"][0]["data"] == "aGVsbG8K"));
    assert!(events.iter().any(|event| event["vertexes"][0]["error"] == "exit status 3"));
    let run = work.build_with("FROM base\nCMD x\n", &["--progress", "rawjson"]).ok();
    let events: Vec<Value> = run.stderr.lines().map(|line| json(line.as_bytes())).collect();
    let finding = events.iter().find_map(|event| event["warnings"].get(0)).expect("the lint finds something");
    let decoded = |text: &Value| String::from_utf8(STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    let short = "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)";
    assert_eq!(decoded(&finding["short"]), short);
    assert!(decoded(&finding["detail"][0]).starts_with("JSON arguments recommended for ENTRYPOINT/CMD"));
    assert_eq!(finding["url"], "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
    assert_eq!(finding["range"], serde_json::json!([{"start": {"line": 2}, "end": {"line": 2}}]));
    assert_eq!(finding["sourceInfo"]["filename"], "Dockerfile");
    assert_eq!(finding["vertex"], events[0]["vertexes"][0]["digest"]);
}

#[test]
fn the_layers_of_an_image_are_compressed_as_is_asked_for() {
    let work = Work::with_base();
    work.file("context/f", &"much the same\n".repeat(5000));
    let kinds = |output: &str| -> Vec<(String, u64)> {
        work.build_with("FROM base\nCOPY f /f\n", &["-o", output]).ok();
        work.layers();
        let manifest = work.image().1;
        let layers = manifest.manifest().layers().iter();
        layers
            .map(|layer| (layer.media_type().to_string().rsplit('.').next().unwrap().to_owned(), layer.size()))
            .collect()
    };
    let names = |output: &str| kinds(output).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(names("type=image,compression=zstd"), ["tar+gzip", "tar+zstd"], "the base image keeps its layers");
    assert_eq!(names("type=image,compression=zstd,force-compression=true"), ["tar+zstd", "tar+zstd"]);
    assert_eq!(names("type=image,compression=uncompressed,force-compression=1"), ["tar", "tar"]);
    assert_eq!(names("type=image"), ["tar+gzip", "tar+gzip"], "the cache keeps what it has");
    for (form, media_type, key) in [
        ("estargz", "tar+gzip", "containerd.io/snapshot/stargz/toc.digest"),
        ("zstd:chunked", "tar+zstd", "io.github.containers.zstd-chunked.manifest-position"),
    ] {
        let output = format!("type=image,compression={form},force-compression=true");
        assert_eq!(names(&output), [media_type, media_type]);
        let image = work.image().1;
        for layer in image.manifest().layers() {
            assert!(layer.annotations().as_ref().is_some_and(|all| all.contains_key(key)), "{form}: {layer:?}");
        }
        // The next build takes the layers from the cache as it made them.
        assert_eq!(names("type=image"), ["tar+gzip", "tar+gzip"]);
        assert_eq!(work.image().1.manifest().layers()[1].annotations(), &None);
    }
    let size = |level: u8| kinds(&format!("type=image,compression-level={level}"))[1].1;
    assert!(size(0) > 60_000 && size(9) < size(1), "{} {} {}", size(0), size(1), size(9));
    let output = "type=oci,dest=l,tar=false,compression=zstd,annotation.org.a=b=c";
    work.run(&["build", "-t", "images:other", "-o", output, "context"]).ok();
    let index = json(&fs::read(work.path("l/index.json")).unwrap());
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = json(&fs::read(work.path("l/blobs").join(digest)).unwrap());
    assert_eq!(manifest["annotations"], serde_json::json!({"org.a": "b=c"}));
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    work.is_clean();
}

#[test]
fn an_image_says_how_it_was_made_and_what_is_in_it() {
    let work = Work::with_base();
    work.file("context/status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n");
    work.file("context/METADATA", "Name: requests\nVersion: 2\n");
    let dockerfile = "FROM base\nARG WORD\nCOPY status /var/lib/dpkg/status\nCOPY METADATA /usr/lib/python3/requests-2.dist-info/METADATA\nRUN --mount=type=secret,id=token,required true\nRUN --mount=type=ssh --mount=type=secret,id=spare true\n";
    work.file("token", "hunter2");
    let everything = ["--provenance=mode=max,builder-id=https://h/1", "--sbom", "--iidfile", "id", "--label", "l=m"];
    let given = ["--build-arg", "WORD=w", "--secret", "id=token,src=token", "--build-context", "other=context"];
    work.build_with(dockerfile, &[everything.as_slice(), &given].concat()).ok();
    let layout = Layout::open(&work.path("images")).unwrap();
    let index = layout.resolve(&"images:built".parse().unwrap()).unwrap();
    let document = json(&layout.read(&index, 1 << 20).unwrap());
    let [image, attestation] = &document["manifests"].as_array().unwrap()[..] else { panic!("{document}") };
    assert_eq!(attestation["platform"], serde_json::json!({"os": "unknown", "architecture": "unknown"}));
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let manifest = serde_json::from_value(attestation.clone()).unwrap();
    let manifest = json(&layout.read(&manifest, 1 << 20).unwrap());
    let statements: BTreeMap<String, Value> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let descriptor = serde_json::from_value(layer.clone()).unwrap();
            let statement = json(&layout.read(&descriptor, 1 << 20).unwrap());
            assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
            assert_eq!(
                statement["subject"][0]["digest"]["sha256"].as_str(),
                image["digest"].as_str().unwrap().strip_prefix("sha256:")
            );
            (statement["predicateType"].as_str().unwrap().to_owned(), statement["predicate"].clone())
        })
        .collect();
    let predicate = &statements["https://slsa.dev/provenance/v1"];
    let provenance = &predicate["buildDefinition"];
    let request = serde_json::json!({
        "frontend": "dockerfile.v0",
        "args": {"build-arg:WORD": "w", "label:l": "m", "context:other": "local:other"},
        "locals": [{"name": "context"}, {"name": "dockerfile"}],
        "secrets": [{"id": "spare", "optional": true}, {"id": "token"}],
        "ssh": [{"id": "default", "optional": true}],
    });
    let parameters = serde_json::json!({"configSource": {"path": "Dockerfile"}, "request": request});
    assert_eq!(provenance["externalParameters"], parameters);
    let details = &predicate["runDetails"];
    assert_eq!(details["builder"]["id"], "https://h/1");
    assert_eq!(
        details["metadata"]["buildkit_completeness"],
        serde_json::json!({"request": true, "resolvedDependencies": false})
    );
    let data = details["metadata"]["buildkit_metadata"]["source"]["infos"][0]["data"].as_str().unwrap();
    assert_eq!(STANDARD.decode(data).unwrap(), dockerfile.as_bytes());
    assert!(
        provenance["resolvedDependencies"][0]["uri"]
            .as_str()
            .unwrap()
            .starts_with("pkg:docker/base@latest?platform=linux%2F")
    );
    let packages = &statements["https://spdx.dev/Document"]["packages"];
    let names: Vec<&str> = packages.as_array().unwrap().iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(names, ["a", "requests"]);
    let image = layout.image(&"images:built".parse().unwrap(), &Platform::host()).unwrap();
    assert_eq!(fs::read_to_string(work.path("id")).unwrap(), image.manifest().config().digest().to_string());
}

#[test]
fn an_output_may_name_the_image() {
    let work = work();
    let arguments =
        ["build", "-t", "images:app:0", "-o", "type=image,name=app:1", "-o", "type=oci,name=app:3,dest=app.tar"];
    work.run(&[&arguments[..], &["context"]].concat()).ok();
    let index = json(&fs::read(work.path("images/index.json")).unwrap());
    let names = index["manifests"].as_array().unwrap().iter();
    let mut names: Vec<&str> =
        names.filter_map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["app:0", "app:1", "app:3"]);
}

#[test]
fn what_fails_for_one_platform_is_what_is_told() {
    let work = Work::with_base();
    let foreign = if cfg!(target_arch = "s390x") { "linux/riscv64" } else { "linux/s390x" };
    let host = Platform::host().to_string();
    // The host's image is there, the other one is not.
    work.file("context/Dockerfile", "FROM base\nRUN sleep 30\n");
    let both = format!("{host},{foreign}");
    let run =
        work.run(&["build", "-t", "images:x", "--runtime", "runc", "--pull=never", "--platform", &both, "context"]);
    assert_eq!(run.status, 1);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(&format!("no image for {foreign}")), "{}", run.stderr);
    work.is_clean();
}
