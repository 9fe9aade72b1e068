use std::collections::HashMap;
use std::io;

use anyhow::{Context, Result, bail};
use clap::Args;
use image_tool::address::Address;
use image_tool::layout::{self, Layout};
use image_tool::program::pipe;
use image_tool::verify::Verification;

use super::TOOL;
use super::operand::{LayoutOperand, named};
use image_tool::program::limits::Limits;

/// Verify images and print the addresses of those that are sound.
///
/// Reads every blob and compares its digest and size with its descriptor, every layer with its diff ID, and every document with
/// its media type. All problems are reported on standard error, and the exit status is then 1.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool verify
  image-tool verify :python:3.8
  image-tool list images | image-tool verify -")]
pub(crate) struct Verify {
    /// Images, layouts with all their images, or - to read addresses from standard input [default: $OCI_LAYOUT, else $OCI_HOME/images].
    #[arg(value_name = "ADDRESS")]
    operands: Vec<String>,
    #[command(flatten)]
    limits: Limits,
}

impl Verify {
    pub(crate) fn run(mut self) -> Result<()> {
        if self.operands.is_empty() {
            self.operands.push(":".into());
        }
        let mut run =
            Run { layouts: HashMap::new(), verification: Verification::within(self.limits.get()), failure: None };
        for operand in &self.operands {
            if operand != "-" {
                run.operand(operand)?;
                continue;
            }
            let mut lines = 0;
            for line in pipe::lines(io::stdin().lock()) {
                lines += 1;
                run.operand(&line?)?;
            }
            if lines == 0 {
                return Err(pipe::Error::Empty.into());
            }
        }
        run.failure.map_or(Ok(()), Err)
    }
}

struct Run {
    layouts: HashMap<String, Layout>,
    verification: Verification,
    failure: Option<anyhow::Error>,
}

impl Run {
    fn operand(&mut self, text: &str) -> Result<()> {
        let operand: LayoutOperand = match text.parse() {
            Ok(operand) => operand,
            Err(error) => bail!("{text}: {error}"),
        };
        match self.addresses(&operand) {
            Err(error) => {
                let error = match &operand.address {
                    Some(address) => named(error, address),
                    None => error,
                };
                self.fail(error);
            }
            Ok(found) => {
                for (address, descriptor) in found {
                    let layout = self.layout(&operand)?;
                    let mut problems = self.verification.verify(&layout, &descriptor);
                    if problems.is_empty() {
                        pipe::print_line(&address.to_string())?;
                    }
                    let shown = if address.reference().is_some() {
                        Address::new(address.layout(), address.reference().cloned(), None)?
                    } else {
                        address
                    };
                    for problem in problems.drain(..) {
                        self.fail(anyhow::Error::new(problem).context(shown.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    fn layout(&mut self, operand: &LayoutOperand) -> Result<Layout> {
        if let Some(layout) = self.layouts.get(&operand.layout) {
            return Ok(layout.clone());
        }
        let layout = match &operand.address {
            Some(address) => Layout::of(address)?,
            None => Layout::open(&operand.path())?,
        };
        self.layouts.insert(operand.layout.clone(), layout.clone());
        Ok(layout)
    }

    /// The images of an operand, with their digests.
    fn addresses(&mut self, operand: &LayoutOperand) -> Result<Vec<(Address, oci_spec::image::Descriptor)>> {
        let layout = match self.layout(operand) {
            // An empty layout is sound.
            Err(error)
                if operand.layout.is_empty()
                    && operand.address.is_none()
                    && matches!(error.downcast_ref(), Some(layout::Error::NoLayout { .. })) =>
            {
                return Ok(Vec::new());
            }
            other => other?,
        };
        if let Some(address) = &operand.address {
            let descriptor = layout.resolve(address)?;
            return Ok(vec![(address.with_digest(descriptor.digest()), descriptor)]);
        }
        let entries = layout.index()?.entries().with_context(|| operand.path().display().to_string())?;
        let entries = entries.into_iter().map(|(reference, descriptor)| {
            Ok((operand.address_of(reference.as_deref(), Some(descriptor.digest()))?, descriptor))
        });
        entries.collect()
    }

    /// Keeps the last failure for the exit, and reports earlier ones.
    fn fail(&mut self, error: anyhow::Error) {
        if let Some(earlier) = self.failure.replace(error) {
            TOOL.say(&format!("{earlier:#}"));
        }
    }
}
