//! From a request to its answer: which thing is meant, and what is done with it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, Request, StatusCode};
use oci_distribution::errors::OciErrorCode;
use serde_json::json;

use super::access::{Caller, TOKEN, unauthorized};
use super::ask::{Ask, Guard, Hall};
use super::content::{Answer, document, set};
use super::failure::{Failure, blocking};
use super::metrics::TEXT;
use super::route::{Query, Route};
use super::rules::Right;
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
    let result = match identify(hall, &head.headers).await {
        Err(failure) => Err(failure),
        Ok(caller) => {
            *user = caller.name().map(str::to_owned);
            let hall = Arc::clone(hall);
            let ask = Arc::new(Ask { hall, method: head.method, headers: head.headers, query, caller });
            match (admit(&ask, route.as_ref()).await, route) {
                (Err(failure), _) => Err(failure),
                (Ok(()), Some(route)) => carry_out(ask, route, body).await,
                (Ok(()), None) => Err(Failure::missing(OciErrorCode::Unsupported, "there is nothing under this path")),
            }
        }
    };
    let mut answer = result.unwrap_or_else(Failure::into_answer);
    let headers = answer.headers_mut();
    // docker wants to see it before it believes that this is a registry.
    let version = HeaderName::from_static("docker-distribution-api-version");
    headers.insert(version, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Who sends a request.
async fn identify(hall: &Hall, headers: &HeaderMap) -> Result<Caller, Failure> {
    let Some(access) = &hall.guard.access else { return Ok(Caller::Nobody) };
    access.caller(headers).await.map_err(|failure| access.challenge(failure, headers, hall.is_encrypted))
}

/// Lets in who may do this.
async fn admit(ask: &Arc<Ask>, route: Option<&Route>) -> Result<(), Failure> {
    let Guard { access, rules } = &ask.hall.guard;
    let refused = || match access {
        Some(access) if ask.caller == Caller::Nobody => {
            access.challenge(unauthorized("authentication required"), &ask.headers, ask.hall.is_encrypted)
        }
        _ => Failure::new(StatusCode::FORBIDDEN, OciErrorCode::Denied, "the rules of this registry do not allow it"),
    };
    if let Some(access) = access
        && ask.caller == Caller::Nobody
    {
        let is_reading = matches!(ask.method, Method::GET | Method::HEAD);
        // What a client asks first must be refused to those who bring nothing: only so it learns of passwords and tokens.
        let is_first = route == Some(&Route::Base) && !ask.headers.contains_key(AUTHORIZATION);
        if is_first || !access.is_open || !(is_reading || rules.is_some()) {
            return Err(refused());
        }
    }
    if rules.is_none() {
        return Ok(());
    }
    let Some((name, right)) = route.and_then(|route| needed(route, &ask.method)) else { return Ok(()) };
    let (asked, name) = (Arc::clone(ask), name.to_owned());
    if blocking(move || Ok(asked.may(right, &name))).await? { Ok(()) } else { Err(refused()) }
}

/// What a request needs to be allowed, if it is about one repository.
fn needed<'a>(route: &'a Route, method: &Method) -> Option<(&'a str, Right)> {
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::Uploads(name) | Route::Upload(name, _) => Some((name, Right::Push)),
        Route::Manifest(name, _) | Route::Blob(name, _) if *method == Method::DELETE => Some((name, Right::Delete)),
        Route::Manifest(name, _) | Route::Blob(name, _) if !is_reading => Some((name, Right::Push)),
        Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _) | Route::Referrers(name, _) => {
            Some((name, Right::Pull))
        }
        Route::Page(name) => name.as_deref().map(|name| (name, Right::Pull)),
        Route::Metrics | Route::Token | Route::Base | Route::Catalog => None,
    }
}

/// A token for who asks. What it is good for is decided when it is used.
async fn token(ask: &Ask) -> Result<Answer, Failure> {
    let Some(access) = ask.hall.guard.access.as_ref().filter(|access| access.is_open) else {
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
    if ask.hall.mirror.is_some() && allowed.contains(ask.method.as_str()) {
        return Err(Failure::unsupported("this registry is a mirror: nothing is pushed to it"));
    }
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
