//! `harborctl event`

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand, ValueHint};
use harbor_wire::event::{Event, EventSummary, ListEvents, PayloadEncoding, PublishEvent};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::filter::TimeRange;
use crate::args::list::ListArgs;
use crate::args::moment::Moment;
use crate::args::{pair, text, word};
use crate::clock;
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Cell, Column, Tone, plain};

const EXAMPLES: &str = "\
Examples:
  harborctl event publish invoice.paid --data '{\"invoice\": 42}'
  harborctl event publish invoice.paid --file paid.json --idempotency-key paid-42
  jq '.invoice' order.json | harborctl event publish invoice.paid --data -
  harborctl event publish reminder.due --data '{}' --deliver-at 2h
  harborctl event list --event-type invoice.paid --since 1h
  harborctl event get evt_… --payload > payload.json
  harborctl event expunge evt_…";

/// Commands on events.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EventCommand {
    /// Publish an event; the payload arrives byte for byte as given
    Publish(Publish),
    /// List events
    List {
        /// Of this type
        #[arg(long, value_name = "TYPE")]
        event_type: Option<String>,
        /// Published with this key
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        time: TimeRange,
        #[command(flatten)]
        page: ListArgs,
    },
    /// Show an event with its payload and whom it went to
    Get {
        /// Event to show
        id: String,
        /// Only the payload, exactly as it was published or received
        #[arg(long)]
        payload: bool,
    },
    /// Remove the payload of an event for good; its open deliveries die
    Expunge {
        /// Event whose payload to remove
        id: String,
    },
}

/// Arguments of `event publish`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Publish {
    /// What happened, like invoice.paid
    #[arg(value_name = "TYPE")]
    event_type: String,
    #[command(flatten)]
    payload: Payload,
    /// Makes a repeated publish within 7 days answer with the first event
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// What the event is ordered by, for endpoints that want order
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// When to deliver it: RFC 3339, or 2h for in two hours [default: at once]
    #[arg(long, value_name = "TIME")]
    deliver_at: Option<Moment>,
    /// When it happened: RFC 3339, or 2h for two hours ago [default: now]
    #[arg(long, value_name = "TIME")]
    occurred_at: Option<Moment>,
    /// Entry for programs, key=value; repeatable
    #[arg(long, value_name = "ENTRY", value_parser = pair::entry)]
    metadata: Vec<(String, String)>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// Payload as JSON, or - to read it from stdin
    #[arg(long, short, value_name = "JSON", allow_hyphen_values = true)]
    data: Option<String>,
    /// File with the payload, or - for stdin
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

const COLUMNS: &[Column<EventSummary>] = &[
    Column::new("ID", |event, _| Cell::new(&event.id)),
    Column::flexible("EVENT TYPE", |event, _| Cell::new(&event.event_type)),
    Column::roomy("BYTES", |event, _| Cell::new(event.payload_bytes)),
    Column::new("FAN-OUT", |event, _| Cell::new(event.fanout_count)),
    Column::new("PUBLISHED", |event, view| Cell::time(&event.created_at, view)),
    Column::roomy("IDEMPOTENCY KEY", |event, _| Cell::maybe(event.idempotency_key.as_ref())),
];

/// Writes the payload of an event as it was published or received.
fn write_payload(output: &Output, event: &Event) -> Result<(), Failure> {
    let unreadable = |error: String| Failure::Unfulfilled(format!("the payload cannot be read: {error}"));
    let text =
        || serde_json::from_str::<String>(event.payload.get()).map_err(|error| unreadable(error.to_string()));
    match event.payload_encoding {
        PayloadEncoding::Json => output.write(event.payload.get()),
        PayloadEncoding::Text => output.write_bytes(text()?.as_bytes()),
        PayloadEncoding::Base64 => {
            let bytes = BASE64_STANDARD.decode(text()?).map_err(|error| unreadable(error.to_string()))?;
            output.write_bytes(&bytes)
        }
    }
}

/// What is left to say of an event whose payload was removed.
#[derive(Serialize)]
struct Expunged<'a> {
    id: &'a str,
    expunged: bool,
}

impl EventCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Publish(args) => args.run(cx).await,
            Self::List { event_type, idempotency_key, time, page } => {
                let now = clock::now();
                let query = ListEvents {
                    event_type,
                    idempotency_key,
                    since: time.since(now),
                    until: time.until(now),
                    limit: page.limit(),
                    cursor: page.cursor(),
                };
                let events = page.fetch(cx.tenant()?.events(&query)).await?;
                show_list(&cx.output, &events, COLUMNS, "events")
            }
            Self::Get { id, payload } => {
                let event = cx.tenant()?.event(&id).await?;
                match (payload, event.expunged) {
                    (false, _) => show(&cx.output, &event),
                    (true, false) => write_payload(&cx.output, &event),
                    (true, true) => Err(Failure::Unfulfilled(format!("the payload of {id} was removed"))),
                }
            }
            Self::Expunge { id } => {
                cx.tenant()?.expunge_event(&id).await?;
                cx.output
                    .show(&Expunged { id: &id, expunged: true }, |_| format!("removed the payload of {id}"))
            }
        }
    }
}

impl Publish {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let payload = self.payload.read()?;
        let now = clock::now();
        let event = PublishEvent {
            event_type: self.event_type.into(),
            payload: &payload,
            idempotency_key: self.idempotency_key,
            occurred_at: self.occurred_at.map(|time| time.before(now)),
            deliver_at: self.deliver_at.map(|time| time.after(now)),
            ordering_key: self.ordering_key,
            metadata: pair::map(self.metadata),
        };
        let published = cx.tenant()?.publish(&event).await?;
        cx.output.show(&published, |view| {
            let mut rows = vec![
                ("event", Cell::new(&published.event_id)),
                ("fan-out", Cell::new(published.fanout_count)),
            ];
            if published.duplicate {
                let text = "yes: the idempotency key was used before, nothing new was stored";
                rows.push(("duplicate", Cell::toned(text, Tone::Waiting)));
            }
            view.details(rows)
        })?;
        let verb = if published.fanout_count == 0 { "event get" } else { "delivery status" };
        let purpose = if published.fanout_count == 0 { "why it went to nobody" } else { "what became of it" };
        cx.output.hint(&format!("{purpose}: harborctl {verb} {}", published.event_id));
        Ok(())
    }
}

impl Payload {
    /// The payload as it was given, less the white space around it.
    fn read(self) -> Result<Box<RawValue>, Failure> {
        let (name, text) = match (self.data, self.file) {
            (Some(data), _) => ("the payload".to_owned(), text::given_or_stdin(data)?),
            (None, Some(path)) => (path.display().to_string(), text::read(&path)?),
            (None, None) => unreachable!("clap asks for one of them"),
        };
        parse_payload(text).map_err(|reason| Failure::Usage(format!("{name} is not JSON: {reason}")))
    }
}

/// Checks that a text is JSON, and keeps it as it is.
pub(super) fn parse_payload(text: String) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text).map_err(|error| error.to_string())
}

fn show(output: &Output, event: &Event) -> Result<(), Failure> {
    output.show(event, |view| {
        let mut rows = vec![
            ("id", Cell::new(&event.id)),
            ("event type", Cell::new(&event.event_type)),
            ("published", Cell::exact_time(&event.created_at, view)),
            ("fan-out", Cell::new(event.fanout_count)),
        ];
        let exact = |time: &String| Cell::exact_time(time, view);
        rows.extend(event.fanout.reason.map(|why| ("why nobody", Cell::toned(word::print(&why), Tone::Bad))));
        let skipped = Some(event.fanout.skipped_endpoint_ids.join(", ")).filter(|ids| !ids.is_empty());
        rows.extend(skipped.map(|ids| ("disabled endpoints", Cell::new(ids))));
        rows.extend(event.occurred_at.as_ref().map(|time| ("occurred", exact(time))));
        rows.extend(event.deliver_at.as_ref().map(|time| ("deliver at", exact(time))));
        rows.extend(event.ordering_key.as_ref().map(|key| ("ordering key", Cell::new(key))));
        rows.extend(event.idempotency_key.as_ref().map(|key| ("idempotency key", Cell::new(key))));
        let entries = event.metadata.iter().map(|(key, value)| format!("{key}={value}"));
        let entries = Some(entries.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty());
        rows.extend(entries.map(|entries| ("metadata", Cell::new(entries))));
        rows.push(("trace", Cell::new(&event.trace_id)));
        if event.expunged {
            rows.push(("payload", Cell::toned("removed for good", Tone::Bad)));
            return view.details(rows);
        }
        format!("{}\n\n{}", view.details(rows), plain(event.payload.get()))
    })
}
