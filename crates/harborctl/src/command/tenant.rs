//! `harborctl tenant`

use clap::{Args, Subcommand, ValueEnum};
use harbor_wire::tenant::{
    CreateTenant, ListTenants, Tenant, TenantPolicySettings, UpdateTenant, UpdateTenantPolicy,
};

use crate::args::clear::{Clear, nothing_to_change};
use crate::args::list::ListArgs;
use crate::args::policy::PolicyArgs;
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::policy;
use crate::output::table::{Cell, Column};

const EXAMPLES: &str = "\
Examples:
  harborctl tenant create --name 'Acme Ltd' --id acme
  harborctl tenant update acme --max-attempts 8 --schedule 5s,1m,10m,1h
  harborctl tenant update acme --clear retry
  harborctl --tenant acme endpoint list";

/// Commands on tenants.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TenantCommand {
    /// Make a tenant
    Create(Create),
    /// Show a tenant with the policy in force
    Get {
        /// Tenant to show
        id: String,
    },
    /// List tenants
    List {
        #[command(flatten)]
        page: ListArgs,
    },
    /// Change a tenant; what is not named stays
    Update(Update),
}

/// Arguments of `tenant create`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Name for people
    #[arg(long)]
    name: String,
    /// Id of your choice: a-z, 0-9, _ and -, up to 64 [default: made]
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    policy: TenantPolicyArgs,
}

/// Arguments of `tenant update`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Update {
    /// Tenant to change
    id: String,
    /// New name for people
    #[arg(long)]
    name: Option<String>,
    /// Return to the inherited value
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    clear: Vec<Clearable>,
    #[command(flatten)]
    policy: TenantPolicyArgs,
}

#[derive(Args)]
struct TenantPolicyArgs {
    #[command(flatten)]
    shared: PolicyArgs,
    /// Whether endpoints may have plain http URLs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_http: Option<bool>,
    /// Subnet that endpoints may lie in though it is not public, like 10.20.0.0/16; repeatable
    #[arg(long, value_name = "CIDR")]
    allow_subnet: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Clearable {
    TimeoutMs,
    Retry,
    RateLimit,
    MaxInFlight,
    CircuitBreaker,
    Signing,
    AllowHttp,
    AllowedSubnets,
}

const COLUMNS: &[Column<Tenant>] = &[
    Column::new("ID", |tenant, _| Cell::new(&tenant.id)),
    Column::flexible("NAME", |tenant, _| Cell::new(&tenant.name)),
    Column::new("CREATED", |tenant, view| Cell::time(&tenant.created_at, view)),
];

impl TenantCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let client = cx.operator()?;
        match self {
            Self::Create(args) => show(&cx.output, &client.create_tenant(&args.into_request()).await?),
            Self::Get { id } => show(&cx.output, &client.find_tenant(&id).await?),
            Self::List { page } => {
                let query = ListTenants { limit: page.limit(), cursor: page.cursor() };
                let tenants = page.fetch(client.tenants(&query)).await?;
                show_list(&cx.output, &tenants, COLUMNS, "tenants")
            }
            Self::Update(args) => {
                let id = args.id.clone();
                show(&cx.output, &client.update_tenant(&id, &args.into_change()?).await?)
            }
        }
    }
}

impl Create {
    fn into_request(self) -> CreateTenant {
        let TenantPolicyArgs { shared, allow_http, allow_subnet } = self.policy;
        let policy = TenantPolicySettings {
            timeout_ms: shared.timeout_ms,
            retry: shared.retry(),
            rate_limit: shared.rate_limit,
            max_in_flight: shared.max_in_flight,
            circuit_breaker: shared.circuit_breaker(),
            signing: shared.signing(),
            allow_http,
            allowed_subnets: Some(allow_subnet).filter(|subnets| !subnets.is_empty()),
        };
        let policy = Some(policy).filter(|policy| *policy != TenantPolicySettings::default());
        CreateTenant { id: self.id, name: self.name, policy }
    }
}

impl Update {
    fn into_change(self) -> Result<UpdateTenant, Failure> {
        let TenantPolicyArgs { shared, allow_http, allow_subnet } = self.policy;
        let clear = Clear { fields: &self.clear };
        let subnets = Some(allow_subnet).filter(|subnets| !subnets.is_empty());
        let policy = UpdateTenantPolicy {
            timeout_ms: clear.or_set(Clearable::TimeoutMs, shared.timeout_ms)?,
            retry: clear.or_set(Clearable::Retry, shared.retry())?,
            rate_limit: clear.or_set(Clearable::RateLimit, shared.rate_limit)?,
            max_in_flight: clear.or_set(Clearable::MaxInFlight, shared.max_in_flight)?,
            circuit_breaker: clear.or_set(Clearable::CircuitBreaker, shared.circuit_breaker())?,
            signing: clear.or_set(Clearable::Signing, shared.signing())?,
            allow_http: clear.or_set(Clearable::AllowHttp, allow_http)?,
            allowed_subnets: clear.or_set(Clearable::AllowedSubnets, subnets)?,
        };
        let policy = Some(policy).filter(|policy| *policy != UpdateTenantPolicy::default());
        let change = UpdateTenant { name: self.name.into(), policy: policy.into() };
        if change == UpdateTenant::default() {
            return Err(nothing_to_change());
        }
        Ok(change)
    }
}

fn show(output: &Output, tenant: &Tenant) -> Result<(), Failure> {
    output.show(tenant, |view| {
        let set = &tenant.policy;
        let origins = &set.policy_origins;
        let subnets = Some(set.allowed_subnets.join(", ")).filter(|text| !text.is_empty());
        view.details(vec![
            ("id", Cell::new(&tenant.id)),
            ("name", Cell::new(&tenant.name)),
            ("created", Cell::time(&tenant.created_at, view)),
            ("updated", Cell::time(&tenant.updated_at, view)),
            ("timeout", policy::timeout(set.timeout_ms, origins)),
            ("retry", policy::retry(&set.retry, origins)),
            ("rate limit", policy::rate_limit(set.rate_limit, origins)),
            ("in flight", policy::max_in_flight(set.max_in_flight, origins)),
            ("circuit breaker", policy::circuit_breaker(&set.circuit_breaker, origins)),
            ("signing", policy::signing(&set.signing, origins)),
            ("plain http", Cell::new(if set.allow_http { "allowed" } else { "refused" })),
            ("allowed subnets", Cell::maybe(subnets)),
        ])
    })
}
