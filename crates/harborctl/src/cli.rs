//! The words that a user types, and what happens from there to the exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::args::global::GlobalArgs;
use crate::command::completion::CompletionArgs;
use crate::command::config::{self, ConfigCommand};
use crate::command::delivery::DeliveryCommand;
use crate::command::dlq::DlqCommand;
use crate::command::endpoint::EndpointCommand;
use crate::command::event::EventCommand;
use crate::command::health;
use crate::command::job::JobCommand;
use crate::command::key::KeyCommand;
use crate::command::ping;
use crate::command::quick::QuickCommand;
use crate::command::replay::ReplayCommand;
use crate::command::source::SourceCommand;
use crate::command::subscription::SubscriptionCommand;
use crate::command::tail::TailArgs;
use crate::command::tenant::TenantCommand;
use crate::command::traffic::TrafficCommand;
use crate::command::version::VersionArgs;
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Format, Output, complain, problem};
use crate::settings::{self, Loaded};

const EXAMPLES: &str = "\
First steps, beside a running `harborhook serve --dev`:
  harborctl ping                                  Is it there?
  harborctl quick setup                           An endpoint for test events
  harborctl quick test                            Publish one and see it arrive

Every day:
  harborctl endpoint create --url https://example.com/ --event-type 'invoice.*'
  harborctl source create --name stripe --provider stripe --secret -
  harborctl event publish invoice.paid --data '{\"invoice\": 42}'
  harborctl delivery list --status failed
  harborctl dlq list --output json | jq -r '.data[].id'
  harborctl replay start --from 2h --endpoint ep_… --wait
  harborctl tail

Where the server and the key come from, the first wins:
  1. flags
  2. HARBORCTL_* variables
  3. a profile of the config file; `harborctl config init` makes one
  4. ./harborhook-data/dev-credentials.json, from `harborhook serve --dev`
`harborctl config view` shows what is in force and where it came from.

Exit codes: 0 done; 1 the server refused or the operation failed; 2 wrong use.";

/// Publishes events to Harborhook and shows what became of them.
#[derive(Parser)]
#[command(name = "harborctl", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: GlobalArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Ask whether the server is there and whom it takes you for
    Ping,
    /// Ask whether the server has everything it needs
    Health,
    /// Show the versions of harborctl and of the server
    Version(VersionArgs),
    /// Tenants: who owns endpoints and events (for operators)
    #[command(subcommand)]
    Tenant(Box<TenantCommand>),
    /// Endpoints: URLs that want events
    #[command(subcommand)]
    Endpoint(Box<EndpointCommand>),
    /// Subscriptions: which event types go to which endpoint
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Sources: inbound doors, each for the webhooks of one provider
    #[command(subcommand)]
    Source(Box<SourceCommand>),
    /// Events: publish them, look them up
    #[command(subcommand)]
    Event(EventCommand),
    /// Deliveries: what is owed to whom, and every attempt
    #[command(subcommand)]
    Delivery(DeliveryCommand),
    /// Dead letters: deliveries that are tried no more
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Replays of many deliveries, as jobs
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// Jobs that cancel deliveries, and those that remove tenants
    #[command(subcommand)]
    Job(JobCommand),
    /// Follow attempts as they are made; Ctrl-C ends it
    Tail(TailArgs),
    /// API keys, of a tenant or of the instance
    #[command(subcommand)]
    Key(KeyCommand),
    /// The config file of harborctl
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a script that completes words in your shell
    Completion(CompletionArgs),
    /// The first event, in two commands
    #[command(subcommand)]
    Quick(QuickCommand),
    /// Load for a server: good, bad and bursts
    #[command(subcommand)]
    Traffic(TrafficCommand),
}

/// Does what was typed and says how it went.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    let environment = Environment::read();
    let no_color = cli.global.no_color || environment.no_color;
    let Err(failure) = dispatch(cli, &environment, no_color).await else { return ExitCode::SUCCESS };
    if failure.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    complain(&problem::render(&failure, problem::takes_color(no_color)));
    failure.exit_code()
}

async fn dispatch(cli: Cli, environment: &Environment, no_color: bool) -> Result<(), Failure> {
    let Cli { command, global } = cli;
    // These work where the configuration does not.
    let variable = environment.output.as_deref().and_then(|text| Format::from_str(text, true).ok());
    let format = global.output.or(variable).unwrap_or(Format::Table);
    let plain_output = || Output::new(format, no_color, global.quiet);
    let command = match command {
        Command::Completion(args) => return args.run(&plain_output()),
        Command::Config(command) if command.is_edit() => {
            return config::edit(command, &global, environment, &plain_output());
        }
        other => other,
    };

    let Loaded { settings, files, warnings } = settings::load(&global, environment)?;
    let output = Output::new(settings.output.value, no_color, global.quiet);
    warnings.iter().for_each(|warning| output.note(&format!("warning: {warning}")));
    let cx = Context { settings, output };
    match command {
        Command::Ping => ping::run(&cx).await,
        Command::Health => health::run(&cx).await,
        Command::Version(args) => args.run(&cx).await,
        Command::Tenant(command) => command.run(&cx).await,
        Command::Endpoint(command) => command.run(&cx).await,
        Command::Subscription(command) => command.run(&cx).await,
        Command::Source(command) => command.run(&cx).await,
        Command::Event(command) => command.run(&cx).await,
        Command::Delivery(command) => command.run(&cx).await,
        Command::Dlq(command) => command.run(&cx).await,
        Command::Replay(command) => command.run(&cx).await,
        Command::Job(command) => command.run(&cx).await,
        Command::Tail(args) => args.run(&cx).await,
        Command::Key(command) => command.run(&cx).await,
        Command::Config(command) => command.run(&cx, &files).await,
        Command::Completion(args) => args.run(&cx.output),
        Command::Quick(command) => command.run(&cx).await,
        Command::Traffic(command) => command.run(&cx).await,
    }
}

#[cfg(test)]
mod tests;
