//! Git repositories, as sources of ADD and as contexts. They are served by git's own program for web servers.

use std::io::BufRead;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use super::*;

/// A web server for the repositories of a folder, and the `Authorization` of each request.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the folder by git's protocol, or as plain files.
    fn start(root: PathBuf, smart: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, log) = (root.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(stream.unwrap(), &root, smart, &log));
            }
        });
        Self { port, seen }
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }
}

fn answer(mut stream: TcpStream, root: &Path, smart: bool, log: &Mutex<Vec<String>>) {
    let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(request) = lines.first() else { return };
    let words: Vec<&str> = request.split(' ').collect();
    let header = |name: &str| {
        let found = lines.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        found.map_or(String::new(), |line| line[name.len() + 1..].trim().to_owned())
    };
    log.lock().unwrap().push(header("authorization"));
    let (path, query) = words[1].split_once('?').unwrap_or((words[1], ""));
    if !smart {
        let body = fs::read(root.join(path.trim_start_matches('/')));
        let status = if body.is_ok() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        return;
    }
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_INFO", path).env("QUERY_STRING", query).env("REQUEST_METHOD", words[0]);
    command.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    command.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
    command.env("REMOTE_ADDR", "127.0.0.1").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len() - 4);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let head: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        head.join("\r\n"),
        output.len() - end - 4
    );
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&output[end + 4..]));
}

/// When the first commit was made.
const FIRST: i64 = 1_600_000_000;

/// Runs git in a repository of the test's.
fn git(folder: &Path, seconds: i64, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example", "-c", "protocol.file.allow=always"]);
    command.args(arguments).current_dir(folder);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let date = format!("{seconds} +0000");
    let output = command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository `repo.git` in a folder of its own: branch `main` with two commits, tag `v1` at the first, branch `other`.
fn repository(work: &Work) -> (PathBuf, [String; 2]) {
    let served = work.path("served");
    let path = served.join("repo.git");
    fs::create_dir_all(path.join("docs/deep")).unwrap();
    git(&served, FIRST, &["init", "-q", "-b", "main", "repo.git"]);
    for (name, text) in
        [("a.txt", "one"), ("docs/deep/b", "b"), ("run.sh", "#!/bin/sh\n"), (".dockerignore", "*.log\n")]
    {
        fs::write(path.join(name), text).unwrap();
    }
    fs::write(path.join("x.log"), "log").unwrap();
    fs::write(path.join("Dockerfile"), "FROM scratch\nCOPY . /c/\n").unwrap();
    fs::set_permissions(path.join("run.sh"), fs::Permissions::from_mode(0o775)).unwrap();
    symlink("docs", path.join("link")).unwrap();
    git(&path, FIRST, &["add", "."]);
    git(&path, FIRST, &["commit", "-qm", "one"]);
    git(&path, FIRST, &["tag", "-a", "-m", "v1", "v1"]);
    git(&path, FIRST, &["branch", "other"]);
    let first = git(&path, FIRST, &["rev-parse", "HEAD"]);
    fs::write(path.join("a.txt"), "two").unwrap();
    git(&path, FIRST + 100, &["commit", "-qam", "two"]);
    let second = git(&path, FIRST, &["rev-parse", "HEAD"]);
    (path, [first, second])
}

#[test]
fn a_repository_is_added_by_branch_tag_and_commit() {
    let work = Work::new();
    let (path, [first, second]) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let url = server.url("repo.git");
    for (source, expected) in [
        (url.clone(), "two"),
        (format!("{url}#main"), "two"),
        (format!("{url}#v1"), "one"),
        (format!("{url}?tag=v1"), "one"),
        (format!("{url}?branch=other"), "one"),
        (format!("{url}#refs/heads/other"), "one"),
        (format!("{url}#{first}"), "one"),
        (format!("{url}?fetch-by-commit&checksum={first}#main"), "one"),
    ] {
        work.build(&format!("FROM scratch\nADD {source} /r/\n")).ok();
        let top = work.top();
        assert_eq!(text(&top, "r/a.txt"), expected, "{source}");
        assert!(!top.contains_key("r/.git"), "{source}");
        assert_eq!(entry(&top, "r/run.sh").mode, 0o755);
        assert_eq!(entry(&top, "r/a.txt").mode, 0o644);
        assert_eq!(entry(&top, "r/docs").mode, 0o755);
        assert_eq!(entry(&top, "r/link").kind, Kind::Symlink("docs".into()));
        let time = entry(&top, "r/a.txt").modified.seconds;
        assert_eq!(time, if expected == "one" { FIRST } else { FIRST + 100 }, "{source}");
    }
    work.build(&format!("FROM scratch\nADD --chown=5:6 --exclude=*.txt {url}#main:docs/deep /r\n")).ok();
    let top = work.top();
    assert_eq!(top.keys().map(String::as_str).collect::<Vec<_>>(), ["r", "r/b"]);
    assert_eq!((entry(&top, "r/b").uid, entry(&top, "r/b").gid), (5, 6));

    // A commit that was fetched before is not fetched again; a branch that moved is.
    let again = work.build(&format!("FROM scratch\nADD {url}#main /r/\n")).ok();
    assert!(again.shows("CACHED"), "{}", again.stderr);
    fs::write(path.join("a.txt"), "three").unwrap();
    git(&path, FIRST, &["commit", "-qam", "three"]);
    work.build(&format!("FROM scratch\nADD {url}#main /r/\n")).ok();
    assert_eq!(text(&work.top(), "r/a.txt"), "three");
    work.build(&format!("FROM scratch\nADD --checksum={} {url}#v1 /r/\n", &first[..9])).ok();
    for (source, expected) in [
        (
            format!("--checksum={} {url}#v1", &second[..9]),
            format!("{url}: expected commit {}, got {first}", &second[..9]),
        ),
        (format!("{url}#none"), format!("{url}: no branch or tag none")),
        (format!("{url}#v1:link/deep"), format!("{url}: no folder link/deep in commit {first}")),
        (format!("{url}#-x"), format!("{url}#-x: \"-x\" is not a valid reference: it begins with -")),
        (
            format!("--checksum=sha256:00 {url}"),
            "--checksum: sha256:00: expected the hash of one commit, or its beginning".into(),
        ),
        (format!("--keep-git-dir=true {url}?keep-git-dir=false"), "--keep-git-dir: the address says otherwise".into()),
    ] {
        let run = work.build(&format!("FROM scratch\nADD {source} /r/\n"));
        assert!(run.status == 1 && run.stderr.trim_end().ends_with(&expected), "{source}: {}", run.stderr);
    }
    let run = work.build(&format!("FROM scratch\nCOPY {url} /r/\n"));
    assert!(run.stderr.contains("COPY takes files only"), "{}", run.stderr);
    work.is_clean();
}

#[test]
fn provenance_says_which_commit_an_image_is_from() {
    let work = Work::new();
    let (_, [first, _]) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let context = format!("{}#v1", server.url("repo.git").replace("http://", "http://me:hunter2@"));
    work.run(&["build", "--provenance", "-o", "out", &context]).ok();
    let statement = fs::read_to_string(work.path("out/provenance.json")).unwrap();
    assert!(!statement.contains("hunter2"), "{statement}");
    let statement: Value = serde_json::from_str(&statement).unwrap();
    let definition = &statement["predicate"]["buildDefinition"];
    let uri = format!("{}#v1", server.url("repo.git"));
    let source = serde_json::json!({"uri": uri, "digest": {"sha1": first}, "path": "Dockerfile"});
    assert_eq!(definition["externalParameters"]["configSource"], source);
    let repository = serde_json::json!([{"uri": source["uri"], "digest": source["digest"]}]);
    assert_eq!(definition["resolvedDependencies"], repository);
    let metadata = &statement["predicate"]["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_completeness"], serde_json::json!({"request": true, "resolvedDependencies": true}));
    assert_eq!(metadata["buildkit_hermetic"], true, "no command had a network");
    // What ADD fetches is told as well, from the cache or not. Without everything, arguments and labels are kept back.
    work.file("context/Dockerfile", &format!("FROM scratch\nADD {uri} /\n"));
    for _ in 0..2 {
        work.run(&["build", "--provenance", "-o", "out", "--label", "a=b", "context"]).ok();
        let statement = fs::read_to_string(work.path("out/provenance.json")).unwrap();
        let statement: Value = serde_json::from_str(&statement).unwrap();
        let definition = &statement["predicate"]["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"], repository);
        assert!(definition["externalParameters"]["request"]["args"].is_null());
        let metadata = &statement["predicate"]["runDetails"]["metadata"];
        assert_eq!(
            metadata["buildkit_completeness"],
            serde_json::json!({"request": false, "resolvedDependencies": false})
        );
        assert!(metadata["buildkit_hermetic"].is_null());
    }
}

#[test]
fn provenance_says_which_work_tree_the_context_is_in() {
    let work = Work::new();
    work.file("tree/app/Dockerfile", "FROM scratch\nCOPY x /\n");
    work.file("tree/app/x", "1");
    let git = |arguments: &str| {
        let script = format!("git -c user.name=n -c user.email=e -c init.defaultBranch=main {arguments}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(work.path("tree")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let told = |variables: &[(&str, &str)]| {
        let mut command = work.command(&["build", "-q", "--provenance", "-o", "out", "tree/app"]);
        assert!(command.envs(variables.iter().copied()).output().unwrap().status.success());
        let statement: Value = serde_json::from_slice(&fs::read(work.path("out/provenance.json")).unwrap()).unwrap();
        statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"]["vcs"].clone()
    };
    assert!(told(&[]).is_null(), "no work tree");
    git("init -q");
    assert!(told(&[])["revision"].is_null(), "no commit");
    git("add . && git -c user.name=n -c user.email=e commit -q -m first");
    git("remote add origin https://me:hunter2@example.com/a/b.git");
    let commit = git("rev-parse HEAD");
    let source = "https://example.com/a/b.git";
    let place = serde_json::json!("app");
    let expected = serde_json::json!({
        "revision": commit, "source": source, "localdir:context": place, "localdir:dockerfile": place,
    });
    assert_eq!(told(&[]), expected);
    let compare = [("BUILDX_GIT_CHECK_DIRTY", "true")];
    assert_eq!(told(&compare), expected);
    work.file("tree/app/x", "2");
    assert_eq!(told(&compare)["revision"], format!("{commit}-dirty"));
    assert_eq!(told(&[]), expected);
    assert!(told(&[("BUILDX_GIT_INFO", "0")]).is_null());
    // A remote in a folder is of no use to others.
    git("remote set-url origin ../other");
    assert!(told(&[])["source"].is_null());
}

#[test]
fn git_is_kept_where_that_is_wanted() {
    let work = Work::new();
    let (_, [first, _]) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let dockerfile = format!("FROM scratch\nADD --keep-git-dir=true {}#v1 /r/\n", server.url("repo.git"));
    let digests = [(), ()].map(|()| {
        work.build_with(&dockerfile, &["--no-cache"]).ok();
        let (_, image) = work.image();
        image.layers().next().unwrap().1.to_owned()
    });
    assert_eq!(digests[0], digests[1], "neither times nor inodes are kept");
    let top = work.top();
    assert_eq!(text(&top, "r/.git/HEAD").trim(), first);
    assert!(text(&top, "r/.git/config").contains("repo.git") && top.contains_key("r/.git/index"));
    assert!(!top.contains_key("r/.git/FETCH_HEAD") && !top.keys().any(|name| name.contains("hooks")));
}

#[test]
fn plain_files_are_served_too_and_credentials_go_to_their_host() {
    let work = Work::new();
    let (path, [first, _]) = repository(&work);
    git(&path, FIRST, &["update-server-info"]);
    let server = Server::start(work.path("served"), false);
    let url = server.url("repo.git/.git");
    work.build(&format!("FROM scratch\nADD {url}#v1 /r/\nADD {url}#{first} /s/\n")).ok();
    let layers = work.layers();
    assert_eq!((text(&layers[0], "r/a.txt"), text(&layers[1], "s/a.txt")), ("one".to_owned(), "one".to_owned()));
    assert!(server.seen.lock().unwrap().iter().all(String::is_empty));
    work.file("token", "secret\n");
    let dockerfile = format!("FROM scratch\nADD {url}#other /t/\nADD {} /u\n", server.url("repo.git/a.txt"));
    let secrets = ["--secret", "id=GIT_AUTH_TOKEN,src=token", "--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=token"];
    work.build_with(&dockerfile, &secrets).ok();
    let seen = server.seen.lock().unwrap();
    assert!(seen.iter().any(|value| value == "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0"), "{seen:?}");
    assert_eq!(seen.last().unwrap(), "Bearer secret");
}

#[test]
fn submodules_come_along_unless_they_are_hostile() {
    let work = Work::new();
    let (path, _) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let (url, main) = (server.url("repo.git"), work.path("served/main.git"));
    fs::create_dir(&main).unwrap();
    git(&main, FIRST, &["init", "-q", "-b", "main"]);
    git(&main, FIRST, &["submodule", "--quiet", "add", "-b", "other", &url, "sub"]);
    git(&main, FIRST, &["commit", "-qm", "one"]);
    let main_url = server.url("main.git");
    work.build(&format!("FROM scratch\nADD {main_url} /r/\n")).ok();
    let top = work.top();
    assert_eq!(text(&top, "r/sub/a.txt"), "one");
    assert!(!top.contains_key("r/sub/.git"));
    work.build(&format!("FROM scratch\nADD {main_url}?submodules=false /r/\n")).ok();
    assert!(!work.top().contains_key("r/sub/a.txt"));
    // A server of plain files gives no part of a history.
    git(&main, FIRST, &["update-server-info"]);
    git(&path, FIRST, &["update-server-info"]);
    let plain = Server::start(work.path("served"), false);
    git(&main, FIRST, &["config", "-f", ".gitmodules", "submodule.sub.url", &plain.url("repo.git/.git")]);
    git(&main, FIRST, &["commit", "-qam", "plain"]);
    git(&main, FIRST, &["update-server-info"]);
    work.build(&format!("FROM scratch\nADD {} /r/\n", plain.url("main.git/.git"))).ok();
    assert_eq!(text(&work.top(), "r/sub/a.txt"), "one");
    // Files of this machine are none of a repository's business.
    for hostile in [path.to_str().unwrap(), "ext::sh -c touch% owned"] {
        git(&main, FIRST, &["config", "-f", ".gitmodules", "submodule.sub.url", hostile]);
        git(&main, FIRST, &["commit", "-qam", "hostile"]);
        let run = work.build(&format!("FROM scratch\nADD {main_url} /r/\n"));
        assert!(run.status == 1 && run.stderr.contains("git submodule: "), "{hostile}: {}", run.stderr);
    }
    assert!(!Path::new("owned").exists() && !work.path("owned").exists());
    work.is_clean();
}

#[test]
fn a_repository_is_a_context() {
    let work = Work::new();
    let (path, [first, second]) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let url = server.url("repo.git");
    let build = |more: &[&str]| work.run(&[&["build", "-q", "-t", "images:built"], more].concat());
    build(&[&url]).ok();
    let top = work.top();
    assert_eq!(text(&top, "c/a.txt"), "two");
    assert!(top.contains_key("c/x.log") && !top.contains_key("c/.git"), "its ignore rules do not count");
    build(&[&format!("{url}#v1")]).ok();
    assert_eq!(text(&work.top(), "c/a.txt"), "one");
    build(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &format!("{url}#{first}")]).ok();
    assert_eq!(text(&work.top(), "c/.git/HEAD").trim(), first);
    git(&path, FIRST, &["mv", "Dockerfile", "docs/Dockerfile"]);
    git(&path, FIRST, &["commit", "-qm", "three"]);
    build(&[&format!("{url}#main:docs")]).ok();
    assert_eq!(work.top().keys().map(String::as_str).collect::<Vec<_>>(), ["c", "c/Dockerfile", "c/deep", "c/deep/b"]);
    build(&["-f", "docs/Dockerfile", &url]).ok();
    assert!(work.top().contains_key("c/docs"));
    build(&[&url]).fails(&format!("Dockerfile: no such file in the context {url} (-f FILE names another)"));

    // The time of the context's commit is that of the image, if the Dockerfile asks for it.
    work.file("D", "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL e=$SOURCE_DATE_EPOCH\nCOPY a.txt /\n");
    let epoch = |more: &[&str], expected: Option<&str>| {
        build(more).ok();
        let config = work.config();
        assert_eq!(
            config["config"]["Labels"]["e"].as_str().unwrap_or_default(),
            expected.unwrap_or_default(),
            "{more:?}"
        );
        assert_eq!(config["created"] == "2020-09-13T12:28:20Z", expected == Some("1600000100"), "{config}");
    };
    fs::write(work.path("context/a.txt"), "").unwrap();
    let at = format!("{url}#{second}");
    let dockerfile = fs::File::open(work.path("D")).unwrap();
    let mut command = work.command(&["build", "-q", "-t", "images:built", "-f", "-", &at]);
    assert!(command.stdin(dockerfile).status().unwrap().success());
    assert_eq!(work.config()["created"], "2020-09-13T12:28:20Z");
    assert_eq!(work.config()["config"]["Labels"]["e"], "1600000100");
    epoch(&["-f", "D", "context"], None);
    epoch(&["-f", "D", "--build-arg", "SOURCE_DATE_EPOCH=7", "context"], Some("7"));
    let named = format!("src={at}");
    epoch(
        &["-f", "D", "--build-arg", "SOURCE_DATE_EPOCH=src", "--build-context", &named, "context"],
        Some("1600000100"),
    );
    let run = build(&["-f", "D", "--build-arg", "SOURCE_DATE_EPOCH=nonsense", "context"]);
    run.fails(
        "SOURCE_DATE_EPOCH: \"nonsense\" is not a number of seconds, `context`, or the name of a context or a stage",
    );
    let stage = format!(
        "ARG SOURCE_DATE_EPOCH=time\nFROM scratch AS time\nARG AT={second}\nADD {url}#$AT /\nFROM scratch\nLABEL a=b\n"
    );
    work.file("D", &stage);
    build(&["-f", "D", "context"]).ok();
    assert_eq!(work.config()["created"], "2020-09-13T12:28:20Z");
    work.file("D", "ARG SOURCE_DATE_EPOCH=time\nFROM scratch AS time\nCOPY x /\nFROM scratch\nLABEL a=b\n");
    build(&["-f", "D", "context"]).fails("SOURCE_DATE_EPOCH: the stage time does more than ADD");
    work.is_clean();
}

#[test]
fn an_interrupt_ends_git() {
    let work = Work::new();
    // A server that never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    work.file("context/Dockerfile", &format!("FROM scratch\nADD {url} /\n"));
    for context in ["context", &url] {
        let mut child = work.command(&["build", context]).stderr(Stdio::piped()).spawn().unwrap();
        let _asked = listener.accept().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{stderr}");
        assert!(stderr.ends_with("build-tool: interrupted by signal 15\n"), "{stderr}");
        let runs = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"git") && String::from_utf8_lossy(&line).contains(&url)
        });
        assert!(!runs, "git goes on");
    }
    work.is_clean();
}

#[test]
fn a_time_may_come_from_a_stage_with_predefined_arguments() {
    let work = Work::new();
    let (_, [first, _]) = repository(&work);
    let server = Server::start(work.path("served"), true);
    let dockerfile = format!(
        "ARG SOURCE_DATE_EPOCH=time\nFROM scratch AS time\nADD {}#${{TARGETOS:+{first}}} /\nFROM scratch\nLABEL a=b\n",
        server.url("repo.git")
    );
    work.build(&dockerfile).ok();
    assert_eq!(work.config()["created"], "2020-09-13T12:26:40Z");
}
