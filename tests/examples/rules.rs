//! What a grant of these policies means while the client is connected, and what is remembered when the service is away.

use portcullis_tests::tokens::now;
use portcullis_tests::{Message, Refused, Version, packets};

use crate::language::Language;
use crate::plant::Plant;

#[tokio::test]
async fn rules_hold_for_the_roles_of_a_badge() {
    for language in Language::ALL {
        let plant = Plant::start(language).await;
        let mut operator = plant.holder("mqtt", "1001").connect().await;
        let mut technician = plant.holder("mqtt", "1002").connect().await;

        assert_eq!(operator.subscribe("acme/halle/machines/+/state", 2).await, 1, "{language:?}: QoS 1 at most");
        assert_eq!(operator.subscribe("acme/halle/machines/#", 0).await, 0x87, "{language:?}");
        assert_eq!(operator.subscribe("acme/nord/notices", 0).await, 0x87, "{language:?}: another site");
        assert_eq!(technician.subscribe("acme/halle/machines/#", 2).await, 2, "{language:?}");

        let state = Message::new("acme/halle/machines/7/state", "running").qos(2).retained();
        assert!(technician.publish(state).await < 0x80, "{language:?}");
        assert_eq!(operator.message().await.payload, "running", "{language:?}");
        let own = Message::new("acme/halle/badges/1001/here", "x").qos(1);
        assert!(operator.publish(own).await < 0x80, "{language:?}");
        for topic in ["acme/halle/badges/1002/here", "acme/halle/machines/7/state", "acme/nord/badges/1001/here"] {
            assert_eq!(operator.publish(Message::new(topic, "x").qos(1)).await, 0x87, "{language:?}: {topic}");
        }
        let safety = Message::new("acme/halle/machines/7/safety/stop", "off").qos(1);
        assert_eq!(technician.publish(safety).await, 0x87, "{language:?}: what a role allows, a rule for all denies");

        // Ten messages a second: the grant's limit.
        for _ in 0..50 {
            let here = Message::new("acme/halle/badges/1001/here", "x");
            // The connection may be closed before all are sent.
            let _ = operator.send(&packets::publish(Version::V5, &here)).await;
        }
        let end = operator.ended().await.map(|(code, _)| code);
        assert_eq!(end, Some(0x96), "{language:?}");
    }
}

#[tokio::test]
async fn the_end_of_the_shift_ends_the_session() {
    let mut waiting = Vec::new();
    for language in Language::ALL {
        let plant = Plant::start(language).await;
        let session = plant.holder("mqtt", "1006").connect().await;
        waiting.push((language, plant, session));
    }
    for (language, _plant, mut session) in waiting {
        let end = session.ended().await.map(|(code, _)| code);
        assert_eq!(end, Some(0x87), "{language:?}");
    }
}

#[tokio::test]
async fn an_answer_is_asked_for_once_and_lasts_while_the_service_is_away() {
    for language in Language::ALL {
        let mut plant = Plant::start(language).await;
        let hour = now() / 3600;
        for _ in 0..2 {
            plant.holder("mqtt", "1001").connect().await.disconnect().await;
            assert_eq!(plant.holder("mqtt", "9999").refusal().await, 0x86, "{language:?}");
        }
        assert_eq!(plant.service.asked("1001"), 1, "{language:?}: the answer is fresh");
        assert_eq!(plant.service.asked("9999"), 1, "{language:?}: so is that there is no such badge");

        // `hasty` asks each time, and falls back on what it remembers.
        plant.holder("hasty", "1001").connect().await.disconnect().await;
        plant.holder("hasty", "1001").connect().await.disconnect().await;
        assert_eq!(plant.service.asked("1001"), 3, "{language:?}");
        plant.service.go_away();
        plant.holder("mqtt", "1001").connect().await.disconnect().await;
        plant.holder("hasty", "1001").connect().await.disconnect().await;
        assert_eq!(plant.holder("hasty", "1002").refusal().await, 0x88, "{language:?}: nothing is remembered of it");
        let detail = plant.detail("acme-halle-1002");
        assert_eq!(detail, "badge 1002: the badge service cannot be asked: no connection", "{language:?}");
        let said = "badge 1001: from memory, the badge service cannot be asked: no connection";
        plant.gateway.logged(0, said).await;

        // Three logins an hour: the fourth is one too many, right PIN or not, service or not. Unless another hour has begun meanwhile.
        let fourth = plant.holder("hasty", "1001").attempt().await;
        if now() / 3600 == hour {
            assert!(matches!(fourth, Err(Refused::Code(0x97, _))), "{language:?}: {:?}", fourth.err());
            assert_eq!(plant.detail("acme-halle-1001"), "badge 1001: more than 3 logins in this hour", "{language:?}");
        }
        plant.service.come_back();
        plant.holder("hasty", "1002").connect().await.disconnect().await;
    }
}
