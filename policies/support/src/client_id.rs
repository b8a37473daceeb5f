//! Who may use which MQTT client identifier. A session belongs to a client identifier, so whoever may choose one freely
//! could take over the session of another.

use crate::Gateway;
use crate::answer::deny;
use crate::wit::directory::DeviceSelector;
use crate::wit::types::{Denial, DenyReason};

/// Refuses a client identifier that is a registered device's: only the device itself may use it. An empty one is the
/// gateway's to choose.
///
/// # Errors
/// The refusal, or that the directory does not answer.
pub fn not_a_devices(gateway: &impl Gateway, client_id: &str) -> Result<(), Denial> {
    if client_id.is_empty() {
        return Ok(());
    }
    match gateway.find_device(&DeviceSelector::ClientId(client_id.to_owned()))? {
        None => Ok(()),
        Some(device) => {
            let detail = format!("the client id {client_id:?} is that of the device {}", device.id);
            Err(deny(DenyReason::ClientIdNotValid, detail))
        }
    }
}

/// The refusal for a template's value: a client identifier that cannot stand in a topic filter is the client's choice
/// to change; anything else is about what it may do here.
#[must_use]
pub fn unfit(unfit: &crate::template::Unfit) -> Denial {
    let reason =
        if unfit.placeholder == "client-id" { DenyReason::ClientIdNotValid } else { DenyReason::NotAuthorized };
    deny(reason, unfit.to_string())
}

#[cfg(test)]
mod tests {
    use super::not_a_devices;
    use crate::fake::{Fake, device};
    use crate::wit::types::DenyReason;

    #[test]
    fn a_devices_client_id_is_its_own() {
        let gateway = Fake::default().with_device(device("d1", "thermo_a1b2c3"));
        assert_eq!(not_a_devices(&gateway, "thermo_a1b2c3").unwrap_err().reason, DenyReason::ClientIdNotValid);
        assert_eq!(not_a_devices(&gateway, "phone"), Ok(()));
        assert_eq!(not_a_devices(&gateway, ""), Ok(()));
    }
}
