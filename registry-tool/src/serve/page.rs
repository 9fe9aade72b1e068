//! Pages for people: the repositories, and of each its tags, platforms and layers. Without scripts, and nothing is loaded from elsewhere.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HOST, HeaderValue};
use image_tool::address::digest;
use image_tool::layout::{Image, Layout, is_index};
use image_tool::show::human::{plain, size};
use oci_spec::image::Descriptor;

use super::ask::{Ask, unknown};
use super::content::{Answer, document};
use super::failure::{Failure, blocking};
use super::list::names;
use super::store::catalog::Catalog;

/// How many repositories or tags a page shows.
const ROWS: usize = 200;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
h1,h2,h3{line-height:1.2}a{color:#0550ae}code,pre{font:13px/1.4 monospace;background:#f3f4f6;border-radius:3px;padding:.1em .3em}\
pre{padding:.6em;overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}\
th,td{text-align:left;vertical-align:top;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;white-space:nowrap}td.by{word-break:break-word}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}a{color:#7ab7ff}code,pre{background:#2a2a2a}th,td{border-color:#444}}";

/// The page of the registry, or of one repository.
pub(super) async fn page(ask: Arc<Ask>, repository: Option<String>) -> Result<Answer, Failure> {
    blocking(move || {
        let body = match &repository {
            None => repositories(&ask)?,
            Some(name) => tags(&ask, name)?,
        };
        let title = repository.as_deref().unwrap_or("Registry");
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
            title = escape(title)
        );
        let mut answer = document("text/html; charset=utf-8", Bytes::from(text), ask.is_head());
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        Ok(answer)
    })
    .await
}

/// Text from anywhere as text of a page or a quoted attribute.
fn escape(text: &str) -> String {
    let text = plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn host(ask: &Ask) -> String {
    escape(ask.header(HOST).unwrap_or("localhost"))
}

/// What comes after `last`, and the link to the rest.
fn rows(ask: &Ask, all: impl Iterator<Item = String>, path: &str) -> (Vec<String>, String) {
    let last = ask.query.get("last").unwrap_or_default();
    let mut names = all.filter(|name| name.as_str() > last);
    let rows: Vec<String> = names.by_ref().take(ROWS).collect();
    let link = match (rows.last(), names.next()) {
        (Some(last), Some(_)) => format!("<p><a href=\"{path}?last={}\">More</a></p>\n", escape(last)),
        _ => String::new(),
    };
    (rows, link)
}

fn repositories(ask: &Ask) -> Result<String, Failure> {
    let (names, link) = rows(ask, names(ask)?.into_iter(), "/");
    let mut text = format!("<h1>Registry {}</h1>\n", host(ask));
    if names.is_empty() {
        let _ = writeln!(text, "<p>There is no image. To push one:</p>\n<pre>docker push {}/NAME</pre>", host(ask));
        return Ok(text);
    }
    text.push_str("<table>\n<tr><th>Repository</th><th>Tags</th></tr>\n");
    for name in &names {
        let Some(place) = ask.hall.namespace.find(name, None)? else { continue };
        let catalog = place.store.catalog()?;
        let Some(repository) = catalog.repository(&place.repository) else { continue };
        let tags: Vec<String> = repository.tags.keys().take(8).map(|tag| escape(tag)).collect();
        let more = if repository.tags.len() > tags.len() {
            format!(" and {} more", repository.tags.len() - 8)
        } else {
            String::new()
        };
        let name = escape(name);
        let _ = writeln!(
            text,
            "<tr><td><a href=\"/repository/{name}\">{name}</a></td><td>{}{more}</td></tr>",
            tags.join(", ")
        );
    }
    Ok(text + "</table>\n" + &link)
}

fn tags(ask: &Ask, name: &str) -> Result<String, Failure> {
    let place = ask.place(name)?;
    let catalog = place.store.catalog()?;
    let repository = catalog.repository(&place.repository).ok_or_else(|| unknown(name))?;
    let (tags, link) = rows(ask, repository.tags.keys().cloned(), &format!("/repository/{}", escape(name)));
    let (host, name) = (host(ask), escape(name));
    let mut text = format!("<p><a href=\"/\">All repositories</a></p>\n<h1>{name}</h1>\n");
    for tag in &tags {
        let Some(descriptor) = repository.tags.get(tag) else { continue };
        let (tag, digest) = (escape(tag), escape(descriptor.digest().as_ref()));
        let _ = writeln!(
            text,
            "<h2 id=\"{tag}\">{tag}</h2>\n<pre>docker pull {host}/{name}:{tag}\nregistry-tool pull {host}/{name}:{tag}</pre>\n\
             <p><code>{digest}</code></p>"
        );
        for image in images(&catalog, descriptor) {
            show(&mut text, place.store.layout(), image);
        }
    }
    Ok(text + &link)
}

/// An image itself, or those of an index.
fn images<'a>(catalog: &'a Catalog, descriptor: &'a Descriptor) -> Vec<&'a Descriptor> {
    match catalog.document(descriptor.digest()) {
        Some(index) if is_index(descriptor) => index.manifests.iter().collect(),
        _ => vec![descriptor],
    }
}

fn show(text: &mut String, layout: &Layout, descriptor: &Descriptor) {
    let short = escape(digest::short(descriptor.digest()));
    match layout.image_of(descriptor) {
        Ok(image) => layers(text, &image),
        // Charts, signatures and attestations are no container images, and an index may name more than there is.
        Err(_) if layout.has(descriptor) => {
            let media_type = escape(descriptor.media_type().as_ref());
            let _ = writeln!(text, "<p>Not a container image: <code>{short}</code>, {media_type}</p>");
        }
        Err(_) => {
            let platform =
                descriptor.platform().as_ref().map(|platform| format!("{}/{}", platform.os(), platform.architecture()));
            let platform = escape(platform.as_deref().unwrap_or("unknown platform"));
            let _ = writeln!(text, "<p>{platform}: not here (<code>{short}</code>)</p>");
        }
    }
}

fn layers(text: &mut String, image: &Image) {
    let config = image.config();
    let mut platform = format!("{}/{}", config.os(), config.architecture());
    if let Some(variant) = config.variant() {
        platform.push_str(&format!("/{variant}"));
    }
    let total = image.manifest().layers().iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size()));
    let count = image.manifest().layers().len();
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "<h3>{}</h3>\n<p>{} in {count} layer{plural}, <code>{}</code>{}</p>\n<table>\n<tr><th>Layer</th><th class=\"n\">Size</th><th>Created by</th></tr>",
        escape(&platform),
        size(total),
        escape(digest::short(image.descriptor().digest())),
        config.created().as_ref().map(|time| format!(", {}", escape(time))).unwrap_or_default(),
    );
    // An entry of the history without a layer changed only the config.
    let history = config.history().iter().flatten().filter(|entry| entry.empty_layer() != Some(true));
    let mut history = history.map(|entry| entry.created_by().clone().unwrap_or_default());
    for (layer, _) in image.layers() {
        let by: String = history.next().unwrap_or_default().chars().take(500).collect();
        let _ = writeln!(
            text,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"by\">{}</td></tr>",
            escape(digest::short(layer.digest())),
            size(layer.size()),
            escape(&by)
        );
    }
    text.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_an_image_is_markup() {
        assert_eq!(escape("<b a='1' c=\"2\">&\u{1b}"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\\u{1b}");
    }
}
