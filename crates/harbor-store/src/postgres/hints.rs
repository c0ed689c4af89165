//! How processes wake each other: hints that work may be waiting, and changes of directories.
//!
//! A hint is empty, comes at most every [`BETWEEN_HINTS`] from each process, and is never part of a publish:
//! notifying holds a lock of the whole server until the commit. Who misses one finds the work a second
//! later. A change of a directory must not be missed: while the connection that hears of them is not known
//! to be sound, every snapshot counts as old.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Notification};

use crate::directory::DirectoryCache;
use crate::postgres::database::Database;
use crate::postgres::directory;
use crate::postgres::trouble::Trouble;

/// Where work is hinted at.
const CHANNEL: &str = "harborhook_due";

/// The least time between two hints of one process.
const BETWEEN_HINTS: Duration = Duration::from_millis(50);

/// How often the listening connection is asked whether it is sound, and how often all is forgotten while
/// it is not.
const BETWEEN_PINGS: Duration = Duration::from_millis(500);

/// How long it may take to say so.
const PING_TIME_MAX: Duration = Duration::from_secs(1);

/// Hints of this process to others, and of others to this one.
pub(crate) struct Hints {
    to_others: Notify,
    from_others: watch::Sender<u64>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self { to_others: Notify::new(), from_others: watch::Sender::new(0) }
    }

    /// Says to all processes, soon, that work is waiting.
    pub(crate) fn signal(&self) {
        self.to_others.notify_one();
    }

    /// Changes with every hint.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.from_others.subscribe()
    }
}

/// Passes hints on to all processes, for as long as the store is open: the first at once, then one for all
/// that come in [`BETWEEN_HINTS`].
pub(crate) async fn notify(database: Database, hints: Arc<Hints>) {
    let hint = format!("NOTIFY {CHANNEL}");
    loop {
        hints.to_others.notified().await;
        let say = async { database.hint().await?.batch(&hint).await };
        if let Err(trouble) = say.await {
            tracing::debug!(%trouble, "a hint was not passed on: {trouble}");
        }
        sleep(BETWEEN_HINTS).await;
    }
}

/// Listens, for as long as the store is open.
pub(crate) async fn listen(database: Database, hints: Arc<Hints>, directory: Arc<DirectoryCache>) {
    let mut is_known_to_fail = false;
    loop {
        let listening = listen_once(&database, &hints, &directory, &mut is_known_to_fail);
        let trouble = match listening.await {
            Ok(()) => Trouble::Closed,
            Err(trouble) => trouble,
        };
        if !is_known_to_fail {
            is_known_to_fail = true;
            tracing::warn!(%trouble, "changes made elsewhere are not heard of: {trouble}; all is read anew");
        }
        directory.forget_all();
        sleep(BETWEEN_PINGS).await;
    }
}

/// Listens over one connection, until it breaks.
async fn listen_once(
    database: &Database,
    hints: &Hints,
    directory: &DirectoryCache,
    is_known_to_fail: &mut bool,
) -> Result<(), Trouble> {
    // While this lasts nothing is heard; so nothing that was read may count for longer than a ping takes.
    let connecting = timeout(PING_TIME_MAX, database.connector().connect()).await;
    let (client, mut connection) = connecting.map_err(|_| Trouble::TooLate)??;
    let (heard, mut to_hear) = mpsc::unbounded_channel();
    let driving = async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message? {
                // Whoever hears no more has let go of the client, too.
                let _ = heard.send(notification);
            }
        }
        Ok(())
    };
    let hearing = async {
        subscribe(&client).await?;
        // What was missed until now is not known.
        directory.forget_all();
        hints.from_others.send_modify(|count| *count += 1);
        if *is_known_to_fail {
            *is_known_to_fail = false;
            tracing::info!("changes made elsewhere are heard of again");
        }
        let mut pings = interval(BETWEEN_PINGS);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                notification = to_hear.recv() => {
                    let Some(notification) = notification else { return Ok(()) };
                    hear(&notification, hints, directory);
                }
                _ = pings.tick() => ping(&client).await?,
            }
        }
    };
    tokio::select! {
        broken = driving => broken,
        ended = hearing => ended,
    }
}

async fn subscribe(client: &Client) -> Result<(), Trouble> {
    let listen =
        format!("SET application_name = 'harborhook hints'; LISTEN {CHANNEL}; LISTEN {}", directory::CHANNEL);
    timeout(PING_TIME_MAX, client.batch_execute(&listen)).await.map_err(|_| Trouble::TooLate)??;
    Ok(())
}

async fn ping(client: &Client) -> Result<(), Trouble> {
    Ok(timeout(PING_TIME_MAX, client.batch_execute("SELECT 1")).await.map_err(|_| Trouble::TooLate)??)
}

fn hear(notification: &Notification, hints: &Hints, directory: &DirectoryCache) {
    if notification.channel() == CHANNEL {
        hints.from_others.send_modify(|count| *count += 1);
        return;
    }
    let said = notification.payload().split_once(' ');
    let change = said.and_then(|(version, tenant)| Some((version.parse().ok()?, tenant.parse().ok()?)));
    match change {
        Some((version, tenant)) => directory.observe(&tenant, version),
        // Whatever it was: better to read too much than to obey what is old.
        None => directory.forget_all(),
    }
}
