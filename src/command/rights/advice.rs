//! What would give what is missing: a directive of systemd, a setting of the kernel, a mode.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::host::hints::HOMES;
use crate::probe::icmp::NO_RIGHT;

/// What is known of the rights that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    /// Whether users are other ones here than outside (`PrivateUsers=`, containers): capabilities
    /// count inside alone, and supplementary groups are gone.
    pub(super) own_users: bool,
    /// Whether the kernel has IPv6.
    pub(super) ip6: bool,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To read it.
    Read,
    /// To replace files in it.
    Write,
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// About a socket that could not be opened, and for ICMP the raw one in its place. `None`: this
/// machine has no such network.
pub(super) fn socket(
    first: &io::Error,
    raw: Option<&io::Error>,
    ip6: bool,
    around: &Around,
) -> Option<String> {
    if is(first, Errno::AFNOSUPPORT) {
        let family = if ip6 { "AF_INET6" } else { "AF_INET" };
        return (!ip6 || around.ip6).then(|| format!("systemd: RestrictAddressFamilies={family}"));
    }
    Some(match raw {
        Some(raw) if denied(raw) && around.own_users => {
            format!(
                "{NO_RIGHT}; with CAP_NET_RAW also PrivateUsers=no, which keeps it from the network"
            )
        }
        Some(raw) if denied(raw) => NO_RIGHT.to_owned(),
        _ if denied(first) => "systemd: SystemCallFilter=@network-io".to_owned(),
        _ => "descriptors or memory may have run out".to_owned(),
    })
}

/// About the kernel's table of neighbours.
pub(super) fn netlink(error: &io::Error) -> Option<String> {
    let advice = if is(error, Errno::AFNOSUPPORT) {
        "systemd: RestrictAddressFamilies=AF_NETLINK"
    } else if denied(error) {
        "in a container, allow netlink sockets"
    } else {
        return None;
    };
    Some(advice.to_owned())
}

/// About the socket of docker's engine.
pub(super) fn docker(error: &io::Error, around: &Around) -> Option<String> {
    Some(if is(error, Errno::AFNOSUPPORT) {
        "systemd: RestrictAddressFamilies=AF_UNIX".to_owned()
    } else if denied(error) {
        let users =
            if around.own_users { " and PrivateUsers=no, which drops the group" } else { "" };
        format!(
            "systemd: SupplementaryGroups=docker{users}; by hand: usermod -aG docker USER; whoever may read it is as good as root"
        )
    } else if error.kind() == io::ErrorKind::NotFound {
        "docker is not there, or not in this container: mount its socket".to_owned()
    } else {
        return None;
    })
}

/// About a file or a folder.
pub(super) fn file(path: &Path, error: &io::Error, wish: Wish, around: &Around) -> Option<String> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    if is(error, Errno::ROFS) {
        return Some(format!("systemd: ReadWritePaths={}", path.display()));
    }
    if error.kind() == io::ErrorKind::NotFound {
        return if below(&HOMES) {
            Some("if it is there for others: systemd: ProtectHome=read-only".to_owned())
        } else if below(&["/tmp", "/var/tmp"]) {
            Some("if it is there for others: systemd: PrivateTmp=no".to_owned())
        } else {
            None
        };
    }
    if !denied(error) {
        return None;
    }
    let groups =
        if around.own_users { "; PrivateUsers=yes leaves no group but its own" } else { "" };
    Some(match (barrier(&path), wish) {
        (Barrier::Hidden(folder), _) if HOMES.iter().any(|home| folder == Path::new(home)) => {
            let access = if wish == Wish::Read { "read-only" } else { "no" };
            format!("systemd: ProtectHome={access}")
        }
        (Barrier::Hidden(folder), _) => {
            format!("systemd: take {} out of InaccessiblePaths=", folder.display())
        }
        (Barrier::Folder(folder), _) => {
            let folder = folder.display();
            format!(
                "this user may not enter {folder}: keep it elsewhere, or setfacl -m u:USER:x {folder}{groups}"
            )
        }
        (Barrier::Itself, Wish::Read) => {
            format!(
                "it must be readable for this user (chgrp and chmod g+r); systemd: LoadCredential= for secrets{groups}"
            )
        }
        (Barrier::Itself, Wish::Write) => {
            format!(
                "the folder must be writable for this user (chown); systemd: write below StateDirectory={groups}"
            )
        }
    })
}

/// What stands in the way to a file.
#[derive(Debug, PartialEq, Eq)]
enum Barrier {
    /// A folder that nobody may search, as systemd puts it over what it hides.
    Hidden(PathBuf),
    /// A folder above it.
    Folder(PathBuf),
    /// Nothing above it.
    Itself,
}

/// The first folder on the way that cannot be searched.
fn barrier(path: &Path) -> Barrier {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    let step = way.iter().zip(way.iter().skip(1)).find(|(_, next)| {
        next.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    let Some((folder, _)) = step else {
        let hidden = path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o7777 == 0);
        return if hidden { Barrier::Hidden(path.to_owned()) } else { Barrier::Itself };
    };
    match folder.metadata() {
        Ok(meta) if meta.permissions().mode() & 0o7777 == 0 => {
            Barrier::Hidden((*folder).to_owned())
        }
        _ => Barrier::Folder((*folder).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Around = Around { own_users: false, ip6: true };
    const UNIT: Around = Around { own_users: true, ip6: true };

    fn error(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_socket_says_which_right_is_missing() {
        let check = |first, raw: Option<Errno>, ip6, around: &Around, part: Option<&str>| {
            let said = socket(&error(first), raw.map(error).as_ref(), ip6, around);
            match (&said, part) {
                (Some(said), Some(part)) => assert!(said.contains(part), "{part:?} in {said:?}"),
                _ => assert_eq!(said.as_deref(), part),
            }
        };
        let raw = Some(Errno::PERM);
        check(Errno::ACCESS, raw, false, &HOST, Some("net.ipv4.ping_group_range"));
        check(Errno::ACCESS, raw, false, &HOST, Some("AmbientCapabilities=CAP_NET_RAW"));
        check(Errno::ACCESS, raw, true, &UNIT, Some("PrivateUsers=no"));
        let none = Some(Errno::AFNOSUPPORT);
        check(Errno::AFNOSUPPORT, none, true, &HOST, Some("RestrictAddressFamilies=AF_INET6"));
        check(Errno::AFNOSUPPORT, none, false, &HOST, Some("RestrictAddressFamilies=AF_INET"));
        check(Errno::AFNOSUPPORT, none, true, &Around { ip6: false, ..HOST }, None);
        check(Errno::PERM, None, false, &HOST, Some("SystemCallFilter=@network-io"));
    }

    #[test]
    fn docker_and_netlink_name_their_directives() {
        let said = |errno, around| docker(&error(errno), around).unwrap();
        assert!(
            said(Errno::ACCESS, &UNIT).contains("SupplementaryGroups=docker and PrivateUsers=no")
        );
        assert!(!said(Errno::ACCESS, &HOST).contains("PrivateUsers"));
        assert!(said(Errno::AFNOSUPPORT, &HOST).contains("RestrictAddressFamilies=AF_UNIX"));
        let said = netlink(&error(Errno::AFNOSUPPORT)).unwrap();
        assert_eq!(said, "systemd: RestrictAddressFamilies=AF_NETLINK");
    }

    #[test]
    fn a_file_says_what_hides_it() {
        let check = |path: &str, errno, wish, part: Option<&str>| {
            let said = file(Path::new(path), &error(errno), wish, &UNIT);
            match (&said, part) {
                (Some(said), Some(part)) => assert!(said.contains(part), "{part:?} in {said:?}"),
                _ => assert_eq!(said.as_deref(), part),
            }
        };
        check("/srv/out", Errno::ROFS, Wish::Write, Some("ReadWritePaths=/srv/out"));
        check("/home/none/a", Errno::NOENT, Wish::Read, Some("ProtectHome=read-only"));
        check("/tmp/none/a", Errno::NOENT, Wish::Read, Some("PrivateTmp=no"));
        check("/srv/none/a", Errno::NOENT, Wish::Read, None);
        check("/proc/version", Errno::ACCESS, Wish::Read, Some("LoadCredential="));
        check("/proc/version", Errno::ACCESS, Wish::Read, Some("PrivateUsers=yes"));
        check("/proc", Errno::ACCESS, Wish::Write, Some("StateDirectory="));
    }
}
