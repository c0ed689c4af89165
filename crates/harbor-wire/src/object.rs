//! Reads nested structs from objects alone. Left to itself, serde takes an array for the fields in their order.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads an object, or nothing from `null`.
pub(crate) fn only<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

/// Reads an object.
pub(crate) fn required<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer
        .deserialize_map(ObjectVisitor(PhantomData))?
        .ok_or_else(|| serde::de::Error::invalid_type(serde::de::Unexpected::Unit, &"an object"))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use crate::delivery::CancelDeliveries;
    use crate::endpoint::CreateEndpoint;

    #[test]
    fn nested_fields_are_objects_or_null() {
        let read = |retry: &str| {
            serde_json::from_str::<CreateEndpoint>(&format!("{{\"url\": \"u\", \"retry\": {retry}}}"))
        };
        assert_eq!(read("{\"max_attempts\": 3}").unwrap().retry.unwrap().max_attempts, Some(3));
        assert_eq!(read("null").unwrap().retry, None);
        for refused in ["[]", "[3]", "3", "\"x\"", "{\"x\": 1}"] {
            assert!(read(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_nested_field_that_is_required_is_an_object() {
        let read =
            |filter: &str| serde_json::from_str::<CancelDeliveries>(&format!("{{\"filter\": {filter}}}"));
        assert_eq!(read("{\"event_type\": \"a\"}").unwrap().filter.event_type.as_deref(), Some("a"));
        for refused in ["null", "[]", "3", "{\"x\": 1}"] {
            assert!(read(refused).is_err(), "{refused}");
        }
    }
}
