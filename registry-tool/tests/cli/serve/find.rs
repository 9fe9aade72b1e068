//! Which names lead where.

use super::client::Served;
use crate::server::{Image, noise};
use crate::world::{World, honest};

/// A layout with an image under some refs.
fn layout_of(world: &World, layout: &str, refs: &[&str]) -> Image {
    let image = Image::new(&[noise(500, 1)]);
    let server = honest(&image);
    for reference in refs {
        let name = format!("{}/a:3.8", server.address());
        world.run(&["pull", "-q", &name, &format!("{layout}:{reference}")]).good();
    }
    image
}

#[test]
fn every_spelling_of_a_name_leads_to_the_image() {
    let world = World::new();
    let refs = ["python:3.8", "docker.io/xag/app", "quay.io/podman/hello:1", "127.0.0.1:5000/mine:2"];
    layout_of(&world, "oci/images", &refs);
    // Without an operand it is the default layout.
    let served = Served::start(&world, &[]);
    for path in [
        "library/python/manifests/3.8",
        "python/manifests/3.8",
        "docker.io/library/python/manifests/3.8",
        "xag/app/manifests/latest",
        "quay.io/podman/hello/manifests/1",
        "podman/hello/manifests/1?ns=quay.io",
        "library/python/manifests/3.8?ns=docker.io",
        "mine/manifests/2",
    ] {
        served.get(&format!("/v2/{path}")).is(200);
    }
    assert_eq!(served.get("/v2/podman/hello/manifests/1?ns=quay.io").header("OCI-Namespace"), "quay.io");
    served.get("/v2/podman/hello/manifests/1").refused(404, "NAME_UNKNOWN");
    served.get("/v2/library/python/manifests/3.8?ns=quay.io").refused(404, "NAME_UNKNOWN");
    let all = served.get("/v2/_catalog").json();
    assert_eq!(all["repositories"], serde_json::json!(["mine", "python", "quay.io/podman/hello", "xag/app"]));
}

#[test]
fn a_page_of_a_list_leads_to_the_next() {
    let world = World::new();
    layout_of(&world, "images", &["a:1", "a:10", "a:2", "b:1", "c:1"]);
    let served = Served::start(&world, &["images"]);
    let list = |path: &str, key: &str| {
        let got = served.get(path).is(200);
        (got.json()[key].to_string(), got.header("Link").to_owned())
    };
    let next = |link: &str| format!("<{link}>; rel=\"next\"");
    assert_eq!(list("/v2/a/tags/list", "tags"), (r#"["1","10","2"]"#.into(), String::new()));
    assert_eq!(list("/v2/a/tags/list?n=2", "tags"), (r#"["1","10"]"#.into(), next("/v2/a/tags/list?n=2&last=10")));
    assert_eq!(list("/v2/a/tags/list?n=2&last=10", "tags"), (r#"["2"]"#.into(), String::new()));
    assert_eq!(list("/v2/a/tags/list?last=1", "tags"), (r#"["10","2"]"#.into(), String::new()));
    assert_eq!(list("/v2/a/tags/list?n=0", "tags"), ("[]".into(), String::new()));
    assert_eq!(list("/v2/_catalog?n=2", "repositories"), (r#"["a","b"]"#.into(), next("/v2/_catalog?n=2&last=b")));
    served.get("/v2/a/tags/list?n=-1").refused(400, "UNSUPPORTED");
    served.get("/v2/nowhere/tags/list").refused(404, "NAME_UNKNOWN");
    // Our own client follows the links.
    let tags = world.run(&["tags", &format!("{}/a", served.address())]);
    assert_eq!(tags.good().out(), "1\n10\n2\n");
}

#[test]
fn a_folder_of_layouts_has_a_repository_in_each() {
    let world = World::new();
    layout_of(&world, "all/team/app", &["1", "other:2"]);
    let served = Served::start(&world, &["all"]);
    served.get("/v2/team/app/manifests/1").is(200);
    served.get("/v2/team/app/other/manifests/2").is(200);
    served.get("/v2/team/manifests/1").refused(404, "NAME_UNKNOWN");
    let image = Image::new(&[noise(600, 2)]);
    served.push("new/one", "3", &image);
    assert!(world.has_image("all/new/one:3"));
    let all = served.get("/v2/_catalog").json();
    assert_eq!(all["repositories"], serde_json::json!(["new/one", "team/app", "team/app/other"]));
    served.ask("POST", "/v2/team/blobs/uploads/", &[], b"").refused(400, "NAME_INVALID");
    // A blob of one layout is mounted into another by a link.
    let path = format!("/v2/team/app/blobs/uploads/?mount={}&from=new/one", image.layers[0]);
    served.ask("POST", &path, &[], b"").is(201);
    served.get(&format!("/v2/team/app/blobs/{}", image.layers[0])).is(200);
}

#[test]
fn several_layouts_are_served_under_their_names() {
    let world = World::new();
    layout_of(&world, "one", &["python:3.8"]);
    layout_of(&world, "two", &["1"]);
    let served = Served::start(&world, &["one", "two"]);
    served.get("/v2/one/python/manifests/3.8").is(200);
    served.get("/v2/two/manifests/1").is(200);
    served.ask("POST", "/v2/three/blobs/uploads/", &[], b"").refused(403, "DENIED");
}

#[test]
fn an_empty_folder_is_what_the_command_line_says() {
    let world = World::new();
    std::fs::create_dir(world.path("empty")).unwrap();
    let served = Served::start(&world, &["--folder", "empty"]);
    served.push("a/b", "1", &Image::new(&[noise(10, 1)]));
    assert!(world.path("empty/a/b/oci-layout").exists());
    drop(served);
    std::fs::create_dir(world.path("other")).unwrap();
    let served = Served::start(&world, &["other"]);
    served.push("a/b", "1", &Image::new(&[noise(10, 1)]));
    assert!(world.has_image("other:a/b:1"));
    world.run(&["serve", "--folder", "nowhere"]).fails_in_a_line(&["nowhere: not a folder"]);
    world.run(&["serve", "--read-only", "nowhere"]).fails_in_a_line(&["nowhere: no image layout here"]);
}

#[test]
fn the_page_shows_what_there_is() {
    let world = World::new();
    layout_of(&world, "images", &["python:3.8"]);
    let served = Served::start(&world, &["images"]);
    let page = served.get("/").is(200);
    assert_eq!(page.header("Content-Type"), "text/html; charset=utf-8");
    assert!(page.header("Content-Security-Policy").starts_with("default-src 'none'"));
    assert!(page.text().contains("<a href=\"/repository/python\">python</a></td><td>3.8</td>"), "{}", page.text());
    let page = served.get("/repository/python").is(200).text();
    for part in [
        &format!("docker pull {}/python:3.8\n", served.address()),
        "<h3>linux/amd64</h3>\n<p>500B in 1 layer, ",
        "<td class=\"n\">500B</td>",
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    let hostile = served.ask("GET", "/", &[("Host", "<script>\"")], b"");
    assert!(hostile.status == 400 || !hostile.text().contains("<script>"), "{}", hostile.text());
    served.get("/repository/nowhere").refused(404, "NAME_UNKNOWN");
    served.ask("POST", "/", &[], b"").refused(405, "UNSUPPORTED");
}
