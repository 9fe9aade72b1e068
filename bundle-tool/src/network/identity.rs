//! Ids for what has none of its own.

use image_tool::address::digest;

/// An id of 64 hexadecimal digits, always the same for the same kind and name.
#[must_use]
pub fn identity(kind: &str, name: &str) -> String {
    digest::sha256(format!("{kind}\0{name}").as_bytes()).digest().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_kind_and_name() {
        let id = identity("network", "none");
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(id, identity("network", "none"));
        assert!(id != identity("network", "host") && id != identity("sandbox", "none"));
    }
}
