//! `/proc/PID/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use crate::host::scan::{lines, number, text, unescape};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device number, `major:minor`: bind mounts share it.
    pub device_number: String,
    /// What of the file system is mounted.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub path: PathBuf,
    /// The type, such as `ext4`.
    pub kind: String,
    /// The device, or what stands for it.
    pub device: String,
    /// Whether it is mounted read-only here.
    pub mount_readonly: bool,
    /// Whether the file system itself is read-only, or has become so after an error.
    pub super_readonly: bool,
}

/// Reads what a mount table has of the types that are wanted: most machines have many more that are
/// not. The number of lines that make no sense comes with it.
#[must_use]
pub fn mounts(bytes: &[u8], wants: impl Fn(&[u8]) -> bool) -> (Vec<Mount>, usize) {
    let (mut found, mut wrong) = (Vec::new(), 0);
    for line in lines(bytes) {
        match mount(line, &wants) {
            Some(Ok(mount)) => found.push(mount),
            // It hides what was mounted there before.
            Some(Err(path)) => {
                let path = unescape(path);
                found.retain(|have: &Mount| have.path.as_os_str().as_bytes() != path);
            }
            None => wrong += 1,
        }
    }
    (found, wrong)
}

/// `None`: the line makes no sense. An error is the path of one of a type that nobody wants.
fn mount(line: &[u8], wants: impl Fn(&[u8]) -> bool) -> Option<Result<Mount, &[u8]>> {
    // Fields of one blank each: a source may be empty, which is two blanks in a row.
    let mut fields = line.split(|byte| *byte == b' ');
    let device_number = fields.nth(2)?;
    let (root, path) = (fields.next()?, fields.next()?);
    let options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let mut numbers = device_number.split(|byte| *byte == b':').map(number);
    let numbers = matches!((numbers.next(), numbers.next()), (Some(Some(_)), Some(Some(_))));
    if kind.is_empty() || !path.starts_with(b"/") || !numbers {
        return None;
    }
    if !wants(kind) {
        return Some(Err(path));
    }
    let device = text(&unescape(fields.next().unwrap_or_default()));
    let super_options = fields.next().unwrap_or_default();
    let has = |options: &[u8], wanted: &[&[u8]]| {
        options.split(|byte| *byte == b',').any(|option| wanted.contains(&option))
    };
    Some(Ok(Mount {
        device_number: text(device_number),
        root: unescape(root),
        path: PathBuf::from(OsString::from_vec(unescape(path))),
        kind: text(kind),
        device,
        mount_readonly: has(options, &[b"ro"]),
        super_readonly: has(super_options, &[b"ro", b"emergency_ro"]),
    }))
}

/// What is left when of several mounts on one point only the last is kept, which hides the others,
/// and of bind mounts of one file system the shortest path.
#[must_use]
pub fn distinct(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut kept: Vec<Mount> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        kept.retain(|have| have.path != mount.path);
        kept.push(mount);
    }
    let length = |mount: &Mount| mount.path.as_os_str().len();
    let mut distinct: Vec<Mount> = Vec::with_capacity(kept.len());
    for mount in kept {
        let same = |have: &&mut Mount| {
            have.device_number == mount.device_number && have.kind == mount.kind
        };
        match distinct.iter_mut().find(same) {
            Some(have) if length(&mount) < length(have) => *have = mount,
            Some(_) => {}
            None => distinct.push(mount),
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(mounts: &[Mount]) -> Vec<&[u8]> {
        mounts.iter().map(|mount| mount.path.as_os_str().as_bytes()).collect()
    }

    /// Edge cases 10, 11, 13.
    #[test]
    fn odd_lines() {
        let text = b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            short line\n\
            28 27 8:1 / /mnt/a\\040b\\011c rw - ext4 /dev/sda1 ro,data=ordered\n\
            29 27 8:2 / /mnt/\xff rw opt:1 opt:2 - xfs /dev/sdb rw\n\
            30 27 0:30 / /mnt/empty rw -\n\
            31 27 0:31 / /mnt/nosource rw - tmpfs  rw\n\
            32 27 8:3 / /b\\134040s ro - vfat /dev/sdc\n";
        let (mounts, wrong) = mounts(text, |_| true);
        assert_eq!(wrong, 2);
        let expected: [&[u8]; 5] =
            [b"/", b"/mnt/a b\tc", b"/mnt/\xff", b"/mnt/nosource", b"/b\\040s"];
        assert_eq!(paths(&mounts), expected);
        assert!(mounts[1].super_readonly && !mounts[1].mount_readonly);
        assert_eq!((mounts[3].device.as_str(), mounts[3].super_readonly), ("", false));
        assert!(mounts[4].mount_readonly && !mounts[4].super_readonly);
    }

    /// Edge case 14: the last of two mounts on one point, the shortest of bind mounts.
    #[test]
    fn bind_mounts_and_mounts_over_mounts() {
        let text = b"1 0 8:1 / /data/long rw - ext4 /dev/sda1 rw\n\
            2 0 8:1 /x /d rw - ext4 /dev/sda1 rw\n\
            3 0 8:2 / /over rw - ext4 /dev/sda2 rw\n\
            4 0 8:3 / /over rw - xfs /dev/sda3 rw\n";
        let kept = distinct(mounts(text, |_| true).0);
        let expected: [&[u8]; 2] = [b"/d", b"/over"];
        assert_eq!(paths(&kept), expected);
        assert_eq!(kept[1].kind, "xfs");
        let over = b"1 0 8:1 / /data rw - ext4 /dev/sda1 rw\n2 0 0:9 / /data rw - tmpfs tmpfs rw\n";
        assert_eq!(mounts(over, |kind| kind == b"ext4").0, [], "what is hidden is not told");
    }
}
