//! The payload of an event: JSON that carries the time when its request was due, and its ordering key.

use bytes::Bytes;

/// The smallest payload: room for the time and an empty filling.
pub(crate) const PAYLOAD_BYTES_MIN: usize =
    HEAD.len() + STAMP_DIGITS + LANE.len() + LANE_DIGITS + FILLING.len() + END.len();

/// The smallest payload of a webhook: room for its id and type besides.
pub(crate) const WEBHOOK_BYTES_MIN: usize =
    PAYLOAD_BYTES_MIN + ID.len() + LANE_DIGITS + ID_JOINT.len() + STAMP_DIGITS + TYPE.len();

/// The most ordering keys.
pub(crate) const LANES_MAX: u64 = 10u64.pow(LANE_DIGITS as u32);

/// Where the time stands: at the start, so that the receiver finds it without parsing.
const HEAD: &str = r#"{"due_us":""#;
/// A fixed width, so that stamping a template moves nothing; a string, since JSON numbers have no leading zeros.
const STAMP_DIGITS: usize = 20;
/// What stands before the ordering key, in the payload and in the event; also a number of a fixed width.
const LANE: &str = r#"","lane":""#;
const ORDERING_KEY: &str = r#","ordering_key":""#;
const LANE_DIGITS: usize = 6;
/// What stands before the id of a webhook: its provider's name for the event, made of the ordering key and
/// the time.
const ID: &str = r#"","id":"evt_"#;
const ID_JOINT: &str = "_";
const TYPE: &str = r#"","type":"invoice.paid"#;
const LINES: &str = r#"","lines":["#;
const FILLING: &str = r#"","filling":""#;
const END: &str = r#""}"#;
/// One of many small objects, as real events have them: one long string would be cheaper to check.
const LINE: &str = r#"{"sku":"HB-2041","quantity":3,"price":"19.90","gift":false}"#;

/// What tells the events of a load apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// When the request was due.
    pub(crate) due_us: u64,
    /// The ordering key; of a webhook just a number, so that no two that were due at once are alike.
    pub(crate) lane: u64,
}

/// The body of a request, made once and stamped anew for every request.
pub(crate) struct Body {
    template: Vec<u8>,
    stamps: Vec<usize>,
    /// Where the ordering key stands.
    lanes: Vec<usize>,
}

impl Body {
    /// Makes the body of `events:publish` with one event.
    pub(crate) fn of_one(event_type: &str, payload_bytes: usize, is_ordered: bool) -> Self {
        Self::find_stamps(event(event_type, payload_bytes, is_ordered))
    }

    /// Makes the body of `events:batchPublish` with so many events.
    pub(crate) fn of_batch(event_type: &str, payload_bytes: usize, is_ordered: bool, events: usize) -> Self {
        let events = vec![event(event_type, payload_bytes, is_ordered); events];
        Self::find_stamps(format!(r#"{{"events":[{}]}}"#, events.join(",")))
    }

    /// Makes the body of a webhook: a payload by itself.
    pub(crate) fn of_webhook(payload_bytes: usize) -> Self {
        let (lane, time) = ("0".repeat(LANE_DIGITS), time(0));
        Self::find_stamps(payload(payload_bytes, &format!("{ID}{lane}{ID_JOINT}{time}{TYPE}")))
    }

    /// Returns the body with the given time and ordering key in every payload.
    pub(crate) fn stamped(&self, stamp: Stamp) -> Bytes {
        let Stamp { due_us, lane } = stamp;
        let mut body = self.template.clone();
        let time = time(due_us);
        for at in &self.stamps {
            body[*at..at + STAMP_DIGITS].copy_from_slice(time.as_bytes());
        }
        let lane = format!("{lane:0LANE_DIGITS$}");
        for at in &self.lanes {
            body[*at..at + LANE_DIGITS].copy_from_slice(lane.as_bytes());
        }
        Bytes::from(body)
    }

    fn find_stamps(template: String) -> Self {
        let after = |head| template.match_indices(head).map(|(at, head)| at + head.len());
        let in_ids = after(ID).map(|at| at + LANE_DIGITS + ID_JOINT.len());
        let stamps = after(HEAD).chain(in_ids).collect();
        let lanes = [LANE, ORDERING_KEY, ID].into_iter().flat_map(after).collect();
        Self { template: template.into_bytes(), stamps, lanes }
    }
}

/// Reads the time out of a payload; `None` if it is not one of ours, byte for byte.
pub(crate) fn due_us(payload: &[u8]) -> Option<u64> {
    let stamp = payload.strip_prefix(HEAD.as_bytes())?.get(..STAMP_DIGITS)?;
    std::str::from_utf8(stamp).ok()?.parse().ok()
}

/// Reads the ordering key out of a payload of which [`due_us`] read the time.
pub(crate) fn lane(payload: &[u8]) -> Option<u64> {
    let at = HEAD.len() + STAMP_DIGITS;
    let lane = payload.get(at..)?.strip_prefix(LANE.as_bytes())?.get(..LANE_DIGITS)?;
    std::str::from_utf8(lane).ok()?.parse().ok()
}

fn time(due_us: u64) -> String {
    format!("{due_us:0STAMP_DIGITS$}")
}

fn event(event_type: &str, payload_bytes: usize, is_ordered: bool) -> String {
    let lane = "0".repeat(LANE_DIGITS);
    let key = if is_ordered { format!("{ORDERING_KEY}{lane}\"") } else { String::new() };
    format!(r#"{{"event_type":"{event_type}","payload":{}{key}}}"#, payload(payload_bytes, ""))
}

/// Makes a payload of exactly so many bytes, with more text behind the ordering key.
fn payload(bytes: usize, more: &str) -> String {
    let bytes_min = PAYLOAD_BYTES_MIN + more.len();
    assert!(bytes >= bytes_min, "such a payload has at least {bytes_min} bytes, not {bytes}");

    let mut payload = format!("{HEAD}{}{LANE}{}{more}", time(0), "0".repeat(LANE_DIGITS));
    let lines_room = bytes.saturating_sub(bytes_min + LINES.len());
    let lines = vec![LINE; lines_room / (LINE.len() + 1)];
    if lines.is_empty() {
        payload.push_str(FILLING);
    } else {
        payload.push_str(LINES);
        payload.push_str(&lines.join(","));
        payload.push(']');
        // The quote that ends what stands before them was written before the lines.
        payload.push_str(&FILLING[1..]);
    }
    let filling = bytes - payload.len() - END.len();
    payload.push_str(&"x".repeat(filling));
    payload.push_str(END);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_exactly_its_size() {
        for bytes in PAYLOAD_BYTES_MIN..600 {
            let payload = payload(bytes, "");
            assert_eq!(payload.len(), bytes);
            serde_json::from_str::<serde_json::Value>(&payload).unwrap();
        }
    }

    #[test]
    fn every_event_of_a_batch_carries_the_time() {
        let body = Body::of_batch("bench.event", 512, true, 3).stamped(Stamp { due_us: 1_234_567, lane: 42 });
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let events = body["events"].as_array().unwrap();
        assert_eq!(events.len(), 3);
        for event in events {
            assert_eq!(event["event_type"], "bench.event");
            assert_eq!(event["payload"]["due_us"], "00000000000001234567");
            assert_eq!(
                (&event["payload"]["lane"], &event["ordering_key"]),
                (&"000042".into(), &"000042".into())
            );
        }
    }

    #[test]
    fn a_webhook_is_a_payload_with_an_id_and_a_type() {
        for bytes in WEBHOOK_BYTES_MIN..600 {
            let body = Body::of_webhook(bytes).stamped(Stamp { due_us: 1_234_567, lane: 42 });
            assert_eq!((body.len(), due_us(&body), lane(&body)), (bytes, Some(1_234_567), Some(42)));
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["id"], "evt_000042_00000000000001234567");
            assert_eq!(body["type"], "invoice.paid");
        }
    }

    #[test]
    fn the_receiver_reads_the_time_back() {
        let sent = payload(512, "").replace(&time(0), &time(u64::MAX));
        assert_eq!(due_us(sent.as_bytes()), Some(u64::MAX));
        let body = Body::of_one("bench.event", 512, false).stamped(Stamp { due_us: 1, lane: 77 });
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body.get("ordering_key"), None);
        assert_eq!(lane(sent.as_bytes()), Some(0));
        assert_eq!(lane(b"{}"), None);
    }

    #[test]
    fn a_foreign_payload_has_no_time() {
        for foreign in [&b""[..], b"{}", br#"{"due_us":"12"}"#, br#"{ "due_us":"00000000000001234567"}"#] {
            assert_eq!(due_us(foreign), None);
        }
    }
}
