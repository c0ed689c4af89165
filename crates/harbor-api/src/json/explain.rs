//! Explains what is wrong with a body that could not be read: every mistake, by the path of its field.
//!
//! The reader stops at the first mistake. To find the next one, a copy of the document is mended at that
//! place and read again, until it can be read or the explanation is long enough.

use harbor_model::invalid::FieldError;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use crate::problem::{Kind, Refusal};

/// The most mistakes that one answer names.
const MISTAKES_MAX: usize = 20;

/// The longest body that is read again and again; of a longer one only the first mistake is named.
const MENDED_BYTES_MAX: usize = 64 * 1024;

/// The most characters in what is said of one mistake: it may quote the caller.
const MESSAGE_CHARS_MAX: usize = 200;

/// The name of the body as a whole.
const BODY: &str = "body";

/// One mistake that a reader stopped at.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    path: Vec<Step>,
    kind: MistakeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum MistakeKind {
    Missing,
    Unknown,
    Duplicate,
    Wrong(String),
}

impl<E: std::fmt::Display> From<serde_path_to_error::Error<E>> for Mistake {
    fn from(error: serde_path_to_error::Error<E>) -> Self {
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Item(*index)),
            Segment::Map { key } => Some(Step::Field(key.clone())),
            // Our enums are plain words: they add nothing to the path.
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let mut path: Vec<Step> = error.path().iter().filter_map(step).collect();
        let text = error.inner().to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        // The name is the caller's and may hold backticks itself; what serde puts behind it does not vary.
        let quoted = |prefix: &str| {
            let rest = text.strip_prefix(prefix)?;
            let behind = ["`, expected ", "`, there are no fields"];
            let name = behind.iter().find_map(|mark| rest.rsplit_once(mark)).map(|(name, _)| name);
            Some(name.unwrap_or(rest.strip_suffix('`').unwrap_or(rest)).to_owned())
        };
        let mut at_field = |name: String| {
            if path.last() != Some(&Step::Field(name.clone())) {
                path.push(Step::Field(name));
            }
        };
        let kind = if let Some(name) = quoted("missing field `") {
            at_field(name);
            MistakeKind::Missing
        } else if let Some(name) = quoted("unknown field `") {
            at_field(name);
            MistakeKind::Unknown
        } else if let Some(name) = quoted("duplicate field `") {
            at_field(name);
            MistakeKind::Duplicate
        } else {
            MistakeKind::Wrong(text.chars().take(MESSAGE_CHARS_MAX).collect())
        };
        Self { path, kind }
    }
}

impl Mistake {
    pub(crate) fn to_field_error(&self) -> FieldError {
        let message = match &self.kind {
            MistakeKind::Missing => "is required",
            MistakeKind::Unknown => "is not a field of this request",
            MistakeKind::Duplicate => "is given more than once",
            MistakeKind::Wrong(message) => message,
        };
        FieldError::new(print(&self.path), message)
    }
}

/// Explains why `text`, which does not begin as an object, could not be read.
pub(crate) fn not_an_object(text: &str) -> Refusal {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Refusal::field(BODY, "must be an object"),
        Err(error) => Refusal::new(Kind::InvalidJson, error),
    }
}

/// Explains why `text` could not be read; `check` reads it and says where it stopped.
pub(crate) fn explain(text: &str, check: impl Fn(&str) -> Result<(), Mistake>) -> Refusal {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Refusal::new(Kind::InvalidJson, error);
    }
    let Err(first) = check(text) else {
        unreachable!("what cannot be read with its path cannot be read without");
    };
    let mut found = vec![first.to_field_error()];
    if text.len() <= MENDED_BYTES_MAX {
        find_more(text, first, check, &mut found);
    }
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found.into()
}

/// Mends a copy of the document at the mistake, and goes on to the next one.
fn find_more(
    text: &str,
    first: Mistake,
    check: impl Fn(&str) -> Result<(), Mistake>,
    found: &mut Vec<FieldError>,
) {
    // What nests too deep or holds a number beyond a double cannot be mended, only refused.
    let Ok(mut document) = serde_json::from_str::<Value>(text) else { return };
    let mut mistake = first;
    // Counted in rounds, not in what was found: a mend that does not help finds the same mistake again.
    for _ in 1..MISTAKES_MAX {
        let Some(next) = mend(&mut document, &mistake, &check) else { return };
        mistake = next;
        let error = mistake.to_field_error();
        if found.iter().all(|known| known.field != error.field) {
            found.push(error);
        }
    }
}

/// Puts something at the place of the mistake that the reader gets past. Answers where it stops then;
/// none where it does not, or where nothing gets it further.
fn mend(
    document: &mut Value,
    mistake: &Mistake,
    check: impl Fn(&str) -> Result<(), Mistake>,
) -> Option<Mistake> {
    if matches!(mistake.kind, MistakeKind::Unknown) {
        let is_removed = remove(document, &mistake.path);
        return if is_removed { check(&document.to_string()).err() } else { None };
    }
    for stand_in in [json!(null), json!(""), json!(0), json!(false), json!([]), json!({})] {
        if !put(document, &mistake.path, stand_in) {
            return None;
        }
        match check(&document.to_string()) {
            Ok(()) => return None,
            Err(next) if next.path == mistake.path => {}
            Err(next) => return Some(next),
        }
    }
    None
}

fn at<'a>(document: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    })
}

fn put(document: &mut Value, path: &[Step], value: Value) -> bool {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return true;
    };
    match (at(document, parents), last) {
        (Some(Value::Object(fields)), Step::Field(name)) => {
            fields.insert(name.clone(), value);
            true
        }
        (Some(Value::Array(items)), Step::Item(index)) if *index < items.len() => {
            items[*index] = value;
            true
        }
        _ => false,
    }
}

/// Removes a field; says whether it was there.
fn remove(document: &mut Value, path: &[Step]) -> bool {
    let Some((Step::Field(name), parents)) = path.split_last() else { return false };
    let Some(Value::Object(fields)) = at(document, parents) else { return false };
    fields.remove(name).is_some()
}

/// The path as callers read it: `retry.schedule[2]`.
fn print(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text.push_str(&format!(".{name}")),
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    if text.is_empty() { BODY.to_owned() } else { text }
}
