//! Single fields of JSON bodies and of forms, without reading the rest into memory.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The text or the whole number at `path` (names of nested objects) in a JSON body; none where it is not there,
/// or is anything else.
///
/// What repeats a name is read as most readers do: the last one counts.
pub(crate) fn json_text<'a>(body: &'a [u8], path: &[&str]) -> Option<Cow<'a, str>> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Path(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// Names a JSON object, or a list of them, by a hash of all that it holds but for the field `counter`, which
/// counts retries; none where it has no such field.
pub(crate) fn json_digest_without(body: &[u8], counter: &str) -> Option<String> {
    let mut json: Value = serde_json::from_slice(body).ok()?;
    let items = match &mut json {
        Value::Array(items) => items.as_mut_slice(),
        single => std::slice::from_mut(single),
    };
    let mut counters = 0;
    for item in items {
        counters += usize::from(item.as_object_mut().is_some_and(|item| item.remove(counter).is_some()));
    }
    (counters > 0).then(|| sha256_hex(json.to_string().as_bytes()))
}

/// SHA-256 in hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The first value with this name in a form, decoded.
pub(crate) fn form_value<'a>(form: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(form).find(|(known, _)| known == name).map(|(_, value)| value)
}

struct Path<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then_some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // `0` names the first item: some providers send their events in lists.
        let mut found = None;
        if let Some((&"0", rest)) = self.0.split_first() {
            found = items.next_element_seed(Path(rest))?.flatten();
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = fields.next_key_seed(Name)? {
            match self.0.split_first() {
                Some((wanted, rest)) if name == *wanted => found = fields.next_value_seed(Path(rest))?,
                Some(_) | None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// The name of a field, borrowed where it holds no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        Cow::<str>::deserialize(reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts_and_whole_numbers() {
        let check = |body: &str, path: &[&str], expected: Option<&str>| {
            assert_eq!(json_text(body.as_bytes(), path).as_deref(), expected, "{path:?} of {body}");
        };
        check(r#"{"type":"a.b","id":7}"#, &["type"], Some("a.b"));
        check(r#"{"type":"a.b","id":7}"#, &["id"], Some("7"));
        check(r#"{"a":{"b":{"c":"deep"}},"b":"flat"}"#, &["a", "b", "c"], Some("deep"));
        check(r#"{"a":"first","a":"last"}"#, &["a"], Some("last"));
        check(r#"[{"id":1},{"id":2}]"#, &["0", "id"], Some("1"));
        check(r#"{"a":"\u0041"}"#, &["a"], Some("A"));
        check(r#"{"a":null,"b":true,"c":1.5,"d":{},"e":[]}"#, &["a"], None);
        check(r#"{"a":"x"} trailing"#, &["a"], None);
        check("no json", &["a"], None);
        check(r#"{"a":"x"}"#, &["a", "b"], None);
    }

    #[test]
    fn a_counter_changes_no_digest_and_all_else_does() {
        let digest = |body: &str| json_digest_without(body.as_bytes(), "n");
        let first = digest(r#"{"n":0,"a":1,"b":{"n":2}}"#);
        assert!(first.is_some());
        assert_eq!(digest(r#"{"b":{"n":2},"a":1,"n":1}"#), first);
        assert_ne!(digest(r#"{"n":0,"a":2,"b":{"n":2}}"#), first);
        assert_ne!(digest(r#"{"n":0,"a":1,"b":{"n":3}}"#), first);
        assert_ne!(digest(r#"[{"n":0,"a":1,"b":{"n":2}}]"#), first);
        assert_eq!(digest(r#"[{"n":0},{"a":1}]"#), digest(r#"[{},{"n":1,"a":1}]"#));
        for without in [r#"{"a":1}"#, "[]", r#""n""#, "no json", ""] {
            assert_eq!(digest(without), None, "{without}");
        }
    }
}
