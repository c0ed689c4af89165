//! What is wrong with what a caller sent, field by field.

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path, like `retry.schedule[2]`.
    pub field: String,
    /// The rule, and the value where it helps; never a secret.
    pub message: String,
}

impl FieldError {
    /// Says that `field` breaks the rule that `message` tells.
    pub fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}
