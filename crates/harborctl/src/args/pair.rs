//! Pairs: `name:value` for headers, `key=value` for metadata.

use std::collections::BTreeMap;

/// Reads a header, `name:value`. White space after the colon does not count.
///
/// # Errors
/// There is no colon, or nothing before it.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("a header looks like name:value".to_owned()),
    }
}

/// Reads an entry of the metadata, `key=value`.
///
/// # Errors
/// There is no equals sign, or nothing before it.
pub(crate) fn entry(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an entry looks like key=value".to_owned()),
    }
}

/// The pairs as a map, if there are any.
pub(crate) fn map(pairs: Vec<(String, String)>) -> Option<BTreeMap<String, String>> {
    if pairs.is_empty() { None } else { Some(pairs.into_iter().collect()) }
}

/// What is set and what is removed as one change, if there is any.
pub(crate) fn changes(
    set: Vec<(String, String)>,
    removed: Vec<String>,
) -> Option<BTreeMap<String, Option<String>>> {
    if set.is_empty() && removed.is_empty() {
        return None;
    }
    let set = set.into_iter().map(|(name, value)| (name, Some(value)));
    Some(set.chain(removed.into_iter().map(|name| (name, None))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(header("x-key: a:b "), pair("x-key", "a:b"));
        assert_eq!(header("x-empty:"), pair("x-empty", ""));
        assert!(header("x-key").is_err() && header(": v").is_err());
        assert_eq!(entry("k= v=w"), pair("k", " v=w"));
        assert!(entry("k").is_err() && entry("=v").is_err());
    }
}
