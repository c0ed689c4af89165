//! Shows settings and mistakes to people and programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::settings::load::{Loaded, Mistake};
use crate::settings::table::{Key, keys};

/// Every setting with its value and where it came from, in columns.
pub(crate) fn as_text(loaded: &Loaded) -> String {
    let rows: Vec<_> = keys()
        .iter()
        .map(|key| (key.name, key.show(&loaded.settings), loaded.origin(key).to_string()))
        .collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let name_width = width(&mut rows.iter().map(|(name, ..)| name.len()));
    let value_width = width(&mut rows.iter().map(|(_, value, _)| value.chars().count().min(40)));
    let mut text = String::new();
    for (name, value, origin) in rows {
        let value = if value.is_empty() { "-" } else { &value };
        writeln!(text, "{name:name_width$}  {value:value_width$}  {origin}")
            .expect("writing to a String does not fail");
    }
    text
}

/// The same as one JSON object.
pub(crate) fn as_json(loaded: &Loaded) -> Value {
    let setting = |key: &Key| {
        let value = key.show(&loaded.settings);
        let value = if value.is_empty() { Value::Null } else { Value::String(value) };
        let origin = loaded.origin(key).to_string();
        json!({"key": key.name, "value": value, "origin": origin, "must_be": key.kind(), "help": key.help})
    };
    json!({"settings": keys().iter().map(setting).collect::<Vec<_>>()})
}

/// What a check found, as one JSON object.
pub(crate) fn check_as_json(mistakes: &[Mistake], warnings: &[Mistake]) -> Value {
    let list = |mistakes: &[Mistake]| {
        let one = |mistake: &Mistake| json!({"place": mistake.place, "message": mistake.message});
        mistakes.iter().map(one).collect::<Vec<_>>()
    };
    json!({"ok": mistakes.is_empty(), "mistakes": list(mistakes), "warnings": list(warnings)})
}
