//! JSON as YAML.
//!
//! Written from the JSON text rather than from parsed values: a JSON scalar is a YAML scalar as it
//! stands, so a payload's numbers keep every digit and its keys their order.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What is nested deeper stays in one line as JSON, which is YAML too.
const DEPTH_MAX: usize = 32;

/// Writes JSON as YAML.
///
/// # Panics
/// If `json` is no JSON.
pub(crate) fn from_json(json: &str) -> String {
    let raw: &RawValue = serde_json::from_str(json).expect("our own JSON is valid");
    let mut yaml = String::new();
    block(&mut yaml, raw, 0);
    yaml.push('\n');
    yaml
}

/// A value, taken apart by one level.
enum Node<'a> {
    Scalar(String),
    List(Vec<&'a RawValue>),
    Map(Entries<'a>),
}

fn take_apart(raw: &RawValue, depth: usize) -> Node<'_> {
    let text = raw.get();
    let valid = "a part of valid JSON is valid";
    match text.as_bytes()[0] {
        b'"' => Node::Scalar(scalar(&serde_json::from_str::<String>(text).expect(valid))),
        b'[' if depth < DEPTH_MAX && !is_empty(text) => Node::List(serde_json::from_str(text).expect(valid)),
        b'{' if depth < DEPTH_MAX && !is_empty(text) => Node::Map(serde_json::from_str(text).expect(valid)),
        _ => Node::Scalar(text.to_owned()),
    }
}

/// Whether a list or a map has nothing in it.
fn is_empty(text: &str) -> bool {
    text[1..text.len() - 1].trim_ascii().is_empty()
}

/// Writes a value from where the line stands; further lines begin `depth` steps to the right.
fn block(yaml: &mut String, raw: &RawValue, depth: usize) {
    match take_apart(raw, depth) {
        Node::Scalar(text) => yaml.push_str(&text),
        Node::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                new_line(yaml, index, depth);
                yaml.push_str("- ");
                block(yaml, item, depth + 1);
            }
        }
        Node::Map(Entries(entries)) => {
            for (index, (key, value)) in entries.into_iter().enumerate() {
                new_line(yaml, index, depth);
                yaml.push_str(&scalar(&key));
                yaml.push(':');
                match take_apart(value, depth + 1) {
                    Node::Scalar(text) => {
                        yaml.push(' ');
                        yaml.push_str(&text);
                    }
                    Node::List(_) | Node::Map(_) => {
                        new_line(yaml, 1, depth + 1);
                        block(yaml, value, depth + 1);
                    }
                }
            }
        }
    }
}

/// Begins the line of an item; the first stands where the line already is.
fn new_line(yaml: &mut String, index: usize, depth: usize) {
    if index > 0 {
        yaml.push('\n');
        yaml.extend(std::iter::repeat_n("  ", depth));
    }
}

/// A text: as it is where nobody can take it for something else, in double quotes otherwise.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let json = serde_json::to_string(text).expect("a text is JSON");
    // What JSON lets stand and YAML readers refuse: DEL, C1 controls, byte order marks.
    let needs_escape =
        |c: char| c != ' ' && (c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'));
    json.chars().fold(String::with_capacity(json.len()), |mut quoted, c| {
        if needs_escape(c) {
            quoted.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            quoted.push(c)
        }
        quoted
    })
}

fn is_plain(text: &str) -> bool {
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !reserved.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// The entries of a map in their order, repeated keys among them.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;

        impl<'de> Visitor<'de> for Entry {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<'de>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_blocks() {
        let json = r#"{"data":[{"id":"evt_1","payload":{"b":[1,[2,3]],"a":{}}},[]],"next_cursor":null}"#;
        let yaml = "data:\n  - id: evt_1\n    payload:\n      b:\n        - 1\n        - - 2\n          - 3\n      a: {}\n  - []\nnext_cursor: null\n";
        assert_eq!(from_json(json), yaml);
    }

    #[test]
    fn numbers_keep_every_digit_and_keys_their_order() {
        let json = r#"{"z": 12345678901234567890, "a": 1.10, "z": 1e2}"#;
        assert_eq!(from_json(json), "z: 12345678901234567890\na: 1.10\nz: 1e2\n");
    }

    #[test]
    fn a_text_stays_a_text() {
        let check = |text: &str, expected: &str| assert_eq!(scalar(text), expected);
        check("appointment.created", "appointment.created");
        check("No", "\"No\"");
        check("null", "\"null\"");
        check("12", "\"12\"");
        check("", "\"\"");
        check("a: b # c", "\"a: b # c\"");
        check("- a", "\"- a\"");
        check("two\nlines", "\"two\\nlines\"");
        check("\u{7f}\u{85}é😀", "\"\\u007f\\u0085é😀\"");
    }

    #[test]
    fn what_is_too_deep_stays_json() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let yaml = from_json(&deep(100_000));
        assert!(yaml.starts_with("- - - -"));
        assert!(yaml.contains(&deep(100_000 - DEPTH_MAX)));
    }
}
