//! Failures, as people read them.

use std::io::{self, IsTerminal};

use harbor_wire::client::ClientError;
use harbor_wire::problem::Problem;

use crate::failure::Failure;
use crate::output::table::plain;

const RED: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";

/// Writes a failure for people, over as many lines as it needs.
pub(crate) fn render(failure: &Failure, color: bool) -> String {
    let (start, end) = if color { (RED, RESET) } else { ("", "") };
    let text = match failure {
        Failure::Client(ClientError::Problem(problem)) => problem_text(problem),
        Failure::Client(error @ ClientError::Unreachable { .. }) => {
            format!("{error}\n  is it running? `harborhook serve --dev` starts one here")
        }
        Failure::Client(error @ (ClientError::Settings(_) | ClientError::Unexpected { .. })) => {
            error.to_string()
        }
        Failure::Usage(_) | Failure::Settings(_) | Failure::Unfulfilled(_) | Failure::Output(_) => {
            failure.to_string()
        }
    };
    format!("{start}error:{end} {text}")
}

/// Whether stderr takes colour.
pub(crate) fn takes_color(no_color: bool) -> bool {
    !no_color && io::stderr().is_terminal()
}

fn problem_text(problem: &Problem) -> String {
    let mut lines = vec![format!("{} ({} {})", plain(&problem.title), problem.status, plain(&problem.code))];
    if problem.detail != problem.title {
        lines.push(format!("  {}", plain(&problem.detail)));
    }
    lines.extend(
        problem.errors.iter().map(|error| format!("  - {}: {}", plain(&error.field), plain(&error.message))),
    );
    lines.extend(hint(problem).map(|hint| format!("  {hint}")));
    lines.extend(problem.request_id.iter().map(|id| format!("  request {}", plain(id))));
    lines.join("\n")
}

/// What to do about it, where we know.
fn hint(problem: &Problem) -> Option<&'static str> {
    match problem.code.as_str() {
        "tenant_required" => Some("name one with --tenant ID"),
        "unauthorized" => Some("`harborctl config view` shows which key is used"),
        "tenant_crowded" => Some("nothing was stored; the same command may succeed in a second"),
        "quota_exceeded" => Some("`harborctl tenant get` shows the quota"),
        "delivery_behind" => Some("`harborctl endpoint lane list` shows who is at the heads of lanes"),
        "forbidden" | "tenant_mismatch" => Some("`harborctl ping` shows whose key it is"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use harbor_wire::problem::FieldError;

    use super::*;

    fn problem(code: &str) -> Problem {
        Problem {
            kind: "/docs#problem".to_owned(),
            title: "A field is wrong".to_owned(),
            status: 422,
            detail: "2 fields are wrong: url, retry.schedule[0]".to_owned(),
            code: code.to_owned(),
            request_id: Some("req_1".to_owned()),
            errors: Vec::new(),
        }
    }

    fn text(problem: Problem, color: bool) -> String {
        render(&Failure::Client(ClientError::Problem(Box::new(problem))), color)
    }

    #[test]
    fn a_problem_names_every_field_and_the_request() {
        let field =
            |field: &str, message: &str| FieldError { field: field.to_owned(), message: message.to_owned() };
        let errors =
            vec![field("url", "must begin with https://"), field("retry.schedule[0]", "is no duration")];
        let text = text(Problem { errors, ..problem("validation_failed") }, false);
        assert_eq!(
            text,
            "error: A field is wrong (422 validation_failed)\n\
             \x20 2 fields are wrong: url, retry.schedule[0]\n\
             \x20 - url: must begin with https://\n\
             \x20 - retry.schedule[0]: is no duration\n\
             \x20 request req_1"
        );
    }

    #[test]
    fn a_problem_that_can_be_mended_says_how() {
        assert!(text(problem("tenant_required"), false).contains("--tenant ID"));
        assert!(text(problem("tenant_crowded"), false).contains("in a second"));
    }

    #[test]
    fn only_the_word_error_has_colour_and_the_server_adds_none() {
        let hostile = Problem { detail: "\u{1b}[2Jgone".to_owned(), ..problem("x") };
        let text = text(hostile, true);
        assert!(text.starts_with("\x1b[1;31merror:\x1b[0m A field"), "{text}");
        assert_eq!(text.matches('\u{1b}').count(), 2, "{text}");
    }
}
