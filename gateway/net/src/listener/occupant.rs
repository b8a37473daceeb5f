//! Who listens on a port, or a Unix socket: for the error that a taken one is.
//!
//! Reads what Linux shows of the caller's own processes in `/proc`; elsewhere, or when the port belongs to another
//! user, there is no answer. Runs only once a bind has failed.

use std::fs;
use std::path::Path;

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
    holder_of(&inodes)
}

/// The same for a Unix socket.
pub(crate) fn occupant_of_socket(path: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let inodes: Vec<String> =
        table.lines().filter_map(|line| socket_inode(line, path)).map(|inode| format!("socket:[{inode}]")).collect();
    holder_of(&inodes)
}

/// The process that holds one of these sockets.
fn holder_of(inodes: &[String]) -> Option<String> {
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

/// The inode of a line of `/proc/net/unix` whose socket is bound to `path` and listens (flag `__SO_ACCEPTCON`).
fn socket_inode<'l>(line: &'l str, path: &Path) -> Option<&'l str> {
    let mut fields = line.split_ascii_whitespace();
    let flags = fields.nth(3)?;
    let inode = fields.nth(2)?;
    let bound = line.get(line.find(" /")? + 1..)?;
    (flags == "00010000" && Path::new(bound) == path).then_some(inode)
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
    #[test]
    fn a_listening_unix_socket_is_found_by_its_path() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 41235 /run/port cullis/mqtt.sock";
        assert_eq!(socket_inode(line, Path::new("/run/port cullis/mqtt.sock")), Some("41235"));
        assert_eq!(socket_inode(line, Path::new("/run/other.sock")), None);
        let connected = line.replace("00010000", "00000000");
        assert_eq!(socket_inode(&connected, Path::new("/run/port cullis/mqtt.sock")), None);
        assert_eq!(socket_inode("Num       RefCount Protocol Flags    Type St Inode Path", Path::new("/x")), None);
    }
}
