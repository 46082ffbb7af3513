//! Which devices, interfaces and mount points are told of: the Collector's `include` and `exclude`.

use regex::bytes::Regex;

use crate::base::regexp;

/// A list of names or expressions.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// What one of two lists has.
    Either(Box<(Matcher, Matcher)>),
    /// These names.
    Strict(Vec<String>),
    /// What one of these expressions is found in.
    Regexp(Vec<Regex>),
}

impl Matcher {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Matcher::Either(both) => both.0.matches(name) || both.1.matches(name),
            Matcher::Strict(names) => names.iter().any(|have| have.as_bytes() == name),
            Matcher::Regexp(expressions) => expressions.iter().any(|e| e.is_match(name)),
        }
    }
}

/// What passes: what is included and not excluded.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Nothing else passes.
    pub include: Option<Matcher>,
    /// This does not pass.
    pub exclude: Option<Matcher>,
}

impl Filter {
    /// A filter of ours, for those who write none: an expression of what does not pass.
    #[must_use]
    pub fn without(expression: &str) -> Self {
        // Written here and tested: an expression that cannot be built excludes nothing.
        let expressions = regexp::build(expression).into_iter().collect();
        Self { include: None, exclude: Some(Matcher::Regexp(expressions)) }
    }

    /// As this one, without what another list has.
    #[must_use]
    pub fn and_not(mut self, others: Matcher) -> Self {
        self.exclude = Some(match self.exclude.take() {
            Some(ours) => Matcher::Either(Box::new((ours, others))),
            None => others,
        });
        self
    }

    /// Whether a name passes.
    #[must_use]
    pub fn passes(&self, name: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|include| include.matches(name))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(name))
    }
}

/// Partitions, and devices that are only memory or files.
const DISKS: &str =
    r"^((z?ram|loop|fd|(h|s|v|xv)d[a-z]+|nvme\d+n\d+p|mmcblk\d+p)\d+|mmcblk\d+boot\d+)$";
/// Interfaces that come and go with containers.
const INTERFACES: &str = r"^(lo|veth.*|br-[0-9a-f]{12}|docker.*|cali.*|tap.*|ifb\d*)$";
/// Places where programs mount things of their own.
const MOUNT_POINTS: &str = r"^/(dev|proc|run/credentials/.+|sys|nix/store|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
/// File systems that are made up, in memory, or elsewhere: asking those elsewhere may hang, asking
/// `autofs` mounts them.
const KINDS: &str = r"^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|erofs|fuse\.(gvfsd-fuse|lxcfs|portal|snapfuse)|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|ramfs|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tmpfs|tracefs|nfs[34]?|cifs|smb3|smbfs|9p|afs|ceph|coda|davfs|fuse\.(sshfs|rclone|s3fs|glusterfs|davfs2|curlftpfs)|glusterfs|lustre|ncpfs|ocfs2|virtiofs)$";

/// Which disks are told of when nobody says.
#[must_use]
pub fn disks() -> Filter {
    Filter::without(DISKS)
}

/// Which interfaces are told of when nobody says.
#[must_use]
pub fn interfaces() -> Filter {
    Filter::without(INTERFACES)
}

/// Which mount points are told of when nobody says.
#[must_use]
pub fn mount_points() -> Filter {
    Filter::without(MOUNT_POINTS)
}

/// Which types of file systems are told of when nobody says.
#[must_use]
pub fn kinds() -> Filter {
    Filter::without(KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(filter: &Filter, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| filter.passes(name.as_bytes())).collect()
    }

    /// Edge case 7: what comes and goes with containers is left out.
    #[test]
    fn what_is_told_of_when_nobody_says() {
        let names =
            ["lo", "eth0", "end0", "veth12ab", "br-0123456789ab", "br-lan", "docker0", "wg0"];
        assert_eq!(passing(&interfaces(), &names), ["eth0", "end0", "br-lan", "wg0"]);
        let names = [
            "sda",
            "sda1",
            "nvme0n1",
            "nvme0n1p2",
            "mmcblk0",
            "mmcblk0p1",
            "mmcblk0boot0",
            "dm-0",
            "md0",
            "loop7",
            "zram0",
            "ram1",
            "vda",
            "vda15",
            "sr0",
        ];
        let expected = ["sda", "nvme0n1", "mmcblk0", "dm-0", "md0", "vda", "sr0"];
        assert_eq!(passing(&disks(), &names), expected);
        let names =
            ["/", "/boot", "/dev", "/dev/shm", "/device", "/nix/store", "/var/lib/docker/x/y"];
        assert_eq!(passing(&mount_points(), &names), ["/", "/boot", "/device"]);
        let names =
            ["ext4", "tmpfs", "nfs", "nfs4", "autofs", "zfs", "btrfs", "overlay", "fuseblk"];
        assert_eq!(passing(&kinds(), &names), ["ext4", "zfs", "btrfs", "fuseblk"]);
    }

    #[test]
    fn include_and_exclude() {
        let strict = |names: &[&str]| {
            Some(Matcher::Strict(names.iter().map(|name| (*name).to_owned()).collect()))
        };
        let filter = Filter { include: strict(&["eth0", "eth1"]), exclude: strict(&["eth1"]) };
        assert_eq!(passing(&filter, &["eth0", "eth1", "eth2"]), ["eth0"]);
    }
}
