//! What a source over the network may use: the caller's secrets for it, and the agent for ssh if the caller allows it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::transfer::Transfers;

/// The secrets that hold credentials, and the rights that the caller gives.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Secrets by id; only those whose id begins as in [`PREFIXES`].
    secrets: BTreeMap<String, String>,
    /// The socket of the ssh agent.
    pub agent: Option<PathBuf>,
    /// What is being fetched.
    pub transfers: Transfers,
}

/// The ids of secrets that hold credentials, which the name of the host follows.
const PREFIXES: [&str; 4] = ["HTTP_AUTH_HEADER_", "HTTP_AUTH_TOKEN_", "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"];

impl Access {
    /// Whether a secret of that id holds credentials.
    pub fn is_credential(id: &str) -> bool {
        PREFIXES.iter().any(|prefix| id.starts_with(prefix))
    }

    /// The same with another agent, or with none.
    #[must_use]
    pub fn with_agent(&self, agent: Option<PathBuf>) -> Self {
        Self { agent, ..self.clone() }
    }

    /// Adds a secret. A newline at its end, as editors write it, is no part of it.
    pub fn add(&mut self, id: &str, secret: &[u8]) {
        let secret = String::from_utf8_lossy(secret).trim_end_matches(['\r', '\n']).to_owned();
        self.secrets.insert(id.to_owned(), secret);
    }

    /// The value of `Authorization` for a download from this host.
    pub fn http(&self, host: &str) -> Option<String> {
        let secret = |kind: &str| self.secrets.get(&format!("HTTP_AUTH_{kind}_{host}"));
        secret("TOKEN").map(|token| format!("Bearer {token}")).or_else(|| secret("HEADER").cloned())
    }

    /// The value of `Authorization` for a repository at this host.
    pub fn git(&self, host: &str) -> Option<String> {
        let header = |id: String| self.secrets.get(&id).cloned();
        let token = |id: String| self.secrets.get(&id).map(|token| basic(&format!("x-access-token:{token}")));
        header(format!("GIT_AUTH_HEADER.{host}"))
            .or_else(|| token(format!("GIT_AUTH_TOKEN.{host}")))
            .or_else(|| header("GIT_AUTH_HEADER".to_owned()))
            .or_else(|| token("GIT_AUTH_TOKEN".to_owned()))
    }
}

/// The scheme `Basic` of RFC 7617.
fn basic(user_and_password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user_and_password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_its_host() {
        let mut access = Access::default();
        access.add("HTTP_AUTH_TOKEN_a.example", b"t1\n");
        access.add("HTTP_AUTH_HEADER_b.example", b"Basic x");
        access.add("GIT_AUTH_TOKEN", b"all");
        access.add("GIT_AUTH_HEADER.a.example", b"Digest y");
        assert_eq!(access.http("a.example").as_deref(), Some("Bearer t1"));
        assert_eq!(access.http("b.example").as_deref(), Some("Basic x"));
        assert_eq!(access.http("c.example"), None);
        assert_eq!(access.git("a.example").as_deref(), Some("Digest y"));
        assert_eq!(access.git("c.example").as_deref(), Some("Basic eC1hY2Nlc3MtdG9rZW46YWxs"));
        assert!(Access::is_credential("GIT_AUTH_TOKEN.h") && !Access::is_credential("token"));
    }
}
