//! COPY and ADD: what is taken, and where it goes.

use super::*;

#[test]
fn copies_land_where_docker_puts_them() {
    let work = Work::with_base();
    work.file("context/f", "f");
    work.file("context/d/x", "x");
    work.file("context/d/sub/y", "y");
    fs::set_permissions(work.path("context/d"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(work.path("context/d/x"), work.path("context/d/z")).unwrap();
    for (copy, expected) in [
        ("f /lib/g", "usr usr/lib usr/lib/g"),
        ("f /lib", "usr usr/lib usr/lib/f"),
        ("f /new/", "new new/f"),
        ("f new", "new"),
        ("d /e", "e e/sub e/sub/y e/x e/z"),
        ("d /lib", "usr usr/lib usr/lib/sub usr/lib/sub/y usr/lib/x usr/lib/z"),
        ("f d/x /m/", "m m/f m/x"),
        ("[fg] d/* /m/", "m m/f m/x m/y m/z"),
        ("--parents d/sub/y /p/", "p p/d p/d/sub p/d/sub/y"),
        ("--parents ./d/./sub /p/", "p p/sub p/sub/y"),
        ("--exclude=**/y d /q", "q q/sub q/x q/z"),
        ("../../f /r", "r"),
    ] {
        work.build(&format!("FROM base\nCOPY {copy}\n")).ok();
        let top = work.top();
        let names: Vec<&str> = top.keys().map(String::as_str).collect();
        assert_eq!(names.join(" "), expected, "COPY {copy}");
    }
    work.build("FROM base\nCOPY --chown=app --chmod=640 d /e\nCOPY --chown=app:disk f /lib/\n").ok();
    let layers = work.layers();
    let top = entry(&layers[1], "e/x");
    assert_eq!((top.uid, top.gid, top.mode), (1000, 1001, 0o640));
    assert_eq!(entry(&layers[1], "e/z").kind, Kind::HardLink("e/x".into()));
    assert_eq!(entry(&layers[2], "usr/lib").uid, 0, "a directory that was there keeps its owner");
    assert_eq!((entry(&layers[2], "usr/lib/f").uid, entry(&layers[2], "usr/lib/f").gid), (1000, 6));
}

#[test]
fn add_unpacks_archives_and_fetches_urls() {
    let work = Work::with_base();
    let mut tar = Writer::new(Vec::new());
    tar.entry(&Entry { uid: 7, ..Entry::new("dir/", Kind::Directory, 0o750) }).unwrap();
    tar.file(&Entry::new("dir/file", Kind::File, 0o640), b"data").unwrap();
    tar.entry(&Entry::new("up", Kind::Symlink("../../../etc".into()), 0o777)).unwrap();
    tar.file(&Entry::new("up/inside", Kind::File, 0o600), b"stays inside").unwrap();
    tar.file(&Entry::new("../../escape", Kind::File, 0o600), b"").unwrap();
    let tar = tar.finish().unwrap();
    fs::write(work.path("context/a.tar"), &tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    fs::write(work.path("context/a.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(work.path("context/not.tar.gz"), "text").unwrap();
    for archive in ["a.tar", "a.gz"] {
        work.build(&format!("FROM base\nADD {archive} /un/\n")).ok();
        let top = work.top();
        assert_eq!(text(&top, "un/dir/file"), "data");
        assert_eq!((entry(&top, "un/dir").uid, entry(&top, "un/dir").mode), (7, 0o750));
        assert_eq!(text(&top, "etc/inside"), "stays inside");
        assert!(top.contains_key("un/escape"));
    }
    work.build("FROM base\nADD not.tar.gz /un/\nCOPY a.tar /un/\n").ok();
    assert_eq!(work.top().keys().last().unwrap(), "un/a.tar");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap();
            let answer = if request[..length].starts_with(b"GET /d/file.txt") {
                "HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2004 00:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
            } else {
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://127.0.0.1:{port}/d/file.txt");
    work.build(&format!("FROM base\nADD {url}?x=1 /web/\n")).ok();
    let top = work.top();
    assert_eq!(text(&top, "web/file.txt"), "hello");
    assert_eq!(
        (entry(&top, "web/file.txt").mode, entry(&top, "web/file.txt").modified.seconds),
        (0o600, 1_072_915_200)
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let run = work.build(&format!("FROM base\nADD --checksum={wrong} {url} /web/\n"));
    assert!(run.status == 1 && run.shows(&format!("{url}: expected {wrong}, got sha256:2cf24dba")), "{}", run.stderr);
    let run = work.build(&format!("FROM base\nADD http://127.0.0.1:{port}/none /web/\n"));
    assert!(run.status == 1 && run.shows("/none: http status: 404"), "{}", run.stderr);
    server.join().unwrap();
}

#[test]
fn a_linked_copy_is_kept_when_the_base_changes_but_what_follows_is_not() {
    let work = Work::with_base();
    work.file("context/f", "f");
    let dockerfile = |base: &str| format!("FROM {base}\nCOPY --link f /lib/f\nRUN cat /marker /lib/f\n");
    for (base, text) in [("one", "1"), ("two", "2")] {
        work.file("context/Dockerfile", &format!("FROM base\nRUN echo {text} >/marker\n"));
        work.run(&["build", "-q", "--runtime", "runc", "-t", &format!("images:{base}"), "context"]).ok();
    }
    work.build(&dockerfile("one")).ok();
    let second = work.build(&dockerfile("two")).ok();
    assert_eq!(second.stderr.matches("CACHED").count(), 1, "{}", second.stderr);
    assert!(second.shows(" 2"), "{}", second.stderr);
    assert_eq!(
        work.layers()[2].keys().map(String::as_str).collect::<Vec<_>>(),
        ["lib", "lib/f"],
        "no link is followed"
    );
}

#[test]
fn hostile_contexts_stay_inside() {
    let work = Work::with_base();
    work.file("outside/secret", "secret");
    let context = work.path("context");
    symlink("../outside", context.join("dir")).unwrap();
    symlink("../outside/secret", context.join("link")).unwrap();
    symlink(work.path("outside/secret"), context.join("absolute")).unwrap();
    for source in ["dir/secret", "link", "absolute", "dir", "dir/*"] {
        assert_eq!(work.build(&format!("FROM base\nCOPY {source} /x/\n")).status, 1, "{source}");
    }
    work.build("FROM base\nCOPY . /x/\n").ok();
    assert_eq!(entry(&work.top(), "x/link").kind, Kind::Symlink("../outside/secret".into()), "a link stays a link");
    work.file("context/.wh.passwd", "");
    let run = work.build("FROM base\nCOPY .wh.passwd /etc/\n");
    assert!(run.status == 1 && run.shows("its name would read as a deletion"), "{}", run.stderr);
    // An image whose links lead up: what is copied through them stays in the image.
    fs::create_dir(work.path("evil")).unwrap();
    symlink("../../../../../..", work.path("evil/up")).unwrap();
    work.file("evil/Dockerfile", "FROM scratch\nCOPY up /\n");
    work.file("evil/.dockerignore", "");
    work.file("context/f", "f");
    let run = work.build("FROM base\nRUN ln -s ../../../../../../ /up\nCOPY f /up/tmp/x/f\n").ok();
    assert!(run.status == 0 && !Path::new("/tmp/x/f").exists());
    assert!(work.top().contains_key("tmp/x/f"));
}
