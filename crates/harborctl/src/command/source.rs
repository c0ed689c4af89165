//! `harborctl source`

mod captured;
mod judgement;
mod providers;
mod verify;

use clap::{Args, Subcommand, ValueEnum};
use harbor_model::source::Provider;
use harbor_wire::client::TenantClient;
use harbor_wire::policy::RateLimit;
use harbor_wire::source::{
    CreateSource, Rejection, RotateSourceSecret, Source, SourceResponse, UpdateSource,
};

use crate::args::clear::{Clear, nothing_to_change};
use crate::args::list::ListArgs;
use crate::args::policy::rate_limit;
use crate::args::scheme::{self, SchemeArgs};
use crate::args::{text, word};
use crate::command::source::verify::Verify;
use crate::command::{show_deleted, show_list, show_rotated};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, policy};

const EXAMPLES: &str = "\
Examples:
  harborctl source providers
  harborctl source create --name stripe --provider stripe --secret -
  harborctl source create --name code --provider github --endpoint-id ep_…
  harborctl source create --name acme --provider generic-hmac --secret - \\
      --timestamp-header X-Acme-Time --template '{timestamp}.{body}'
  harborctl source update src_… --rate-limit 100/s:200 --clear endpoint_id
  harborctl source rejections src_…
  harborctl source verify --provider stripe --secret - --file request.http
  harborctl source rotate-secret src_… --secret - --overlap 24h";

/// Commands on sources.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum SourceCommand {
    /// Make a source: an address for the webhooks of a provider; its secret is shown once
    Create(Create),
    /// List sources
    List {
        #[command(flatten)]
        page: ListArgs,
    },
    /// Show a source
    Get(Id),
    /// Change a source; what is not named stays
    Update(Update),
    /// Remove a source; its events stay
    Delete(Id),
    /// Give a source a new secret; the old one verifies as well for a while
    RotateSecret {
        #[command(flatten)]
        id: Id,
        /// How long the old secret verifies as well [default: 24h]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        /// New secret, or - to read it from stdin [default: made, where it is yours to choose]
        #[arg(long)]
        secret: Option<String>,
    },
    /// List the last requests that a source refused, and why
    Rejections {
        #[command(flatten)]
        id: Id,
        #[command(flatten)]
        page: ListArgs,
    },
    /// List the providers that are known, and what secret each wants; asks no server
    Providers,
    /// Verify a request that was captured, as a source would; asks no server
    Verify(Box<Verify>),
}

/// Names a source.
#[derive(Args)]
pub(crate) struct Id {
    /// Source
    id: String,
}

/// Arguments of `source create`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// What the types of its events begin with: invoice.paid becomes NAME.invoice.paid
    #[arg(long)]
    name: String,
    /// Whose webhooks it takes; `source providers` lists all
    #[arg(long, value_parser = scheme::provider(), hide_possible_values = true)]
    provider: Provider,
    /// Secret to verify with, or - to read it from stdin [default: made, where it is yours to choose]
    #[arg(long)]
    secret: Option<String>,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    scheme: SchemeArgs,
}

/// Arguments of `source update`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Update {
    /// Source to change
    id: String,
    /// What the types of its events begin with
    #[arg(long)]
    name: Option<String>,
    /// Return to the default, or to none
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    clear: Vec<Clearable>,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    scheme: SchemeArgs,
}

/// What a source takes, where it goes and how it is answered, whoever its provider is.
#[derive(Args)]
struct Door {
    /// Endpoint that all events go to [default: subscriptions choose]
    #[arg(long, value_name = "ID")]
    endpoint_id: Option<String>,
    /// The most verified requests per second, like 100/s, or 100/s:200 with a burst of 200
    #[arg(long, value_name = "RATE", value_parser = rate_limit)]
    rate_limit: Option<RateLimit>,
    /// Address or subnet that requests may come from, like 203.0.113.0/24; repeatable [default: all]
    #[arg(long, value_name = "CIDR")]
    allowed_ip: Vec<String>,
    /// Status that is answered to what was taken, 200 to 299 [default: 200]
    #[arg(long, value_name = "N")]
    response_status: Option<u16>,
    /// Body that is answered to what was taken [default: the event's id, as JSON]
    #[arg(long, value_name = "TEXT")]
    response_body: Option<String>,
    /// Media type of that body [default: text/plain; charset=utf-8]
    #[arg(long, value_name = "TYPE")]
    response_content_type: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Clearable {
    EndpointId,
    RateLimit,
    AllowedIps,
    Response,
    Algorithm,
    Header,
    Encoding,
    Template,
    Prefix,
    TimestampHeader,
    Username,
    VerifyToken,
    EventTypeHeader,
    EventIdHeader,
    TimestampTolerance,
}

const COLUMNS: &[Column<Source>] = &[
    Column::new("ID", |source, _| Cell::new(&source.id)),
    Column::flexible("NAME", |source, _| Cell::new(&source.name)),
    Column::new("PROVIDER", |source, _| Cell::new(&source.provider)),
    Column::new("ENDPOINT", |source, _| Cell::maybe(source.endpoint_id.as_ref())),
    Column::new("REJECTED", |source, _| rejected(source)),
    Column::roomy("CREATED", |source, view| Cell::time(&source.created_at, view)),
    Column::roomy("INGEST URL", |source, _| Cell::new(&source.ingest_url)),
];

const REJECTION_COLUMNS: &[Column<Rejection>] = &[
    Column::new("WHEN", |rejection, view| Cell::time(&rejection.at, view)),
    Column::new("CODE", |rejection, _| Cell::toned(&rejection.code, Tone::Bad)),
    Column::flexible("MESSAGE", |rejection, _| Cell::new(&rejection.message)),
    Column::new("FROM", |rejection, _| Cell::new(&rejection.remote_address)),
    Column::new("AGE", |rejection, _| age(rejection.timestamp_age_s)),
];

impl SourceCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let output = &cx.output;
        match self {
            Self::Create(args) => create(output, &cx.tenant()?, args).await,
            Self::List { page } => {
                let sources = page.fetch(cx.tenant()?.sources(&page.ask())).await?;
                show_list(output, &sources, COLUMNS, "sources")
            }
            Self::Get(Id { id }) => show(output, &cx.tenant()?.source(&id).await?),
            Self::Update(args) => {
                let id = args.id.clone();
                show(output, &cx.tenant()?.update_source(&id, &args.into_change()?).await?)
            }
            Self::Delete(Id { id }) => {
                cx.tenant()?.delete_source(&id).await?;
                show_deleted(output, &id)
            }
            Self::RotateSecret { id: Id { id }, overlap, secret } => {
                let rotation = RotateSourceSecret { secret: text::secret(secret)?, overlap };
                let rotated = cx.tenant()?.rotate_source_secret(&id, &rotation).await?;
                show_rotated(output, "source", "old one verifies until", &rotated)
            }
            Self::Rejections { id: Id { id }, page } => {
                let rejections = page.fetch(cx.tenant()?.rejections(&id, &page.ask())).await?;
                show_list(output, &rejections, REJECTION_COLUMNS, "rejections")?;
                if rejections.data.iter().any(|rejection| rejection.signed_text.is_some()) {
                    output.hint("what was to be signed: --output json");
                }
                Ok(())
            }
            Self::Providers => providers::list(output),
            Self::Verify(args) => args.run(output),
        }
    }
}

async fn create(output: &Output, client: &TenantClient, args: Create) -> Result<(), Failure> {
    let source = client.create_source(&args.into_request()?).await?;
    show(output, &source)?;
    output.hint("the provider needs the ingest url");
    if source.secret.is_some() {
        output.hint("the secret is shown this once");
    }
    Ok(())
}

impl Door {
    fn allowed_ips(&self) -> Option<Vec<String>> {
        Some(self.allowed_ip.clone()).filter(|subnets| !subnets.is_empty())
    }

    /// What is answered to what was taken, if anything is said about it.
    fn response(&self) -> Option<SourceResponse> {
        let response = SourceResponse {
            status: self.response_status,
            body: self.response_body.clone(),
            content_type: self.response_content_type.clone(),
        };
        if response == SourceResponse::default() { None } else { Some(response) }
    }
}

impl Create {
    fn into_request(self) -> Result<CreateSource, Failure> {
        let Self { door, scheme, .. } = self;
        Ok(CreateSource {
            name: self.name,
            provider: self.provider.to_string(),
            secret: text::secret(self.secret)?,
            allowed_ips: door.allowed_ips(),
            response: door.response(),
            endpoint_id: door.endpoint_id,
            rate_limit: door.rate_limit,
            algorithm: scheme.algorithm,
            header: scheme.header,
            encoding: scheme.encoding,
            template: scheme.template,
            prefix: scheme.prefix,
            timestamp_header: scheme.timestamp_header,
            username: scheme.username,
            verify_token: scheme.verify_token,
            event_type_header: scheme.event_type_header,
            event_id_header: scheme.event_id_header,
            timestamp_tolerance: scheme.timestamp_tolerance,
        })
    }
}

impl Update {
    fn into_change(self) -> Result<UpdateSource, Failure> {
        let clear = Clear { fields: &self.clear };
        let Self { door, scheme, .. } = self;
        let change = UpdateSource {
            name: self.name.into(),
            allowed_ips: clear.or_set(Clearable::AllowedIps, door.allowed_ips())?,
            response: clear.or_set(Clearable::Response, door.response())?,
            endpoint_id: clear.or_set(Clearable::EndpointId, door.endpoint_id)?,
            rate_limit: clear.or_set(Clearable::RateLimit, door.rate_limit)?,
            algorithm: clear.or_set(Clearable::Algorithm, scheme.algorithm)?,
            header: clear.or_set(Clearable::Header, scheme.header)?,
            encoding: clear.or_set(Clearable::Encoding, scheme.encoding)?,
            template: clear.or_set(Clearable::Template, scheme.template)?,
            prefix: clear.or_set(Clearable::Prefix, scheme.prefix)?,
            timestamp_header: clear.or_set(Clearable::TimestampHeader, scheme.timestamp_header)?,
            username: clear.or_set(Clearable::Username, scheme.username)?,
            verify_token: clear.or_set(Clearable::VerifyToken, scheme.verify_token)?,
            event_type_header: clear.or_set(Clearable::EventTypeHeader, scheme.event_type_header)?,
            event_id_header: clear.or_set(Clearable::EventIdHeader, scheme.event_id_header)?,
            timestamp_tolerance: clear.or_set(Clearable::TimestampTolerance, scheme.timestamp_tolerance)?,
        };
        if change == UpdateSource::default() {
            return Err(nothing_to_change());
        }
        Ok(change)
    }
}

/// How old a timestamp is; below zero for one in the future.
fn age(age_s: Option<i64>) -> Cell {
    Cell::maybe(age_s.map(|age_s| format!("{age_s}s")))
}

fn rejected(source: &Source) -> Cell {
    let tone = if source.rejected_count == 0 { Tone::Plain } else { Tone::Bad };
    Cell::toned(source.rejected_count, tone)
}

/// What is answered to a request that was taken.
fn response(response: Option<&SourceResponse>) -> Cell {
    let Some(SourceResponse { status, body, content_type }) = response else {
        return Cell::new("the event's id");
    };
    let bytes = body.as_ref().map_or(0, String::len);
    let of_type = content_type.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    Cell::new(format_args!("{}, {bytes} bytes{of_type}", status.unwrap_or(200)))
}

/// Writes a source, with its secret if it was just made.
fn show(output: &Output, source: &Source) -> Result<(), Failure> {
    output.show(source, |view| {
        let mut rows = vec![
            ("ingest url", Cell::toned(&source.ingest_url, Tone::Good)),
            ("id", Cell::new(&source.id)),
            ("name", Cell::new(&source.name)),
            ("provider", Cell::new(&source.provider)),
        ];
        rows.extend(source.secret.as_ref().map(|secret| ("secret", Cell::new(secret))));
        let set = |text: &Option<String>| text.as_ref().map(Cell::new);
        let scheme = [
            ("algorithm", source.algorithm.map(|algorithm| Cell::new(word::print(&algorithm)))),
            ("header", set(&source.header)),
            ("encoding", source.encoding.map(|encoding| Cell::new(word::print(&encoding)))),
            ("template", set(&source.template)),
            ("prefix", set(&source.prefix)),
            ("timestamp header", set(&source.timestamp_header)),
            ("username", set(&source.username)),
            ("event type header", set(&source.event_type_header)),
            ("event id header", set(&source.event_id_header)),
            ("timestamp tolerance", set(&source.timestamp_tolerance)),
        ];
        rows.extend(scheme.into_iter().filter_map(|(name, cell)| Some((name, cell?))));
        let allowed = Some(source.allowed_ips.join(", ")).filter(|subnets| !subnets.is_empty());
        rows.extend([
            ("endpoint", Cell::new(source.endpoint_id.as_deref().unwrap_or("by subscriptions"))),
            ("rate limit", Cell::new(policy::rate(source.rate_limit))),
            ("allowed addresses", Cell::new(allowed.as_deref().unwrap_or("all"))),
            ("response", response(source.response.as_ref())),
            ("rejected", rejected(source)),
            ("created", Cell::exact_time(&source.created_at, view)),
            ("updated", Cell::exact_time(&source.updated_at, view)),
        ]);
        view.details(rows)
    })
}
