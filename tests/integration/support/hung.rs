//! A file system that never answers: each call that needs it hangs, for as long as the namespaces live in which it is.

use std::process::Command;

/// Mounts a file system whose server reads no question, and becomes the program that follows.
const HANG: &str = r#"
import ctypes, os, sys
fd = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fd, True)
libc = ctypes.CDLL(None, use_errno=True)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
if libc.mount(b"hangs", sys.argv[1].encode(), b"fuse", 0, options) != 0:
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
if len(sys.argv) > 2:
    os.execv(sys.argv[2], sys.argv[2:])
"#;

/// Runs Python in mount and process namespaces of its own, which end with the thread that began it.
fn in_namespaces(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "python3", "-c", HANG]).args(arguments);
    command
}

/// Whether such a file system can be mounted at a folder, or why not.
pub fn can_hang(folder: &str) -> Result<(), String> {
    match in_namespaces(&[folder]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("nothing can be mounted here: {why}"))
        }
        Err(why) => Err(format!("setpriv: {why}")),
    }
}

/// Has the daemon's command run where a folder hangs.
pub fn beside_hung(folder: &str, command: &mut Command) {
    let arguments: Vec<String> =
        command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect();
    let mut all = vec![folder, env!("CARGO_BIN_EXE_watchpost")];
    all.extend(arguments.iter().map(String::as_str));
    *command = in_namespaces(&all);
    command.env_remove("NOTIFY_SOCKET").env("WATCHPOST_DUMPABLE", "1");
}

/// The process that this one has begun.
pub fn child_of(parent: u32) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let of = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        (of.parse() == Ok(parent)).then_some(process)
    })
}
