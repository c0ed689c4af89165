//! A server that answers as it is told and keeps what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Like `GET /v1/events?limit=1`.
    pub(crate) line: String,
    /// The credential, without `Bearer`; empty for none.
    pub(crate) key: String,
    /// The body as it came.
    pub(crate) body: String,
}

/// A status and a body.
pub(crate) type Answer = (u16, String);

/// A server that answers as it is told and keeps what it was asked.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request with what `answer` makes of it.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let journal = Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, Arc::new(answer), journal) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { url: format!("http://{address}"), asked, stop: Some(stop), thread: Some(thread) }
    }

    /// Answers everything with the same.
    pub(crate) fn always(status: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_| (status, body.clone()))
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of everything that was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has failed the test already, by an answer that never came.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    answer: Arc<impl Fn(&Asked) -> Answer + Send + Sync + 'static>,
    journal: Arc<Mutex<Vec<Asked>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, journal) = (Arc::clone(&answer), Arc::clone(&journal));
        connections.spawn(async move {
            let service = service_fn(|request| reply(request, &*answer, &journal));
            // The program ends its connections by exiting.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn reply(
    request: Request<Incoming>,
    answer: &impl Fn(&Asked) -> Answer,
    journal: &Mutex<Vec<Asked>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let key = head.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        line: format!("{} {}", head.method, head.uri),
        key: key.trim_start_matches("Bearer ").to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    journal.lock().unwrap().push(asked.clone());
    let (status, body) = answer(&asked);
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
}
