//! `registry-tool tags` and `catalog`.

use crate::server::{Reply, Server};
use crate::world::World;

#[test]
fn lists_are_followed_over_their_pages() {
    let world = World::new();
    let server = Server::new(|request| match (request.path.as_str(), request.query.as_str()) {
        ("/v2/a/tags/list", "n=1000") => Reply::new(200, r#"{"name":"a","tags":["1","2"]}"#)
            .header("Link", "</v2/a/tags/list?n=1>; rel=first")
            .header("link", "</v2/a/tags/list?n=1000&last=2>; title=\"a; b, c\"; rel=\"next\""),
        ("/v2/a/tags/list", _) => Reply::new(200, "{\"name\":\"a\",\"tags\":[\"3\",\"bad\\u001b[2J\"]}"),
        ("/v2/b/tags/list", _) => Reply::new(200, r#"{"name":"b","tags":null}"#),
        ("/v2/", _) => Reply::new(200, ""),
        ("/v2/c/tags/list", _) => {
            Reply::new(200, r#"{"tags":["1"]}"#).header("Link", "<http://127.0.0.1:1/x>; rel=\"next\"")
        }
        _ => Reply::new(404, ""),
    });
    let host = server.address();
    let tags = world.run(&["tags", &format!("{host}/a")]);
    assert_eq!(tags.good().out(), "1\n2\n3\n");
    assert!(tags.err().contains("bad\\u{1b}[2J") && !tags.err().contains('\u{1b}'), "{}", tags.err());
    assert_eq!(world.run(&["tags", &format!("{host}/b")]).good().out(), "");
    world.run(&["tags", &format!("{host}/c")]).fails(&["leads to another host"]);
    let json = world.run(&["tags", "--json", &format!("{host}/b")]);
    assert_eq!(json.good().out(), "{\"name\":\"b\",\"tags\":[]}\n");
}

#[test]
fn a_catalog_holds_names_of_repositories_only() {
    let world = World::new();
    let server = Server::new(|request| match request.path.as_str() {
        "/v2/_catalog" => Reply::new(200, "{\"repositories\":[\"a/b\",\"../c\",\"D\",\"e\\u009b2J\",\"f\\ng\"]}"),
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(404, ""),
    });
    let list = world.run(&["catalog", &server.address()]);
    assert_eq!(list.good().out(), "a/b\n");
    assert_eq!(list.err().lines().count(), 4, "{}", list.err());
    assert!(!list.err().contains('\u{9b}'), "{}", list.err());
    let json = world.run(&["catalog", "--json", &server.address()]);
    assert_eq!(json.good().out(), "{\"repositories\":[\"a/b\"]}\n");
}
