//! From a request to its answer: which thing is meant, and what is done with it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request};

use super::ask::{Ask, Hall};
use super::content::{Answer, document};
use super::failure::Failure;
use super::route::{Query, Route};
use super::{list, publish, pull, push, remove};

/// Answers a request.
pub(super) async fn answer(hall: &Arc<Hall>, route: Option<Route>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let query = Query::of(head.uri.query());
    let ask = Arc::new(Ask { hall: Arc::clone(hall), method: head.method, headers: head.headers, query });
    let result = match route {
        Some(route) => carry_out(ask, route, body).await,
        None => Err(Failure::missing(
            oci_distribution::errors::OciErrorCode::Unsupported,
            "there is nothing under this path",
        )),
    };
    let mut answer = result.unwrap_or_else(Failure::into_answer);
    let headers = answer.headers_mut();
    // docker wants to see it before it believes that this is a registry.
    let version = HeaderName::from_static("docker-distribution-api-version");
    headers.insert(version, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

async fn carry_out(ask: Arc<Ask>, route: Route, body: Incoming) -> Result<Answer, Failure> {
    if matches!(ask.method, Method::GET | Method::HEAD) {
        return show(ask, route).await;
    }
    let allowed = allowed(&route);
    if ask.hall.settings.is_read_only && allowed.contains(ask.method.as_str()) {
        return Err(Failure::unsupported("this registry is read-only"));
    }
    match (ask.method.clone(), route) {
        (Method::POST, Route::Uploads(name)) => push::begin(ask, name, body).await,
        (Method::PATCH, Route::Upload(name, id)) => push::advance(ask, name, id, body).await,
        (Method::PUT, Route::Upload(name, id)) => push::finish(ask, name, id, body).await,
        (Method::DELETE, Route::Upload(name, id)) => push::cancel(ask, name, id).await,
        (Method::PUT, Route::Manifest(name, reference)) => publish::manifest(ask, name, &reference, body).await,
        (Method::DELETE, Route::Manifest(name, reference)) => remove::manifest(ask, name, &reference).await,
        (Method::DELETE, Route::Blob(name, digest)) => remove::blob(ask, name, &digest).await,
        _ => Err(Failure::method(allowed)),
    }
}

async fn show(ask: Arc<Ask>, route: Route) -> Result<Answer, Failure> {
    match route {
        Route::Base => Ok(document("application/json", Bytes::from_static(b"{}"), ask.is_head())),
        Route::Catalog => list::catalog(ask).await,
        Route::Tags(name) => list::tags(ask, name).await,
        Route::Referrers(name, digest) => list::referrers(ask, name, &digest).await,
        Route::Manifest(name, reference) => pull::manifest(ask, name, &reference).await,
        Route::Blob(name, digest) => pull::blob(ask, name, &digest).await,
        Route::Upload(name, id) => push::progress(ask, name, id).await,
        Route::Uploads(_) | Route::Page(_) | Route::Metrics | Route::Token => Err(Failure::method(allowed(&route))),
    }
}

/// The methods that a thing takes.
fn allowed(route: &Route) -> &'static str {
    match route {
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, PATCH, PUT, DELETE",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Blob(..) => "GET, HEAD, DELETE",
        _ => "GET, HEAD",
    }
}
