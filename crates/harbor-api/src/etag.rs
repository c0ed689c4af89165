//! `ETag` and `If-Match`: versions that guard changes against each other.

use http::header::IF_MATCH;
use http::{HeaderMap, HeaderValue};

use crate::problem::{Kind, Refusal, Result};

/// The tag of a version.
pub(crate) fn of(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes fit a header")
}

/// Whether the request names versions that it is meant for.
pub(crate) fn is_guarded(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH)
}

/// Holds the version that is there against the versions that the request is meant for.
pub(crate) fn check(headers: &HeaderMap, version: u64) -> Result<()> {
    if !is_guarded(headers) {
        return Ok(());
    }
    let tag = format!("\"{version}\"");
    let names =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.split(',').any(|one| fits(one, &tag)));
    if headers.get_all(IF_MATCH).iter().any(names) {
        return Ok(());
    }
    Err(Refusal::new(Kind::PreconditionFailed, format!("it is at version {tag} now")))
}

/// The version that a change is meant for: the one that `stored` finds, if the request names it. None where the
/// request names none.
pub(crate) async fn meant(
    headers: &HeaderMap,
    stored: impl Future<Output = Result<u64>>,
) -> Result<Option<u64>> {
    if !is_guarded(headers) {
        return Ok(None);
    }
    let version = stored.await?;
    check(headers, version)?;
    Ok(Some(version))
}

/// Proxies may make a tag weak on its way; the version it names is the same.
fn fits(text: &str, tag: &str) -> bool {
    let text = text.trim();
    text == "*" || text.strip_prefix("W/").unwrap_or(text) == tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_held_against_the_versions_it_names() {
        let found = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_static(value));
            }
            check(&headers, 7).is_ok()
        };
        assert!(found(&[]));
        assert!(found(&["\"7\""]));
        assert!(found(&["W/\"7\""]));
        assert!(found(&["*"]));
        assert!(found(&["\"6\", \"7\""]));
        assert!(found(&["\"6\"", "\"7\""]));
        assert!(!found(&["\"6\""]));
        assert!(!found(&["7"]));
        assert!(!found(&[""]));
    }
}
