//! One readable line per request.

use std::fmt::Write;

use crate::request::Request;

/// So much of a body is printed.
const BODY_CHARS_MAX: usize = 512;

/// Writes a request as one line: when, answer, attempt, type, id, signatures, body.
pub(crate) fn line(request: &Request) -> String {
    let mut line = format!("{:.3}  ", request.received_at);
    match request.status {
        Some(status) => line.push_str(status.as_str()),
        None => line.push_str("---"),
    }
    match request.attempt() {
        Some(attempt) => push(&mut line, format_args!("  attempt {attempt}")),
        None => line.push_str("  attempt -"),
    }
    push(&mut line, format_args!("  {}", request.event_type().unwrap_or("-")));
    push(&mut line, format_args!("  {}", request.webhook_id().unwrap_or("-")));
    push(&mut line, format_args!("  standard: {}", request.signatures.standard));
    push(&mut line, format_args!("  harborhook: {}", request.signatures.harborhook));
    line.push_str("  ");
    push_body(&mut line, &request.body);
    line
}

/// Adds the beginning of a body.
/// What would move a cursor or colour a terminal is escaped: the line must show what came, not obey it.
fn push_body(line: &mut String, body: &[u8]) {
    // A character takes at most 4 bytes, so no more than these are looked at.
    let beginning = &body[..body.len().min(4 * BODY_CHARS_MAX)];
    let text = String::from_utf8_lossy(beginning);
    for char in text.chars().take(BODY_CHARS_MAX) {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    if text.chars().nth(BODY_CHARS_MAX).is_some() || beginning.len() < body.len() {
        push(line, format_args!("… ({} bytes)", body.len()));
    }
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a String takes all that is written");
}

#[cfg(test)]
mod tests;
