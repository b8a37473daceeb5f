//! Who listens on a port: for the error that a taken port is.
//!
//! Reads what Linux shows of the caller's own processes in `/proc`; elsewhere, or when the port belongs to another
//! user, there is no answer. Runs only once a bind has failed.

use std::fs;

/// `mosquitto (process 812)`, if the system tells.
pub(crate) fn occupant(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| {
            let inodes = table.lines().filter_map(|line| listening_inode(line, port));
            inodes.map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>()
        })
        .collect();
    if inodes.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()));
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", command.trim()));
        }
    }
    None
}

/// The inode of a line of `/proc/net/tcp` that is in state LISTEN (0A) on `port`.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let local_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (state == "0A" && local_port == port).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41234 1 \
                        0000000000000000 100 0 0 10 0";

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        assert_eq!(listening_inode(LINE, 1883), Some("41234"));
        assert_eq!(listening_inode(LINE, 8883), None);
        assert_eq!(listening_inode(&LINE.replace(" 0A ", " 01 "), 1883), None, "connected is not listening");
        assert_eq!(listening_inode("  sl  local_address rem_address   st", 1883), None);
        assert_eq!(listening_inode("", 1883), None);
    }
}
