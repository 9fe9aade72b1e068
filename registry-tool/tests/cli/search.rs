//! `registry-tool search`.

use crate::server::{Reply, Server};
use crate::world::{World, mirror};

#[test]
fn search_shows_dockers_table_or_looks_through_the_catalog() {
    let world = World::new();
    let hub = Server::new(|request| match request.path.as_str() {
        "/v1/search" => Reply::new(
            200,
            r#"{"num_results":2,"results":[
                {"name":"pypy","description":"Fast","star_count":260,"is_official":true},
                {"name":"python","description":"A language","star_count":5757,"is_official":true},
                {"name":"xag/python","description":"Mine\nown","star_count":3,"is_automated":true}]}"#,
        ),
        _ => Reply::new(404, ""),
    });
    mirror(&world, &[&hub]);
    let table = "\
NAME                DESCRIPTION         STARS               OFFICIAL            AUTOMATED
python              A language          5757                [OK]                \n\
pypy                Fast                260                 [OK]                \n\
xag/python          Mine own            3                                       [OK]
";
    assert_eq!(world.run(&["search", "python"]).good().out(), table);
    assert!(hub.seen_at("GET", "/v1/search")[0].query.contains("q=python&n=25"));
    let names = |arguments: &[&str]| {
        let mut all = vec!["search", "python", "--format", "{{.Name}}"];
        all.extend(arguments);
        world.run(&all).good().out()
    };
    assert_eq!(names(&["--filter", "is-official=true"]), "python\npypy\n");
    assert_eq!(names(&["--filter", "stars=300"]), "python\n");
    assert_eq!(names(&["--limit", "1"]), "pypy\n");
    let list = Server::new(|request| match request.path.as_str() {
        "/v2/_catalog" => Reply::new(200, r#"{"repositories":["library/centos","library/python","xag/pythons"]}"#),
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(404, ""),
    });
    let host = list.address();
    let found = world.run(&["search", &format!("{host}/python"), "--format", "{{.Name}}"]);
    assert_eq!(found.good().out(), format!("{host}/library/python\n{host}/xag/pythons\n"));
    world.run(&["search", "--limit", "1", &format!("{host}/python")]).good();
}

#[test]
fn what_a_registry_says_cannot_drive_a_terminal() {
    let world = World::new();
    let hub = Server::new(|request| match request.path.as_str() {
        "/v1/search" => {
            Reply::new(200, r#"{"results":[{"name":"a\u001b[2J","description":"b\u009bc\rd","star_count":1}]}"#)
        }
        _ => Reply::new(404, ""),
    });
    mirror(&world, &[&hub]);
    for arguments in [&["search", "a"][..], &["search", "a", "--format", "table {{.Name}}\t{{.Description}}"]] {
        let shown = world.run(arguments);
        let out = shown.good().out();
        assert!(out.contains("a\\u{1b}[2J") && out.contains("b\\u{9b}c d"), "{out}");
        assert!(!out.trim_end().replace('\n', "").contains(char::is_control), "{out:?}");
    }
    let piped = world.run(&["search", "a", "--format", "{{.Name}}"]);
    assert_eq!(piped.good().out(), "a\u{1b}[2J\n", "a pipe gets the value itself");
    let rude = Server::new(|request| match request.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(400, r#"{"errors":[{"code":"X","message":"no\nway\u001b[31m\u009b"}]}"#),
    });
    let refused = world.run(&["pull", &format!("{}/a", rude.address()), "images"]);
    refused.fails_in_a_line(&["no way\\u{1b}[31m\\u{9b}"]);
    assert!(!refused.err().trim_end().contains(char::is_control), "{:?}", refused.err());
}
