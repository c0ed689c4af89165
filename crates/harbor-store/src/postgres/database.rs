//! Connections to the database, and what is asked over them.
//!
//! A [`Link`] is a connection out of a pool. Whatever is asked over it has a deadline on this side too; a
//! connection over which anything went wrong, or was given up, is thrown away and never used again. What is
//! more than one statement goes in a [`Tx`].
//!
//! ```ignore
//! let found = retried("find endpoint", async || {
//!     let link = self.database.browse().await?;
//!     link.query_opt(FIND, &[&tenant, &Uuid(id)]).await?.map(|row| endpoint(&row)).transpose()
//! });
//! let changed = retried("change endpoint", async || {
//!     let tx = self.database.begin().await?;
//!     tx.execute(CHANGE, &[&tenant]).await?;
//!     tx.commit().await
//! });
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use harbor_model::port::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Connection, Row, Socket, Statement};
use tokio_util::task::TaskTracker;

use crate::postgres::address::Address;
use crate::postgres::tls::{Secured, Tls};
use crate::postgres::trouble::Trouble;

/// How long nobody tries to connect after it failed, so that a thousand callers do not each wait for long.
const AWAY_MEMORY: Duration = Duration::from_millis(250);

/// The most statements that a connection keeps prepared; more than there are.
const STATEMENTS_KEPT: usize = 512;

/// How much longer than the server a caller waits for a statement to be cut.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// How long closing waits for connections to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// What every connection is told.
///
/// The plans must not depend on statistics, which are wrong whenever the tables of open work fill or empty
/// quickly: there is one plan for each statement, and it goes by an index, in whose order its rows come. A commit is answered when it is
/// durable, whatever the server's default is.
const SET_UP: &str = "SET search_path = harborhook; SET timezone = 'UTC'; SET synchronous_commit = on;
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
    SET enable_mergejoin = off; SET enable_sort = off; SET jit = off; SET default_transaction_isolation = 'read committed';
    SET client_min_messages = warning";

/// How the pools are laid out, and how long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    pub(crate) browsers: usize,
    pub(crate) connect_time_max: Duration,
    pub(crate) statement_time_max: Duration,
}

/// The database as the ports use it.
#[derive(Clone)]
pub(crate) struct Database {
    connector: Arc<Connector>,
    writers: Pool,
    readers: Pool,
    browsers: Pool,
    hints: Pool,
    beats: Pool,
}

impl Database {
    pub(crate) fn new(address: Address, tls: Tls, bounds: Bounds) -> Self {
        let connector = Arc::new(Connector {
            address,
            tls,
            bounds,
            away: Mutex::default(),
            is_closed: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        });
        let pool = |count| Pool {
            connector: connector.clone(),
            idle: Arc::default(),
            free: Arc::new(Semaphore::new(count)),
        };
        Self {
            writers: pool(bounds.writers),
            readers: pool(bounds.readers),
            browsers: pool(bounds.browsers),
            hints: pool(1),
            beats: pool(1),
            connector,
        }
    }

    /// A connection for batches of publishes and of results.
    pub(crate) async fn write(&self) -> Result<Link, Trouble> {
        self.writers.take().await
    }

    /// A connection for what workers wait for.
    pub(crate) async fn read(&self) -> Result<Link, Trouble> {
        self.readers.take().await
    }

    /// A connection for what people look at and set up. No one's long lists stand before anyone's deliveries.
    pub(crate) async fn browse(&self) -> Result<Link, Trouble> {
        self.browsers.take().await
    }

    /// The connection that says that work is waiting.
    pub(crate) async fn hint(&self) -> Result<Link, Trouble> {
        self.hints.take().await
    }

    /// The connection that says that this process is alive, which nothing else may keep from it.
    pub(crate) async fn beat(&self) -> Result<Link, Trouble> {
        self.beats.take().await
    }

    /// Begins a transaction of what people set up.
    pub(crate) async fn begin(&self) -> Result<Tx, Trouble> {
        Tx::begin(self.browse().await?).await
    }

    /// Begins a transaction of what workers wait for.
    pub(crate) async fn begin_for_workers(&self) -> Result<Tx, Trouble> {
        Tx::begin(self.read().await?).await
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Closes every connection that is idle; those in use close when they are let go of.
    pub(crate) async fn close(&self) {
        self.connector.is_closed.store(true, Ordering::Release);
        for pool in [&self.writers, &self.readers, &self.browsers, &self.hints, &self.beats] {
            pool.idle().clear();
        }
        let tasks = &self.connector.tasks;
        tasks.close();
        if timeout(GOODBYE_MAX, tasks.wait()).await.is_err() {
            tracing::warn!("connections to the database are still open: they end with the process");
        }
    }
}

/// Makes connections.
pub(crate) struct Connector {
    address: Address,
    tls: Tls,
    bounds: Bounds,
    /// Until when nobody tries, and why.
    away: Mutex<Option<(Instant, String)>>,
    is_closed: AtomicBool,
    tasks: TaskTracker,
}

impl Connector {
    /// A connection that is told what every one is told; whoever gets it must drive its other half.
    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, Secured>), Trouble> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Trouble::Closed);
        }
        if let Some((until, why)) = &*self.away()
            && Instant::now() < *until
        {
            return Err(Trouble::Away(why.clone()));
        }
        let connecting = self.address.config.connect(self.tls.clone());
        let outcome = match timeout(self.bounds.connect_time_max, connecting).await {
            Ok(connected) => connected.map_err(Trouble::from),
            Err(_) => Err(Trouble::TooLate),
        };
        match outcome {
            Ok(connected) => {
                *self.away() = None;
                Ok(connected)
            }
            Err(trouble) => {
                *self.away() = Some((Instant::now() + AWAY_MEMORY, trouble.to_string()));
                Err(trouble)
            }
        }
    }

    /// A connection with a task that drives it.
    async fn open(&self) -> Result<Held, Trouble> {
        let (client, connection) = self.connect().await?;
        self.drive(connection);
        let statement_time_max = self.bounds.statement_time_max.as_millis();
        let set_up = format!(
            "{SET_UP}; SET statement_timeout = {statement_time_max};
             SET idle_in_transaction_session_timeout = {statement_time_max}"
        );
        let told = timeout(self.bounds.connect_time_max, client.batch_execute(&set_up)).await;
        told.map_err(|_| Trouble::TooLate)??;
        Ok(Held { client, statements: Mutex::default() })
    }

    /// Drives the other half of a connection, in a task of its own, until its client is dropped.
    pub(crate) fn drive(&self, connection: Connection<Socket, Secured>) -> JoinHandle<()> {
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database broke: {error}");
            }
        })
    }

    fn away(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with the statements that are prepared on it.
struct Held {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Held {
    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few connections.
#[derive(Clone)]
struct Pool {
    connector: Arc<Connector>,
    idle: Arc<Mutex<Vec<Held>>>,
    free: Arc<Semaphore>,
}

impl Pool {
    async fn take(&self) -> Result<Link, Trouble> {
        let bounds = &self.connector.bounds;
        let turn = timeout(bounds.statement_time_max, self.free.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Trouble::Busy)?.expect("the semaphore is never closed");
        if self.connector.is_closed.load(Ordering::Acquire) {
            return Err(Trouble::Closed);
        }
        let known = {
            let mut idle = self.idle();
            idle.retain(|held| !held.client.is_closed());
            idle.pop()
        };
        let held = match known {
            Some(held) => held,
            None => self.connector.open().await?,
        };
        Ok(Link {
            held: Some(held),
            pending: AtomicUsize::new(0),
            is_broken: AtomicBool::new(false),
            time_max: bounds.statement_time_max + ANSWER_MARGIN,
            pool: self.clone(),
            _turn: turn,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Held>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection out of a pool. It goes back when it is dropped, unless something went wrong with it.
pub(crate) struct Link {
    held: Option<Held>,
    /// How many answers are awaited. One that nobody awaits any more ends the connection.
    pending: AtomicUsize,
    is_broken: AtomicBool,
    time_max: Duration,
    pool: Pool,
    // The last field: whoever gets the turn finds the connection.
    _turn: OwnedSemaphorePermit,
}

impl Link {
    /// Rows of a statement, which is prepared once for each connection.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        self.answer(async {
            let statement = self.prepared(sql).await?;
            self.client().query(&statement, parameters).await
        })
        .await
    }

    /// The only row of a statement; none where there is none.
    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Trouble> {
        let mut rows = self.query(sql, parameters).await?;
        assert!(rows.len() <= 1, "a statement asked for one row finds at most one");
        Ok(rows.pop())
    }

    /// Does what a statement says, and answers how many rows it concerned.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Trouble> {
        self.answer(async {
            let statement = self.prepared(sql).await?;
            self.client().execute(&statement, parameters).await
        })
        .await
    }

    /// Does what statements without parameters say, unprepared.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Trouble> {
        self.answer(self.client().batch_execute(sql)).await
    }

    /// Does what takes as long as it takes, up to this long: clearing up.
    pub(crate) async fn batch_at_leisure(&self, sql: &str, time_max: Duration) -> Result<(), Trouble> {
        self.batch(&format!("SET statement_timeout = {}", time_max.as_millis())).await?;
        let done = self.answer_within(time_max + ANSWER_MARGIN, self.client().batch_execute(sql)).await;
        // It keeps no other limit than the rest.
        self.is_broken.store(true, Ordering::Relaxed);
        done
    }

    fn client(&self) -> &Client {
        &self.held.as_ref().expect("it is held until it is dropped").client
    }

    async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        let held = self.held.as_ref().expect("it is held until it is dropped");
        if let Some(known) = held.statements().get(sql) {
            return Ok(known.clone());
        }
        let statement = held.client.prepare(sql).await?;
        let mut statements = held.statements();
        if statements.len() >= STATEMENTS_KEPT {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        self.answer_within(self.time_max, asked).await
    }

    async fn answer_within<T>(
        &self,
        time_max: Duration,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let outcome = match timeout(time_max, asked).await {
            Ok(outcome) => outcome.map_err(Trouble::from),
            Err(_) => Err(Trouble::TooLate),
        };
        self.pending.fetch_sub(1, Ordering::Relaxed);
        if let Err(trouble) = &outcome
            && !trouble.leaves_the_connection()
        {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn is_good(&self) -> bool {
        let is_idle = self.pending.load(Ordering::Relaxed) == 0;
        let is_open = !self.pool.connector.is_closed.load(Ordering::Acquire);
        is_idle && is_open && !self.is_broken.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && self.is_good()
            && !held.client.is_closed()
        {
            self.pool.idle().push(held);
        }
    }
}

/// A transaction. Dropped without a commit, it is rolled back.
pub(crate) struct Tx {
    link: Link,
    is_open: bool,
}

impl Tx {
    /// Begins a transaction over a connection.
    pub(crate) async fn begin(link: Link) -> Result<Self, Trouble> {
        link.batch("BEGIN").await?;
        Ok(Self { link, is_open: true })
    }

    /// Makes everything durable. On an error it is not known whether it is.
    pub(crate) async fn commit(mut self) -> Result<(), Trouble> {
        self.is_open = false;
        // Should the commit fail, the connection may still stand in the transaction.
        let committed = self.link.batch("COMMIT").await;
        if committed.is_err() {
            self.link.is_broken.store(true, Ordering::Relaxed);
        }
        committed
    }
}

impl Deref for Tx {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.is_open && self.link.is_good() {
            // Polled once, it is on its way before anything that the next user of the connection says.
            let mut rolling_back = Box::pin(self.link.client().batch_execute("ROLLBACK"));
            let polled = rolling_back.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_ready() {
                drop(rolling_back);
                self.link.is_broken.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// How often a transaction is tried that others are in the way of.
const TRIES_MAX: u32 = 10;

/// Does a whole transaction, or reads; again where another transaction was in the way and nothing was done.
pub(crate) async fn retried<T, F>(doing: &'static str, mut attempt: impl FnMut() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(trouble) if trouble.is_conflict() && tried < TRIES_MAX => tried += 1,
            outcome => return outcome.map_err(|trouble| trouble.into_fault(doing)),
        }
    }
}
