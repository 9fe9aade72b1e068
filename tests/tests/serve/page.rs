//! The page for people, as a browser shows it: Debian's headless Chromium.

use tests::{Registry, Workdir};

use crate::Served;

/// The document that a browser has made of a page, and what it has said on its console.
fn browse(work: &Workdir, url: &str) -> (String, String) {
    let output = work.sh(&format!(
        "timeout 60 chromium-headless-shell --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom '{url}'"
    ));
    let console = output.stderr.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (output.ok(), console)
}

/// Where the links of a document lead to.
fn links(document: &str) -> Vec<&str> {
    document.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn a_browser_shows_repositories_tags_platforms_and_layers() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh(
        "registry-tool pull --quiet python:3.8 images && registry-tool pull --quiet --all-platforms xag/multi images",
    )
    .ok();
    // Text of an image is text, whatever it looks like.
    let script = "<script>document.title=\"taken\"</script><img src=\"https://example.com/x.png\">";
    work.sh(&format!(
        "echo hello >file && tar -c file | image-tool append --created-by '{script}' --ref python:hostile images:python:3.8 -"
    ))
    .ok();
    let served = Served::start(&work, "images");
    let home = format!("http://{}", served.1);

    let (first, console) = browse(&work, &format!("{home}/"));
    assert_eq!(console, "");
    assert!(first.contains(&format!("<h1>Registry {}</h1>", served.1)), "{first}");
    assert_eq!(links(&first), ["/repository/python", "/repository/xag/multi"], "{first}");

    let (python, console) = browse(&work, &format!("{home}/repository/python"));
    assert_eq!(console, "");
    assert_eq!(links(&python), ["/"]);
    let digest = work.sh("image-tool list images | grep :python:3.8@ | cut -d @ -f 2").ok();
    for part in [
        "<title>python</title>",
        "<h2 id=\"3.8\">3.8</h2>",
        &format!("docker pull {}/python:3.8\n", served.1),
        digest.trim(),
        "<h3>linux/amd64</h3>",
        " in 3 layers, ",
        " in 4 layers, ",
        "&lt;script&gt;document.title=\"taken\"&lt;/script&gt;",
    ] {
        assert!(python.contains(part), "{part:?} is not in {python}");
    }
    assert!(!python.contains("<script") && !python.contains("<img"), "{python}");

    let (multi, _) = browse(&work, &format!("{home}/repository/xag/multi"));
    for platform in ["<h3>linux/amd64</h3>", "<h3>linux/arm64</h3>"] {
        assert!(multi.contains(platform), "{platform} is not in {multi}");
    }
    // A browser has asked for the pages and for nothing else.
    let asked = work
        .sh("grep -c Chrome serve.log; grep Chrome serve.log | grep -v -c '\"GET /\\(repository/[a-z/]*\\)\\?\" 200'");
    assert_eq!(asked.stdout, "3\n0\n", "{}", work.sh("cat serve.log").stdout);
}
