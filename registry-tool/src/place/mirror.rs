//! Where a name can be found: mirrors, rewritten locations, insecure and blocked registries.
//!
//! Two configurations are read, both as their own tools read them, so that a machine that is set up for docker or podman needs
//! no third one: `registries.conf` version 2 with its drop-ins (`registries`), and dockerd's `daemon.json`
//! (`daemon`). [`Mirrors`] joins them. A name becomes the ordered list of [`Endpoint`]s that may serve it:
//!
//! 1. the mirrors that registries.conf names for the longest matching prefix,
//! 2. for Docker Hub, the `registry-mirrors` of daemon.json,
//! 3. the registry itself, at the location that registries.conf gives it.
//!
//! Pushes go to the last one only, as in docker and podman. Reading files happens in [`Mirrors::read`]; everything else
//! is a function of what was read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_distribution::Reference;

use super::configuration::{user_folder, variable};
use crate::reference::{DOCKER_HUB, ImageName, relocate};

mod daemon;
mod endpoint;
mod error;
mod registries;

use daemon::Daemon;
pub use endpoint::{Endpoint, Security, is_loopback};
pub use error::MirrorError;
use registries::Registries;

/// Which files configure the mirrors.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Paths of registries.conf; the first that exists is read.
    pub registries: Vec<PathBuf>,
    /// Folders with drop-ins, which are all read in order.
    pub drop_ins: Vec<PathBuf>,
    /// Paths of daemon.json; the first that exists is read.
    pub daemon: Vec<PathBuf>,
}

impl Sources {
    /// The files of this machine and user.
    ///
    /// `$CONTAINERS_REGISTRIES_CONF` names another registries.conf; drop-ins are then read from
    /// `$CONTAINERS_REGISTRIES_CONF_DIR` alone, so that one variable gives a whole configuration.
    /// `$DOCKER_DAEMON_CONFIG` names another daemon.json (dockerd has `--config-file` for this).
    #[must_use]
    pub fn from_environment() -> Self {
        let user = user_folder();
        let in_user = |path: &str| user.as_ref().map(|user| user.join(path));
        let mut sources = Self::default();
        let folder = variable("CONTAINERS_REGISTRIES_CONF_DIR");
        if let Some(file) = variable("CONTAINERS_REGISTRIES_CONF") {
            sources.registries.push(file);
            sources.drop_ins.extend(folder);
        } else {
            sources.registries.extend(in_user("containers/registries.conf"));
            sources.registries.push("/etc/containers/registries.conf".into());
            if folder.is_some() {
                sources.drop_ins.extend(folder);
            } else {
                sources.drop_ins.push("/etc/containers/registries.conf.d".into());
                sources.drop_ins.extend(in_user("containers/registries.conf.d"));
            }
        }
        if let Some(file) = variable("DOCKER_DAEMON_CONFIG") {
            sources.daemon.push(file);
        } else {
            // Rootless dockerd reads the user's file.
            sources.daemon.extend(in_user("docker/daemon.json").filter(|_| !rustix::process::geteuid().is_root()));
            sources.daemon.push("/etc/docker/daemon.json".into());
        }
        sources
    }
}

/// Both configurations, ready to answer.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    registries: Registries,
    daemon: Daemon,
    /// Whether TLS is demanded of a host, where somebody has said so for this time.
    tls: BTreeMap<String, bool>,
}

impl Mirrors {
    /// Reads what `sources` name; a file that is not there configures nothing.
    ///
    /// # Errors
    /// A file that is there must be readable and well-formed: a typing error in it must not direct a pull elsewhere.
    pub fn read(sources: &Sources) -> Result<Self, MirrorError> {
        Ok(Self {
            registries: Registries::read(&sources.registries, &sources.drop_ins)?,
            daemon: Daemon::read(&sources.daemon)?,
            tls: BTreeMap::new(),
        })
    }

    /// Demands TLS and a valid certificate of this registry, or takes plain http and any certificate from it, whatever the
    /// configuration says.
    pub fn demand_tls(&mut self, host: &str, is_demanded: bool) {
        self.tls.insert(host.to_owned(), is_demanded);
    }

    /// What a name may mean, in order: itself; or for a short name its alias, or the name at each search registry.
    #[must_use]
    pub fn resolve(&self, name: &ImageName) -> Vec<ImageName> {
        if !name.is_short() {
            return vec![name.clone()];
        }
        let familiar = name.familiar_repository();
        if let Some((registry, repository)) = self.registries.alias(&familiar) {
            return vec![name.relocated(registry, repository)];
        }
        let search = self.registries.unqualified_search();
        if search.is_empty() {
            return vec![name.clone()];
        }
        let in_registry = |registry: &String| {
            if registry == DOCKER_HUB { name.clone() } else { name.relocated(registry, &familiar) }
        };
        search.iter().map(in_registry).collect()
    }

    /// The places to pull a name from, mirrors first.
    ///
    /// # Errors
    /// A blocked registry, or a location that does not make a name.
    pub fn pull_endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, MirrorError> {
        let mut endpoints = Vec::new();
        let registry = self.registries.find(reference);
        if let Some(registry) = registry {
            registry.check_allowed()?;
            for mirror in registry.mirrors_for(reference) {
                let reference = registry.rewrite(reference, &mirror.location)?;
                endpoints.push(self.endpoint(reference, mirror.is_insecure, true));
            }
        }
        if reference.registry() == DOCKER_HUB {
            for mirror in &self.daemon.registry_mirrors {
                let reference = relocate(reference, &mirror.host, reference.repository());
                let mut endpoint = self.endpoint(reference, false, true);
                if mirror.is_plain {
                    endpoint.security = Security::Plain;
                }
                endpoints.push(endpoint);
            }
        }
        endpoints.push(self.push_endpoint(reference)?);
        Ok(endpoints)
    }

    /// The place to push a name to: the registry itself.
    ///
    /// # Errors
    /// A blocked registry, or a location that does not make a name.
    pub fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint, MirrorError> {
        let (reference, is_insecure) = match self.registries.find(reference) {
            Some(registry) => {
                registry.check_allowed()?;
                let located = match &registry.location {
                    Some(location) => registry.rewrite(reference, location)?,
                    None => reference.clone(),
                };
                (located, registry.is_insecure)
            }
            None => (reference.clone(), false),
        };
        Ok(self.endpoint(reference, is_insecure, false))
    }

    fn endpoint(&self, reference: Reference, is_insecure: bool, is_mirror: bool) -> Endpoint {
        // Docker Hub's registry does not answer under the name that its images carry.
        let reference = if reference.registry() == DOCKER_HUB {
            relocate(&reference, "registry-1.docker.io", reference.repository())
        } else {
            reference
        };
        let host = reference.registry();
        let security = match self.tls.get(host) {
            Some(true) => Security::Verified,
            _ if is_loopback(host) => Security::Loopback,
            Some(false) => Security::Insecure,
            None if is_insecure || self.daemon.is_insecure(host) => Security::Insecure,
            None => Security::Verified,
        };
        Endpoint { reference, security, is_mirror }
    }

    /// The registry itself that a name leads to, and no mirror of it: by the first of its meanings.
    ///
    /// # Errors
    /// As for [`Mirrors::push_endpoint`].
    pub fn home(&self, name: &ImageName) -> Result<Endpoint, MirrorError> {
        let meanings = self.resolve(name);
        self.push_endpoint(meanings.first().unwrap_or(name).reference())
    }

    /// How to talk to a host that is named alone, for `login`, `catalog` and `search`.
    ///
    /// # Errors
    /// As for [`Mirrors::push_endpoint`].
    pub fn host_endpoint(&self, host: &str) -> Result<Endpoint, MirrorError> {
        // The repository is never looked at: a host's own requests have none.
        self.push_endpoint(&Reference::with_tag(host.into(), "library/any".into(), "latest".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(registries: &str, daemon: &str) -> Mirrors {
        let folder = tempfile::tempdir().unwrap();
        let (conf, json) = (folder.path().join("registries.conf"), folder.path().join("daemon.json"));
        std::fs::write(&conf, registries).unwrap();
        std::fs::write(&json, daemon).unwrap();
        let sources = Sources { registries: vec![conf], drop_ins: vec![], daemon: vec![json] };
        Mirrors::read(&sources).unwrap_or_else(|error| panic!("{error}"))
    }

    fn places(mirrors: &Mirrors, name: &str) -> Vec<(String, Security)> {
        let name: ImageName = name.parse().unwrap();
        let endpoints = mirrors.pull_endpoints(name.reference()).unwrap();
        endpoints.into_iter().map(|endpoint| (endpoint.reference.to_string(), endpoint.security)).collect()
    }

    #[test]
    fn docker_hub_names_try_the_mirrors_of_daemon_json_in_order() {
        let mirrors = configured("", r#"{"registry-mirrors": ["https://a.example", "http://b.example:81/"]}"#);
        assert_eq!(
            places(&mirrors, "python:3.8"),
            [
                ("a.example/library/python:3.8".into(), Security::Verified),
                ("b.example:81/library/python:3.8".into(), Security::Plain),
                ("registry-1.docker.io/library/python:3.8".into(), Security::Verified),
            ]
        );
        assert_eq!(places(&mirrors, "quay.io/a"), [("quay.io/a:latest".into(), Security::Verified)]);
    }

    #[test]
    fn mirrors_of_registries_conf_keep_the_path_behind_the_prefix() {
        let conf = r#"
            [[registry]]
            prefix = "example.com/team"
            location = "internal.example.com:5000/x"
            insecure = true
            [[registry.mirror]]
            location = "mirror.example.com/cache"
            [[registry.mirror]]
            location = "127.0.0.1:5001"
        "#;
        let mirrors = configured(conf, "{}");
        assert_eq!(
            places(&mirrors, "example.com/team/app:1"),
            [
                ("mirror.example.com/cache/app:1".into(), Security::Verified),
                ("127.0.0.1:5001/app:1".into(), Security::Loopback),
                ("internal.example.com:5000/x/app:1".into(), Security::Insecure),
            ]
        );
        assert_eq!(
            places(&mirrors, "example.com/teams/a"),
            [("example.com/teams/a:latest".into(), Security::Verified)]
        );
        let pushed: ImageName = "example.com/team/app:1".parse().unwrap();
        let endpoint = mirrors.push_endpoint(pushed.reference()).unwrap();
        assert_eq!(endpoint.reference.to_string(), "internal.example.com:5000/x/app:1");
    }

    #[test]
    fn insecure_registries_of_daemon_json_are_hosts_or_networks() {
        let mirrors = configured("", r#"{"insecure-registries": ["reg.example:5000", "10.1.0.0/16"]}"#);
        for (host, security) in [
            ("reg.example:5000", Security::Insecure),
            ("reg.example", Security::Verified),
            ("10.1.2.3:80", Security::Insecure),
            ("10.2.2.3:80", Security::Verified),
        ] {
            assert_eq!(mirrors.host_endpoint(host).unwrap().security, security, "{host}");
        }
    }

    #[test]
    fn what_is_said_of_tls_counts_before_the_configuration() {
        let mut mirrors = configured("", r#"{"insecure-registries": ["a.example"]}"#);
        for (host, is_demanded, security) in [
            ("a.example", true, Security::Verified),
            ("b.example", false, Security::Insecure),
            ("127.0.0.1:5000", true, Security::Verified),
            ("127.0.0.1:5001", false, Security::Loopback),
        ] {
            mirrors.demand_tls(host, is_demanded);
            assert_eq!(mirrors.host_endpoint(host).unwrap().security, security, "{host}");
        }
    }

    #[test]
    fn a_short_name_follows_its_alias_or_the_search_registries() {
        let conf = "unqualified-search-registries = [\"one.example\", \"docker.io\"]\n[aliases]\n\"app\" = \"corp.example/team/app\"";
        let mirrors = configured(conf, "{}");
        let resolved = |name: &str| -> Vec<String> {
            mirrors.resolve(&name.parse().unwrap()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(resolved("app:2"), ["corp.example/team/app:2"]);
        assert_eq!(resolved("python:3.8"), ["one.example/python:3.8", "docker.io/library/python:3.8"]);
        assert_eq!(resolved("docker.io/app"), ["docker.io/library/app:latest"]);
        let unconfigured = Mirrors::default();
        assert_eq!(unconfigured.resolve(&"a/b".parse().unwrap())[0].to_string(), "docker.io/a/b:latest");
    }

    #[test]
    fn a_blocked_registry_is_refused_by_name() {
        let mirrors = configured("[[registry]]\nlocation = \"bad.example\"\nblocked = true", "{}");
        let name: ImageName = "bad.example/a".parse().unwrap();
        let error = mirrors.pull_endpoints(name.reference()).unwrap_err().to_string();
        assert!(error.contains("bad.example is blocked"), "{error}");
    }
}
