//! Makes requests over kept or new connections.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::attempt::{ErrorClass, RESPONSE_BYTES_KEPT_OF_FAILURE, RESPONSE_BYTES_KEPT_OF_SUCCESS};
use harbor_model::decide::classify::Outcome;
use harbor_model::time::Clock;
use http::{HeaderMap, header};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::send::connect::{Connector, Progress, Stage};
use crate::send::connection::{Answer, Connection, KeptBody, Message, Rest};
use crate::send::failure::Failure;
use crate::send::kept_headers::kept_headers;
use crate::send::pool::Pool;
use crate::send::resolve::Resolve;
use crate::send::retry_after::retry_after;
use crate::send::settings::SendSettings;
use crate::send::target::{Place, Route};
use crate::send::tls::SetupError;
use crate::send::{Request, Sender, Sent};

/// Makes requests over real sockets.
///
/// Idle connections are closed when it is dropped; requests that are under way end with whoever waits for them.
pub struct HttpSender {
    connector: Connector,
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    response_body_bytes_max: usize,
    body_grace: Duration,
    /// Closes what waits too long; a set, so that it ends with the sender.
    _sweeper: JoinSet<()>,
}

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The longest timeout that is obeyed; longer ones would leave what a clock can hold.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl HttpSender {
    /// Reads the trusted certificates and prepares TLS.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        settings: SendSettings,
        resolver: Arc<dyn Resolve>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        settings.validate().map_err(SetupError::Settings)?;
        let pool = Arc::new(Pool::new(&settings));
        let mut sweeper = JoinSet::new();
        sweeper.spawn(sweep(pool.clone()));
        Ok(Self {
            pool,
            clock,
            response_body_bytes_max: settings.response_body_bytes_max,
            body_grace: settings.body_grace,
            connector: Connector::new(settings, resolver)?,
            _sweeper: sweeper,
        })
    }

    /// Sends the message and waits for the head of the answer.
    async fn ask(
        &self,
        route: &Route,
        mut message: Message,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        if let Some(kept) = self.pool.take(&route.place) {
            progress.reach(&kept);
            match kept.ask(route, message, true).await {
                Ok(answer) => return Ok(answer),
                Err(unanswered) => match unanswered.unsent {
                    // The receiver closed it while it was idle.
                    Some(unsent) => message = *unsent,
                    None => return Err(unanswered.failure),
                },
            }
        }
        // Boxed, because handshakes need much memory and most requests need none.
        let connection = Box::pin(self.connect(&route.place, deadline, progress)).await?;
        progress.reach(&connection);
        connection.ask(route, message, false).await.map_err(|unanswered| unanswered.failure)
    }

    async fn connect(
        &self,
        place: &Arc<Place>,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        *progress = Progress::default();
        let connection = self.connector.connect(place, deadline, progress).await?;
        if let Connection::Http2(shared) = &connection {
            self.pool.share(place, shared.clone());
        }
        Ok(connection)
    }

    /// Keeps what is to be kept of the answer, and the connection if it is fit for another request.
    async fn receive(&self, answer: Answer, place: &Arc<Place>, deadline: Instant) -> Sent {
        let Answer { status, headers, mut rest } = answer;
        let wait_asked = retry_after(&headers, self.clock.now());
        let kept_max =
            if status.is_success() { RESPONSE_BYTES_KEPT_OF_SUCCESS } else { RESPONSE_BYTES_KEPT_OF_FAILURE };
        // A body that is known to be too long costs its connection anyway: no more is read than is kept.
        let is_too_long =
            content_length(&headers).is_some_and(|length| length > self.response_body_bytes_max as u64);
        let read_max = if is_too_long { kept_max } else { self.response_body_bytes_max };

        let mut body = KeptBody::new(kept_max, read_max);
        let end = deadline.min(Instant::now() + self.body_grace);
        let is_whole = timeout_at(end, rest.read(&mut body)).await.unwrap_or(false);
        if is_whole && let Rest::Http1 { connection, .. } = rest {
            self.pool.put(place, connection, keep_alive(&headers));
        }
        Sent {
            response_body: body.into_bytes(),
            response_headers: kept_headers(&headers),
            ..Sent::of(Outcome::Answered { status: status.as_u16(), retry_after: wait_asked }, None)
        }
    }

    /// Makes of a deadline that has passed what people need to know.
    fn give_up(&self, route: &Route, timeout: Duration, progress: &Progress) -> Failure {
        if let Some(shared) = &progress.shared {
            // It may be dead without knowing it; the next request gets a new one.
            self.pool.retire(&route.place, shared);
        }
        let remote = progress.remote.map(|remote| remote.to_string()).unwrap_or_default();
        let stage = match progress.stage {
            Stage::Lookup => ": the name was still being looked up".to_owned(),
            Stage::Connect => format!(": still connecting to {remote}"),
            Stage::Handshake => format!(": still in the handshake with {remote}"),
            Stage::Answer => String::new(),
        };
        Failure::new(ErrorClass::Timeout, &format!("no answer within {timeout:?}{stage}"))
    }
}

#[async_trait]
impl Sender for HttpSender {
    async fn send(&self, request: Request) -> Sent {
        let began = self.clock.elapsed();
        let timeout = request.timeout.min(TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        let mut progress = Progress::default();

        let route = match request.target.route() {
            Ok(route) => route,
            Err(refusal) => return Sent::unreachable(ErrorClass::BlockedAddress, refusal.to_owned()),
        };
        let message = Message::new(request.headers, request.body);
        let asked = timeout_at(deadline, self.ask(route, message, deadline, &mut progress)).await;
        let latency = self.clock.elapsed().saturating_sub(began);

        let sent = match asked.unwrap_or_else(|_| Err(self.give_up(route, timeout, &progress))) {
            Ok(answer) => self.receive(answer, &route.place, deadline).await,
            Err(failure) => Sent::unreachable(failure.class, failure.text),
        };
        Sent { latency, remote_address: progress.remote, ..sent }
    }
}

impl Progress {
    fn reach(&mut self, connection: &Connection) {
        self.stage = Stage::Answer;
        self.remote = Some(connection.remote());
        self.shared = match connection {
            Connection::Http1(_) => None,
            Connection::Http2(shared) => Some(shared.clone()),
        };
    }
}

/// Closes idle connections as they grow old. Ends when its set is dropped with the sender.
async fn sweep(pool: Arc<Pool>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        pool.sweep();
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long the receiver keeps an idle connection, less a second for the request's way,
/// if it says so: `keep-alive: timeout=5, max=100`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("keep-alive")?.to_str().ok()?;
    let mut parameters = text.split(',').filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let seconds: u32 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(u64::from(seconds.saturating_sub(1))))
}
