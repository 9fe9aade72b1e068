//! The graph of a Dockerfile's stages, for Graphviz or as SVG.

use std::collections::BTreeMap;
use std::fmt::Write;

use image_tool::show::human::plain;

use super::plan::{Base, Plan};

/// A stage or an image.
#[derive(Debug, PartialEq)]
struct Node {
    label: String,
    image: bool,
    needed: bool,
    target: bool,
    /// The length of the longest path that leads to it, which is its column.
    depth: usize,
}

/// The nodes, and the edges from one to another; `true` marks the edge from a stage's base.
type Drawing = (Vec<Node>, Vec<(usize, usize, bool)>);

fn drawing(plan: &Plan) -> Drawing {
    let needed = plan.needed();
    let mut nodes: Vec<Node> = plan
        .stages
        .iter()
        .enumerate()
        .map(|(number, stage)| Node {
            label: plain(&stage.name.clone().unwrap_or_else(|| format!("stage {number}"))),
            image: false,
            needed: needed.contains(&number),
            target: number == plan.target,
            depth: 0,
        })
        .collect();
    let mut images: BTreeMap<String, usize> = BTreeMap::new();
    let mut edges: Vec<(usize, usize, bool)> = Vec::new();
    for number in 0..plan.stages.len() {
        for (position, source) in plan.sources(number).into_iter().enumerate() {
            let from = match source {
                Base::Scratch => continue,
                Base::Stage(stage) => stage,
                Base::Image(name) | Base::Context(name) => {
                    let node = *images.entry(name.clone()).or_insert_with(|| {
                        nodes.push(Node { label: plain(&name), image: true, needed: false, target: false, depth: 0 });
                        nodes.len() - 1
                    });
                    nodes[node].needed |= needed.contains(&number);
                    node
                }
            };
            if !edges.iter().any(|(a, b, _)| (*a, *b) == (from, number)) {
                edges.push((from, number, position == 0));
            }
        }
        // A stage takes only from earlier stages and from images, so their depths are already known.
        let before = edges.iter().filter(|(_, to, _)| *to == number).map(|(from, ..)| nodes[*from].depth + 1);
        nodes[number].depth = before.max().unwrap_or(0);
    }
    (nodes, edges)
}

/// Draws the graph in Graphviz's language.
pub fn dot(plan: &Plan) -> String {
    let (nodes, edges) = drawing(plan);
    let mut text = String::from("digraph build {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (number, node) in nodes.iter().enumerate() {
        let label = node.label.replace('\\', "\\\\").replace('"', "\\\"");
        let shape = if node.image { ", style=filled, fillcolor=lightblue" } else { "" };
        let colour = if node.needed { "" } else { ", color=grey, fontcolor=grey" };
        let target = if node.target { ", penwidth=2" } else { "" };
        let _ = writeln!(text, "  n{number} [label=\"{label}\"{shape}{colour}{target}];");
    }
    for (from, to, base) in edges {
        let style = if base { "" } else { " [style=dashed]" };
        let _ = writeln!(text, "  n{from} -> n{to}{style};");
    }
    text + "}\n"
}

const WIDTH: usize = 180;
const HEIGHT: usize = 36;
const GAP: (usize, usize) = (60, 24);

/// Draws the graph as SVG.
pub fn svg(plan: &Plan) -> String {
    let (nodes, edges) = drawing(plan);
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let places: Vec<(usize, usize)> = nodes
        .iter()
        .map(|node| {
            let row = rows.entry(node.depth).or_default();
            *row += 1;
            (20 + node.depth * (WIDTH + GAP.0), 20 + (*row - 1) * (HEIGHT + GAP.1))
        })
        .collect();
    let width = places.iter().map(|(x, _)| x + WIDTH + 20).max().unwrap_or(40);
    let height = places.iter().map(|(_, y)| y + HEIGHT + 20).max().unwrap_or(40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n"
    );
    for (from, to, base) in edges {
        let ((x1, y1), (x2, y2)) = (places[from], places[to]);
        let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
        let middle = x1.midpoint(x2);
        let dash = if base { "" } else { " stroke-dasharray=\"5 4\"" };
        let _ = writeln!(
            text,
            "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#555\"{dash}/>"
        );
    }
    for (node, (x, y)) in nodes.iter().zip(&places) {
        let fill = if node.image { "#d6eaf8" } else { "#fff" };
        let (stroke, ink) = if node.needed { ("#222", "#000") } else { ("#bbb", "#999") };
        let thick = if node.target { 2 } else { 1 };
        let label = escape(&node.label);
        let _ = writeln!(
            text,
            "<g><title>{label}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{thick}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text></g>",
            x + WIDTH / 2,
            y + HEIGHT / 2 + 5,
            escape(&cut(&node.label))
        );
    }
    text + "</svg>\n"
}

/// As much of a label as fits into its box.
fn cut(label: &str) -> String {
    match label.char_indices().nth(24) {
        Some((at, _)) => format!("{}…", &label[..at]),
        None => label.to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Dockerfile;

    fn plan() -> Plan {
        let source = "FROM golang:1 AS build\nFROM build AS unused\nFROM alpine\nCOPY --from=build /a /a\nCOPY --from=\"b<\" /b /b\nCOPY --from=\"\u{1b}c\" /c /c\n";
        Plan::new("D", &Dockerfile::parse("D", source.as_bytes()).unwrap(), &|_| None).unwrap()
    }

    #[test]
    fn stages_images_and_what_leads_where() {
        let text = dot(&plan());
        for line in [
            "n0 [label=\"build\"];",
            "n1 [label=\"unused\", color=grey, fontcolor=grey];",
            "n2 [label=\"stage 2\", penwidth=2];",
            "n3 [label=\"golang:1\", style=filled, fillcolor=lightblue];",
            "n3 -> n0;",
            "n0 -> n2 [style=dashed];",
            "[label=\"\\\\u{1b}c\"",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let text = svg(&plan());
        assert!(text.contains("b&lt;") && !text.contains("b<"), "{text}");
        assert_eq!(text.matches("<rect").count(), 7);
    }
}
