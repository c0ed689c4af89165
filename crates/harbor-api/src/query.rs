//! Query strings: read into a struct, and explained when they are wrong.

use harbor_model::invalid::FieldError;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::json::explain::Mistake;
use crate::problem::Result;

/// Reads the fields of a query string; each may be left out.
pub(crate) fn parse<T: DeserializeOwned>(query: &str) -> Result<T> {
    let mut wrong: Vec<FieldError> = Vec::new();
    let mut rest = query.to_owned();
    loop {
        let fields = serde_urlencoded::Deserializer::new(form_urlencoded::parse(rest.as_bytes()));
        match serde_path_to_error::deserialize::<_, T>(fields) {
            Ok(read) if wrong.is_empty() => return Ok(read),
            Ok(_) => return Err(wrong.into()),
            Err(error) => {
                let error = Mistake::from(error).to_field_error();
                let Some(shorter) = without(&rest, &error.field) else {
                    wrong.push(error);
                    return Err(wrong.into());
                };
                // The next mistake shows once this one is out of the way.
                rest = shorter;
                wrong.push(error);
            }
        }
    }
}

/// The query without this field; none if it is not there.
fn without(query: &str, field: &str) -> Option<String> {
    let mut found = false;
    let rest = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| {
        let is_it = name == field;
        found |= is_it;
        !is_it
    });
    let rest = form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish();
    found.then_some(rest)
}

#[cfg(test)]
mod tests {
    use harbor_wire::delivery::{DeliveryStatus, ListDeliveries};

    use super::*;

    #[test]
    fn every_wrong_parameter_is_named() {
        let check = |query: &str, expected: &[&str]| {
            let refusal = parse::<ListDeliveries>(query).err();
            let errors = refusal.map(|refusal| refusal.to_problem("req_1").errors).unwrap_or_default();
            let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{query}: {errors:?}");
        };
        check("", &[]);
        check("status=dead&limit=7&since=2026-01-01T00%3A00%3A00Z", &[]);
        check("limit=abc", &["limit"]);
        check("limit=-1", &["limit"]);
        check("limit=70000", &["limit"]);
        check("limit=", &["limit"]);
        check("status=lost", &["status"]);
        check("colour=red", &["colour"]);
        check("status=dead&status=queued", &["status"]);
        check("colour=red&limit=x&status=lost&size=1", &["colour", "limit", "status", "size"]);
        check("&&%ff=1", &["\u{fffd}"]);
    }

    #[test]
    fn what_is_there_is_read() {
        let read: ListDeliveries = parse("status=dead&limit=7&event_type=a%2Eb").unwrap();
        assert_eq!((read.status, read.limit), (Some(DeliveryStatus::Dead), Some(7)));
        assert_eq!(read.event_type.as_deref(), Some("a.b"));
    }
}
