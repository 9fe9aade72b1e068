//! Reads a crate's modules: which names each one holds, and which paths it writes.
//!
//! Code for tests alone (`#[cfg(test)]`) is passed over. Knows Rust's grammar and layout of files, and nothing of circles.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// The files of a crate's `src`, by their path from there.
pub(crate) type Files = BTreeMap<String, String>;

/// A path as it is written somewhere, such as `super::place::Place`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// What a name stands for in the module that holds it.
#[derive(Debug)]
pub(crate) enum Name {
    /// A child, by its place among the crate's modules.
    Module(usize),
    /// Taken from elsewhere by a `use`.
    Import(Path),
    /// Defined here: a function, a type, …
    Item,
}

#[derive(Debug)]
pub(crate) struct Module {
    /// From the crate's root; empty for the root itself, be it of the library or of the program.
    pub(crate) path: Vec<String>,
    pub(crate) file: String,
    /// Whether it has a file of its own and is no block in another one's.
    pub(crate) whole_file: bool,
    pub(crate) parent: Option<usize>,
    /// One name may stand for several things: a module and a function, say.
    pub(crate) names: BTreeMap<String, Vec<Name>>,
    /// The modules and enums whose names are all taken, by a `use …::*`.
    pub(crate) globs: Vec<Path>,
    /// All paths, imports included.
    pub(crate) paths: Vec<Path>,
    /// The text of its `//!` comment.
    pub(crate) head: String,
    /// Whether it has a module in a file below it.
    pub(crate) has_folder: bool,
}

/// A crate's modules, those of its library and those of its program in one list.
pub(crate) struct Crate {
    /// As paths write it: `image_tool`.
    pub(crate) name: String,
    pub(crate) files: Files,
    pub(crate) modules: Vec<Module>,
    pub(crate) library: Option<usize>,
    pub(crate) program: Option<usize>,
    /// The files that a `mod` leads to, from `lib.rs` or `main.rs`, tests included.
    pub(crate) reached: BTreeSet<String>,
}

impl Crate {
    /// # Panics
    /// If a file does not parse, or a `mod` leads to no file.
    pub(crate) fn read(name: &str, files: Files) -> Self {
        let mut this = Self {
            name: name.replace('-', "_"),
            files,
            modules: Vec::new(),
            library: None,
            program: None,
            reached: BTreeSet::new(),
        };
        this.library = this.root("lib.rs");
        this.program = this.root("main.rs");
        this
    }

    fn root(&mut self, file: &str) -> Option<usize> {
        self.files.contains_key(file).then(|| self.read_file(file, Vec::new(), None))
    }

    fn read_file(&mut self, file: &str, path: Vec<String>, parent: Option<usize>) -> usize {
        self.reached.insert(file.to_owned());
        let syntax = syn::parse_file(&self.files[file]).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.read_module(file, true, path, parent, &syntax.attrs, &syntax.items)
    }

    fn read_module(
        &mut self,
        file: &str,
        whole_file: bool,
        path: Vec<String>,
        parent: Option<usize>,
        attributes: &[syn::Attribute],
        items: &[syn::Item],
    ) -> usize {
        let module = self.modules.len();
        self.modules.push(Module {
            path,
            file: file.to_owned(),
            whole_file,
            parent,
            names: BTreeMap::new(),
            globs: Vec::new(),
            paths: Vec::new(),
            head: attributes.iter().filter_map(|attribute| value_of(attribute, "doc")).collect::<Vec<_>>().join("\n"),
            has_folder: false,
        });
        let mut reader = Reader { of: self, module };
        for item in items {
            reader.visit_item(item);
        }
        module
    }

    /// The file of a child module that is declared without a block.
    fn file_of_child(&self, module: &Module, child: &str) -> String {
        let is_root = module.file == "lib.rs" || module.file == "main.rs";
        assert!(module.whole_file, "{}: `mod {child};` inside a block is not understood", module.file);
        let folder = if is_root { "" } else { module.file.trim_end_matches("mod.rs").trim_end_matches(".rs") };
        let folder = if folder.is_empty() || folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") };
        [format!("{folder}{child}.rs"), format!("{folder}{child}/mod.rs")]
            .into_iter()
            .find(|file| self.files.contains_key(file))
            .unwrap_or_else(|| panic!("{}: `mod {child};` leads to no file", module.file))
    }

    /// Marks a test module's file as reached, and all files below it.
    fn pass_over(&mut self, module: usize, child: &str) {
        let file = self.file_of_child(&self.modules[module], child);
        let folder = format!("{}/", file.trim_end_matches("/mod.rs").trim_end_matches(".rs"));
        let below: Vec<_> = self.files.keys().filter(|file| file.starts_with(&folder)).cloned().collect();
        self.reached.extend(below);
        self.reached.insert(file);
    }
}

/// Walks one module's items, and reads the modules inside it.
struct Reader<'a> {
    of: &'a mut Crate,
    module: usize,
}

impl Reader<'_> {
    fn this(&mut self) -> &mut Module {
        &mut self.of.modules[self.module]
    }

    fn define(&mut self, name: &syn::Ident, what: Name) {
        self.this().names.entry(plain(name)).or_default().push(what);
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| {
            let mut segments = before.to_vec();
            // In `use a::{self}` the last part names the one before it.
            if name != "self" || before.is_empty() {
                segments.push(plain(name));
            }
            Path { segments, line: name.span().start().line }
        };
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(&path.ident).segments),
            syn::UseTree::Name(name) => {
                let path = with(&name.ident);
                let last = path.segments.last().unwrap().clone();
                self.this().names.entry(last).or_default().push(Name::Import(path.clone()));
                self.this().paths.push(path);
            }
            syn::UseTree::Rename(rename) => {
                let path = with(&rename.ident);
                self.define(&rename.rename, Name::Import(path.clone()));
                self.this().paths.push(path);
            }
            syn::UseTree::Glob(glob) => {
                let path = Path { segments: before.to_vec(), line: glob.star_token.spans[0].start().line };
                self.this().globs.push(path.clone());
                self.this().paths.push(path);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
        }
    }

    /// The paths in what a macro or an attribute is given: its grammar is its own, so every `a::b` counts.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Option<Path> = None;
        let mut colons = 0;
        let mut dots = 0;
        let mut found = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    match &mut path {
                        Some(path) if colons == 2 => path.segments.push(plain(&ident)),
                        // A leading `::` names another crate; after one dot stands a field or a method, after two a bound.
                        _ => {
                            found.extend(path.take());
                            if colons != 2 && dots != 1 {
                                let line = ident.span().start().line;
                                path = Some(Path { segments: vec![plain(&ident)], line });
                            }
                        }
                    }
                    (colons, dots) = (0, 0);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    let joined = punct.spacing() == Spacing::Joint || colons == 1;
                    if colons >= 2 || !joined {
                        found.extend(path.take());
                    }
                    colons = if joined { colons % 2 + 1 } else { 0 };
                    dots = 0;
                }
                other => {
                    found.extend(path.take());
                    colons = 0;
                    dots =
                        if matches!(&other, TokenTree::Punct(punct) if punct.as_char() == '.') { dots + 1 } else { 0 };
                    if let TokenTree::Group(group) = other
                        && group.delimiter() != Delimiter::None
                    {
                        self.scan(group.stream());
                    }
                }
            }
        }
        found.extend(path);
        self.this().paths.extend(found);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if attributes_of(item).iter().any(is_for_tests) {
            if let syn::Item::Mod(syn::ItemMod { ident, content: None, .. }) = item {
                self.of.pass_over(self.module, &plain(ident));
            }
            return;
        }
        match item {
            syn::Item::Const(syn::ItemConst { ident, .. })
            | syn::Item::Enum(syn::ItemEnum { ident, .. })
            | syn::Item::Fn(syn::ItemFn { sig: syn::Signature { ident, .. }, .. })
            | syn::Item::Static(syn::ItemStatic { ident, .. })
            | syn::Item::Struct(syn::ItemStruct { ident, .. })
            | syn::Item::Trait(syn::ItemTrait { ident, .. })
            | syn::Item::Type(syn::ItemType { ident, .. })
            | syn::Item::Union(syn::ItemUnion { ident, .. }) => self.define(ident, Name::Item),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if let syn::ImplItem::Fn(syn::ImplItemFn { attrs, .. }) = item
            && attrs.iter().any(is_for_tests)
        {
            return;
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = plain(&item.ident);
        let (module, this) = (self.module, &self.of.modules[self.module]);
        let path = [&this.path[..], std::slice::from_ref(&name)].concat();
        let elsewhere = item.attrs.iter().find_map(|attribute| value_of(attribute, "path"));
        let child = match (&item.content, elsewhere) {
            (Some((_, items)), _) => {
                let file = this.file.clone();
                self.of.read_module(&file, false, path, Some(module), &item.attrs, items)
            }
            // The source of another crate, which is checked there.
            (None, Some(file)) if leaves(&this.file, &file) => {
                self.of.read_module(&file, true, path, Some(module), &[], &[])
            }
            (None, Some(file)) => panic!("{}: #[path = {file:?}] inside one crate is not understood", this.file),
            (None, None) => {
                let file = self.of.file_of_child(this, &name);
                self.this().has_folder = true;
                self.of.read_file(&file, path, Some(module))
            }
        };
        self.define(&item.ident, Name::Module(child));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<_> = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
            let line = path.segments[0].ident.span().start().line;
            self.this().paths.push(Path { segments, line });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let syn::Meta::List(list) = &attribute.meta else { return };
        // serde takes paths as strings: `#[serde(with = "crate::date")]`.
        if attribute.path().is_ident("serde") {
            for token in list.tokens.clone() {
                if let TokenTree::Literal(literal) = token
                    && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                    && let Ok(path) = syn::parse_str::<syn::Path>(&text.value())
                {
                    let segments = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
                    self.this().paths.push(Path { segments, line: literal.span().start().line });
                }
            }
        }
        self.scan(list.tokens.clone());
    }
}

/// A name without the `r#` of one that is also a keyword.
fn plain(ident: &syn::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// The text of an attribute such as `#[path = "other.rs"]` or a doc comment.
fn value_of(attribute: &syn::Attribute, name: &str) -> Option<String> {
    match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            path,
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) if path.is_ident(name) => Some(text.value().trim().to_owned()),
        _ => None,
    }
}

/// Whether a path, relative to a file's folder, lies outside `src`.
fn leaves(file: &str, path: &str) -> bool {
    path.split('/').take_while(|part| *part == "..").count() > file.matches('/').count()
}

/// Whether it is `#[cfg(test)]`, perhaps with more conditions.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let words: Vec<_> = list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
    list.path.is_ident("cfg") && words.iter().any(|word| word == "test") && !words.iter().any(|word| word == "not")
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(syn::ItemConst { attrs, .. })
        | syn::Item::Enum(syn::ItemEnum { attrs, .. })
        | syn::Item::Fn(syn::ItemFn { attrs, .. })
        | syn::Item::Impl(syn::ItemImpl { attrs, .. })
        | syn::Item::Macro(syn::ItemMacro { attrs, .. })
        | syn::Item::Mod(syn::ItemMod { attrs, .. })
        | syn::Item::Static(syn::ItemStatic { attrs, .. })
        | syn::Item::Struct(syn::ItemStruct { attrs, .. })
        | syn::Item::Trait(syn::ItemTrait { attrs, .. })
        | syn::Item::Type(syn::ItemType { attrs, .. })
        | syn::Item::Use(syn::ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}
