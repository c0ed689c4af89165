//! `harborctl endpoint`

mod lane;

use clap::{Args, Subcommand, ValueEnum};
use harbor_wire::client::TenantClient;
use harbor_wire::endpoint::{
    Circuit, CircuitState, CreateEndpoint, DisabledReason, Endpoint, RotateSecret, UpdateEndpoint,
};

use crate::args::clear::{Clear, nothing_to_change};
use crate::args::list::ListArgs;
use crate::args::policy::PolicyArgs;
use crate::args::{pair, text, word};
use crate::command::endpoint::lane::LaneCommand;
use crate::command::{show_deleted, show_list, show_rotated};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, attempts, policy, time};
use crate::wait::{WaitArgs, until_final};

const EXAMPLES: &str = "\
Examples:
  harborctl endpoint create --url https://example.com/ --event-type 'invoice.*'
  harborctl endpoint create --url https://example.com/ --max-attempts 4 \\
      --schedule 10s,1m,10m --rate-limit 100/s:200 --header 'x-api-key: s3cret'
  harborctl endpoint update ep_… --timeout-ms 5000 --clear rate_limit
  harborctl endpoint update ep_… --breaker-failures 5 --breaker-cooldown 1m
  harborctl endpoint update ep_… --ordering key --on-dead hold
  harborctl endpoint lane list ep_…
  harborctl endpoint resume ep_… --drain-per-second 50
  harborctl endpoint test ep_… --wait 30s
  harborctl endpoint rotate-secret ep_… --overlap 24h";

/// Commands on endpoints.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EndpointCommand {
    /// Make an endpoint; its secret is shown once
    Create(Create),
    /// List endpoints
    List {
        #[command(flatten)]
        page: ListArgs,
    },
    /// Show an endpoint with the policy in force
    Get(Id),
    /// Change an endpoint; what is not named stays
    Update(Update),
    /// Remove an endpoint; its open deliveries are cancelled
    Delete(Id),
    /// Send an endpoint a test event
    Test {
        #[command(flatten)]
        id: Id,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Make deliveries to an endpoint wait
    Pause(Id),
    /// Let what waits for an endpoint go
    Resume {
        #[command(flatten)]
        id: Id,
        /// The most deliveries per second of what waited; fresh ones are not held back [default: no limit]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        drain_per_second: Option<u32>,
    },
    /// Give an endpoint events again
    Enable(Id),
    /// Give an endpoint no more events; its open deliveries die
    Disable(Id),
    /// Ordered lanes of an endpoint: see who is at their heads, release one that does not move
    #[command(subcommand)]
    Lane(LaneCommand),
    /// Give an endpoint a new secret; the old one also signs for a while
    RotateSecret {
        #[command(flatten)]
        id: Id,
        /// How long the old secret signs as well [default: 24h]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        /// New secret, or - to read it from stdin [default: made]
        #[arg(long)]
        secret: Option<String>,
    },
}

/// Names an endpoint.
#[derive(Args)]
pub(crate) struct Id {
    /// Endpoint
    id: String,
}

/// Arguments of `endpoint create`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Where requests go
    #[arg(long)]
    url: String,
    /// Subscribe to this event type, a prefix like 'invoice.*', or '*'; repeatable
    #[arg(long, value_name = "TYPE")]
    event_type: Vec<String>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Description for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Secret that signs requests, or - to read it from stdin [default: made]
    #[arg(long)]
    secret: Option<String>,
    /// Header that requests carry besides, name:value; repeatable
    #[arg(long, value_name = "HEADER", value_parser = pair::header)]
    header: Vec<(String, String)>,
    /// Entry for programs, key=value; repeatable
    #[arg(long, value_name = "ENTRY", value_parser = pair::entry)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Arguments of `endpoint update`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Update {
    /// Endpoint to change
    id: String,
    /// New URL
    #[arg(long)]
    url: Option<String>,
    /// New name for people
    #[arg(long)]
    name: Option<String>,
    /// New description for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Header to add or replace, name:value; repeatable
    #[arg(long, value_name = "HEADER", value_parser = pair::header)]
    header: Vec<(String, String)>,
    /// Header to remove; repeatable
    #[arg(long, value_name = "NAME")]
    remove_header: Vec<String>,
    /// Entry to add or replace, key=value; repeatable
    #[arg(long, value_name = "ENTRY", value_parser = pair::entry)]
    metadata: Vec<(String, String)>,
    /// Entry to remove; repeatable
    #[arg(long, value_name = "KEY")]
    remove_metadata: Vec<String>,
    /// Return to the inherited value, or to none
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    clear: Vec<Clearable>,
    #[command(flatten)]
    policy: PolicyArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Clearable {
    Name,
    Description,
    Headers,
    Metadata,
    TimeoutMs,
    Retry,
    RateLimit,
    MaxInFlight,
    CircuitBreaker,
    Ordering,
    OnDead,
    Signing,
}

const COLUMNS: &[Column<Endpoint>] = &[
    Column::new("ID", |endpoint, _| Cell::new(&endpoint.id)),
    Column::new("STATE", |endpoint, _| state(endpoint)),
    Column::new("CIRCUIT", |endpoint, _| circuit(&endpoint.circuit)),
    Column::flexible("URL", |endpoint, _| Cell::new(&endpoint.url)),
    Column::roomy("NAME", |endpoint, _| Cell::maybe(endpoint.name.as_ref())),
    Column::roomy("CREATED", |endpoint, view| Cell::time(&endpoint.created_at, view)),
];

impl EndpointCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let client = cx.tenant()?;
        let output = &cx.output;
        match self {
            Self::Create(args) => {
                show(output, &client.create_endpoint(&args.into_request()?).await?)?;
                output.hint("the secret is shown this once; the receiver needs it to check signatures");
                Ok(())
            }
            Self::List { page } => {
                let endpoints = page.fetch(client.endpoints(&page.ask())).await?;
                show_list(output, &endpoints, COLUMNS, "endpoints")
            }
            Self::Get(Id { id }) => show(output, &client.endpoint(&id).await?),
            Self::Update(args) => {
                let id = args.id.clone();
                show(output, &client.update_endpoint(&id, &args.into_change()?).await?)
            }
            Self::Delete(Id { id }) => {
                client.delete_endpoint(&id).await?;
                show_deleted(output, &id)
            }
            Self::Test { id: Id { id }, wait } => test(output, &client, &id, wait).await,
            Self::Pause(Id { id }) => show(output, &client.pause_endpoint(&id).await?),
            Self::Resume { id: Id { id }, drain_per_second: None } => {
                show(output, &client.resume_endpoint(&id).await?)
            }
            Self::Resume { id: Id { id }, drain_per_second: Some(rate) } => {
                show(output, &client.resume_endpoint_at(&id, rate).await?)
            }
            Self::Enable(Id { id }) => show(output, &client.enable_endpoint(&id).await?),
            Self::Disable(Id { id }) => show(output, &client.disable_endpoint(&id).await?),
            Self::Lane(command) => command.run(output, &client).await,
            Self::RotateSecret { id: Id { id }, overlap, secret } => {
                let rotation = RotateSecret { secret: text::secret(secret)?, overlap };
                let rotated = client.rotate_secret(&id, &rotation).await?;
                show_rotated(output, "endpoint", "old one signs until", &rotated)
            }
        }
    }
}

async fn test(output: &Output, client: &TenantClient, id: &str, wait: WaitArgs) -> Result<(), Failure> {
    let sent = client.test_endpoint(id).await?;
    let Some(patience) = wait.wait else {
        output.show(&sent, |view| {
            view.details(vec![
                ("event", Cell::new(&sent.event_id)),
                ("delivery", Cell::new(&sent.delivery_id)),
            ])
        })?;
        output.hint(&format!("see what becomes of it: harborctl delivery get {}", sent.delivery_id));
        return Ok(());
    };
    let look = async || Ok(vec![client.delivery(&sent.delivery_id).await?]);
    let waited = until_final(output, patience, look).await?;
    output.show(&waited.deliveries[0], |view| attempts::render(&waited.deliveries[0], view))?;
    waited.verdict()
}

impl Create {
    fn into_request(self) -> Result<CreateEndpoint, Failure> {
        Ok(CreateEndpoint {
            url: self.url,
            name: self.name,
            description: self.description,
            secret: text::secret(self.secret)?,
            event_types: Some(self.event_type).filter(|types| !types.is_empty()),
            headers: pair::map(self.header),
            timeout_ms: self.policy.timeout_ms,
            retry: self.policy.retry(),
            rate_limit: self.policy.rate_limit,
            max_in_flight: self.policy.max_in_flight,
            circuit_breaker: self.policy.circuit_breaker(),
            signing: self.policy.signing(),
            ordering: self.policy.ordering,
            on_dead: self.policy.on_dead,
            metadata: pair::map(self.metadata),
        })
    }
}

impl Update {
    fn into_change(self) -> Result<UpdateEndpoint, Failure> {
        let clear = Clear { fields: &self.clear };
        let policy = self.policy;
        let change = UpdateEndpoint {
            url: self.url.into(),
            name: clear.or_set(Clearable::Name, self.name)?,
            description: clear.or_set(Clearable::Description, self.description)?,
            headers: clear.or_set(Clearable::Headers, pair::changes(self.header, self.remove_header))?,
            metadata: clear
                .or_set(Clearable::Metadata, pair::changes(self.metadata, self.remove_metadata))?,
            timeout_ms: clear.or_set(Clearable::TimeoutMs, policy.timeout_ms)?,
            retry: clear.or_set(Clearable::Retry, policy.retry())?,
            rate_limit: clear.or_set(Clearable::RateLimit, policy.rate_limit)?,
            max_in_flight: clear.or_set(Clearable::MaxInFlight, policy.max_in_flight)?,
            circuit_breaker: clear.or_set(Clearable::CircuitBreaker, policy.circuit_breaker())?,
            signing: clear.or_set(Clearable::Signing, policy.signing())?,
            ordering: clear.or_set(Clearable::Ordering, policy.ordering)?,
            on_dead: clear.or_set(Clearable::OnDead, policy.on_dead)?,
        };
        if change == UpdateEndpoint::default() {
            return Err(nothing_to_change());
        }
        Ok(change)
    }
}

/// Whether it gets events.
fn state(endpoint: &Endpoint) -> Cell {
    match (endpoint.disabled_reason, endpoint.disabled, endpoint.paused) {
        (Some(DisabledReason::Gone), _, _) => Cell::toned("gone", Tone::Bad),
        (Some(DisabledReason::Failing), _, _) => Cell::toned("failing", Tone::Bad),
        (Some(DisabledReason::Manual), _, _) | (None, true, _) => Cell::toned("disabled", Tone::Bad),
        (None, false, true) => Cell::toned("paused", Tone::Waiting),
        (None, false, false) if endpoint.draining.is_some() => Cell::toned("draining", Tone::Waiting),
        (None, false, false) => Cell::toned("active", Tone::Good),
    }
}

/// Why it gets no events, where it was not somebody's wish.
fn why_disabled(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.disabled_reason? {
        DisabledReason::Gone => Some("it answered 410"),
        DisabledReason::Failing => Some("nothing but failures came from it for days"),
        DisabledReason::Manual => None,
    }
}

/// How its circuit breaker stands.
fn circuit(circuit: &Circuit) -> Cell {
    let tone = match circuit.state {
        CircuitState::Closed => Tone::Good,
        CircuitState::Open => Tone::Bad,
        CircuitState::HalfOpen => Tone::Waiting,
    };
    Cell::toned(word::print(&circuit.state), tone)
}

/// Writes an endpoint, with its secret if it was just made.
pub(super) fn show(output: &Output, endpoint: &Endpoint) -> Result<(), Failure> {
    output.show(endpoint, |view| {
        let origins = &endpoint.policy_origins;
        let listed = |names: Vec<String>| Some(names.join(", ")).filter(|text| !text.is_empty());
        let entries = endpoint.metadata.iter().map(|(key, value)| format!("{key}={value}"));
        let mut rows = vec![
            ("id", Cell::new(&endpoint.id)),
            ("url", Cell::new(&endpoint.url)),
            ("state", state(endpoint)),
            ("circuit", circuit(&endpoint.circuit)),
        ];
        let exact = |time: &String| Cell::exact_time(time, view);
        rows.extend(why_disabled(endpoint).map(|why| ("disabled because", Cell::new(why))));
        rows.extend(endpoint.draining.as_ref().map(|draining| {
            let since = time::exact(&draining.since, view.now);
            ("draining", Cell::new(format_args!("at {}/s what waited since {since}", draining.per_second)))
        }));
        rows.extend(endpoint.circuit.opened_at.as_ref().map(|time| ("left alone since", exact(time))));
        rows.extend(endpoint.circuit.next_probe_at.as_ref().map(|time| ("next probe", exact(time))));
        rows.extend(endpoint.secret.as_ref().map(|secret| ("secret", Cell::new(secret))));
        rows.extend(endpoint.name.as_ref().map(|name| ("name", Cell::new(name))));
        rows.extend(endpoint.description.as_ref().map(|text| ("description", Cell::new(text))));
        rows.extend(listed(endpoint.header_names.clone()).map(|names| ("headers", Cell::new(names))));
        rows.extend(listed(entries.collect()).map(|entries| ("metadata", Cell::new(entries))));
        rows.extend([
            ("timeout", policy::timeout(endpoint.timeout_ms, origins)),
            ("retry", policy::retry(&endpoint.retry, origins)),
            ("rate limit", policy::rate_limit(endpoint.rate_limit, origins)),
            ("in flight", policy::max_in_flight(endpoint.max_in_flight, origins)),
            ("circuit breaker", policy::circuit_breaker(&endpoint.circuit_breaker, origins)),
            ("ordering", policy::ordering(endpoint.ordering, origins)),
            ("dead head", policy::on_dead(endpoint.on_dead, origins)),
            ("signing", policy::signing(&endpoint.signing, origins)),
            ("created", exact(&endpoint.created_at)),
            ("updated", exact(&endpoint.updated_at)),
        ]);
        view.details(rows)
    })
}
