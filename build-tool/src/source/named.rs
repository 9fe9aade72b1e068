//! Contexts with a name (`--build-context`): each is opened when it is needed, and once.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use image_tool::address::home::Home;

use super::access::Access;
use super::context::{self, Tree};
use super::place::Place;
use crate::dockerfile::plan::full_name;

/// The contexts of a build by name, in the form of [`full_name`].
#[derive(Debug, Default)]
pub struct Named {
    contexts: BTreeMap<String, Context>,
}

#[derive(Debug)]
struct Context {
    place: Place,
    tree: OnceLock<Tree>,
    /// Held while the context is opened.
    opening: Mutex<()>,
}

impl Named {
    /// Contexts by their names.
    pub fn new(places: &BTreeMap<String, Place>) -> Self {
        let context =
            |place: &Place| Context { place: place.clone(), tree: OnceLock::new(), opening: Mutex::default() };
        Self { contexts: places.iter().map(|(name, place)| (full_name(name), context(place))).collect() }
    }

    /// The place of a context.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.contexts.get(&full_name(name)).map(|context| &context.place)
    }

    /// Whether a context holds files, and is no image.
    pub fn is_tree(&self, name: &str) -> bool {
        self.place(name).is_some_and(Place::is_tree)
    }

    /// The contexts that were opened, by name.
    pub fn opened(&self) -> impl Iterator<Item = (&str, &Tree)> {
        self.contexts.iter().filter_map(|(name, context)| Some((name.as_str(), context.tree.get()?)))
    }

    /// The files of a context.
    pub fn tree(&self, name: &str, access: &Access, home: &Home) -> Result<&Tree, context::Error> {
        let context = self.contexts.get(&full_name(name)).expect("the plan names only contexts that there are");
        let _opening = context.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = context.tree.get() {
            return Ok(tree);
        }
        let tree = Tree::of_named(name, &context.place, access, home)?;
        Ok(context.tree.get_or_init(|| tree))
    }
}
