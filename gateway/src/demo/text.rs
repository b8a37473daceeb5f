//! The demo as a configuration, so that what it does can be read, copied and changed.

use std::fmt::Write;

/// Names, transports and ports of the demo's listeners.
const LISTENERS: [(&str, &str, u16); 4] =
    [("mqtt", "tcp", 1883), ("mqtts", "tls", 8883), ("ws", "ws", 15_675), ("wss", "wss", 15_673)];

/// The text of `<data>/demo/portcullis.toml`. `any_port`: the system chooses the ports.
pub(crate) fn configuration(any_port: bool) -> String {
    let port = |port| if any_port { 0 } else { port };
    let mut text = String::from(
        "# The demo, as a configuration. It is written anew at each start: copy it before you change it.\n\
         # Paths are relative to this file.\n\
         data = \"..\"\n",
    );
    for (name, transport, number) in LISTENERS {
        let tls = if matches!(transport, "tls" | "wss") {
            "tls = { cert = \"../tls/server.pem\", key = \"../tls/server.key\" }\n"
        } else {
            ""
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[listener]]\nname = {name:?}\nbind = \"127.0.0.1:{}\"\nprotocol = \"mqtt\"\ntransport = {transport:?}\n\
             {tls}policies = [\"device\", \"jwt\", \"api-key\"]\n",
            port(number)
        );
    }
    let _ = write!(
        text,
        "\n[[listener]]\nname = \"http\"\nbind = \"127.0.0.1:{}\"\nprotocol = \"http\"\ntransport = \"tcp\"\n\
         policies = [\"device\", \"jwt\", \"api-key\"]\n\n[admin]\nbind = \"127.0.0.1:{}\"\n",
        port(8080),
        port(9090)
    );
    text
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::demo::certificate::Certificates;

    #[test]
    fn it_is_sound_and_stays_on_loopback() {
        let data = tempfile::tempdir().unwrap();
        Certificates::ensure(&data.path().join("tls")).unwrap();
        std::fs::create_dir(data.path().join("demo")).unwrap();
        for any_port in [false, true] {
            let file = data.path().join("demo/portcullis.toml");
            let config = Config::parse(&file, &super::configuration(any_port)).unwrap();
            assert_eq!(config.listeners.len(), 5);
            assert!(
                config
                    .listeners
                    .iter()
                    .flat_map(|listener| &listener.bind)
                    .all(|bind| bind.ip().is_some_and(|bind| bind.ip().is_loopback()))
            );
            assert!(config.admin.unwrap().bind.ip().is_loopback());
            let open =
                config.listeners.iter().flat_map(|listener| &listener.policies).any(|name| name.value == "anonymous");
            assert!(!open, "nobody anonymous is let in");
        }
    }
}
