//! `watchpost check --host` under restrictions as systemd has them, made by namespaces and a filter of
//! system calls: each says what is missing, for whom, and which directive or setting would give it.

use crate::namespaces::{ALLOW, COPY, FORBID, NOBODY, able, check};

/// Forbids families of sockets as `RestrictAddressFamilies=` does and calls as `SystemCallFilter=` does,
/// then runs a program.
const FILTER: &str = r#"
import ctypes, os, platform, struct, sys
numbers = {
    "x86_64": {"socket": 41, "adjtimex": 159, "clock_adjtime": 305},
    "aarch64": {"socket": 198, "adjtimex": 171, "clock_adjtime": 266},
}[platform.machine()]
code = []
def step(kind, yes, no, value):
    code.append(struct.pack("HBBI", kind, yes, no, value))
LOAD, EQUAL, RETURN, ERRNO = 0x20, 0x15, 0x06, 0x50000
step(LOAD, 0, 0, 0)
for what in sys.argv[1].split(","):
    if what.isdigit():
        step(EQUAL, 0, 4, numbers["socket"])
        step(LOAD, 0, 0, 16)
        step(EQUAL, 0, 1, int(what))
        step(RETURN, 0, 0, ERRNO | 97)
        step(LOAD, 0, 0, 0)
    else:
        step(EQUAL, 0, 1, numbers[what])
        step(RETURN, 0, 0, ERRNO | 1)
step(RETURN, 0, 0, 0x7FFF0000)
text = ctypes.create_string_buffer(b"".join(code))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"#;

/// A folder with a configuration that needs much; `$D` is the folder.
const NEEDS: &str = r#"D=/tmp/watchpost-rights-$$; mkdir $D; chmod 755 $D; mkdir $D/shut; chmod 700 $D/shut
touch $D/token $D/docker.sock; chmod 600 $D/token $D/docker.sock
cat > $D/w.yaml <<END
receivers:
  probe/lan: {targets: ["127.0.0.1", "::1;;;;icmp", "a.invalid:22"], target_files: [/home/watchpost.yaml]}
  probe/web: {targets: ["https://127.0.0.1/;;;;login"]}
modules: {login: {prober: http, http: {basic_auth: {username: u, password_file: shut/password}}}}
exporters: {otlp_http: {endpoint: "http://127.0.0.1:4318", auth: {authenticator: bearertokenauth}}}
extensions: {bearertokenauth: {filename: token}}
service: {extensions: [bearertokenauth]}
storage: {directory: $D/shut, queue: {min_free_mib: 0}}
discovery:
  lan: {sweep: {subnets: [127.0.0.0/28]}, output: {file: lan.yaml}}
  running: {docker: {endpoint: "unix://$D/docker.sock", labels: {routing: lan}}, output: {file: docker.yaml, format: file_sd}}
END
end() { rm -r $D $W; }; trap end EXIT"#;

/// Runs the check; it ends with `code`.
fn host(before: &str, by: &str, code: i32, expected: &[&str]) {
    let script = format!("{COPY}; {NEEDS}\n{before}; {by} $W check --host --config $D/w.yaml");
    check(&script, code, expected);
}

#[test]
fn a_user_without_rights_is_told_who_lacks_what() {
    if able("a_user_without_rights_is_told_who_lacks_what") {
        host(
            FORBID,
            NOBODY,
            1,
            &[
                "ICMP, IPv4  trouble  job lan, probe/lan",
                "net.ipv4.ping_group_range",
                "AmbientCapabilities=CAP_NET_RAW",
                "TCP, IPv4   good     probe/lan, probe/web",
                "neighbours  good     job lan",
                "docker      trouble  job running",
                "queue       trouble  /tmp/watchpost-rights-",
                "/shut: Permission denied",
                "systemd: SupplementaryGroups=docker;",
                "/shut/password (probe/web): Permission denied",
                "setfacl -m u:USER:x",
                "/token (bearertokenauth): Permission denied",
                "LoadCredential=",
                "(job lan, job running): Permission denied",
                "StateDirectory=",
            ],
        );
        let expected = ["ICMP, IPv4  good     datagram sockets, by net.ipv4.ping_group_range"];
        host(ALLOW, NOBODY, 1, &expected);
    }
}

#[test]
fn root_has_raw_sockets_and_needs_nothing() {
    if able("root_has_raw_sockets_and_needs_nothing") {
        let fill = "touch $D/shut/password";
        let expected = ["ICMP, IPv6  good     raw sockets, by CAP_NET_RAW", "files       good"];
        host(&format!("{FORBID}; {fill}"), "", 0, &expected);
    }
}

#[test]
fn private_users_drop_groups_and_capabilities() {
    if able("private_users_drop_groups_and_capabilities") {
        let by = format!("{NOBODY} unshare --user");
        let expected =
            ["CAP_NET_RAW also PrivateUsers=no", "SupplementaryGroups=docker and PrivateUsers=no"];
        host(FORBID, &by, 1, &expected);
    }
}

#[test]
fn what_protect_home_and_protect_system_hide_is_told() {
    if able("what_protect_home_and_protect_system_hide_is_told") {
        let hide = "mkdir $D/void; chmod 000 $D/void; mount --bind $D/void /home";
        let expected = [
            "/home/watchpost.yaml (probe/lan): Permission denied",
            "systemd: ProtectHome=read-only",
        ];
        host(hide, NOBODY, 1, &expected);
        let freeze =
            "mount --bind $D $D; mount -o remount,ro,bind $D; end() { umount $D; rm -r $D $W; }";
        host(
            freeze,
            "",
            1,
            &["Read-only file system", "systemd: ReadWritePaths=/tmp/watchpost-rights-"],
        );
    }
}

#[test]
fn only_processes_in_proc_is_one_cause() {
    if able("only_processes_in_proc_is_one_cause") {
        let script = format!(
            "{COPY}; unshare --pid --fork sh -c 'mount -t proc -o subset=pid proc /proc && {NOBODY} $0 check --host' $W > $W.out || test $? = 1; \
             cat $W.out; ! grep -v ProcSubset=all $W.out | grep 'No such file' | grep -v /1/mountinfo; rm $W.out"
        );
        check(
            &script,
            0,
            &[
                "/proc/stat: No such file or directory (os error 2): systemd: ProcSubset=all",
                "/proc/swaps",
            ],
        );
    }
}

#[test]
fn families_and_calls_that_are_filtered_are_named() {
    if able("families_and_calls_that_are_filtered_are_named") {
        // AF_UNIX, AF_INET6, AF_NETLINK.
        let by = "python3 $D/filter.py adjtimex,clock_adjtime,1,10,16";
        let script = format!("cat > $D/filter.py <<'END'{FILTER}END\ntrue");
        host(
            &script,
            by,
            1,
            &[
                "adjtimex: Operation not permitted (os error 1): systemd: ProtectClock=no and SystemCallFilter=adjtimex",
                "systemd: RestrictAddressFamilies=AF_INET6",
                "systemd: RestrictAddressFamilies=AF_NETLINK",
                "systemd: RestrictAddressFamilies=AF_UNIX",
            ],
        );
    }
}
