//! COPY and ADD: what is taken, and where it goes.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};

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
        assert_eq!(text(&top, "un/etc/inside"), "stays inside");
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
fn what_the_server_still_has_is_not_downloaded_again() {
    let work = Work::with_base();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, content) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new("one")));
    let (log, current) = (Arc::clone(&seen), Arc::clone(&content));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let text = *current.lock().unwrap();
            let status = if request.contains(&format!("if-none-match: \"{text}\"")) { 304 } else { 200 };
            log.lock().unwrap().push(status);
            let body = if status == 200 { text } else { "" };
            let head = format!("HTTP/1.1 {status} x\r\nETag: \"{text}\"\r\nConnection: close\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let dockerfile = format!("FROM base\nADD http://127.0.0.1:{port}/ /web/\n");
    let asked = |more: &[&str]| {
        seen.lock().unwrap().clear();
        let run = work.build_with(&dockerfile, more).ok();
        (seen.lock().unwrap().clone(), run.shows("CACHED"), text(&work.top(), "web/__unnamed__"))
    };
    assert_eq!(asked(&[]), (vec![200], false, "one".to_owned()));
    assert_eq!(asked(&[]), (vec![304], true, "one".to_owned()));
    assert_eq!(asked(&["--no-cache"]), (vec![304, 200], false, "one".to_owned()));
    *content.lock().unwrap() = "two";
    assert_eq!(asked(&[]), (vec![200], false, "two".to_owned()));
    assert_eq!(asked(&[]), (vec![304], true, "two".to_owned()));
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
fn what_follows_a_copy_is_kept_when_the_stage_gives_the_same_files() {
    let work = Work::with_base();
    let dockerfile = "FROM base AS build\nCOPY bust /\nRUN mkdir /out; echo made > /out/f\n\
        FROM base AS mounted\nRUN --mount=from=build,source=out,target=/m cat /m/f; echo mounted > /x\n\
        FROM base\nCOPY --from=build /out /o\nRUN echo after\nCOPY --from=mounted /x /x\nRUN echo last\n";
    let cached = |bust: &str| {
        work.file("context/bust", bust);
        let run = work.build(dockerfile).ok();
        let lines = || run.stderr.lines().filter(|line| !line.contains(" RUN "));
        let number = |end: &str| lines().filter(|line| line.ends_with(end)).count();
        (number(" CACHED"), number(" after") + number(" last") + number(" made"))
    };
    assert_eq!(cached("1"), (0, 3));
    assert_eq!(cached("2"), (5, 0), "all but the first two steps");
    assert_eq!(cached("2"), (7, 0));
    assert_eq!(cached("3"), (5, 0), "also of what was found by its files");
    let other = work.build(&dockerfile.replace("echo made", "echo other")).ok();
    assert!(other.shows(" other") && other.shows(" after") && other.shows(" last"), "{}", other.stderr);
    work.build("FROM base AS build\nFROM base\nRUN --mount=from=build,source=etc/pasword,target=/m true\n").fails(
        "Dockerfile:3: RUN --mount=from=build,source=etc/pasword,target=/m true: etc/pasword: not found in build (--from) \
         (did you mean etc/passwd?)",
    );
    work.is_clean();
}

#[test]
fn hostile_contexts_stay_inside() {
    let work = Work::with_base();
    work.file("outside/secret", "secret");
    let context = work.path("context");
    symlink("../outside", context.join("dir")).unwrap();
    symlink("../outside/secret", context.join("link")).unwrap();
    symlink(work.path("outside/secret"), context.join("absolute")).unwrap();
    work.build("FROM base\nCOPY dir/* /x/\n").ok();
    assert!(work.top().is_empty(), "the link leads nowhere");
    for source in ["dir/secret", "link", "absolute", "dir"] {
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

#[test]
fn wildcards_may_match_nothing() {
    let work = Work::new();
    work.file("context/package.json", "{}");
    work.file("context/left.out", "");
    work.file("context/.dockerignore", "*.out\n");
    let run = work.build("FROM scratch\nCOPY package.json yarn.lock* *.out nowhere/* ./\n").ok();
    assert!(run.shows("nothing matches yarn.lock*"), "{}", run.stderr);
    assert_eq!(work.top().keys().map(String::as_str).collect::<Vec<_>>(), ["package.json"]);
    work.build("FROM scratch AS a\nADD none* /a/\nFROM scratch\nCOPY --from=a nothing* /b/\n").ok();
    assert!(work.layers()[0].is_empty());
}

#[test]
fn sources_are_copied_one_after_the_other() {
    let work = Work::new();
    work.file("context/d/one", "one");
    fs::hard_link(work.path("context/d/one"), work.path("context/d/two")).unwrap();
    work.file("context/e/one", "other");
    work.build("FROM scratch\nCOPY d/one e/one /x\nCOPY d e /y/\nCOPY <<a e/one /z/\n1\na\n").ok();
    let layers = work.layers();
    assert_eq!(text(&layers[0], "x"), "other");
    assert_eq!((text(&layers[1], "y/one"), text(&layers[1], "y/two")), ("other".to_owned(), "one".to_owned()));
    assert_eq!((text(&layers[2], "z/a"), text(&layers[2], "z/one")), ("1\n".to_owned(), "other".to_owned()));
    // A link in the destination directory is replaced by a file of its name, not followed.
    work.file("context/rootfs/real", "real");
    symlink("real", work.path("context/rootfs/one")).unwrap();
    work.build("FROM scratch\nCOPY rootfs /\nCOPY d/one /\nCOPY d/one /one\n").ok();
    assert_eq!(work.layers()[1].keys().map(String::as_str).collect::<Vec<_>>(), ["one"]);
}

#[test]
fn directories_that_are_made_get_their_modes_and_owners() {
    let work = Work::with_base();
    for (name, mode) in [("p", 0o710), ("p/q", 0o750)] {
        fs::create_dir_all(work.path("context").join(name)).unwrap();
        fs::set_permissions(work.path("context").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    work.file("context/p/q/f", "f");
    fs::set_permissions(work.path("context/p/q/f"), fs::Permissions::from_mode(0o600)).unwrap();
    let made = |copy: &str| {
        work.build(&format!("FROM base\nCOPY {copy}\n")).ok();
        let show = |(name, (entry, _)): (&String, &(Entry, Vec<u8>))| {
            format!("{name} {:o} {}:{}", entry.mode, entry.uid, entry.gid)
        };
        work.top().iter().map(show).collect::<Vec<_>>().join(", ")
    };
    for (copy, expected) in [
        ("p/q /new", "new 755 0:0, new/f 600 0:0"),
        ("p /new/a/", "new 755 0:0, new/a 755 0:0, new/a/q 750 0:0, new/a/q/f 600 0:0"),
        ("--chown=7:8 p/q /new/a", "new 755 7:8, new/a 755 7:8, new/a/f 600 7:8"),
        ("--chmod=4711 p/q/f /new/", "new 711 0:0, new/f 4711 0:0"),
        ("--chmod=u=rwX,go=rX p/q/f /new/", "new 755 0:0, new/f 644 0:0"),
        ("--parents p/q/f /o/", "o 755 0:0, o/p 710 0:0, o/p/q 750 0:0, o/p/q/f 600 0:0"),
        ("--parents p/./q/f /o/", "o 755 0:0, o/q 750 0:0, o/q/f 600 0:0"),
        ("--parents --chown=7 --chmod=700 p/q/f /o", "o 700 7:7, o/p 700 7:7, o/p/q 700 7:7, o/p/q/f 700 7:7"),
        ("--parents --exclude=p/q/f p /o/", "o 755 0:0, o/p 710 0:0, o/p/q 750 0:0"),
        ("--parents --exclude=q/f p/./q /o/", "o 755 0:0, o/q 750 0:0"),
        ("--parents none* /o/", "o 755 0:0"),
        ("--exclude=f p/q/* /o/", ""),
    ] {
        assert_eq!(made(copy), expected, "COPY {copy}");
    }
    // A directory that is there keeps its owner, and gets the mode of the one on the way.
    work.build("FROM base\nCOPY --chown=9:9 p /o/p\nCOPY --parents p/q/f /o/\n").ok();
    let top = work.top();
    assert_eq!((entry(&top, "o/p").mode, entry(&top, "o/p").uid), (0o710, 9));
}

#[test]
fn from_a_stage_owners_and_capabilities_are_kept_and_heredocs_come_along() {
    let work = Work::with_base();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Writer::new(Vec::new());
    let mut program = Entry { uid: 3, ..Entry::new("ping", Kind::File, 0o755) };
    program.xattrs = vec![("security.capability".into(), capability.to_vec()), ("user.a".into(), b"b".to_vec())];
    tar.file(&program, b"").unwrap();
    fs::write(work.path("context/t.tar"), tar.finish().unwrap()).unwrap();
    let kept = vec![(OsString::from("security.capability"), capability.to_vec())];
    let dockerfile =
        "FROM scratch AS a\nADD t.tar /\nFROM scratch\nARG X=1\nCOPY --from=a --chmod=711 /ping <<f /d/\n$X\nf\n";
    for _ in 0..2 {
        work.build(dockerfile).ok();
        let top = work.top();
        assert_eq!(entry(&top, "d/ping").xattrs, kept);
        assert_eq!((entry(&top, "d/ping").uid, entry(&top, "d/ping").mode), (3, 0o711));
        assert_eq!((text(&top, "d/f"), entry(&top, "d").uid), ("1\n".to_owned(), 0));
    }
    work.build(&dockerfile.replace("ARG X=1", "ARG X=2")).ok();
    assert_eq!(text(&work.top(), "d/f"), "2\n", "the body is a part of the key");
    // Of the context, too, and a file that gets capabilities is another one.
    work.file("context/f", "f");
    work.build("FROM scratch\nCOPY f /\n").ok();
    assert!(entry(&work.top(), "f").xattrs.is_empty());
    let root = image_tool::beneath::Root::open(work.path("context")).unwrap();
    root.set_xattr("f", "security.capability".as_ref(), &capability).unwrap();
    root.set_xattr("f", "user.a".as_ref(), b"b").unwrap();
    work.build("FROM scratch\nCOPY f /\n").ok();
    assert_eq!(entry(&work.top(), "f").xattrs, kept);
}

#[test]
fn an_archive_replaces_what_is_there() {
    let work = Work::with_base();
    let mut tar = Writer::new(Vec::new());
    tar.file(&Entry::new("f", Kind::File, 0o640), b"").unwrap();
    tar.entry(&Entry::new("lib/", Kind::Directory, 0o750)).unwrap();
    tar.entry(&Entry::new("hard", Kind::HardLink("f".into()), 0o644)).unwrap();
    fs::write(work.path("context/t.tar"), tar.finish().unwrap()).unwrap();
    let below = "FROM base\nRUN mkdir -p /a/f/x /a/back/gone && ln -s /usr /a/lib\n";
    work.build(&format!("{below}ADD --chmod=777 --chown=4:5 t.tar /a\n")).ok();
    let layers = work.layers();
    let top = &layers[2];
    assert_eq!((entry(top, "a/f").mode, entry(top, "a/f").uid), (0o640, 4), "--chmod is not for archives");
    assert_eq!(entry(top, "a/lib").kind, Kind::Directory);
    assert_eq!(entry(top, "a/hard").kind, Kind::HardLink("a/f".into()));
    work.build(&format!("{below}ADD t.tar /a\nRUN ! ls -d /a/f/x && [ ! -L /a/lib ]\n")).ok();
    // A directory takes the place of a link that has taken the place of a directory.
    let mut tar = Writer::new(Vec::new());
    tar.entry(&Entry::new("back", Kind::Symlink("f".into()), 0o777)).unwrap();
    tar.entry(&Entry::new("back/", Kind::Directory, 0o755)).unwrap();
    fs::write(work.path("context/t.tar"), tar.finish().unwrap()).unwrap();
    work.build(&format!("{below}ADD t.tar /a\nRUN [ -d /a/back ] && ! ls -d /a/back/gone && ! ls /a/back | grep .\n"))
        .ok();
    let mut tar = Writer::new(Vec::new());
    tar.entry(&Entry::new("hard", Kind::HardLink("etc/passwd".into()), 0o644)).unwrap();
    fs::write(work.path("context/t.tar"), tar.finish().unwrap()).unwrap();
    work.build("FROM base\nADD t.tar /\n")
        .fails("Dockerfile:2: ADD t.tar /: /hard: a hard link to /etc/passwd, which the archive does not hold");
}

#[test]
fn with_the_epoch_an_image_does_not_depend_on_the_cache() {
    let work = Work::new();
    work.file("context/d/f", "f");
    work.file("context/d/g", "g");
    let touch = |name: &str, seconds: i64| {
        let time = image_tool::beneath::Time { seconds, nanoseconds: 0 };
        image_tool::beneath::Root::open(work.path("context")).unwrap().set_modified(name, time).unwrap();
    };
    let build = |more: &[&str]| {
        let mut arguments = vec!["build", "-q", "-t", "images:built"];
        arguments.extend(more);
        arguments.push("context");
        let output = work.command(&arguments).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let from = "FROM scratch AS a\nCOPY d /d/\nFROM scratch\nCOPY --from=a /d /e\n";
    for dockerfile in ["FROM scratch\nCOPY d /d/\n", from] {
        work.file("context/Dockerfile", dockerfile);
        for name in ["d/f", "d"] {
            touch(name, 1_000_000_000);
            build(&[]);
            touch(name, 1_000_000_001);
            assert_eq!(build(&[]), build(&["--no-cache"]), "{name} {dockerfile}");
            touch(name, 1_800_000_000);
            let late = build(&[]);
            touch(name, 1_800_000_001);
            assert_eq!(build(&[]), late, "later than the epoch is the epoch");
        }
        // Two files become one.
        build(&[]);
        fs::remove_file(work.path("context/d/g")).unwrap();
        fs::hard_link(work.path("context/d/f"), work.path("context/d/g")).unwrap();
        fs::write(work.path("context/d/f"), "g").unwrap();
        let warm = build(&[]);
        assert_eq!(warm, build(&["--no-cache"]), "hard links");
        fs::remove_file(work.path("context/d/g")).unwrap();
        work.file("context/d/g", "g");
        assert_eq!(build(&[]), build(&["--no-cache"]), "no hard links");
    }
}

#[test]
fn names_may_hold_any_characters_and_a_socket_becomes_a_file() {
    let work = Work::new();
    work.file("context/test-äöü.txt", "here");
    work.file("context/http:/ä", "no url");
    let _socket = std::os::unix::net::UnixListener::bind(work.path("context/socket")).unwrap();
    work.build("FROM scratch\nCOPY test-äöü.txt /\nADD http:/ä /x\nCOPY . /all/\n").ok();
    let layers = work.layers();
    assert_eq!((text(&layers[0], "test-äöü.txt"), text(&layers[1], "x")), ("here".to_owned(), "no url".to_owned()));
    assert_eq!((&entry(&layers[2], "all/socket").kind, text(&layers[2], "all/socket")), (&Kind::File, String::new()));
    assert_eq!(work.config()["config"]["WorkingDir"], "/");
}
