//! The subcommand `harborhook receiver`.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use jiff::SignedDuration;
use tokio::signal::unix::{SignalKind, signal};

use harbor_signature::{SecretError, SigningKey};

use crate::answer::Answer;
use crate::receiver::{Observer, Receiver, Settings};
use crate::script::Script;
use crate::{json, print};

/// Runs a receiver that shows webhooks and answers them as it is told.
///
/// It takes POST on any path, `GET /requests` lists what came, `DELETE /requests` forgets it, and
/// `GET /healthz` answers while it runs.
#[derive(Args, Clone, Debug)]
pub struct ReceiverArgs {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// Secret of the endpoint; requests whose signatures fail are answered 401. Repeat it during a rotation.
    #[arg(long, value_name = "SECRET", env = "ENDPOINT_SECRET", hide_env_values = true)]
    pub secret: Vec<Secret>,

    /// Answer the first N requests with 500, whichever they are; requests refused with 401 do not count.
    #[arg(long, value_name = "N", env = "FAIL_FIRST_N", default_value_t = 0)]
    pub fail_first: u64,

    /// Answer with this status.
    #[arg(long, value_name = "CODE", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,

    /// Wait before each answer: 250ms, 2s, or a bare number of milliseconds.
    #[arg(long, value_name = "DURATION", env = "RESPONSE_DELAY_MS", default_value = "0ms", value_parser = parse_delay)]
    pub delay: Duration,

    /// Answer this share of the requests with 500, between 0.0 and 1.0; the same ones in every run.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    pub fail_rate: f64,

    /// Keep this many of the last requests for GET /requests.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub keep: u32,

    /// Print nothing.
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,

    /// Print each request as a line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Holds the text of a secret and does not show it.
#[derive(Clone)]
pub struct Secret(String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(secret: &str) -> Result<Secret, Infallible> {
        Ok(Secret(secret.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Says why the receiver did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A secret cannot be used.
    #[error("cannot check signatures: {0}")]
    Secret(#[from] SecretError),
    /// The address is taken or is not this machine's.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The signals that stop it cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Runs the receiver until SIGINT or SIGTERM, then lets answers on their way finish.
///
/// Requests go to stdout and the greeting to stderr, so that the output holds nothing but requests.
///
/// # Errors
/// If a secret is unusable or the address is taken.
pub async fn run(args: ReceiverArgs) -> Result<(), RunError> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let (listen, quiet) = (args.listen, args.quiet);
    let settings = settings(args)?;
    let checks = if settings.keys.is_empty() {
        "signatures are not checked: give --secret"
    } else {
        "signatures are checked"
    };

    let receiver =
        Receiver::start(settings).await.map_err(|source| RunError::Listen { address: listen, source })?;
    if !quiet {
        // A receiver that cannot greet still receives.
        let _ = writeln!(io::stderr().lock(), "receiving on {} ({checks})", receiver.url());
    }
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    receiver.shutdown().await;
    Ok(())
}

fn settings(args: ReceiverArgs) -> Result<Settings, SecretError> {
    let keys =
        args.secret.iter().map(|Secret(secret)| SigningKey::parse(secret)).collect::<Result<_, _>>()?;
    let observer: Option<Observer> = match (args.quiet, args.json) {
        (true, _) => None,
        (false, true) => Some(Box::new(|request| print_line(&json::line(request)))),
        (false, false) => Some(Box::new(|request| print_line(print::line(request).as_bytes()))),
    };
    Ok(Settings {
        listen: args.listen,
        keys,
        keep: args.keep as usize,
        observer,
        script: script(&args),
        ..Settings::default()
    })
}

/// Answers by the flags: the first ones fail, then a share of the rest, and what is left gets `--status`.
fn script(args: &ReceiverArgs) -> Script {
    let (fail_first, fail_rate) = (args.fail_first, args.fail_rate);
    let failure = Answer::status(StatusCode::INTERNAL_SERVER_ERROR).delay(args.delay);
    let answer = Answer::from(args.status).delay(args.delay);
    let taken = AtomicU64::new(0);
    Script::by(move |_| {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        let fails = number < fail_first || scatter(number) < fail_rate;
        if fails { failure.clone() } else { answer.clone() }
    })
}

/// Maps a counter to `0.0..1.0` evenly and without visible order, by the mixer of SplitMix64.
///
/// Scattered rather than drawn, so that a run can be repeated.
fn scatter(number: u64) -> f64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // The upper 53 bits are as many as an f64 holds exactly.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn print_line(line: &[u8]) {
    let mut stdout = io::stdout().lock();
    // Whoever read the output may have gone; requests are answered all the same.
    let _ = stdout.write_all(line).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    if let Ok(milliseconds) = text.parse() {
        return Ok(Duration::from_millis(milliseconds));
    }
    let delay: SignedDuration = text.parse().map_err(|_| "a delay looks like 250ms, 2s or 1m".to_owned())?;
    delay.try_into().map_err(|_| "a delay is not negative".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is between 0.0 and 1.0".to_owned()),
    }
}

#[cfg(test)]
mod tests;
