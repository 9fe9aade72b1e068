//! Contexts that are not a folder, and contexts with a name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Serves one body to every request, and says where.
fn serve(body: Vec<u8>) -> String {
    serve_counted(body).0
}

/// Serves one body to every request; says where, and how often it was asked for.
fn serve_counted(body: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"x\"\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    (format!("http://127.0.0.1:{port}/context"), count)
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (name, text) in files {
        let mut entry = Entry { size: text.len() as u64, ..Entry::new(*name, Kind::File, 0o644) };
        entry.modified.seconds = 1_500_000_000;
        tar.file(&entry, text.as_bytes()).unwrap();
    }
    tar.finish().unwrap()
}

#[test]
fn a_url_is_a_context() {
    let work = Work::new();
    let files = tar(&[("Dockerfile", "FROM scratch\nCOPY . /c/\n"), ("a", "1"), (".dockerignore", "*\n!a\n")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&files).unwrap();
    for body in [files, gzip.finish().unwrap()] {
        let url = serve(body);
        work.run(&["build", "-q", "-t", "images:built", &url]).ok();
        let all = ["c", "c/.dockerignore", "c/Dockerfile", "c/a"];
        assert_eq!(work.top().keys().map(String::as_str).collect::<Vec<_>>(), all, "nothing is left out");
        work.run(&["build", "-q", "-t", "images:built", "--build-arg", "SOURCE_DATE_EPOCH=context", &url]).ok();
        assert_eq!(work.config()["created"], "2017-07-14T02:40:00Z", "the newest file's time");
    }
    let url = serve(b"FROM scratch\nCOPY context /x\n".to_vec());
    work.run(&["build", "-q", "-t", "images:built", &url]).ok();
    assert!(text(&work.top(), "x").starts_with("FROM scratch"), "the Dockerfile is the only file");
    work.is_clean();
}

#[test]
fn contexts_have_names() {
    let work = Work::with_base();
    work.file("other/f", "other");
    work.file("other/no.log", "");
    work.file("other/.dockerignore", "*.log\n");
    work.file("other/etc/os", "os");
    let url = serve(b"fetched".to_vec());
    let build = |dockerfile: &str, contexts: &[&str]| {
        let mut more = Vec::new();
        for context in contexts {
            more.extend(["--build-context", context]);
        }
        work.build_with(dockerfile, &more)
    };
    for (context, expected) in [
        ("src=other".to_owned(), "other"),
        (format!("src={url}"), "fetched"),
        ("src=oci-layout://images:base".into(), ""),
    ] {
        let from = match expected {
            "" => "/usr/lib/here",
            "fetched" => "context",
            _ => "f",
        };
        build(&format!("FROM scratch\nCOPY --from=src {from} /x\n"), &[&context]).ok();
        assert_eq!(text(&work.top(), "x"), expected, "{context}");
    }
    work.file("context/Dockerfile", "FROM src\nLABEL a=b\n");
    let layout = format!("src=oci-layout://{}:base", work.path("images").display());
    work.run(&["build", "-o", "out", "--provenance", "--build-context", &layout, "context"]).ok();
    let statement: Value = serde_json::from_slice(&fs::read(work.path("out/provenance.json")).unwrap()).unwrap();
    let from = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    assert!(from["uri"].as_str().unwrap().starts_with("pkg:oci/images?platform=linux%2F"), "{statement}");
    // As a base, as a mount, in the place of a stage, and in the place of an image.
    build("FROM src\nCOPY --from=src . /d/\n", &["src=other"]).ok();
    let layers = work.layers();
    assert_eq!(layers.len(), 2);
    assert!(layers[0].contains_key("etc/os") && !layers[0].contains_key("no.log"));
    assert!(layers[1].contains_key("d/etc/os") && !layers[1].contains_key("d/no.log"));
    let run = build("FROM base\nRUN --mount=from=src,target=/m cat /m/f /m/etc/os\n", &["src=other"]).ok();
    assert!(run.shows("otheros"), "{}", run.stderr);
    build("FROM nosuch AS stage\nRUN false\nFROM scratch\nCOPY --from=stage /f /x\n", &["stage=other"]).ok();
    assert_eq!(text(&work.top(), "x"), "other");
    build("FROM docker.io/library/nosuch:latest\nRUN echo > /made\n", &["nosuch=docker-image://base"]).ok();
    assert!(work.top().contains_key("made"));
    let dockerfile = "FROM scratch AS dev\nCOPY --from=src f /f\nFROM nosuch\nCOPY --from=nosuch /f /g\n";
    build(dockerfile, &["src=other", "nosuch=target:dev"]).ok();
    assert_eq!(text(&work.top(), "g"), "other");
    build("FROM scratch\nCOPY --from=a f /\n", &["a=target:none"])
        .fails("--build-context a=target:none: no such stage");
    build("FROM scratch\nCOPY --from=src f /\n", &["src=nowhere"]).fails(
        "Dockerfile:2: COPY --from=src f /: context nowhere: open nowhere: No such file or directory (os error 2)",
    );
    assert_eq!(build("FROM scratch\n", &["nothing"]).status, 1);
    work.is_clean();
}

#[test]
fn what_is_downloaded_for_a_name_is_a_file() {
    let work = Work::new();
    let url = serve(tar(&[("f", "packed")]));
    let named = format!("src={url}");
    let dockerfile = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch\nADD --from=src context /\n";
    work.build_with(&dockerfile.replace("ADD", "COPY"), &["--build-context", &named]).ok();
    assert_eq!(work.top()["context"].1, tar(&[("f", "packed")]));
    assert_eq!(work.config()["created"], "2017-07-14T02:40:00Z", "the time of the newest file in it");
}

#[test]
fn a_first_build_may_begin_with_a_download() {
    let work = Work::new();
    let url = serve(tar(&[("f", "packed")]));
    work.build(&format!(
        "ARG SOURCE_DATE_EPOCH=time\nFROM scratch AS time\nADD {url} /\nFROM scratch\nCOPY --from=time / /\n"
    ))
    .ok();
    assert_eq!(work.config()["created"], "2017-07-14T02:40:00Z");
    work.is_clean();
}

#[test]
fn a_layout_as_a_context_has_the_platform_that_is_built() {
    let work = Work::with_base();
    let arguments =
        ["build", "--platform", "linux/s390x", "--build-context", "src=oci-layout://images:base", "context"];
    work.file("context/Dockerfile", "FROM src\nLABEL a=b\n");
    let host = Platform::host();
    work.run(&arguments)
        .fails(&format!("Dockerfile:1: FROM src: images:base: no image for linux/s390x (available: {host})"));
}

#[test]
fn a_url_with_a_checksum_is_fetched_once_and_unpacked_where_that_is_wanted() {
    let work = Work::new();
    let body = tar(&[("f", "unpacked")]);
    let checksum = image_tool::address::digest::sha256(&body);
    let (url, count) = serve_counted(body);
    let dockerfile = format!("FROM scratch\nARG SUM={checksum}\nADD --unpack --checksum=$SUM {url} /d/\n");
    work.build(&dockerfile).ok();
    assert_eq!(text(&work.top(), "d/f"), "unpacked");
    let again = work.build(&dockerfile).ok();
    assert!(again.shows("CACHED") && count.load(Ordering::SeqCst) == 1, "{}", again.stderr);
    work.build(&dockerfile.replace("--unpack ", "")).ok();
    assert!(work.top().contains_key("d/context"));
    let run = work.build(&format!("FROM scratch\nADD --checksum={checksum} {url} {url} /d/\n"));
    assert!(run.status == 1 && run.stderr.contains("--checksum is for one source only"), "{}", run.stderr);
}

#[test]
fn an_image_with_a_name_has_its_triggers() {
    let work = Work::with_base();
    work.file("base/Dockerfile", "FROM base\nONBUILD COPY --from=first /etc/passwd /seen\n");
    work.run(&["build", "-q", "-t", "images:trigger", "base"]).ok();
    let dockerfile = "FROM base AS first\nFROM src AS second\nFROM scratch\nCOPY --from=second /seen /x\n";
    work.build_with(dockerfile, &["--build-context", "src=oci-layout://images:trigger"]).ok();
    assert!(text(&work.top(), "x").starts_with("root:"));
}

#[test]
fn a_mount_of_a_folder_is_the_folder_itself() {
    let work = Work::with_base();
    for (name, text) in [("f", "one"), ("no.log", ""), ("deep/no.log", ""), ("deep/yes.log", "kept"), ("out/x", "")] {
        work.file(&format!("other/{name}"), text);
    }
    work.file("other/.dockerignore", "**/*.log\n!deep/yes.log\nout\n");
    fs::File::options().write(true).open(work.path("other/f")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::set_permissions(work.path("other/deep"), fs::Permissions::from_mode(0o710)).unwrap();
    let build = |command: &str, options: &str| {
        let dockerfile = format!("FROM base\nRUN --mount=from=src,target=/m{options} {command}\n");
        work.build_with(&dockerfile, &["--build-context", "src=other"])
    };
    let run = build("ls -A /m /m/deep; stat -c %Y:%i /m/f; stat -c %a /m/deep; ! touch /m/new", "").ok();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(work.path("other/f")).unwrap());
    for line in ["deep", "yes.log", &format!("0:{inode}"), "710"] {
        assert!(run.shows(&format!(" {line}")), "{line}: {}", run.stderr);
    }
    assert!(!run.shows(" no.log") && !run.shows(" out") && !run.shows("[context src]"), "{}", run.stderr);
    // A change of what is hidden changes nothing; one of what is seen does.
    work.file("other/no.log", "more");
    assert!(build("ls -A /m /m/deep; stat -c %Y:%i /m/f; stat -c %a /m/deep; ! touch /m/new", "").ok().shows("CACHED"));
    build("cat /m/f", "").ok();
    work.file("other/f", "two");
    assert!(build("cat /m/f", "").ok().shows(" two"));
    let run = build("rm /m/f; touch /m/out; ls -A /m", ",rw").ok();
    assert!(run.shows(" out") && work.path("other/f").exists() && work.path("other/out/x").exists(), "{}", run.stderr);
    build("cat /m/out/x", ",source=out")
        .fails("Dockerfile:2: RUN --mount=from=src,target=/m,source=out cat /m/out/x: out: excluded from the context src by .dockerignore");
    let run = build("ls -A /m", ",type=cache").ok();
    assert!(run.shows(" f") && !run.shows(" no.log"), "a new cache is filled with it: {}", run.stderr);
    // Without rules, it is bound where it lies.
    fs::remove_file(work.path("other/.dockerignore")).unwrap();
    assert!(build("ls -A /m; grep \" /m \" /proc/self/mountinfo", "").ok().shows("/other /m "));
    work.is_clean();
}
