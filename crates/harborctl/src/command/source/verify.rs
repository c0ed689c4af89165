//! `harborctl source verify`

use std::path::PathBuf;

use clap::{Args, ValueHint};
use harbor_model::source::Provider;
use harbor_signature::source::{Request, SecretUse, Verifier};
use harbor_wire::source::PayloadEncoding;
use serde::Serialize;
use url::Url;

use crate::args::moment::Moment;
use crate::args::scheme::{self, SchemeArgs};
use crate::args::{text, word};
use crate::clock;
use crate::command::source::age;
use crate::command::source::captured::Captured;
use crate::command::source::judgement::{Answer, Judgement, Verdict, judge};
use crate::failure::Failure;
use crate::output::table::{Cell, Tone, plain};
use crate::output::{Output, View};

const EXAMPLES: &str = "\
The file holds a request as it went over the wire: request line, headers,
a blank line, and the body byte for byte: as much as Content-Length says,
or all that follows.

Examples:
  harborctl source verify --provider github --secret - --file request.http
  harborctl source verify --provider stripe --secret - --file request.http \\
      --at 2026-01-31T12:00:00Z
  harborctl source verify --provider square --secret - --file request.http \\
      --url https://hooks.example.com/ingest/src_…";

/// Arguments of `source verify`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Whose request it is; `source providers` lists all
    #[arg(long, value_parser = scheme::provider(), hide_possible_values = true)]
    provider: Provider,
    /// Secret to verify with, or - to read it from stdin
    #[arg(long)]
    secret: Option<String>,
    /// File with the request, or - for stdin
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// URL that the provider called [default: of the request line and the Host header, with https]
    #[arg(long, value_parser = called_url)]
    url: Option<String>,
    /// When it came: RFC 3339, or 2h for two hours ago [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    #[command(flatten)]
    scheme: SchemeArgs,
}

/// A judgement, and what was judged.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    judgement: Judgement,
    provider: &'static str,
    method: String,
    url: String,
    body_bytes: usize,
    at: String,
    warnings: Vec<String>,
}

impl Verify {
    /// Does what was asked.
    pub(super) fn run(self, output: &Output) -> Result<(), Failure> {
        if self.secret.as_deref() == Some("-") && self.file.as_os_str() == "-" {
            return Err(Failure::Usage("stdin cannot hold both the secret and the request".to_owned()));
        }
        let options = self.scheme.into_options()?;
        let verifier = Verifier::new(self.provider, &options)
            .map_err(|error| Failure::Usage(format!("--{} {}", error.field.replace('_', "-"), error.rule)))?;
        let secret = checked(&verifier, text::secret(self.secret)?)?;
        let mut captured = Captured::parse(&text::read_bytes(&self.file)?).map_err(|malformed| {
            let name = text::name_of(&self.file);
            Failure::Usage(format!("{name} is no HTTP request: {malformed}"))
        })?;
        let url = self.url.unwrap_or_else(|| captured.url());
        let now = clock::now();
        let at = self.at.map_or(now, |at| at.time_before(now));

        let Captured { method, headers, body, warnings, .. } = captured;
        let request = Request { method: &method, url: &url, headers: &headers, body: &body };
        let secrets: Vec<&str> = secret.as_deref().into_iter().collect();
        let report = Report {
            judgement: judge(&verifier, &request, &secrets, at.as_second()),
            provider: self.provider.as_str(),
            method: method.to_string(),
            body_bytes: body.len(),
            at: clock::rfc3339(at),
            url,
            warnings,
        };
        output.show(&report, |view| report.render(view, &verifier))?;
        report.judgement.verdict()
    }
}

/// The secret, if it is one that the provider could have.
fn checked(verifier: &Verifier, secret: Option<String>) -> Result<Option<String>, Failure> {
    let refused = |rule: &str| Err(Failure::Usage(format!("--secret {rule}")));
    match (verifier.secret_use(), &secret) {
        (SecretUse::None, None) => Ok(None),
        (SecretUse::None, Some(_)) => refused("must not be set for the provider none"),
        (SecretUse::FromProvider | SecretUse::FromOwner, None) => refused("must be set"),
        (SecretUse::FromProvider | SecretUse::FromOwner, Some(text)) => match verifier.check_secret(text) {
            Ok(()) => Ok(secret),
            Err(rule) => refused(rule),
        },
    }
}

impl Report {
    fn render(&self, view: &View, verifier: &Verifier) -> String {
        let judgement = &self.judgement;
        let mut rows = judgement.rows(verifier);
        rows.extend([
            ("provider", Cell::new(self.provider)),
            ("url", Cell::new(format_args!("{} {}", self.method, self.url))),
            ("body", Cell::new(format_args!("{} bytes", self.body_bytes))),
            ("at", Cell::exact_time(&self.at, view)),
        ]);
        rows.extend(judgement.timestamp_age_s.map(|age_s| ("timestamp age", age(Some(age_s)))));
        let warnings = self.warnings.iter().map(|text| ("warning", Cell::toned(text, Tone::Waiting)));
        rows.extend(warnings);
        let details = view.details(rows);
        match judgement.long_text() {
            Some((title, text)) => format!("{details}\n\n{title}:\n{}", plain(text)),
            None => details,
        }
    }
}

impl Judgement {
    fn verdict(&self) -> Result<(), Failure> {
        match self.verdict {
            Verdict::Verified | Verdict::Handshake => Ok(()),
            Verdict::Refused => {
                let message = self.message.as_deref().unwrap_or_default();
                Err(Failure::Unfulfilled(format!("the request is refused: {message}")))
            }
        }
    }

    fn rows(&self, verifier: &Verifier) -> Vec<(&'static str, Cell)> {
        let tone = if self.verdict == Verdict::Refused { Tone::Bad } else { Tone::Good };
        let mut rows = vec![("verdict", Cell::toned(word::print(&self.verdict), tone))];
        rows.extend(self.code.map(|code| ("code", Cell::new(code))));
        rows.extend(self.message.as_ref().map(|message| ("message", Cell::new(message))));
        rows.extend(self.header.as_ref().map(|header| ("header", Cell::new(header))));
        rows.extend(self.answer.as_ref().map(|answer| ("answer", answer.head())));
        if self.verdict == Verdict::Verified {
            rows.push(("event type", Cell::maybe(self.event_type.as_ref())));
            rows.push(("event id", self.event_id(verifier)));
        }
        rows
    }

    /// The provider's name for the event, or what tells its repetitions without one.
    fn event_id(&self, verifier: &Verifier) -> Cell {
        match &self.event_id {
            Some(id) => Cell::new(id),
            None if verifier.body_names_event() => Cell::new("- (repetitions are known by the body)"),
            None => Cell::new("- (repetitions are not known)"),
        }
    }

    /// What is too long for a row, and what it is.
    fn long_text(&self) -> Option<(String, &str)> {
        if let Some((text, encoding)) = self.signed_text.as_ref().zip(self.signed_text_encoding) {
            let cut = if self.signed_text_cut { ", its beginning" } else { "" };
            return Some((format!("what was to be signed{}{cut}", as_encoded(encoding)), text));
        }
        let answer = self.answer.as_ref().filter(|answer| !answer.body.is_empty())?;
        Some((format!("answer{}", as_encoded(answer.body_encoding)), &answer.body))
    }
}

impl Answer {
    fn head(&self) -> Cell {
        Cell::new(format_args!("{} {}", self.status, self.content_type.unwrap_or("without a body")))
    }
}

fn as_encoded(encoding: PayloadEncoding) -> &'static str {
    match encoding {
        PayloadEncoding::Base64 => ", in base64",
        PayloadEncoding::Text | PayloadEncoding::Json => "",
    }
}

/// Checks that a text is a URL, and keeps it to the letter: some providers sign it.
fn called_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("a URL looks like https://hooks.example.com/ingest/src_…".to_owned()),
    }
}
