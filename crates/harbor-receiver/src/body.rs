//! The bodies of answers, those without an end among them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Interval, MissedTickBehavior};

static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Produces the body of an answer.
pub(crate) enum AnswerBody {
    /// All of it is here.
    Whole(Full<Bytes>),
    /// One byte with each tick, without end.
    Trickle(Interval),
    /// As much as is read, without end.
    Endless,
}

impl AnswerBody {
    pub(crate) fn whole(body: impl Into<Bytes>) -> AnswerBody {
        AnswerBody::Whole(Full::new(body.into()))
    }

    pub(crate) fn trickle(every: Duration) -> AnswerBody {
        // An interval cannot be zero; a body without waits is the endless one.
        let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        AnswerBody::Trickle(interval)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            AnswerBody::Whole(body) => Pin::new(body).poll_frame(context),
            AnswerBody::Trickle(interval) => {
                ready!(interval.poll_tick(context));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
            }
            AnswerBody::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(body) => body.is_end_stream(),
            AnswerBody::Trickle(_) | AnswerBody::Endless => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(body) => body.size_hint(),
            AnswerBody::Trickle(_) | AnswerBody::Endless => SizeHint::default(),
        }
    }
}
