//! What there is: repositories, tags, and the manifests that refer to another (distribution-spec, "Content Discovery").

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use form_urlencoded::Serializer;
use hyper::header::{HeaderName, LINK};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

use super::ask::{Ask, check, parse_digest, unknown};
use super::content::{Answer, document, set};
use super::failure::{Failure, blocking};
use super::namespace::joined;
use super::rules::Right;
use super::store::catalog::Document;

/// How large a page of referrers may become, in bytes: clients read no more than 4 MiB of a document.
const PAGE: usize = 3 << 20;

/// The names of all repositories that the client may read, in order.
pub(super) fn names(ask: &Ask) -> Result<BTreeSet<String>, Failure> {
    let mut names = BTreeSet::new();
    for (prefix, store) in ask.hall.namespace.stores()? {
        let catalog = store.catalog()?;
        names.extend(catalog.repositories().map(|(name, _)| joined(&prefix, name)));
    }
    names.retain(|name| ask.may(Right::Pull, name));
    Ok(names)
}

/// The repositories: the catalog of docker's registry, which the distribution-spec leaves to extensions.
pub(super) async fn catalog(ask: Arc<Ask>) -> Result<Answer, Failure> {
    blocking(move || {
        let (page, more) = page(&ask, names(&ask)?)?;
        Ok(listed(&ask, &json!({ "repositories": page }), "/v2/_catalog", &page, more))
    })
    .await
}

/// The tags of a repository: those at its registry too, if that is mirrored.
pub(super) async fn tags(ask: Arc<Ask>, name: String) -> Result<Answer, Failure> {
    let elsewhere = match ask.elsewhere(&name, "latest")? {
        Some((mirror, image)) => Some(mirror.tags(&image).await),
        None => None,
    };
    blocking(move || {
        let place = ask.place(&name)?;
        let catalog = place.store.catalog()?;
        let tags: BTreeSet<String> = match catalog.repository(&place.repository) {
            Some(repository) => {
                let elsewhere = elsewhere.and_then(Result::ok).into_iter().flatten();
                repository.tags.keys().cloned().chain(elsewhere).collect()
            }
            None if elsewhere.is_some() => elsewhere.transpose()?.into_iter().flatten().collect(),
            // A layout that is a repository may have no tag yet.
            None if place.repository.is_empty() => BTreeSet::new(),
            None => return Err(unknown(&name)),
        };
        let (page, more) = page(&ask, tags)?;
        Ok(listed(&ask, &json!({ "name": name, "tags": page }), &format!("/v2/{name}/tags/list"), &page, more))
    })
    .await
}

/// At most `n` names after `last`, and whether more follow.
fn page(ask: &Ask, all: BTreeSet<String>) -> Result<(Vec<String>, bool), Failure> {
    let most = match ask.query.get("n").map(str::parse::<usize>) {
        None => usize::MAX,
        Some(Ok(most)) => most,
        Some(Err(_)) => return Err(Failure::bad(OciErrorCode::Unsupported, "n is not a number")),
    };
    let last = ask.query.get("last").unwrap_or_default();
    let mut names = all.into_iter().filter(|name| name.as_str() > last);
    let page: Vec<String> = names.by_ref().take(most).collect();
    let more = most > 0 && names.next().is_some();
    Ok((page, more))
}

fn listed(ask: &Ask, body: &Value, path: &str, page: &[String], more: bool) -> Answer {
    let mut answer = document("application/json", Bytes::from(body.to_string()), ask.is_head());
    if more && let (Some(last), Some(most)) = (page.last(), ask.query.get("n")) {
        let query = Serializer::new(String::new()).append_pair("n", most).append_pair("last", last).finish();
        set(&mut answer, LINK, &format!("<{path}?{query}>; rel=\"next\""));
    }
    answer
}

/// The manifests that refer to another. A repository that is not there has none.
pub(super) async fn referrers(ask: Arc<Ask>, name: String, digest: &str) -> Result<Answer, Failure> {
    check(&name)?;
    let subject = parse_digest(digest)?;
    blocking(move || {
        // A plus that was not encoded reads as a space, which no media type has.
        let wanted =
            ask.query.get("artifactType").filter(|wanted| !wanted.is_empty()).map(|text| text.replace(' ', "+"));
        let mut manifests = Vec::new();
        let mut next = None;
        if let Some(place) = ask.find(&name)? {
            let catalog = place.store.catalog()?;
            let last = ask.query.get("last").unwrap_or_default();
            let mut size = 0;
            for document in catalog.referrers(&place.repository, &subject) {
                let digest = document.descriptor.digest();
                let is_wanted = wanted.is_none() || document.artifact_type == wanted;
                if !is_wanted || digest.as_ref() <= last {
                    continue;
                }
                let descriptor = described(document);
                size += descriptor.to_string().len();
                if size > PAGE && !manifests.is_empty() {
                    next = manifests.last().and_then(|last: &Value| last["digest"].as_str()).map(str::to_owned);
                    break;
                }
                manifests.push(descriptor);
            }
        }
        let media_type = MediaType::ImageIndex.to_string();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        let mut answer = document(&media_type, Bytes::from(index.to_string()), ask.is_head());
        if let Some(wanted) = &wanted {
            set(&mut answer, HeaderName::from_static("oci-filters-applied"), "artifactType");
            tracing::debug!("referrers of {subject}, only {wanted}");
        }
        if let Some(last) = next {
            let mut query = Serializer::new(String::new());
            query.append_pair("last", &last);
            if let Some(wanted) = &wanted {
                query.append_pair("artifactType", wanted);
            }
            set(&mut answer, LINK, &format!("</v2/{name}/referrers/{subject}?{}>; rel=\"next\"", query.finish()));
        }
        Ok(answer)
    })
    .await
}

/// The descriptor of a manifest as a list of referrers has it.
fn described(document: &Document) -> Value {
    let mut descriptor = json!({
        "mediaType": document.descriptor.media_type().to_string(),
        "size": document.descriptor.size(),
        "digest": document.descriptor.digest().to_string(),
    });
    if let Some(kind) = &document.artifact_type {
        descriptor["artifactType"] = kind.as_str().into();
    }
    if !document.annotations.is_empty() {
        descriptor["annotations"] = json!(document.annotations);
    }
    descriptor
}
