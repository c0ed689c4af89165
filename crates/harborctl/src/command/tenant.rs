//! `harborctl tenant`

use clap::{Args, Subcommand, ValueEnum};
use harbor_wire::patch::Patch;
use harbor_wire::policy::{QuotaSettings, RetentionSettings};
use harbor_wire::tenant::{
    CreateTenant, Tenant, TenantPolicySettings, UpdateQuota, UpdateRetention, UpdateTenant,
    UpdateTenantPolicy,
};

use crate::args::clear::{Clear, nothing_to_change};
use crate::args::list::ListArgs;
use crate::args::policy::PolicyArgs;
use crate::command::{job, show_list};
use crate::confirm::YesArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::policy;
use crate::output::table::{Cell, Column};
use crate::wait::job::JobWaitArgs;

const EXAMPLES: &str = "\
Examples:
  harborctl tenant create --name 'Acme Ltd' --id acme
  harborctl tenant update acme --max-attempts 8 --schedule 5s,1m,10m,1h
  harborctl tenant update acme --clear retry,quota_per_day
  harborctl tenant update acme --quota-per-second 100 --retention-history 7d
  harborctl tenant delete acme --wait
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
    /// End all access of a tenant at once, and remove everything that belongs to it
    Delete(Delete),
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

/// Arguments of `tenant delete`.
#[derive(Args)]
pub(crate) struct Delete {
    /// Tenant to remove
    id: String,
    #[command(flatten)]
    yes: YesArgs,
    #[command(flatten)]
    wait: JobWaitArgs,
}

#[derive(Args)]
struct TenantPolicyArgs {
    #[command(flatten)]
    shared: PolicyArgs,
    /// The most events published per second
    #[arg(long, value_name = "N")]
    quota_per_second: Option<u32>,
    /// The most events published at once after a quiet time [default: as many as per second]
    #[arg(long, value_name = "N")]
    quota_burst: Option<u32>,
    /// The most events published in a day of UTC
    #[arg(long, value_name = "N")]
    quota_per_day: Option<u64>,
    /// How long events, deliveries and attempts are kept, from the publish on
    #[arg(long, value_name = "DURATION")]
    retention_history: Option<String>,
    /// How long dead letters are kept with their events, from their death on
    #[arg(long, value_name = "DURATION")]
    retention_dead_letters: Option<String>,
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
    Ordering,
    OnDead,
    Signing,
    Quota,
    QuotaPerSecond,
    QuotaBurst,
    QuotaPerDay,
    Retention,
    RetentionHistory,
    RetentionDeadLetters,
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
                let tenants = page.fetch(client.tenants(&page.ask())).await?;
                show_list(&cx.output, &tenants, COLUMNS, "tenants")
            }
            Self::Update(args) => {
                let id = args.id.clone();
                show(&cx.output, &client.update_tenant(&id, &args.into_change()?).await?)
            }
            Self::Delete(args) => {
                args.yes
                    .confirm(&format!("Remove tenant {} with everything that belongs to it?", args.id))?;
                let purge = client.delete_tenant(&args.id).await?;
                job::follow(&cx.output, &client.own(), purge, args.wait.patience()).await
            }
        }
    }
}

impl TenantPolicyArgs {
    /// How much it may publish, if anything is said about it.
    fn quota(&self) -> Option<QuotaSettings> {
        let quota = QuotaSettings {
            per_second: self.quota_per_second,
            burst: self.quota_burst,
            per_day: self.quota_per_day,
        };
        Some(quota).filter(|quota| *quota != QuotaSettings::default())
    }

    /// How long what happened is kept, if anything is said about it.
    fn retention(&self) -> Option<RetentionSettings> {
        let retention = RetentionSettings {
            history: self.retention_history.clone(),
            dead_letters: self.retention_dead_letters.clone(),
        };
        Some(retention).filter(|retention| *retention != RetentionSettings::default())
    }

    fn quota_change(&self, clear: &Clear<'_, Clearable>) -> Result<Patch<UpdateQuota>, Failure> {
        let change = UpdateQuota {
            per_second: clear.or_set(Clearable::QuotaPerSecond, self.quota_per_second)?,
            burst: clear.or_set(Clearable::QuotaBurst, self.quota_burst)?,
            per_day: clear.or_set(Clearable::QuotaPerDay, self.quota_per_day)?,
        };
        clear.or_set(Clearable::Quota, Some(change).filter(|change| *change != UpdateQuota::default()))
    }

    fn retention_change(&self, clear: &Clear<'_, Clearable>) -> Result<Patch<UpdateRetention>, Failure> {
        let change = UpdateRetention {
            history: clear.or_set(Clearable::RetentionHistory, self.retention_history.clone())?,
            dead_letters: clear
                .or_set(Clearable::RetentionDeadLetters, self.retention_dead_letters.clone())?,
        };
        let change = Some(change).filter(|change| *change != UpdateRetention::default());
        clear.or_set(Clearable::Retention, change)
    }
}

impl Create {
    fn into_request(self) -> CreateTenant {
        let (quota, retention) = (self.policy.quota(), self.policy.retention());
        let TenantPolicyArgs { shared, allow_http, allow_subnet, .. } = self.policy;
        let policy = TenantPolicySettings {
            timeout_ms: shared.timeout_ms,
            retry: shared.retry(),
            rate_limit: shared.rate_limit,
            max_in_flight: shared.max_in_flight,
            circuit_breaker: shared.circuit_breaker(),
            signing: shared.signing(),
            ordering: shared.ordering,
            on_dead: shared.on_dead,
            quota,
            retention,
            allow_http,
            allowed_subnets: Some(allow_subnet).filter(|subnets| !subnets.is_empty()),
        };
        let policy = Some(policy).filter(|policy| *policy != TenantPolicySettings::default());
        CreateTenant { id: self.id, name: self.name, policy }
    }
}

impl Update {
    fn into_change(self) -> Result<UpdateTenant, Failure> {
        let clear = Clear { fields: &self.clear };
        let (quota, retention) = (self.policy.quota_change(&clear)?, self.policy.retention_change(&clear)?);
        let TenantPolicyArgs { shared, allow_http, allow_subnet, .. } = self.policy;
        let subnets = Some(allow_subnet).filter(|subnets| !subnets.is_empty());
        let policy = UpdateTenantPolicy {
            timeout_ms: clear.or_set(Clearable::TimeoutMs, shared.timeout_ms)?,
            retry: clear.or_set(Clearable::Retry, shared.retry())?,
            rate_limit: clear.or_set(Clearable::RateLimit, shared.rate_limit)?,
            max_in_flight: clear.or_set(Clearable::MaxInFlight, shared.max_in_flight)?,
            circuit_breaker: clear.or_set(Clearable::CircuitBreaker, shared.circuit_breaker())?,
            signing: clear.or_set(Clearable::Signing, shared.signing())?,
            ordering: clear.or_set(Clearable::Ordering, shared.ordering)?,
            on_dead: clear.or_set(Clearable::OnDead, shared.on_dead)?,
            quota,
            retention,
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
            ("ordering", policy::ordering(set.ordering, origins)),
            ("dead head", policy::on_dead(set.on_dead, origins)),
            ("signing", policy::signing(&set.signing, origins)),
            ("quota", policy::quota(set.quota, origins)),
            ("kept", policy::retention(&set.retention, origins)),
            ("plain http", Cell::new(if set.allow_http { "allowed" } else { "refused" })),
            ("allowed subnets", Cell::maybe(subnets)),
        ])
    })
}
