//! `registry-tool serve` beside its peers' clients and a browser, and beside everything else that changes the layout which it serves.
//! `clients` and `page` have the former, `busy` and `killed` the latter.

mod busy;
mod clients;
mod killed;
mod page;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use tests::Workdir;

/// A server; dropping it stops it.
struct Served(Child, String);

impl Served {
    /// Starts a server on a free port.
    fn start(work: &Workdir, words: &str) -> Self {
        Self::listen(work, "127.0.0.1:0", words)
    }

    /// Starts a server on an address that another one may have had before it.
    fn listen(work: &Workdir, address: &str, words: &str) -> Self {
        let text = format!("exec registry-tool serve --listen {address} {words} 2>>serve.log");
        let mut child = work.command("sh").args(["-c", &text]).stdout(Stdio::piped()).spawn().unwrap();
        let address = BufReader::new(child.stdout.take().unwrap()).lines().next();
        let address = address.unwrap_or_else(|| panic!("{}", work.sh("cat serve.log").stdout)).unwrap();
        Self(child, address)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
