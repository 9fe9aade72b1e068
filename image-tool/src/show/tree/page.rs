//! An HTML page that shows the tree of an image as a treemap, in a single file without scripts or external resources.

use std::fmt::Write;

use super::{Node, Tree};
use crate::show::human;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 700.0;
/// Rectangles smaller than this in either direction are not divided further.
const LEAST: f64 = 14.0;
const COLOURS: [&str; 10] =
    ["#4c78a8", "#f58518", "#54a24b", "#b279a2", "#eeca3b", "#72b7b2", "#e45756", "#9d755d", "#ff9da6", "#8c8c8c"];

/// The page, with the name of the image as its title.
#[must_use]
pub fn page(title: &str, tree: &Tree) -> String {
    let mut text = String::new();
    let title = escape(title);
    let percent = if tree.size() == 0 { 0.0 } else { tree.wasted() as f64 * 100.0 / tree.size() as f64 };
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        text,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>\n\
         body {{ font: 14px sans-serif; margin: 2em; max-width: {WIDTH}px }}\n\
         table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ padding: 2px 12px 2px 0; text-align: left }}\n\
         td.n {{ text-align: right; font-variant-numeric: tabular-nums }} svg {{ width: 100%; height: auto }}\n\
         rect {{ stroke: #fff }} rect:hover {{ stroke: #000 }} text {{ font-size: 11px; pointer-events: none }}\n\
         </style>\n<h1>{title}</h1>\n<p>{} in {} layers; {} ({percent:.1}%) replaced or deleted by later ones.</p>\n",
        human::size(tree.size()),
        tree.layers.len(),
        human::size(tree.wasted())
    );
    text.push_str("<table>\n<tr><th></th><th>Layer</th><th>Size</th><th>Wasted</th><th>Created by</th></tr>\n");
    for (index, layer) in tree.layers.iter().enumerate() {
        let _ = writeln!(
            text,
            "<tr><td style=\"background:{}\">&emsp;</td><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            colour(index),
            escape(layer.digest.get(7..19).unwrap_or(&layer.digest)),
            human::size(layer.size),
            human::size(layer.wasted),
            escape(&layer.created_by)
        );
    }
    let _ = writeln!(text, "</table>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    draw(&mut text, &tree.root, "", Area { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT });
    text.push_str("</svg>\n");
    if !tree.waste.is_empty() {
        text.push_str(
            "<h2>Wasted</h2>\n<table>\n<tr><th>Size</th><th>Path</th><th>In layer</th><th>Gone in</th></tr>\n",
        );
        for waste in tree.waste.iter().take(100) {
            let _ = writeln!(
                text,
                "<tr><td class=\"n\">{}</td><td>/{}</td><td>{}</td><td>{}</td></tr>",
                human::size(waste.size),
                escape(&waste.path.to_string_lossy()),
                waste.layer + 1,
                waste.by + 1
            );
        }
        text.push_str("</table>\n");
    }
    text.push_str("</html>\n");
    text
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn colour(layer: usize) -> &'static str {
    COLOURS[layer % COLOURS.len()]
}

fn draw(text: &mut String, node: &Node, path: &str, area: Area) {
    if node.size == 0 || area.width < 1.0 || area.height < 1.0 {
        return;
    }
    let divided = !node.children.is_empty() && area.width >= LEAST && area.height >= LEAST;
    let Area { x, y, width, height } = area;
    let _ = writeln!(
        text,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\"{}><title>/{} {}</title></rect>",
        colour(node.layer),
        if divided { " fill-opacity=\"0.35\"" } else { "" },
        escape(path),
        human::size(node.size)
    );
    let name = path.rsplit('/').next().unwrap_or_default();
    let room = (width / 6.5) as usize;
    let labelled = !name.is_empty() && height >= 14.0 && room >= 4;
    if labelled {
        let short: String = name.chars().take(room).collect();
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 3.0, y + 11.0, escape(&short));
    }
    if !divided {
        return;
    }
    let top = if labelled { 14.0 } else { 1.0 };
    let inside = Area { x: x + 1.0, y: y + top, width: width - 2.0, height: height - top - 1.0 };
    let mut children: Vec<(&String, &Node)> = node.children.iter().filter(|(_, child)| child.size > 0).collect();
    children.sort_by(|a, b| b.1.size.cmp(&a.1.size).then_with(|| a.0.cmp(b.0)));
    let sizes: Vec<f64> = children.iter().map(|(_, child)| child.size as f64).collect();
    for ((name, child), area) in children.iter().zip(squarify(&sizes, inside)) {
        let path = if path.is_empty() { (*name).clone() } else { format!("{path}/{name}") };
        draw(text, child, &path, area);
    }
}

/// Divides an area into rectangles of these sizes, the largest first, as square as possible (Bruls, Huizing and van
/// Wijk, 2000).
fn squarify(sizes: &[f64], mut area: Area) -> Vec<Area> {
    let total: f64 = sizes.iter().sum();
    if total <= 0.0 || area.width <= 0.0 || area.height <= 0.0 {
        return Vec::new();
    }
    let scale = area.width * area.height / total;
    let mut areas = Vec::with_capacity(sizes.len());
    let mut rest = sizes;
    while !rest.is_empty() {
        let side = area.width.min(area.height);
        let worst = |row: &[f64]| {
            let sum: f64 = row.iter().sum::<f64>() * scale;
            let (largest, smallest) = (row[0] * scale, row[row.len() - 1] * scale);
            (side * side * largest / (sum * sum)).max(sum * sum / (side * side * smallest))
        };
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count]) <= worst(&rest[..count]) {
            count += 1;
        }
        let (row, after) = rest.split_at(count);
        let sum: f64 = row.iter().sum::<f64>() * scale;
        let depth = sum / side;
        let mut offset = 0.0;
        for size in row {
            let length = size * scale / depth;
            areas.push(if area.width >= area.height {
                Area { x: area.x, y: area.y + offset, width: depth, height: length }
            } else {
                Area { x: area.x + offset, y: area.y, width: length, height: depth }
            });
            offset += length;
        }
        if area.width >= area.height {
            area.x += depth;
            area.width -= depth;
        } else {
            area.y += depth;
            area.height -= depth;
        }
        rest = after;
    }
    areas
}

fn escape(text: &str) -> String {
    human::plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rectangles_fill_the_area_by_size() {
        let area = Area { x: 0.0, y: 0.0, width: 60.0, height: 40.0 };
        let sizes = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0];
        let areas = squarify(&sizes, area);
        assert_eq!(areas.len(), sizes.len());
        for (size, area) in sizes.iter().zip(&areas) {
            assert!((area.width * area.height - size * 100.0).abs() < 1e-6, "{size} {area:?}");
            assert!(area.width / area.height < 4.0 && area.height / area.width < 4.0, "{area:?}");
            assert!(area.x >= 0.0 && area.y >= 0.0 && area.x + area.width < 60.1 && area.y + area.height < 40.1);
        }
        assert!(squarify(&[], area).is_empty() && squarify(&[0.0], area).is_empty());
    }

    #[test]
    fn names_in_an_image_cannot_write_into_the_page() {
        assert_eq!(escape("<script>\"&\u{1b}"), "&lt;script&gt;&quot;&amp;\\u{1b}");
    }
}
