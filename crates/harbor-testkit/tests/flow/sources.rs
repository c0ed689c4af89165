use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::receive::{Inbound, ReceiveRefusal, Received};
use harbor_model::delivery::DeliveryStatus;
use harbor_model::header::CustomHeader;
use harbor_model::id::{DeliveryId, EndpointId, EventId, SourceId};
use harbor_model::policy::RateLimit;
use harbor_model::port::history::{DeadLetterFilter, EventFilter};
use harbor_model::port::page::PageAsk;
use harbor_model::port::registry::Change;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::source::{Provider, Rejected, Source, SourceName, SourceOptions};
use harbor_testkit::world::World;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const ALL: PageAsk = PageAsk { limit: 500, after: None };

/// A source of whoever signs by Standard Webhooks, changed as a test wants it.
async fn source(world: &World, change: impl FnOnce(&mut Source)) -> SourceId {
    let mut source = Source {
        id: SourceId::new(world.now(), &*world.rng),
        tenant_id: world.tenant.clone(),
        name: SourceName::new("acme").unwrap(),
        provider: Provider::StandardWebhooks,
        options: SourceOptions::default(),
        secrets: vec![TimedSecret::lasting(Secret::new(SECRET.to_owned()))],
        endpoint_id: None,
        rate_limit: None,
        allowed_ips: Arc::new([]),
        response: None,
        rejected_count: 0,
        version: 1,
        created_at: world.now(),
        updated_at: world.now(),
    };
    change(&mut source);
    let id = source.id;
    assert!(matches!(world.store.create_source(source, 10).await.unwrap(), Change::Done(_)));
    id
}

/// A source that verifies nothing.
async fn open_source(world: &World, change: impl FnOnce(&mut Source)) -> SourceId {
    source(world, |source| {
        (source.provider, source.secrets) = (Provider::None, Vec::new());
        change(source);
    })
    .await
}

async fn change(world: &World, id: SourceId, change: impl FnOnce(&mut Source)) {
    let mut source = world.store.find_source(&world.tenant, id).await.unwrap().unwrap();
    change(&mut source);
    assert!(matches!(world.store.update_source(source).await.unwrap(), Change::Done(_)));
}

/// A request with these headers.
fn request(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Inbound {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    Inbound {
        url: "https://hooks.example.com/ingest/src".to_owned(),
        headers: headers.iter().map(pair).collect::<HeaderMap>(),
        body: body.into(),
        trace: None,
    }
}

/// A request that the Standard Webhooks library signs at the world's time.
fn signed(world: &World, secret: &str, id: &str, body: &str) -> Inbound {
    let library = standardwebhooks::Webhook::new(secret).unwrap();
    let sent = world.now().unix_s();
    let signature = library.sign(id, sent, body.as_bytes()).unwrap();
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", &sent.to_string()),
        ("webhook-signature", &signature),
        ("content-type", "application/json"),
        ("user-agent", "acme/1.0"),
    ];
    request(&headers, body.to_owned())
}

async fn receive(world: &World, id: SourceId, inbound: Inbound) -> Result<Received, ReceiveRefusal> {
    receive_from(world, id, inbound, REMOTE).await
}

async fn receive_from(
    world: &World,
    id: SourceId,
    inbound: Inbound,
    remote: IpAddr,
) -> Result<Received, ReceiveRefusal> {
    let door = world.inlet.knock(id, remote, Method::POST).await?;
    world.inlet.receive(&door, inbound).await
}

/// The event of a request that is taken for the first time.
async fn stored(world: &World, id: SourceId, inbound: Inbound) -> (EventId, Option<DeliveryId>) {
    match receive(world, id, inbound).await.unwrap() {
        Received::Stored { event_id, delivery_id } => (event_id, delivery_id),
        other => panic!("it is new: {other:?}"),
    }
}

/// The first event of a request that was taken before, and how its delivery stands.
async fn repeated(world: &World, id: SourceId, inbound: Inbound) -> (EventId, Option<DeliveryStatus>) {
    match receive(world, id, inbound).await.unwrap() {
        Received::Duplicate { event_id, status, .. } => (event_id, status),
        other => panic!("it is a repetition: {other:?}"),
    }
}

/// The codes of what a source refused, oldest first.
async fn rejections(world: &World, id: SourceId) -> Vec<Rejected> {
    let page = world.inlet.rejections().of_source(&world.tenant, id, ALL).await.unwrap();
    page.items.into_iter().rev().collect()
}

async fn event_count(world: &World) -> usize {
    world.store.events(&world.tenant, EventFilter::default(), ALL).await.unwrap().items.len()
}

#[tokio::test]
async fn what_is_verified_goes_to_those_who_subscribe_to_it_byte_for_byte() {
    let world = World::new().await;
    let (all, some) = (world.endpoint().await, world.endpoint().wants(["acme.order.*"]).await);
    let none = world.endpoint().wants(["order.paid"]).await;
    let id = source(&world, |_| {}).await;
    let body = r#"{"type": "order.paid",  "amount": 1.10, "name": "J\u00f8rgen"}"#;

    let (event_id, delivery_id) = stored(&world, id, signed(&world, SECRET, "msg_1", body)).await;
    world.run_until_idle().await;

    assert_eq!(delivery_id, None, "there are two");
    for shop in [&all, &some] {
        let [request] = &world.received(shop)[..] else { panic!("there is one request") };
        assert_eq!(request.body, body.as_bytes());
        let check = |name: &str, expected: &str| assert_eq!(request.header(name), expected, "{name}");
        check("x-harborhook-event-type", "acme.order.paid");
        check("webhook-id", &event_id.to_string());
        check("x-original-webhook-id", "msg_1");
        check("x-original-user-agent", "acme/1.0");
        check("content-type", "application/json");
    }
    assert!(world.received(&none).is_empty());
}

#[tokio::test]
async fn the_original_signature_is_still_good_at_the_receiver() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let id = source(&world, |_| {}).await;
    let inbound = signed(&world, SECRET, "msg_1", "{}");
    let signature = inbound.headers["webhook-signature"].clone();
    stored(&world, id, inbound).await;
    world.advance(Duration::from_secs(1)).await;

    let request = &world.received(&shop)[0];
    assert_eq!(request.headers["x-original-webhook-signature"], signature);
    assert_ne!(request.headers["webhook-signature"], signature, "ours stands beside it");
}

#[tokio::test]
async fn a_body_may_be_anything() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let id = open_source(&world, |_| {}).await;
    let bodies: [&[u8]; 4] = [b"a=1&b=%20", b"\x00\xff\xfe", b"<xml/>", b""];
    for (body, media_type) in
        bodies.iter().zip(["application/x-www-form-urlencoded", "image/png", "text/xml", ""])
    {
        let headers = [("content-type", media_type)];
        let headers = if media_type.is_empty() { &headers[..0] } else { &headers[..] };
        stored(&world, id, request(headers, *body)).await;
    }
    world.run_until_idle().await;

    let received = world.received(&shop);
    let mut found: Vec<_> = received.iter().map(|r| (r.body.to_vec(), r.header("content-type"))).collect();
    found.sort();
    let expected: [(&[u8], &str); 4] = [
        (b"", "application/octet-stream"),
        (b"\x00\xff\xfe", "image/png"),
        (b"<xml/>", "text/xml"),
        (b"a=1&b=%20", "application/x-www-form-urlencoded"),
    ];
    assert_eq!(found, expected.map(|(body, media_type)| (body.to_vec(), media_type)));
}

#[tokio::test]
async fn a_header_that_the_endpoint_adds_stands_and_the_original_goes_beside_it() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let custom = CustomHeader::new("X-Env", "ours").unwrap();
    world.change(&shop, |endpoint| endpoint.headers = vec![custom]).await;
    let id = open_source(&world, |_| {}).await;
    let headers = [("x-env", "theirs"), ("x-other", "1"), ("x-other", "2"), ("authorization", "Bearer x")];
    let mut inbound = request(&[], "{}");
    for (name, value) in headers {
        inbound.headers.append(name, HeaderValue::from_static(value));
    }
    stored(&world, id, inbound).await;
    world.run_until_idle().await;

    let request = &world.received(&shop)[0];
    assert_eq!((request.header("x-env"), request.header("x-original-x-env")), ("ours", "theirs"));
    let others: Vec<_> = request.headers.get_all("x-other").iter().collect();
    assert_eq!(others, ["1", "2"]);
    assert_eq!(request.header("authorization"), "", "a credential of the sender opens nothing further on");
}

async fn straight(world: &World, endpoint: EndpointId) -> SourceId {
    source(world, |source| source.endpoint_id = Some(endpoint)).await
}

#[tokio::test]
async fn a_source_may_relay_straight_to_one_endpoint() {
    let world = World::new().await;
    let (shop, other) = (world.endpoint().wants(["nothing"]).await, world.endpoint().await);
    let id = straight(&world, shop.id).await;

    let (event_id, delivery_id) = stored(&world, id, signed(&world, SECRET, "msg_1", "{}")).await;
    world.run_until_idle().await;

    assert_eq!(delivery_id, Some(world.delivery_of(event_id).await.id));
    assert_eq!((world.received(&shop).len(), world.received(&other).len()), (1, 0));
    assert_eq!(world.received(&shop)[0].header("x-harborhook-event-type"), "acme.received");
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_is_named_by_the_event() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let id = straight(&world, shop.id).await;
    let check = async |message: &str| {
        let (event_id, delivery_id) = stored(&world, id, signed(&world, SECRET, message, "{}")).await;
        assert_eq!(delivery_id, None);
        let event = world.store.find_event(&world.tenant, event_id).await.unwrap().unwrap();
        assert_eq!(event.fan_out.skipped, [shop.id]);
    };
    world
        .change(&shop, |endpoint| endpoint.disabled = Some(harbor_model::endpoint::DisabledReason::Manual))
        .await;
    check("msg_1").await;
    world.store.delete_endpoint(&world.tenant, shop.id, None, world.now()).await.unwrap();
    check("msg_2").await;
}

#[tokio::test]
async fn a_repetition_answers_with_the_first_event_and_how_it_stands() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).await;
    let id = straight(&world, shop.id).await;
    let (event_id, _) = stored(&world, id, signed(&world, SECRET, "msg_1", r#"{"n":1}"#)).await;
    world.settle().await;

    let again = || signed(&world, SECRET, "msg_1", r#"{"n":1,"attempt":2}"#);
    assert_eq!(repeated(&world, id, again()).await, (event_id, Some(DeliveryStatus::Failed)));
    world.run_until_idle().await;
    assert_eq!(repeated(&world, id, again()).await, (event_id, Some(DeliveryStatus::Delivered)));
    assert_eq!((world.received(&shop).len(), event_count(&world).await), (2, 1));

    stored(&world, id, signed(&world, SECRET, "msg_2", r#"{"n":1}"#)).await;
    let other = straight(&world, shop.id).await;
    stored(&world, other, signed(&world, SECRET, "msg_1", r#"{"n":1}"#)).await;
    world.run_until_idle().await;
    assert_eq!(event_count(&world).await, 3, "another name, and another source");
}

#[tokio::test]
async fn of_several_deliveries_the_one_that_is_furthest_from_its_end_is_told() {
    let world = World::new().await;
    let _quick = world.endpoint().await;
    let _slow = world.endpoint().answers([500]).attempts(3).waits([DAY]).await;
    let id = open_source(&world, |_| {}).await;
    let (event_id, _) = stored(&world, id, request(&[], "{}")).await;
    world.settle().await;
    assert_eq!(repeated(&world, id, request(&[], "{}")).await, (event_id, Some(DeliveryStatus::Failed)));
}

#[tokio::test]
async fn a_name_holds_for_its_window_and_a_hash_for_a_window_since_the_last_repetition() {
    let world = World::new().await;
    let id = open_source(&world, |_| {}).await;
    let named = || request(&[("idempotency-key", "k")], "named");
    let (named_event, _) = stored(&world, id, named()).await;
    let (hashed_event, _) = stored(&world, id, request(&[], "hashed")).await;

    world.advance(WINDOW - Duration::from_secs(1)).await;
    assert_eq!(repeated(&world, id, named()).await.0, named_event);
    assert_eq!(repeated(&world, id, request(&[], "hashed")).await.0, hashed_event);

    world.advance(Duration::from_secs(1)).await;
    assert_ne!(stored(&world, id, named()).await.0, named_event);
    assert_eq!(repeated(&world, id, request(&[], "hashed")).await.0, hashed_event);

    world.advance(WINDOW - Duration::from_secs(1)).await;
    assert_eq!(repeated(&world, id, request(&[], "hashed")).await.0, hashed_event);
    world.advance(WINDOW).await;
    assert_ne!(stored(&world, id, request(&[], "hashed")).await.0, hashed_event);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_but_a_word_to_the_owner() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let id = source(&world, |_| {}).await;
    let stale = signed(&world, SECRET, "msg_3", "{}");
    let mut unsigned = signed(&world, SECRET, "msg_2", "{}");
    unsigned.headers.remove("webhook-signature");
    let mut changed = signed(&world, SECRET, "msg_4", "{}");
    changed.body = Bytes::from_static(b"{ }");

    for (inbound, wait) in
        [(signed(&world, OTHER_SECRET, "msg_1", "{}"), 0), (unsigned, 0), (changed, 0), (stale, 301)]
    {
        world.advance(Duration::from_secs(wait)).await;
        let refusal = receive(&world, id, inbound).await.unwrap_err();
        assert!(matches!(refusal, ReceiveRefusal::Unverified(_)), "{refusal:?}");
    }
    world.run_until_idle().await;

    assert_eq!((world.received(&shop).len(), event_count(&world).await), (0, 0));
    let found = rejections(&world, id).await;
    let codes: Vec<_> = found.iter().map(|rejected| rejected.code.as_str()).collect();
    assert_eq!(codes, ["signature_mismatch", "missing_header", "signature_mismatch", "stale_timestamp"]);
    assert_eq!(found[1].header.as_deref(), Some("webhook-signature"));
    let signed_text = String::from_utf8(found[2].signed_text.clone().unwrap()).unwrap();
    assert!(signed_text.starts_with("msg_4.") && signed_text.ends_with(".{ }"), "{signed_text}");
    assert_eq!((found[3].timestamp_age_s, found[3].remote_address), (Some(301), REMOTE));
    let source = world.store.find_source(&world.tenant, id).await.unwrap().unwrap();
    assert_eq!(source.rejected_count, 4);
}

#[tokio::test]
async fn during_a_rotation_either_secret_verifies_and_afterwards_the_new_one() {
    let world = World::new().await;
    let id = source(&world, |_| {}).await;
    let old = TimedSecret { secret: Secret::new(SECRET.to_owned()), expires_at: Some(world.now() + DAY) };
    change(&world, id, |source| {
        source.secrets = vec![TimedSecret::lasting(Secret::new(OTHER_SECRET.to_owned())), old];
    })
    .await;
    stored(&world, id, signed(&world, SECRET, "msg_1", "{}")).await;
    stored(&world, id, signed(&world, OTHER_SECRET, "msg_2", "{}")).await;

    world.advance(DAY).await;
    assert!(receive(&world, id, signed(&world, SECRET, "msg_3", "{}")).await.is_err());
    stored(&world, id, signed(&world, OTHER_SECRET, "msg_4", "{}")).await;
}

#[tokio::test]
async fn a_rate_counts_what_is_verified_alone() {
    let world = World::new().await;
    let id = source(&world, |source| source.rate_limit = Some(RateLimit { per_second: 2, burst: 2 })).await;
    for n in 0..10 {
        receive(&world, id, signed(&world, OTHER_SECRET, &format!("forged_{n}"), "{}")).await.unwrap_err();
    }
    stored(&world, id, signed(&world, SECRET, "msg_1", "{}")).await;
    stored(&world, id, signed(&world, SECRET, "msg_2", "{}")).await;
    let refusal = receive(&world, id, signed(&world, SECRET, "msg_3", "{}")).await.unwrap_err();
    let ReceiveRefusal::OverRate(standing) = refusal else { panic!("{refusal:?}") };
    assert_eq!((standing.limit, standing.reset), (2, Duration::from_millis(500)));

    world.advance(standing.reset).await;
    stored(&world, id, signed(&world, SECRET, "msg_3", "{}")).await;
}

#[tokio::test]
async fn what_a_tenant_receives_counts_for_its_quota() {
    let world = World::new().await;
    world.change_tenant(|tenant| tenant.policy.quota.per_day = Some(1)).await;
    let id = open_source(&world, |_| {}).await;
    stored(&world, id, request(&[], "a")).await;
    let refusal = receive(&world, id, request(&[], "b")).await.unwrap_err();
    assert!(refusal.to_string().contains("quota of 1 events per day"), "{refusal}");
}

#[tokio::test]
async fn only_allowed_addresses_come_in() {
    let world = World::new().await;
    let nets = ["203.0.113.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap());
    let id = open_source(&world, |source| source.allowed_ips = Arc::new(nets)).await;
    for (n, (remote, is_allowed)) in [
        ("203.0.113.7", true),
        ("::ffff:203.0.113.7", true),
        ("2001:db8::1", true),
        ("198.51.100.1", false),
        ("::1", false),
    ]
    .into_iter()
    .enumerate()
    {
        let received = receive_from(&world, id, request(&[], n.to_string()), remote.parse().unwrap()).await;
        match received {
            Ok(_) => assert!(is_allowed, "{remote}"),
            Err(ReceiveRefusal::ForeignAddress(_)) => assert!(!is_allowed, "{remote}"),
            Err(other) => panic!("{remote}: {other}"),
        }
    }
    let codes: Vec<_> = rejections(&world, id).await.into_iter().map(|rejected| rejected.code).collect();
    assert_eq!(codes, ["address_not_allowed"; 2]);
}

#[tokio::test]
async fn what_names_no_event_is_never_taken_for_a_repetition() {
    let world = World::new().await;
    let id = source(&world, |source| {
        source.provider = Provider::Dropbox;
        source.secrets = vec![TimedSecret::lasting(Secret::new("secret".to_owned()))];
    })
    .await;
    // HMAC-SHA256 of `{}` under `secret`, by `openssl dgst`.
    let signature = "77325902caca812dc259733aacd046b73817372c777b8d95b402647474516e13";
    let notification = || request(&[("x-dropbox-signature", signature)], "{}");
    let (first, _) = stored(&world, id, notification()).await;
    let (second, _) = stored(&world, id, notification()).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_source_that_is_not_there_is_nobodys() {
    let world = World::new().await;
    let unknown = SourceId::from_number(7);
    assert!(matches!(receive(&world, unknown, request(&[], "")).await, Err(ReceiveRefusal::NoSource)));

    let id = open_source(&world, |_| {}).await;
    stored(&world, id, request(&[], "a")).await;
    world.store.delete_source(&world.tenant, id, None).await.unwrap();
    assert!(matches!(receive(&world, id, request(&[], "b")).await, Err(ReceiveRefusal::NoSource)));
}

#[tokio::test]
async fn a_change_between_knock_and_commit_is_obeyed() {
    let world = World::new().await;
    let (first, second) = (world.endpoint().await, world.endpoint().await);
    let id = straight(&world, first.id).await;
    let door = world.inlet.knock(id, REMOTE, Method::POST).await.unwrap();
    change(&world, id, |source| source.endpoint_id = Some(second.id)).await;
    world.inlet.receive(&door, signed(&world, SECRET, "msg_1", "{}")).await.unwrap();
    world.run_until_idle().await;
    assert_eq!((world.received(&first).len(), world.received(&second).len()), (0, 1));

    let door = world.inlet.knock(id, REMOTE, Method::POST).await.unwrap();
    change(&world, id, |source| {
        source.secrets = vec![TimedSecret::lasting(Secret::new(OTHER_SECRET.to_owned()))];
    })
    .await;
    let refusal = world.inlet.receive(&door, signed(&world, SECRET, "msg_2", "{}")).await.unwrap_err();
    assert!(matches!(refusal, ReceiveRefusal::Unverified(_)), "{refusal:?}");

    let door = world.inlet.knock(id, REMOTE, Method::POST).await.unwrap();
    world.store.delete_source(&world.tenant, id, None).await.unwrap();
    let refusal = world.inlet.receive(&door, signed(&world, OTHER_SECRET, "msg_3", "{}")).await.unwrap_err();
    assert!(matches!(refusal, ReceiveRefusal::NoSource), "{refusal:?}");
}

#[tokio::test]
async fn what_was_received_is_buried_and_replayed_like_any_event() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 500, 200]).attempts(2).await;
    let id = straight(&world, shop.id).await;
    let body = r#"{"type":"order.paid"}"#;
    let inbound = signed(&world, SECRET, "msg_1", body);
    let signature = inbound.headers["webhook-signature"].clone();
    stored(&world, id, inbound).await;
    world.run_until_idle().await;
    let [letter] = &world.dead_letters(DeadLetterFilter::default()).await[..] else { panic!("one is dead") };
    world.advance(DAY).await;

    world.replay(letter.id).await.unwrap();
    world.run_until_idle().await;

    let last = world.received(&shop).pop().unwrap();
    assert_eq!(
        (&last.body[..], &last.headers["x-original-webhook-signature"]),
        (body.as_bytes(), &signature)
    );
    assert_eq!(last.header("x-harborhook-replay-of"), letter.id.to_string());
    assert_eq!(world.history(&shop).await, ["500", "500", "dead", "200", "delivered"]);
}
