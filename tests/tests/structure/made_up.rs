//! The checks themselves, on small sources made up here: each must fail on what it is there to refuse.

use crate::circle::circles;
use crate::source::Crate;
use crate::{rules, tracked};

fn made_of(files: &[(&str, &str)]) -> Crate {
    Crate::read("some-tool", files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect())
}

/// The first line of each circle, from the colon on.
fn shortest(files: &[(&str, &str)]) -> Vec<String> {
    let first = |text: String| text.lines().next().unwrap().rsplit_once(": ").unwrap().1.to_owned();
    circles(&made_of(files)).into_iter().map(first).collect()
}

#[track_caller]
fn circle(expected: &str, files: &[(&str, &str)]) {
    assert_eq!(shortest(files), [expected]);
}

#[track_caller]
fn no_circle(files: &[(&str, &str)]) {
    assert_eq!(circles(&made_of(files)), [""; 0]);
}

const AB: (&str, &str) = ("lib.rs", "mod a; mod b;");

#[test]
fn siblings_that_use_each_other_are_a_circle() {
    circle(
        "a -> b -> a",
        &[AB, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use super::a::A; pub struct B;")],
    );
    no_circle(&[AB, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "pub struct B;")]);
}

#[test]
fn a_circle_is_told_with_what_ties_it() {
    let a = ("a.rs", "use std::io;\nuse crate::b::{B, other};");
    let b = ("b.rs", "pub struct B;\nfn f() { super::a::f(); }");
    let told = "some_tool, the top floor: a circle of 2: a -> b -> a\n  \
        a -> b: a.rs:2: crate::b::B, a.rs:2: crate::b::other\n  \
        b -> a: b.rs:2: super::a::f";
    assert_eq!(circles(&made_of(&[AB, a, b])), [told]);
}

#[test]
fn the_shortest_way_of_a_longer_circle_is_told() {
    let root = ("lib.rs", "mod a; mod b; mod c; mod d;");
    let b = ("b.rs", "use crate::{c::C, d};");
    let c = ("c.rs", "use crate::d;");
    circle("a -> b -> d -> a", &[root, ("a.rs", "use crate::b;"), b, c, ("d.rs", "use crate::a::A;")]);
}

#[test]
fn rooms_tied_through_their_grandchildren_are_a_circle() {
    let rooms = [("a.rs", "mod x;"), ("a/x.rs", "mod y;"), ("b.rs", "mod x; pub struct B;"), ("b/x.rs", "pub mod y;")];
    let ties = [("a/x/y.rs", "use crate::b::B;"), ("b/x/y.rs", "fn f(_: super::super::super::a::x::X) {}")];
    circle("a -> b -> a", &[&[AB], &rooms[..], &ties].concat());
    no_circle(&[&[AB], &rooms[..], &[ties[0], ("b/x/y.rs", "use super::super::B;")]].concat());
}

#[test]
fn a_parent_and_its_child_are_no_circle() {
    let parent = ("a.rs", "mod x; use x::X; pub struct A;");
    no_circle(&[AB, parent, ("a/x.rs", "use super::A; use crate::a; pub struct X;"), ("b.rs", "use crate::a::A;")]);
}

#[test]
fn the_children_of_one_room_are_seen_too() {
    let room = ("a.rs", "mod x; mod y;");
    let found = shortest(&[AB, room, ("a/x.rs", "use super::y::Y;"), ("a/y.rs", "use crate::a::x::X;"), ("b.rs", "")]);
    assert_eq!(found, ["x -> y -> x"]);
}

#[test]
fn super_goes_up_by_one_room_each_time() {
    let root = ("lib.rs", "mod a; mod x;");
    let x = ("x.rs", "use crate::a::A;");
    let room = [("a.rs", "mod x; mod y; pub struct A;"), ("a/y.rs", "use super::x::X;")];
    circle("a -> x -> a", &[&[root, x, ("a/x.rs", "use super::super::x;")], &room[..]].concat());
    circle("a -> x -> a", &[&[root, x, ("a/x.rs", "use self::super::super::x::X;")], &room[..]].concat());
    circle("x -> y -> x", &[&[root, x, ("a/x.rs", "use super::y;")], &room[..]].concat());
}

#[test]
fn a_name_handed_on_leads_to_where_it_is_defined() {
    // x takes from its parent what is y's.
    let handed_on =
        [("a.rs", "mod x; mod y; pub use y::Y;"), ("a/y.rs", "use super::x::X; pub struct Y;"), ("b.rs", "")];
    circle("x -> y -> x", &[&[AB, ("a/x.rs", "use super::Y; pub struct X;")], &handed_on[..]].concat());
    circle("x -> y -> x", &[&[AB, ("a/x.rs", "pub struct X; fn f(_: super::Y) {}")], &handed_on[..]].concat());
    // The root hands on what is b's.
    let root = ("lib.rs", "mod a; mod b; pub use b::B as C;");
    circle("a -> b -> a", &[root, ("a.rs", "use crate::C; pub struct A;"), ("b.rs", "use crate::a::A; pub struct B;")]);
    // c hands it on, and is used as well.
    let root = ("lib.rs", "mod a; mod b; mod c;");
    let c = ("c.rs", "pub use crate::b::*;");
    circle("a -> b -> a", &[root, ("a.rs", "use crate::c::B;"), ("b.rs", "use crate::a::A; pub struct B;"), c]);
    let c = ("c.rs", "pub use crate::b::B; use crate::a::A;");
    circle("a -> c -> a", &[root, ("a.rs", "use crate::c::B;"), ("b.rs", "pub struct B;"), c]);
}

#[test]
fn a_glob_leads_to_the_names_that_come_through_it() {
    let room = [("a.rs", "mod x; mod y; pub use y::Y;"), ("a/y.rs", "use super::x::X; pub struct Y;"), ("b.rs", "")];
    circle("x -> y -> x", &[&[AB, ("a/x.rs", "use super::*; fn f(_: Y) {}")], &room[..]].concat());
    no_circle(&[&[AB, ("a/x.rs", "use super::*; fn f(_: Z) {}")], &room[..]].concat());
}

#[test]
fn a_name_may_lead_to_itself() {
    let room = ("a.rs", "mod x; pub use x::x; use x::*; mod y; use y::*;");
    let children = [("a/x.rs", "use super::y::*; pub fn x() {}"), ("a/y.rs", "use super::*; fn f() { x(); x::x(); }")];
    circle("x -> y -> x", &[&[AB, room, ("b.rs", "use crate::a::x; use a::a;")], &children[..]].concat());
}

#[test]
fn paths_are_seen_wherever_they_stand() {
    let places = [
        "fn f() { crate::b::f(); }",
        "fn f() { use crate::b; }",
        "fn f(_: &[Option<crate::b::B>]) {}",
        "fn f() -> impl Iterator<Item = crate::b::B> {}",
        "struct A { b: Box<dyn crate::b::B> }",
        "impl crate::b::B for A {}",
        "impl A { fn f() { match x { crate::b::X::Y => {} _ => {} } } }",
        "fn f() { <A as crate::b::B>::f() }",
        "use crate::b; ",
        "use crate::{a::{self}, b::{self as c}};",
        "fn f() { println!(\"{}\", crate::b::f()); }",
        "fn f() { matches!(x, A { x, .. } if x == [..crate::b::X]); }",
        "fn f() { vec![vec![super::b::B { x: 1 }]] }",
        "fn f() { crate::b!() }",
        "#[derive(crate::b::B)] struct A;",
        "struct A { #[arg(value_parser = crate::b::parse)] a: u8 }",
        "struct A { #[serde(with = \"crate::b\")] a: u8 }",
        "const A: u8 = crate::b::B;",
        "trait A: crate::b::B {}",
        "macro_rules! a { () => { $crate::b::f() } }",
        "mod inside { fn f() { super::super::b::f() } }",
        "#[cfg(not(test))] use crate::b;",
    ];
    for place in places {
        assert_eq!(shortest(&[AB, ("a.rs", place), ("b.rs", "use crate::a;")]), ["a -> b -> a"], "{place}");
    }
}

#[test]
fn a_module_taken_by_its_name_is_followed_further() {
    let room = [("a.rs", "mod x; pub mod y;"), ("a/y.rs", "use super::x::X;"), ("b.rs", "")];
    circle("x -> y -> x", &[&[AB, ("a/x.rs", "use crate::a; fn f() { a::y::f() }")], &room[..]].concat());
    circle("x -> y -> x", &[&[AB, ("a/x.rs", "use crate as c; fn f() { c::a::y::f() }")], &room[..]].concat());
}

#[test]
fn what_leads_elsewhere_is_no_arrow() {
    for other in [
        "use b::B;",
        "use ::b::B;",
        "use other::b::B;",
        "fn f() { b.b::<u8>(); self.b(); }",
        "fn f() { b(); let b = b; }",
        "/// See [`crate::b::B`].\nfn f() {}",
        "fn f() { println!(\"crate::b::B\"); x!(a.b::f()); x!(::b::f()) }",
        "#[doc = \"crate::b\"] struct B;",
    ] {
        assert_eq!(shortest(&[AB, ("a.rs", other), ("b.rs", "use crate::a;")]), [""; 0], "{other}");
    }
}

#[test]
fn code_for_tests_is_passed_over() {
    for test in [
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] mod tests;",
        "#[cfg(test)] use crate::b::B;",
        "#[cfg(all(test, unix))] fn f() { crate::b::f() }",
        "struct A; impl A { #[cfg(test)] fn f() { crate::b::f() } }",
    ] {
        let files = [AB, ("a.rs", test), ("a/tests.rs", "use crate::b;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(shortest(&files), [""; 0], "{test}");
    }
}

#[test]
fn the_program_sees_the_library_by_its_name() {
    let library = ("lib.rs", "pub mod a;");
    let program = ("main.rs", "mod command; fn main() { some_tool::a::f() }");
    let command = ("command.rs", "mod x; mod y; pub struct C;");
    let x = ("command/x.rs", "use some_tool::a::A; use super::y;");
    no_circle(&[library, program, command, x, ("a.rs", ""), ("command/y.rs", "")]);
    circle("x -> y -> x", &[library, program, command, x, ("a.rs", ""), ("command/y.rs", "use crate::command::x;")]);
    // Were there a way back, it would be seen: here by a name that both have.
    circle(
        "a -> command -> a",
        &[
            ("lib.rs", "pub mod a; mod command;"),
            program,
            command,
            x,
            ("a.rs", "use crate::command::C;"),
            ("command/y.rs", ""),
        ],
    );
}

#[test]
fn a_module_may_lie_in_a_folder_of_its_own() {
    circle("a -> b -> a", &[AB, ("a/mod.rs", "mod x;"), ("a/x.rs", "use crate::b;"), ("b.rs", "use crate::a;")]);
}

#[test]
fn a_module_of_another_crate_is_left_to_it() {
    let a = ("a.rs", "mod x;");
    let x = ("a/x.rs", "#[path = \"../../../other/src/y.rs\"] mod y; use y::Y; use crate::b::B;");
    no_circle(&[AB, a, x, ("b.rs", "pub struct B;")]);
    circle("a -> b -> a", &[AB, a, x, ("b.rs", "use crate::a::x::y::Y;")]);
}

#[test]
#[should_panic(expected = "a.rs: `mod x;` leads to no file")]
fn a_module_without_a_file_is_refused() {
    made_of(&[AB, ("a.rs", "mod x;"), ("b.rs", ""), ("x.rs", "")]);
}

#[test]
fn rooms_of_the_library_and_the_program_are_counted_together() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("main.rs", "mod c;"),
        ("a.rs", "mod x;"),
        ("a/x.rs", ""),
        ("b.rs", ""),
        ("c.rs", ""),
    ];
    assert_eq!(rules::top_floor(&made_of(&files), 3), [""; 0]);
    assert_eq!(rules::top_floor(&made_of(&files), 2), ["some_tool: 3 rooms on the top floor, 2 at most: a, b, c"]);
}

#[test]
fn a_head_comment_has_two_sentences() {
    let head = |text| rules::heads(&made_of(&[AB, ("a.rs", text), ("a/x.rs", "//! None needed"), ("b.rs", "")]));
    assert_eq!(head("//! What it holds, e.g. a thing.\n//! What it\n//! may know (nothing).\nmod x;"), [""; 0]);
    for poor in
        ["mod x;", "//! One, of no. 7 words\nmod x;", "//! One.\n\n// Two. Three.\nmod x;", "/// One. Two.\nmod x;"]
    {
        assert_eq!(head(poor), ["some_tool: a.rs: the head comment has fewer than two sentences"], "{poor}");
    }
}

#[test]
fn empty_names_are_refused() {
    let files = [AB, ("a.rs", "mod utils;"), ("a/utils.rs", ""), ("b.rs", "mod types { struct X; }")];
    let told = ["some_tool: a::utils: name it after what it holds", "some_tool: b::types: name it after what it holds"];
    assert_eq!(rules::names(&made_of(&files)), told);
}

#[test]
fn long_files_and_lost_ones_are_refused() {
    let files = made_of(&[("lib.rs", "mod a;"), ("a.rs", "\n\n\n"), ("b.rs", ""), ("a/x.rs", "")]);
    assert_eq!(rules::lengths(&files, 3), [""; 0]);
    assert_eq!(rules::lengths(&files, 2), ["some_tool: a.rs: 3 lines, 2 at most"]);
    assert_eq!(
        rules::unreached(&files),
        ["some_tool: a/x.rs: no `mod` leads to it", "some_tool: b.rs: no `mod` leads to it"]
    );
}

#[test]
fn unsafe_code_is_found_in_whatever_it_is_wrapped() {
    let unsafe_files = |text| rules::unsafe_files(&made_of(&[("lib.rs", text)]));
    for text in ["fn f() { unsafe { g() } }", "unsafe impl A for B {}", "x!({ [unsafe { f() }] });", "unsafe fn f() {}"]
    {
        assert_eq!(unsafe_files(text), ["lib.rs"], "{text}");
    }
    assert_eq!(unsafe_files("#![deny(unsafe_code)]\n//! unsafe\nfn f() { g(\"unsafe\") } // unsafe"), [""; 0]);
}

#[test]
fn stray_files_do_not_belong() {
    for stray in [
        "runc-criu-log-2.log",
        "run-tool/runc-criu-log-2.log",
        "run-tool/tests/core.123",
        "image-tool/src/layer.rs.orig",
        "image-tool/src/layer.rs~",
        "image-tool/src/.layer.rs.swp",
        "tests/nohup.out",
        "tests/tests/docker.rs.rej",
        "findings/output.log",
        "nohup.out",
        "notes.md",
        ".main.rs.swp",
        "docs/design.md",
        "tests/fuzz/corpus/address/1",
        "tests/contexts/make/program",
        "tests/contexts/Dockerfile",
        "run-tool/criu/dump.log",
    ] {
        assert!(!tracked::belongs(stray), "{stray}");
    }
    for ours in [
        "README.md",
        ".ci/run",
        "tests/docker",
        "tests/contexts/make/Makefile",
        "tests/contexts/deb/debian/rules",
        "run-tool/src/command/spec.json",
        "findings/README.md",
    ] {
        assert!(tracked::belongs(ours), "{ours}");
    }
}
