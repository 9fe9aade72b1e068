//! What happens to containers, in the journal of the data folder.

use std::collections::BTreeMap;

use image_tool::address::home::Home;
use image_tool::layout::journal::{Actor, Event, append};

use crate::bundle::annotation;

/// Records that something happened to a container, which its annotations describe.
pub fn record_container<'a>(home: &Home, action: &str, name: &str, annotation: impl Fn(&str) -> Option<&'a str>) {
    let text = |key: &str| annotation(key).unwrap_or_default().to_owned();
    let mut attributes: BTreeMap<String, String> = serde_json::from_str(&text(annotation::LABELS)).unwrap_or_default();
    attributes.insert("image".into(), text(annotation::IMAGE));
    attributes.insert("name".into(), name.to_owned());
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
