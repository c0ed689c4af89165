//! `harborctl key`

use clap::{Args, Subcommand};
use harbor_wire::api_key::{ApiKey, CreateApiKey, Role};
use harbor_wire::client::TenantClient;

use crate::args::list::ListArgs;
use crate::args::moment::Moment;
use crate::args::word;
use crate::clock;
use crate::command::{show_deleted, show_list};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column};

const EXAMPLES: &str = "\
Examples:
  harborctl key create --name 'billing service' --role publisher
  harborctl key create --name ops --role operator --instance --expires-at 30d
  harborctl key delete key_…";

/// Commands on API keys.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeyCommand {
    /// Make a key; it is shown once
    Create(Create),
    /// List keys, without the keys themselves
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        page: ListArgs,
    },
    /// Revoke a key; it ceases to work within two seconds
    Delete {
        /// Key to revoke
        id: String,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose keys are meant.
#[derive(Args)]
pub(crate) struct Whose {
    /// Keys of the instance instead of the tenant (for operators)
    #[arg(long)]
    instance: bool,
}

/// Arguments of `key create`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Name for people
    #[arg(long)]
    name: String,
    /// What its holder may do: operator (all of the instance), admin (all of the tenant), publisher, viewer
    #[arg(long, value_parser = word::parser::<Role>(word::ROLES))]
    role: Role,
    /// When it ceases to work: RFC 3339, or 30d for in 30 days [default: never]
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Moment>,
    #[command(flatten)]
    whose: Whose,
}

const COLUMNS: &[Column<ApiKey>] = &[
    Column::new("ID", |key, _| Cell::new(&key.id)),
    Column::new("ROLE", |key, _| Cell::new(word::print(&key.role))),
    Column::flexible("NAME", |key, _| Cell::new(&key.name)),
    Column::new("CREATED", |key, view| Cell::time(&key.created_at, view)),
    Column::new("EXPIRES", |key, view| {
        key.expires_at.as_ref().map_or_else(|| Cell::new("never"), |time| Cell::time(time, view))
    }),
    Column::roomy("TENANT", |key, _| Cell::maybe(key.tenant_id.as_ref())),
];

impl KeyCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(cx).await,
            Self::List { whose, page } => {
                let keys = page.fetch(whose.client(cx)?.api_keys(&page.ask())).await?;
                show_list(&cx.output, &keys, COLUMNS, "keys")
            }
            Self::Delete { id, whose } => {
                whose.client(cx)?.delete_api_key(&id).await?;
                show_deleted(&cx.output, &id)
            }
        }
    }
}

impl Whose {
    fn client(&self, cx: &Context) -> Result<TenantClient, Failure> {
        // The instance's keys lie where an instance credential finds its own.
        if self.instance { Ok(cx.operator()?.own()) } else { cx.tenant() }
    }
}

impl Create {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let expires_at = self.expires_at.map(|time| time.after(clock::now()));
        let request = CreateApiKey { name: self.name, role: self.role, expires_at };
        let key = self.whose.client(cx)?.create_api_key(&request).await?;
        cx.output.show(&key, |view| {
            view.details(vec![
                ("id", Cell::new(&key.id)),
                ("key", Cell::new(&key.key)),
                ("name", Cell::new(&key.name)),
                ("role", Cell::new(word::print(&key.role))),
                ("tenant", Cell::maybe(key.tenant_id.as_ref())),
                ("expires", Cell::maybe(key.expires_at.as_ref())),
            ])
        })?;
        cx.output.hint("the key is shown this once; keep it safe");
        Ok(())
    }
}
