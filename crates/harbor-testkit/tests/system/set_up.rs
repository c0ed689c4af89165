//! What the journeys share: an endpoint at a receiver.

use harbor_receiver::{Receiver, Script, Settings};
use harbor_testkit::api::Api;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver that keeps everything, and answers by `script`.
pub(crate) async fn receiver(script: Script) -> Receiver {
    Receiver::start(Settings { script, keep: 100_000, ..Settings::default() }).await.unwrap()
}

/// Makes an endpoint that wants every event at this receiver; answers it as the API does.
pub(crate) async fn endpoint(api: &Api, receiver: &Receiver, extra: Value) -> Value {
    let mut body =
        json!({"url": format!("{}/hooks", receiver.url()), "secret": SECRET, "event_types": ["*"]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    api.post("/v1/endpoints", body.to_string()).await.expect(201)
}
