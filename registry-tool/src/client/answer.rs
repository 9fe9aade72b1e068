//! Reading an answer: its whole body within a limit, and the words of a refusal.

use reqwest::Response;

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

/// The registry's own words in an answer that refuses something; a refusal whose body does not arrive is one without words.
pub(super) async fn read_message(response: Response, host: &str) -> Option<String> {
    let body = read_limited(response, DOCUMENT_LIMIT, host).await.unwrap_or_default();
    message_of(&body)
}

/// The first message of a registry's error document (distribution-spec "Error Codes"), made fit for one line.
pub(super) fn message_of(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = document.get("errors").and_then(|errors| errors.get(0));
    let text = first
        .and_then(|error| error.get("message").or_else(|| error.get("code")))
        .or_else(|| document.get("details"))
        .or_else(|| document.get("message"))
        .or_else(|| document.get("error_description"))
        .and_then(serde_json::Value::as_str)?;
    let text = printable(text);
    (!text.is_empty()).then_some(text)
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
    fn a_registrys_words_become_one_line() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"X","message":"no\nway\u001b[31m"}]}"#, Some("no way\u{1b}[31m")),
            (r#"{"errors":[{"code":"X"}]}"#, Some("X")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(message_of(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
