//! Collects everything that is wrong with a request, field by field.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use harbor_model::invalid::FieldError;
use harbor_model::text::has_control;
use harbor_model::time::Timestamp;

/// The lengths of a name, in characters.
pub(crate) const NAME_CHARS: RangeInclusive<usize> = 1..=128;

/// The lengths of a description, in characters.
pub(crate) const DESCRIPTION_CHARS: RangeInclusive<usize> = 0..=1024;

/// The most pairs of metadata.
pub(crate) const METADATA_PAIRS_MAX: usize = 50;

/// The lengths of a key of metadata, in bytes.
const METADATA_KEY_BYTES: RangeInclusive<usize> = 1..=128;

/// The most bytes in a value of metadata.
const METADATA_VALUE_BYTES_MAX: usize = 1024;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    prefix: &'static str,
    errors: Vec<FieldError>,
}

impl Checks {
    /// Checks of fields that stand below another: `prefix` ends in a dot.
    pub(crate) fn below(prefix: &'static str) -> Self {
        Self { prefix, errors: Vec::new() }
    }

    /// What comes before the names of the fields.
    pub(crate) fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Says that a field breaks a rule.
    pub(crate) fn refuse(&mut self, field: &str, message: impl ToString) {
        self.errors.push(FieldError::new(format!("{}{field}", self.prefix), message));
    }

    /// Adds what was found elsewhere, with the prefix in its names.
    pub(crate) fn extend(&mut self, errors: Vec<FieldError>) {
        self.errors.extend(errors);
    }

    /// The value, or a word about the field.
    pub(crate) fn ok<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.refuse(field, error)).ok()
    }

    /// Reads a text into what it means.
    pub(crate) fn parse<T>(&mut self, field: &str, text: Option<&str>) -> Option<T>
    where
        T: FromStr,
        T::Err: ToString,
    {
        text.and_then(|text| self.ok(field, text.parse()))
    }

    /// Reads the ends of a span of time; `until` must not lie before `since`.
    pub(crate) fn span(
        &mut self,
        since: Option<&str>,
        until: Option<&str>,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let (since, until) = (self.parse("since", since), self.parse("until", until));
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            self.refuse("until", "must not lie before `since`");
        }
        (since, until)
    }

    /// Holds a text against its bounds, in characters.
    pub(crate) fn text(&mut self, field: &str, text: Option<&str>, chars: RangeInclusive<usize>) {
        let Some(text) = text else { return };
        if !chars.contains(&text.chars().count()) {
            self.refuse(field, format!("must be {} to {} characters", chars.start(), chars.end()));
        }
        if has_control(text) {
            self.refuse(field, "must not hold control characters");
        }
    }

    /// Holds metadata against its bounds.
    pub(crate) fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        if metadata.len() > METADATA_PAIRS_MAX {
            self.refuse("metadata", format!("must have at most {METADATA_PAIRS_MAX} pairs"));
        }
        for (key, value) in metadata.iter().take(METADATA_PAIRS_MAX) {
            if !METADATA_KEY_BYTES.contains(&key.len()) || has_control(key) {
                let max = METADATA_KEY_BYTES.end();
                self.refuse("metadata", format!("keys must be 1 to {max} bytes without control characters"));
            } else if value.len() > METADATA_VALUE_BYTES_MAX || has_control(value) {
                let rule =
                    format!("must be at most {METADATA_VALUE_BYTES_MAX} bytes without control characters");
                self.refuse(&format!("metadata.{key}"), rule);
            }
        }
    }

    /// Ends the checks: nothing, or all that is wrong.
    pub(crate) fn finish(self) -> Result<(), Vec<FieldError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_rule_is_named_by_its_field() {
        let mut checks = Checks::below("policy.");
        checks.text("name", Some(""), NAME_CHARS);
        checks.text("name", Some("a\0"), NAME_CHARS);
        checks.text("name", Some("tab\tand\r\nline ends are fine"), NAME_CHARS);
        checks.span(Some("2026-01-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"));
        checks.span(Some("tomorrow"), None);
        checks.metadata(&BTreeMap::from([(String::new(), String::new()), ("a".to_owned(), "\0".to_owned())]));
        let fields: Vec<_> = checks.finish().unwrap_err().into_iter().map(|error| error.field).collect();
        let expected = ["name", "name", "until", "since", "metadata", "metadata.a"];
        assert_eq!(fields, expected.map(|field| format!("policy.{field}")));
    }
}
