use bundle_tool::network::proxy::{self, Carriage};

/// Carry published ports to a container where the kernel cannot, until its first process ends.
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Proxy {
    /// First process of the container.
    pid: i32,
    /// Ports to carry: PROTOCOL/ADDRESS:PORT/ADDRESS:PORT.
    carriages: Vec<Carriage>,
}

impl Proxy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(proxy::run(self.pid, &self.carriages)?)
    }
}
