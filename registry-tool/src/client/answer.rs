//! Reading an answer: its whole body within a limit, and the words of a refusal.

use oci_distribution::errors::{OciEnvelope, OciError, OciErrorCode};
use reqwest::Response;
use serde_json::Value;

use super::error::ClientError;

/// Manifests, and the pages of lists: distribution-spec asks registries to accept manifests of 4 MiB.
pub(super) const DOCUMENT_LIMIT: usize = 4 << 20;

/// A whole answer, unless it is larger than its kind can be.
pub(super) async fn read_limited(mut response: Response, limit: usize, host: &str) -> Result<Vec<u8>, ClientError> {
    let too_large = || ClientError::TooLarge { host: host.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::cut(host, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a registry says when it refuses something.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// The code of the first error (distribution-spec, "Error Codes"), if the body is an error document.
    pub(super) code: Option<OciErrorCode>,
    /// Its words, fit for one line.
    pub(super) message: Option<String>,
}

impl Refusal {
    /// The refusal in an answer; one whose body does not arrive has neither code nor words.
    pub(super) async fn read(response: Response, host: &str) -> Self {
        Self::of(&read_limited(response, DOCUMENT_LIMIT, host).await.unwrap_or_default())
    }

    /// The refusal in a body: an error document, or what token servers, Docker Hub and gateways write instead.
    pub(super) fn of(body: &[u8]) -> Self {
        if let Ok(OciEnvelope { errors }) = serde_json::from_slice(body) {
            let Some(OciError { code, message, .. }) = errors.into_iter().next() else { return Self::default() };
            let words = if message.is_empty() { spelling(&code) } else { message };
            return Self { code: Some(code), message: words_of(&words) };
        }
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = ["details", "message", "error_description"].into_iter().find_map(|key| document.get(key)?.as_str());
        Self { code: None, message: text.and_then(words_of) }
    }
}

/// A code as the registry wrote it.
fn spelling(code: &OciErrorCode) -> String {
    serde_json::to_value(code).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn words_of(text: &str) -> Option<String> {
    Some(printable(text)).filter(|text| !text.is_empty())
}

/// A registry's words on one line, and not too many of them.
pub(super) fn printable(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_code_and_the_words_of_its_first_error() {
        use OciErrorCode::{ManifestUnknown, Other, Toomanyrequests};
        for (body, code, words) in [
            (
                r#"{"errors":[{"code":"X","message":"no\nway\u001b[31m"}]}"#,
                Some(Other("X".into())),
                Some("no way\u{1b}[31m"),
            ),
            (r#"{"errors":[{"code":"X"}]}"#, Some(Other("X".into())), Some("X")),
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","detail":{"Tag":"1"}},{"code":"DENIED"}]}"#,
                Some(ManifestUnknown),
                Some("MANIFEST_UNKNOWN"),
            ),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow"}]}"#, Some(Toomanyrequests), Some("slow")),
            (r#"{"details":"incorrect username or password"}"#, None, Some("incorrect username or password")),
            (r#"{"error":"invalid_grant","error_description":"gone"}"#, None, Some("gone")),
            (r#"{"errors":[]}"#, None, None),
            ("<html>", None, None),
        ] {
            let refusal = Refusal::of(body.as_bytes());
            assert_eq!((refusal.code, refusal.message.as_deref()), (code, words), "{body}");
        }
    }
}
