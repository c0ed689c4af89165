//! One field of a JSON merge patch (RFC 7396).

use serde::{Serialize, Serializer};

/// What a merge patch does to one field.
///
/// A field of this type is written `#[serde(skip_serializing_if = "Patch::is_kept")]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Leaves it as it is: the field is not in the patch.
    #[default]
    Keep,
    /// Returns it to the inherited value or to none: `null`.
    Clear,
    /// Sets it.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field is not in the patch.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T> From<Option<T>> for Patch<T> {
    /// Sets what is given, keeps what is not.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Keep, Self::Set)
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => value.serialize(serializer),
        }
    }
}
