//! What happens to containers, in the journal of the data folder.

use std::collections::BTreeMap;

use image_tool::address::home::Home;
use image_tool::layout::journal::{Actor, Event, append};

use crate::bundle::{Bundle, annotation};

/// Records that something happened to the container of a bundle, with further attributes.
pub fn record_bundle(home: &Home, action: &str, bundle: &Bundle, name: &str, more: &[(&str, &str)]) {
    record_container(home, action, name, |key| bundle.annotation(key), more);
}

/// Records that something happened to a container, which its annotations describe, with further attributes.
pub fn record_container<'a>(
    home: &Home,
    action: &str,
    name: &str,
    annotation: impl Fn(&str) -> Option<&'a str>,
    more: &[(&str, &str)],
) {
    let text = |key: &str| annotation(key).unwrap_or_default().to_owned();
    let mut attributes: BTreeMap<String, String> = serde_json::from_str(&text(annotation::LABELS)).unwrap_or_default();
    attributes.insert("image".into(), text(annotation::IMAGE));
    attributes.insert("name".into(), name.to_owned());
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let id = text(annotation::ID);
    let event = Event {
        status: action.to_owned(),
        id: id.clone(),
        from: text(annotation::IMAGE),
        kind: "container".into(),
        action: action.to_owned(),
        actor: Actor { id, attributes },
        ..Event::default()
    };
    append(&home.events(), event);
}
