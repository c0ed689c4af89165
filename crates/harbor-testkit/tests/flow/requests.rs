use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::request::PublishRequest;
use harbor_model::event::trace::TraceContext;
use harbor_model::header::CustomHeader;
use harbor_model::policy::SigningSchemes;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_testkit::receivers::Received;
use harbor_testkit::world::{SECRET, WORLD_BEGINS, World};

#[tokio::test]
async fn a_request_carries_every_header_that_receivers_rely_on() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let receipt = world
        .try_publish(PublishRequest {
            event_type: "invoice.paid".to_owned(),
            payload: Bytes::from_static(b"{}"),
            trace: TraceContext::parse(parent, Some("vendor=1")),
            ..PublishRequest::default()
        })
        .await
        .unwrap();
    world.run_until_idle().await;

    let [request] = &world.received(&shop)[..] else { panic!("there is one request") };
    let delivery = &world.deliveries(&shop).await[0];
    let check = |name: &str, expected: &str| assert_eq!(request.header(name), expected, "{name}");
    check("content-type", "application/json");
    check("webhook-id", &receipt.event_id.to_string());
    check("webhook-timestamp", &WORLD_BEGINS.unix_s().to_string());
    check("x-harborhook-timestamp", &WORLD_BEGINS.unix_s().to_string());
    check("x-harborhook-event-id", &receipt.event_id.to_string());
    check("x-harborhook-event-type", "invoice.paid");
    check("x-harborhook-delivery-id", &delivery.id.to_string());
    check("x-harborhook-attempt", "1");
    check("x-harborhook-replay-of", "");
    check("x-trace-id", "4bf92f3577b34da6a3ce929d0e0e4736");
    check("tracestate", "vendor=1");
    let sent = TraceContext::parse(request.header("traceparent"), None).unwrap();
    assert_eq!(format!("{:032x}", sent.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(sent.to_string(), parent, "the request is a span of its own");
    assert!(request.header("user-agent").starts_with("harborhook/"));
}

/// Whether the Standard Webhooks library signs the request as one of its signatures does. (It would check
/// the time against its own clock, and this world has another.)
fn is_accepted(request: &Received, secret: &str) -> bool {
    let library = standardwebhooks::Webhook::new(secret).unwrap();
    let timestamp = request.header("webhook-timestamp").parse().unwrap();
    let expected = library.sign(request.header("webhook-id"), timestamp, &request.body).unwrap();
    request.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn an_independent_library_accepts_the_signature() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    world.publish("invoice.paid").await;
    world.run_until_idle().await;

    let request = &world.received(&shop)[0];
    assert!(is_accepted(request, SECRET));
    assert!(!is_accepted(request, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
}

#[tokio::test]
async fn during_a_rotation_both_secrets_sign_and_afterwards_one() {
    let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let overlap = Duration::from_secs(24 * 60 * 60);
    let world = World::new().await;
    let secret = |text: &str, expires_at| TimedSecret { secret: Secret::new(text.to_owned()), expires_at };
    let secrets = vec![secret(SECRET, None), secret(old, Some(WORLD_BEGINS + overlap))];
    let shop = world.endpoint().secrets(secrets).await;

    world.publish("a").await;
    world.advance(overlap).await;
    world.publish("b").await;
    world.run_until_idle().await;

    let received = world.received(&shop);
    assert!(is_accepted(&received[0], SECRET) && is_accepted(&received[0], old));
    assert!(is_accepted(&received[1], SECRET) && !is_accepted(&received[1], old));
    assert_eq!(received[0].header("webhook-signature").split(' ').count(), 2);
    assert_eq!(received[0].header("x-harborhook-signature").split(',').count(), 2);
    assert_eq!(received[1].header("x-harborhook-signature").split(',').count(), 1);
}

#[tokio::test]
async fn an_endpoint_chooses_its_schemes_and_adds_its_headers() {
    let world = World::new().await;
    let shop = world
        .endpoint()
        .policy(|policy| policy.signing = Some(SigningSchemes { standard: false, harborhook: true }))
        .await;
    world
        .change(&shop, |endpoint| {
            endpoint.headers = vec![CustomHeader::new("Authorization", "Bearer of good news").unwrap()];
        })
        .await;
    world.publish("a").await;
    world.run_until_idle().await;

    let request = &world.received(&shop)[0];
    assert_eq!(request.header("authorization"), "Bearer of good news");
    assert_eq!(request.header("webhook-signature"), "");
    assert!(request.header("x-harborhook-signature").starts_with("sha256="));
    assert!(!request.header("webhook-id").is_empty(), "the id is for deduplication, whoever signs");
}

#[tokio::test]
async fn the_webhook_id_stays_over_retries() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 503, 200]).await;
    let event = world.publish("a").await;
    world.run_until_idle().await;
    let ids: Vec<_> = world.received(&shop).iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, [event.to_string(), event.to_string(), event.to_string()]);
}
