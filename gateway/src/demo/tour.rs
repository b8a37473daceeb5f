//! What the terminal shows when the demo runs: commands to copy, and what to expect of them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::people::{APP, CONSUMER, People};

/// The commands. `mqtt` and `mqtts` are the bound addresses.
pub(crate) fn tour(data: &Path, mqtt: SocketAddr, mqtts: SocketAddr, people: &People) -> String {
    let People { device, token, api_key } = people;
    let (mqtt, mqtts) = (mqtt.port(), mqtts.port());
    let ca = quoted(&data.join("tls/ca.pem"));
    let (token, api_key) = (quoted(token), quoted(api_key));
    let data = quoted(data);
    let mut text = String::new();
    let mut say = |title: &str, command: String| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  # {title}\n  {command}\n");
    };
    say(
        &format!(
            "{CONSUMER} (a consumer of the app {APP:?}) listens to her thermometer, with a JWT that the app's owner signed"
        ),
        format!("mosquitto_sub -p {mqtt} -u {APP} -P \"$(cat {token})\" -t {device}/stream -v"),
    );
    say(
        "the thermometer, a device known by its user name, speaks",
        format!("mosquitto_pub -p {mqtt} -i {device} -u {device} -t {device}/stream -m 21.5"),
    );
    say(
        "the same over TLS",
        format!(
            "mosquitto_pub -h localhost -p {mqtts} --cafile {ca} -i {device} -u {device} -t {device}/stream -m 21.6"
        ),
    );
    say(
        &format!("the app's own server speaks to it on behalf of {CONSUMER}, with an API key"),
        format!("mosquitto_pub -p {mqtt} -u {CONSUMER} -P \"$(cat {api_key})\" -t {device}/control -m on"),
    );
    say(
        "somebody is refused (the device has no password), and this is why",
        format!(
            "mosquitto_pub -p {mqtt} -i {device} -u {device} -P guess -t {device}/stream -m 99; portcullis why {device} --data {data}"
        ),
    );
    text
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("./portcullis-data/tls/ca.pem")), "./portcullis-data/tls/ca.pem");
        for path in ["/tmp/a b", "/tmp/it's", "/tmp/$(id)", "/tmp/`id`"] {
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", quoted(Path::new(path))))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }
}
