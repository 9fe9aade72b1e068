//! Which authentication a registry demands: its `WWW-Authenticate` headers (distribution-spec, "Token Authentication").

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The authentication that a registry demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) enum Challenge {
    /// A name and a password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The URL of the token server, as the registry wrote it.
        realm: String,
        /// The name of the registry there, if it gave one.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge of an answer; of several, a bearer's.
    #[must_use]
    pub(in crate::client) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in ChallengeParser::new(text).filter_map(Result::ok) {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_bearer_challenge_is_preferred_to_a_basic_one() {
        let bearer = |service: Option<&str>| {
            Some(Challenge::Bearer { realm: "https://auth.example/token".into(), service: service.map(Into::into) })
        };
        for (values, expected) in [
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["Bearer realm=\"https://auth.example/token\",service=\"reg\""], bearer(Some("reg"))),
            (vec!["bearer Realm=\"https://auth.example/token\""], bearer(None)),
            (vec!["Basic realm=\"x\"", "Bearer realm=\"https://auth.example/token\""], bearer(None)),
            (vec!["Bearer error=\"invalid_token\""], None),
            (vec!["Digest realm=\"x\""], None),
            (vec![], None),
        ] {
            assert_eq!(challenge(&values), expected, "{values:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_challenge_never_panics(text in "[ -~]{0,120}") {
            let _ = challenge(&[&text]);
        }
    }
}
