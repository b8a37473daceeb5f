//! The devices of a consumer.

use crate::Gateway;
use crate::answer::deny;
use crate::wit::directory::Device;
use crate::wit::types::{Denial, DenyReason};

/// The most devices that a grant can speak of: one rule each would fill it.
pub const LIMIT: usize = 1024;

/// The page that the directory returns at most.
const PAGE: usize = 256;

/// The devices that `owner` owns within an app. An owner's name is only unique within its app: a device of another
/// app (or, for an `app` of none, of any app) is not among them, so that the owner of one app's keys can never reach
/// the devices of another's by naming a subject.
///
/// # Errors
/// The directory does not answer, or there are more than [`LIMIT`] devices.
pub fn devices(gateway: &impl Gateway, owner: &str, app: Option<&str>) -> Result<Vec<Device>, Denial> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = gateway.list_devices(owner, after.as_deref())?;
        let last = page.last().map(|device| device.id.clone());
        let full = page.len() >= PAGE;
        all.extend(page.into_iter().filter(|device| device.app_id.as_deref() == app));
        if all.len() > LIMIT {
            return Err(deny(DenyReason::QuotaExceeded, format!("{owner} owns more than {LIMIT} devices")));
        }
        // A page that does not move on would be asked for again without end.
        if !full || last == after {
            return Ok(all);
        }
        after = last;
    }
}

#[cfg(test)]
mod tests {
    use super::devices;
    use crate::fake::{Fake, device};

    #[test]
    fn devices_of_other_apps_are_not_reached() {
        let mut mine = device("d1", "one");
        mine.owner_id = Some("ann".into());
        mine.app_id = Some("app-a".into());
        let mut foreign = mine.clone();
        foreign.id = "d2".into();
        foreign.app_id = Some("app-b".into());
        let gateway = Fake::default().with_device(mine).with_device(foreign);
        let ids = |app| devices(&gateway, "ann", app).unwrap().into_iter().map(|d| d.id).collect::<Vec<_>>();
        assert_eq!(ids(Some("app-a")), ["d1"]);
        assert_eq!(ids(Some("app-b")), ["d2"]);
        assert!(ids(None).is_empty());
    }

    #[test]
    fn pages_are_followed_and_bounded() {
        let owned = |count: usize| {
            (0..count).fold(Fake::default(), |gateway, n| {
                let mut device = device(&format!("d{n:05}"), &format!("n{n}"));
                device.owner_id = Some("ann".into());
                gateway.with_device(device)
            })
        };
        assert_eq!(devices(&owned(600), "ann", None).unwrap().len(), 600);
        assert_eq!(devices(&owned(512), "ann", None).unwrap().len(), 512);
        assert!(devices(&owned(1100), "ann", None).is_err());
    }
}
