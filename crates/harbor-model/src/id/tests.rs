use super::*;
use crate::chance::SeededRng;

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_123);

#[test]
fn an_id_survives_its_text_and_keeps_its_time() {
    let id = DeliveryId::new(NOW, &SeededRng::new(7));
    let text = id.to_string();

    assert_eq!(text.parse(), Ok(id));
    assert!(text.starts_with("dlv_") && text.len() == 30 && text == text.to_lowercase());
    assert_eq!(id.made_at(), NOW);
    assert_eq!(DeliveryId::from_number(id.number()), id);
}

#[test]
fn an_id_has_one_spelling_and_one_kind() {
    let refused = |text: &str| assert!(text.parse::<EventId>().is_err(), "{text}");
    refused("");
    refused("evt_");
    refused("ep_01h455vb4pex5vsknk084sn02q");
    refused("evt_01H455VB4PEX5VSKNK084SN02Q");
    refused("evt_01h455vb4pex5vsknk084sn02");
    refused("evt_o1h455vb4pex5vsknk084sn02q");
    refused("evt_8zzzzzzzzzzzzzzzzzzzzzzzzz");
    refused("evt_01h455vb4pex5vsknk084sn02\u{e9}");
}

#[test]
fn tenant_ids_keep_to_their_alphabet() {
    let check = |text: &str, fits| assert_eq!(text.parse::<TenantId>().is_ok(), fits, "{text:?}");
    check("tn_demo", true);
    check("a", true);
    check(&"x".repeat(64), true);
    check(&"x".repeat(65), false);
    check("", false);
    check("Acme", false);
    check("a/b", false);
    check("a\0", false);
}
