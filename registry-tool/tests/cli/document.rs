//! Manual pages and completions.

use crate::world::World;

#[test]
fn man_and_completions_are_printed() {
    let world = World::new();
    world.run(&["man", "."]).good();
    let page = std::fs::read_to_string(world.path("registry-tool-pull.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("registry\\-tool pull"), "{page}");
    assert!(world.run(&["completions", "bash"]).good().out().contains("registry-tool"));
}
