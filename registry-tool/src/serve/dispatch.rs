//! From a request to its answer: which thing is meant, and what is done with it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request};
use oci_distribution::errors::OciErrorCode;
use serde_json::json;

use super::access::{Caller, TOKEN, unauthorized};
use super::ask::{Ask, Hall};
use super::content::{Answer, document, set};
use super::failure::Failure;
use super::metrics::TEXT;
use super::route::{Query, Route};
use super::{list, page, publish, pull, push, remove};

/// Answers a request, and says as whom.
pub(super) async fn answer(
    hall: &Arc<Hall>,
    route: Option<Route>,
    request: Request<Incoming>,
    user: &mut Option<String>,
) -> Answer {
    let (head, body) = request.into_parts();
    let query = Query::of(head.uri.query());
    let ask = Arc::new(Ask { hall: Arc::clone(hall), method: head.method, headers: head.headers, query });
    let result = match (admit(&ask, route.as_ref(), user).await, route) {
        (Err(failure), _) => Err(failure),
        (Ok(()), Some(route)) => carry_out(ask, route, body).await,
        (Ok(()), None) => Err(Failure::missing(OciErrorCode::Unsupported, "there is nothing under this path")),
    };
    let mut answer = result.unwrap_or_else(Failure::into_answer);
    let headers = answer.headers_mut();
    // docker wants to see it before it believes that this is a registry.
    let version = HeaderName::from_static("docker-distribution-api-version");
    headers.insert(version, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Lets in who may do this.
async fn admit(ask: &Ask, route: Option<&Route>, user: &mut Option<String>) -> Result<(), Failure> {
    let Some(access) = &ask.hall.access else { return Ok(()) };
    let challenged = |failure| access.challenge(failure, &ask.headers, ask.hall.is_encrypted);
    let caller = access.caller(&ask.headers).await.map_err(challenged)?;
    let is_token = route == Some(&Route::Token);
    match caller {
        Caller::User(name) => {
            *user = Some(name);
            Ok(())
        }
        // What a client asks first must be refused to those who bring nothing: only so it learns of passwords and tokens.
        Caller::Nobody if route == Some(&Route::Base) && !ask.headers.contains_key(AUTHORIZATION) => {
            Err(challenged(unauthorized("authentication required")))
        }
        Caller::Nobody if access.is_open && (is_token || matches!(ask.method, Method::GET | Method::HEAD)) => Ok(()),
        Caller::Nobody => Err(challenged(unauthorized("authentication required"))),
    }
}

/// A token for who asks. What it is good for is decided when it is used.
async fn token(ask: &Ask) -> Result<Answer, Failure> {
    let Some(access) = ask.hall.access.as_ref().filter(|access| access.is_open) else {
        return Err(Failure::missing(OciErrorCode::Unsupported, "this registry gives out no tokens"));
    };
    let token = access.token(&access.caller(&ask.headers).await?);
    let body = json!({ "token": token, "access_token": token, "expires_in": TOKEN.as_secs() });
    let mut answer = document("application/json", Bytes::from(body.to_string()), ask.is_head());
    set(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}

fn metrics(ask: &Ask) -> Answer {
    let uploads = ask.hall.namespace.opened().iter().map(|store| store.sessions.count()).sum();
    document(TEXT, Bytes::from(ask.hall.metrics.text(uploads)), ask.is_head())
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
        Route::Page(repository) => page::page(ask, repository).await,
        Route::Metrics => Ok(metrics(&ask)),
        Route::Token => token(&ask).await,
        Route::Uploads(_) => Err(Failure::method(allowed(&route))),
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
