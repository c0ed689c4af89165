//! Lines of JSON: every field at the top level, those of the event and those of its spans.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::sync::Arc;

use harbor_model::time::Clock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::logs::sink::Sink;

/// Writes each event as a line of JSON.
pub(crate) struct JsonLayer {
    sink: Sink,
    clock: Arc<dyn Clock>,
}

/// A span's fields, ready to be put into lines.
struct SpanFields(Vec<(&'static str, String)>);

/// A line that is being written, and the names that it has already.
#[derive(Default)]
struct Line {
    text: String,
    names: Vec<&'static str>,
}

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

impl JsonLayer {
    pub(crate) fn new(sink: Sink, clock: Arc<dyn Clock>) -> Self {
        Self { sink, clock }
    }

    fn write<S>(&self, line: &mut Line, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let metadata = event.metadata();
        let (now, level, target) = (self.clock.now(), metadata.level(), metadata.target());
        line.begin();
        write!(line.text, r#"{{"timestamp":"{now}","level":"{level}","target":"{target}""#)
            .expect("writing to a String does not fail");
        event.record(line);
        // The nearest span wins where two have a field of one name, and the event wins over both.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                for (name, value) in fields {
                    line.put_json(name, value);
                }
            }
        }
        line.text.push_str("}\n");
        self.sink.append(line.text.as_bytes());
    }
}

impl<S> Layer<S> for JsonLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanFields(Vec::new());
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => self.write(&mut line, event, &context),
            // A value that logs while it is written for a line.
            Err(_) => self.write(&mut Line::default(), event, &context),
        });
    }
}

impl Line {
    fn begin(&mut self) {
        self.text.clear();
        self.names.clear();
        self.names.extend(["timestamp", "level", "target"]);
    }

    /// Begins a field, unless the line has one of its name.
    fn begin_field(&mut self, name: &'static str) -> bool {
        let name = name.strip_prefix("r#").unwrap_or(name);
        if self.names.contains(&name) {
            return false;
        }
        self.names.push(name);
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":");
        true
    }

    fn put_json(&mut self, name: &'static str, json: &str) {
        if self.begin_field(name) {
            self.text.push_str(json);
        }
    }

    fn put(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        if self.begin_field(field.name()) {
            write(&mut self.text);
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |text| put_text(text, format_args!("{value}")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, |text| put_f64(text, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, |text| put_text(text, format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, |text| put_text(text, format_args!("{value:?}")));
    }
}

impl SpanFields {
    fn put(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        let mut json = String::new();
        write(&mut json);
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, value)) => *value = json,
            None => self.0.push((field.name(), json)),
        }
    }
}

impl Visit for SpanFields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |text| put_bare(text, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, |text| put_f64(text, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |text| put_text(text, format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, |text| put_text(text, format_args!("{value:?}")));
    }
}

fn put_bare(text: &mut String, value: impl fmt::Display) {
    write!(text, "{value}").expect("writing to a String does not fail");
}

/// JSON has no word for what is not a number.
fn put_f64(text: &mut String, value: f64) {
    if value.is_finite() { put_bare(text, value) } else { text.push_str("null") }
}

fn put_text(text: &mut String, value: fmt::Arguments<'_>) {
    text.push('"');
    // It fails only if the value itself fails to be written; what it wrote until then stands.
    let _ = Escaped(text).write_fmt(value);
    text.push('"');
}

/// Writes text into a JSON string.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\' || c == '\x7f') {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}
