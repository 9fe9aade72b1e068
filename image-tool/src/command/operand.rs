//! Operands: addresses and layouts, from the command line or from standard input.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::address::{Address, Error, RefName};
use image_tool::layout::{self, Layout};
use image_tool::program::pipe;

/// An address, or `-` for a line of standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Stdin,
    Address(Address),
}

impl std::str::FromStr for Operand {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Stdin) } else { text.parse().map(Self::Address) }
    }
}

impl Operand {
    /// The address, read from standard input if necessary.
    pub(super) fn address(self) -> Result<Address> {
        match self {
            Self::Address(address) => Ok(address),
            Self::Stdin => {
                let line = pipe::only_line(io::stdin().lock())?;
                line.parse().with_context(|| format!("standard input: {line}"))
            }
        }
    }
}

/// A layout, optionally with a ref or digest. The `:` after a bare layout is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LayoutOperand {
    pub(super) layout: String,
    pub(super) address: Option<Address>,
}

impl std::str::FromStr for LayoutOperand {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix(':').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let address: Address = text.parse()?;
        let named = address.reference().is_some() || address.digest().is_some();
        Ok(Self { layout: address.layout().to_owned(), address: named.then_some(address) })
    }
}

impl LayoutOperand {
    /// The path of the layout.
    pub(super) fn path(&self) -> PathBuf {
        if self.layout.is_empty() { Home::from_environment().images() } else { (&self.layout).into() }
    }

    /// Opens the layout; `None` if it is the default one and does not exist yet.
    pub(super) fn open(&self) -> Result<Option<Layout>> {
        match Layout::open(&self.path()) {
            Err(layout::Error::NoLayout { .. }) if self.layout.is_empty() => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// The address of an image in the layout.
    pub(super) fn address_of(&self, reference: Option<&str>, digest: Option<&Digest>) -> Result<Address> {
        let reference = reference.and_then(|text| text.parse::<RefName>().ok());
        Ok(Address::new(&self.layout, reference, digest.cloned())?)
    }
}

/// Adds the address to an error that does not begin with it.
pub(super) fn named(error: anyhow::Error, address: &Address) -> anyhow::Error {
    use layout::Error;
    if let Some(meant) = meant(&error, address) {
        return anyhow::anyhow!("{address}: no image layout here (did you mean {meant}, in the default layout?)");
    }
    match error.downcast_ref::<Error>() {
        Some(
            Error::NoSuchImage { .. }
            | Error::Ambiguous { .. }
            | Error::NoPlatform { .. }
            | Error::NoLayout { .. }
            | Error::NotALayout { .. },
        ) => error,
        _ => Err::<(), _>(error).with_context(|| address.to_string()).expect_err("it was an error"),
    }
}

/// What a name without `:` means if nothing has its path: `busybox` an image of the default layout, and so `python:3.8` if there
/// is such an image.
fn meant(error: &anyhow::Error, address: &Address) -> Option<String> {
    if address.digest().is_some() || address.layout().is_empty() {
        return None;
    }
    let name: RefName = address.to_string().parse().ok()?;
    let meant = Address::new("", Some(name), None).ok()?;
    let is_there = || Layout::of(&meant).is_ok_and(|layout| layout.resolve(&meant).is_ok());
    let is_meant = match error.downcast_ref::<layout::Error>()? {
        layout::Error::NoLayout { .. } => address.reference().is_none(),
        layout::Error::NoSuchImage { .. } => !address.layout_path().exists() && is_there(),
        _ => false,
    };
    is_meant.then(|| meant.to_string())
}

/// The name for a new image: an address with a ref and no digest.
pub(super) fn new_name(address: &Address) -> Result<&RefName> {
    match (address.reference(), address.digest()) {
        (Some(name), None) => Ok(name),
        (_, Some(_)) => bail!("{address}: a new name cannot have a digest"),
        (None, None) => bail!("{address}: missing name (LAYOUT:REF, such as :python:3.8)"),
    }
}
