//! Every command of a beginner's page about docker, verbatim, through `tests/docker`.
//!
//! `python:3.8`, `centos:7.9.2009`, `ubuntu:20.04` and `hello-world` are pulled under these names from a real registry, which
//! daemon.json names as a mirror. They contain Debian's packages (tests/images says how they are made).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::{Hub, Pty, Registry, Workdir};

/// The columns of a line of a table, which are at least two spaces apart.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// An HTTP server's answer to `GET /`; waits until the server is up.
fn get(address: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() && !answer.is_empty() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{address} does not answer: {asked:?} {answer:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const CAT: &str = r#"import os
import sys

input = sys.argv[1]

with open(input, "r") as fp:
    print(fp.read())
"#;

const CAT_DOCKERFILE: &str = r#"FROM python:3.8
WORKDIR /files
COPY cat.py /cat.py
ENTRYPOINT ["python", "/cat.py"]
"#;

const FLASK: &str = r#"from flask import Flask

# 安装依赖
# pip3 install -U flask

app = Flask(__name__)


@app.route('/')
def index():
    return "测试容器部署!"


if __name__ == '__main__':
    app.run(host='0.0.0.0', port=8888)

# 浏览器访问测试
# http://127.0.0.1:8888/
"#;

const FLASK_DOCKERFILE: &str = r#"# Dockerfile

FROM centos:7.9.2009
RUN yum makecache fast;
RUN yum install python3-devel python3-pip -y
RUN pip3 install -i https://pypi.douban.com/simple flask
COPY main.py /opt
WORKDIR /opt
EXPOSE 8888
CMD ["python3","main.py"]
"#;

#[test]
fn images_lists_what_was_pulled_in_dockers_columns() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    assert_eq!(
        work.sh("docker images").ok().trim_end(),
        "REPOSITORY          TAG                 IMAGE ID            CREATED             SIZE",
        "there is no image yet"
    );
    work.sh("docker pull ubuntu:20.04 && docker pull hello-world").ok();
    let table = work.sh("docker images").ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(
        lines[0].trim_end(),
        "REPOSITORY          TAG                 IMAGE ID            CREATED             SIZE"
    );
    for (repository, tag) in [("ubuntu", "20.04"), ("hello-world", "latest")] {
        let line = lines.iter().find(|line| line.starts_with(&format!("{repository} "))).expect(&table);
        let columns = columns(line);
        assert_eq!(columns[..2], [repository, tag], "{table}");
        assert!(is_hexadecimal(columns[2], 12), "{table}");
        assert!(columns[3].ends_with(" ago"), "{table}");
        assert!(columns[4].ends_with("MB") || columns[4].ends_with("kB"), "{table}");
    }
}

#[test]
fn search_prints_what_a_hub_answers() {
    let hub = Hub::new();
    let work = Workdir::with_mirror(&hub.address());
    let table = work.sh("docker search python").ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(columns(lines[0]), ["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"], "{table}");
    assert_eq!(
        columns(lines[1]),
        ["python", "Python is an interpreted, interactive, objec…", "5757", "[OK]"],
        "{table}"
    );
    assert_eq!(columns(lines[4])[2..], ["57", "[OK]"], "an automated build that is not official: {table}");
    assert_eq!(lines.len(), 1 + tests::hub::FOUND.len(), "{table}");
    assert!(hub.asked().iter().any(|target| target.contains("q=python")), "{:?}", hub.asked());
    // The registry can also be given by name.
    let named = work.sh(&format!("docker search {}/python", hub.address())).ok();
    assert_eq!(named.lines().count(), table.lines().count(), "{named}");
}

#[test]
fn search_asks_the_mirror_of_docker_hub() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    // A registry without a search endpoint is asked for its catalog instead.
    let table = work.sh("docker search python").ok();
    assert!(table.lines().any(|line| columns(line)[0] == "python"), "{table}");
    assert!(!table.contains("centos"), "{table}");
}

#[test]
fn pull_tells_each_layer_then_digest_and_status() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let text = work.sh("docker pull python:3.8 2>&1").ok();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "3.8: Pulling from library/python", "{text}");
    let layers = lines.iter().filter(|line| line.ends_with(": Pull complete")).count();
    assert_eq!(layers, 3, "{text}");
    for line in lines.iter().filter(|line| line.ends_with(": Pull complete")) {
        assert!(is_hexadecimal(line.split(':').next().unwrap(), 12), "{text}");
    }
    let digest = lines.iter().find_map(|line| line.strip_prefix("Digest: sha256:")).expect(&text);
    assert!(is_hexadecimal(digest, 64), "{text}");
    assert!(lines.contains(&"Status: Downloaded newer image for python:3.8"), "{text}");
    assert_eq!(*lines.last().unwrap(), "docker.io/library/python:3.8", "{text}");
    let text = work.sh("docker pull python:3.8 2>&1").ok();
    assert!(text.contains("Status: Image is up to date for python:3.8"), "{text}");
}

#[test]
fn run_it_gives_a_python_shell_on_a_terminal() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    let mut command = work.command("docker");
    command.args(["run", "-it", "python:3.8"]);
    let mut terminal = Pty::spawn(&command);
    let banner = terminal.expect(">>> ");
    assert!(banner.contains("Python 3."), "{banner}");
    assert!(
        banner.contains("Type \"help\", \"copyright\", \"credits\" or \"license\" for more information."),
        "{banner}"
    );
    terminal.send("print(6 * 7)\r");
    let answer = terminal.expect(">>> ");
    assert!(answer.contains("\r\n42\r\n"), "{answer:?}");
    terminal.send("import os; print(os.isatty(0), os.getpid(), tuple(os.get_terminal_size()))\r");
    assert!(terminal.expect(">>> ").contains("True 1 (80, 24)"), "a terminal of its own, of our size");
    terminal.resize(50, 132);
    terminal.send("import time; time.sleep(0.2); print(tuple(os.get_terminal_size()))\r");
    // Python's shell redraws its prompt for the new size as well.
    terminal.expect("(132, 50)");
    terminal.expect(">>> ");
    terminal.send("while True: pass\r\r");
    terminal.expect("... ");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\u{3}");
    assert!(terminal.expect(">>> ").contains("KeyboardInterrupt"), "control-C reaches the program");
    terminal.send("raise SystemExit(3)\r");
    let (_, status) = terminal.finish();
    assert_eq!(status.code(), Some(3), "the program's own status");
    remove_all(&work);
}

#[test]
fn run_v_runs_a_mounted_hello() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    work.write("docker_test/hello.py", "print('hello')\n");
    let text = "docker run -v ~/docker_test:/docker_test python:3.8 python /docker_test/hello.py";
    assert_eq!(work.sh(text).ok(), "hello\n");
    remove_all(&work);
}

#[test]
fn ps_shows_seven_columns_and_kill_ends_it() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    work.write(
        "docker_test/server.py",
        "import http.server\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        \
         self.end_headers()\n        self.wfile.write(b'served')\nhttp.server.HTTPServer(('', 5000), H).serve_forever()\n",
    );
    let text = "docker run -d -p 5000:5000 -v ~/docker_test:/docker_test python:3.8 python /docker_test/server.py";
    let id = work.sh(text).ok();
    assert!(is_hexadecimal(id.trim_end(), 64), "{id}");
    assert!(get("127.0.0.1:5000").ends_with("served"));
    let table = work.sh("docker ps").ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert_eq!(
        columns(lines[0]),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"],
        "{table}"
    );
    let row = columns(lines[1]);
    assert_eq!(row[0], &id[..12], "{table}");
    assert_eq!(row[1..3], ["python:3.8", "\"python /docker_test…\""], "{table}");
    assert!(row[3].ends_with(" ago"), "{table}");
    assert!(row[4].starts_with("Up "), "{table}");
    // On a host with IPv6 docker publishes a port on both of its families.
    assert!(matches!(row[5], "0.0.0.0:5000->5000/tcp" | "0.0.0.0:5000->5000/tcp, :::5000->5000/tcp"), "{table}");
    assert!(row[6].contains('_'), "a name of docker's kind: {table}");
    assert_eq!(work.sh(&format!("docker kill {}", row[0])).ok().trim_end(), row[0]);
    assert_eq!(work.sh("docker ps").ok().lines().count(), 1);
    let table = work.sh("docker ps -a").ok();
    assert!(table.contains("Exited (137)"), "{table}");
    remove_all(&work);
    assert!(TcpStream::connect("127.0.0.1:5000").is_err(), "the port is free again");
}

#[test]
fn build_makes_the_cat_image_and_it_prints_a_mounted_file() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    work.write("docker_test/cat/cat.py", CAT);
    work.write("docker_test/cat/Dockerfile", CAT_DOCKERFILE);
    work.write("docker_test/cat/files/test.txt", "the text of the file\n");
    work.sh("cd ~/docker_test/cat && docker build -t cat:1.0 .").ok();
    assert!(work.sh("docker images").ok().lines().any(|line| columns(line).starts_with(&["cat", "1.0"])));
    let mut command = work.command("sh");
    command.args(["-c", "docker run -it -v ~/docker_test/cat/files:/files cat:1.0 test.txt"]);
    let (text, status) = Pty::spawn(&command).finish();
    // The first container of an image shows how far it is, and erases that.
    assert_eq!(text.rsplit("\r\x1b[K").next(), Some("the text of the file\r\n\r\n"), "{text:?}");
    assert!(status.success());
    remove_all(&work);
}

#[test]
fn build_makes_the_flask_image_and_it_answers_on_the_hosts_port() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address()).with_network();
    work.write("flask/main.py", FLASK);
    work.write("flask/Dockerfile", FLASK_DOCKERFILE);
    work.sh("cd flask && docker build --no-cache -t \"xag/my_flask_web\" .").ok();
    let id = work.sh("docker run -d --name flask_web -p 9999:8888 xag/my_flask_web  ").ok();
    assert!(is_hexadecimal(id.trim_end(), 64), "{id}");
    let answer = get("127.0.0.1:9999");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n测试容器部署!"), "{answer}");
    let table = work.sh("docker ps").ok();
    assert!(table.contains("   0.0.0.0:9999->8888/tcp") && table.trim_end().ends_with("   flask_web"), "{table}");
    let log = work.sh("docker logs flask_web 2>&1").ok();
    assert!(log.contains("\"GET / HTTP/1.0\" 200"), "{log}");
    assert_eq!(work.sh("docker stop -t 1 flask_web").ok(), "flask_web\n");
    assert!(TcpStream::connect("127.0.0.1:9999").is_err(), "the port is free again");
    remove_all(&work);
}

#[test]
fn save_and_load_carry_an_image_to_another_machine() {
    let registry = Registry::images();
    let mut work = Workdir::with_mirror(&registry.address()).with_network();
    work.write("hello/Dockerfile", "FROM python:3.8\nCOPY hello.py /\nCMD [\"python\", \"/hello.py\"]\n");
    work.write("hello/hello.py", "print('hello from afar')\n");
    work.sh("docker build -t hello:1.0 hello && docker save -o hello.tar hello:1.0").ok();
    let before = work.sh("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | grep ^hello:").ok();
    // The other machine starts empty and can reach no registry.
    drop(registry);
    let other = work.folder().join("other").to_str().unwrap().to_owned();
    work.set("OCI_HOME", &other);
    assert_eq!(work.sh("docker load -i hello.tar").ok(), "Loaded image: hello:1.0\n");
    assert_eq!(work.sh("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'").ok(), before);
    assert_eq!(work.sh("docker run hello:1.0").ok(), "hello from afar\n");
    remove_all(&work);
}

/// Removes every container by force, which also unmounts its cached layers.
fn remove_all(work: &Workdir) {
    work.sh("docker ps -aq | xargs -r docker rm -f").ok();
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}
