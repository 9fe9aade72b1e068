//! Why a request is refused, as the error document of the distribution-spec ("Error Codes").

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use image_tool::layout;
use oci_distribution::errors::{OciEnvelope, OciError, OciErrorCode};
use serde_json::Value;

use super::content::{Answer, Content};

/// A refusal, not yet an answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    errors: Vec<OciError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: OciErrorCode, message: impl Into<String>) -> Self {
        let error = OciError { code, message: message.into(), detail: Value::Null };
        Self { status, errors: vec![error], headers: Vec::new() }
    }

    /// Several errors of one kind, such as each blob that a manifest lacks.
    pub(super) fn each(status: StatusCode, code: fn() -> OciErrorCode, messages: Vec<String>) -> Self {
        let error = |message| OciError { code: code(), message, detail: Value::Null };
        Self { status, errors: messages.into_iter().map(error).collect(), headers: Vec::new() }
    }

    pub(super) fn bad(code: OciErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn missing(code: OciErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, OciErrorCode::Unsupported, message)
    }

    /// The method is none of those that the address takes.
    pub(super) fn method(allowed: &'static str) -> Self {
        Self::unsupported(format!("the method is not one of {allowed}")).with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// What is not the client's fault. The client learns no path; whoever runs the server does.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        tracing::error!("{text}");
        let code = OciErrorCode::Other("UNKNOWN".into());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the registry has a problem (its log says more)")
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_answer(self) -> Answer {
        let document = serde_json::to_vec(&OciEnvelope { errors: self.errors }).expect("texts are serialisable");
        let mut answer = Answer::new(Content::Whole(Bytes::from(document)));
        *answer.status_mut() = self.status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        answer
    }
}

/// A layout that cannot be read or written is not the client's fault; what is has been answered before.
impl From<layout::Error> for Failure {
    fn from(error: layout::Error) -> Self {
        Self::internal(&error)
    }
}

/// Runs what waits for a disk or a lock, where it holds up no other request.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Failure::internal(&error)))
}
