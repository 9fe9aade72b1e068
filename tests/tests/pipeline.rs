//! Pipelines of the five tools, which share nothing but folders, with and without `pipefail`.

use tests::{Output, Registry, Workdir};

const RUN: &str = "registry-tool pull python:3.8 images | image-tool verify - | bundle-tool create --bundle py - | \
                   run-tool --root $RUN_TOOL_ROOT run --bundle - py1";

/// Runs `text` in `sh`, and in `bash` with `pipefail`, and checks each output.
fn both(work: &Workdir, text: &str, check: impl Fn(Output)) {
    check(work.sh(text));
    check(work.pipefail(text));
}

#[test]
fn pull_verify_create_run() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    // The image's command is python3, which reads its program from standard input: nothing follows the line with the bundle.
    both(&work, &format!("{RUN} && bundle-tool delete py"), |output| assert_eq!(output.ok(), ""));
    // What follows that line is the container's standard input.
    let text = "bundle-tool create --network none --bundle py images:python:3.8 python3 - 2>/dev/null";
    let text = format!(
        "{{ {text}; echo 'print(6 * 7)'; }} | run-tool --root $RUN_TOOL_ROOT run --bundle - py1 && bundle-tool delete py"
    );
    both(&work, &text, |output| assert_eq!(output.ok(), "42\n"));
}

#[test]
fn diff_append_push() {
    let images = Registry::images();
    let target = Registry::empty();
    let mut work = Workdir::with_mirror(&images.address()).with_network();
    // example.com, the registry of the documentation, is mapped to a real one by registries.conf.
    work.write(
        "../registries.conf",
        &format!(
            "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nprefix = \"example.com\"\nlocation = \"{}\"\ninsecure = true\n",
            target.address()
        ),
    );
    let path = work.folder().join("registries.conf").to_str().unwrap().to_owned();
    work.set("CONTAINERS_REGISTRIES_CONF", &path);
    work.sh("registry-tool pull python:3.8 images | bundle-tool create --network none --bundle py - touch /new && run-tool --root $RUN_TOOL_ROOT run --bundle py py1").ok();
    both(
        &work,
        "bundle-tool diff py | image-tool append images:python:3.8 - | registry-tool push - example.com/python:mine",
        |output| {
            let line = output.ok();
            assert!(line.starts_with("example.com/python:mine@sha256:"), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        },
    );
    work.sh("bundle-tool delete py").ok();
    let layers = work.sh(&format!("skopeo inspect --tls-verify=false docker://{}/python:mine", target.address())).ok();
    assert_eq!(layers.matches("\"Digest\": ").count(), 1);
    work.sh("registry-tool pull example.com/python:mine back | bundle-tool create --network none --bundle mine - ls /new && run-tool --root $RUN_TOOL_ROOT run --bundle mine m && bundle-tool delete mine").ok();
}

#[test]
fn list_grep_show() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet python:3.8 images && registry-tool pull --quiet busybox images").ok();
    both(&work, "image-tool list images | grep python | xargs -n1 image-tool show", |output| {
        let text = output.ok();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["schemaVersion"], 2, "{text}");
        assert_eq!(document["layers"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_failed_head_fails_the_whole() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let text = RUN.replace("python:3.8", "nosuch:1");
    both(&work, &text, |output| {
        assert_ne!(output.status, 0, "{output}");
        assert_eq!(output.stdout, "");
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(output.stderr.contains("registry-tool: nosuch:1"), "{first}");
        assert!(output.stderr.contains("--bundle -: standard input"), "every joint fails: {}", output.stderr);
        assert!(output.stderr.lines().count() <= 4, "a line for each: {}", output.stderr);
    });
    // The same with an empty input at each later joint.
    for text in [
        "image-tool verify - </dev/null",
        "bundle-tool create - </dev/null",
        "registry-tool push - 127.0.0.1:1/x </dev/null",
        "image-tool show - </dev/null",
        "run-tool --root $RUN_TOOL_ROOT run --bundle - x </dev/null",
    ] {
        let output = work.sh(text);
        assert_ne!(output.status, 0, "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
    }
    assert!(!work.path("py").exists());
}

#[test]
fn a_line_is_a_promise() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    // What a tool prints is accepted wherever an address is expected.
    let address = work.sh("registry-tool pull busybox images").ok();
    let (name, digest) = address.trim_end().split_once('@').unwrap();
    assert_eq!(name, "images:busybox");
    assert_eq!(work.sh("image-tool list images").ok(), address);
    for spelled in
        [address.trim_end(), name, "images", &format!("images@{digest}"), "images:docker.io/library/busybox:latest"]
    {
        assert_eq!(work.sh(&format!("image-tool verify {spelled}")).ok().lines().count(), 1, "{spelled}");
    }
    let document = work.sh(&format!("image-tool show {address}")).ok();
    assert_eq!(tests::layout::digest(document.as_bytes()), digest);
    // Standard output is the same on a terminal or not, and a reader that closes it early causes no error.
    assert_eq!(work.sh("image-tool list images | head -c 0; image-tool show images | true").ok(), "");
}

#[test]
fn a_tarball_goes_through_a_pipe() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull busybox images && registry-tool pull hello-world images").ok();
    both(
        &work,
        "image-tool save images:busybox images:hello-world | image-tool load - copy 2>/dev/null || image-tool save images:busybox images:hello-world | image-tool load copy",
        |output| {
            let lines = output.ok();
            assert_eq!(lines.lines().count(), 2, "{lines}");
            assert!(lines.contains("copy:busybox:latest@sha256:") || lines.contains("copy:busybox@sha256:"), "{lines}");
        },
    );
    assert_eq!(work.sh("image-tool list copy | image-tool verify -").ok().lines().count(), 2);
}

#[test]
fn a_build_is_pushed_and_its_steps_come_back() {
    let registry = Registry::empty();
    let address = registry.address();
    let work = Workdir::new();
    work.write("app/Dockerfile", "FROM scratch\nCOPY f /f\nCOPY f /g\n");
    work.write("app/f", "f");
    let cache = format!("type=registry,ref={address}/app:cache");
    let built =
        work.sh(&format!("build-tool build --push -t images:{address}/app:1 --cache-to {cache},mode=max app")).ok();
    let digest = work.sh(&format!("registry-tool digest {address}/app:1")).ok();
    assert!(built.contains(digest.trim().rsplit('@').next().unwrap_or_default()), "{built} {digest}");
    let again = format!("OCI_HOME=$PWD/elsewhere build-tool build --cache-from {cache} -t other:app app 2>&1");
    let seen = work.sh(&again).ok();
    assert_eq!(seen.matches("CACHED").count(), 2, "{seen}");
    let folder = "OCI_HOME=$PWD/home3 build-tool build --cache-to type=local,dest=steps -t third:app app && \
                  OCI_HOME=$PWD/home4 build-tool build --cache-from type=local,src=steps -t fourth:app app 2>&1";
    let seen = work.sh(folder).ok();
    assert_eq!(seen.matches("CACHED").count(), 2, "{seen}");
    let inline = format!(
        "build-tool build --push -t images:{address}/app:2 --cache-to type=inline app && \
         OCI_HOME=$PWD/home5 build-tool build --cache-from {address}/app:2 -t fifth:app app 2>&1 && \
         printf 'FROM {address}/app:2\\nLABEL a=b\\n' | build-tool build -t sixth:app -"
    );
    let seen = work.sh(&inline).ok();
    assert_eq!(seen.matches("CACHED").count(), 2, "{seen}");
    let has_steps =
        |image: &str| work.sh(&format!("image-tool show --config {image}")).ok().contains("build-tool.cache");
    assert!(
        has_steps(&format!("images:{address}/app:2")) && !has_steps("sixth:app"),
        "they are those of its own build"
    );
    let missing = work.sh("build-tool build --cache-from type=local,src=nowhere -t fifth:app app 2>&1").ok();
    assert!(missing.contains("ERROR: cache nowhere: "), "a cache that is not there is no reason to fail: {missing}");
}

#[test]
fn what_is_in_an_image_and_how_it_was_made_is_shown_wherever_it_is() {
    let registry = Registry::empty();
    let work = Workdir::new();
    work.write("context/status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n");
    work.write("context/Dockerfile", "FROM scratch\nARG WORD\nCOPY status /var/lib/dpkg/status\n");
    work.sh("build-tool build --quiet --sbom --provenance=mode=max --build-arg WORD=w -t images:app context").ok();
    let name = format!("{}/app:1", registry.address());
    work.sh(&format!("registry-tool push --quiet images:app {name}")).ok();
    work.sh(&format!("registry-tool pull --quiet {name} one && registry-tool pull --quiet --all-platforms {name} all"))
        .ok();
    for inspect in [
        "image-tool inspect FLAG images:app".to_owned(),
        "image-tool inspect FLAG all".to_owned(),
        format!("registry-tool inspect FLAG {name}"),
    ] {
        let sbom = work.sh(&inspect.replace("FLAG", "--sbom")).ok();
        assert!(
            sbom.starts_with("{\n") && sbom.contains("\"spdxVersion\"") && sbom.contains("\"name\": \"a\""),
            "{inspect}: {sbom}"
        );
        let provenance = work.sh(&inspect.replace("FLAG", "--provenance")).ok();
        assert!(
            provenance.contains("\"build-arg:WORD\": \"w\"") && !provenance.contains("spdxVersion"),
            "{inspect}: {provenance}"
        );
    }
    // A single image was pulled without what is said of it.
    work.sh("image-tool inspect --sbom one").fails_saying(1, &["no SBOM in the layout", "--all-platforms"]);
    work.sh("image-tool inspect --sbom --format x images:app").fails(2);
}
