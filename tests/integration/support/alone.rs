//! Tests in a network namespace of their own: this program is started anew in one, for one test. There
//! the test is as good as alone in the world, and may make a network of its own.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{peers, skip, until};

/// Set where a test runs alone.
const ALONE: &str = "WATCHPOST_TEST_ALONE";

/// Whether namespaces can be made here, or why not.
fn possible() -> &'static Result<(), String> {
    static ABLE: OnceLock<Result<(), String>> = OnceLock::new();
    ABLE.get_or_init(|| {
        let output = Command::new("unshare")
            .args(["--net", "--mount", "ip", "link", "set", "lo", "up"])
            .output()
            .map_err(|error| error.to_string())?;
        let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(why()) }
    })
}

/// Runs the rest of a test alone: returns whether this is the place. `needs`: programs without which it
/// is skipped. The test calls it first, and goes on when it says so.
pub fn alone(test: &str, needs: &[&str]) -> bool {
    if std::env::var_os(ALONE).is_some_and(|name| name == *test) {
        return true;
    }
    if let Err(why) = possible() {
        skip(test, &format!("no network namespace can be made: {why}"));
        return false;
    }
    if let Some(missing) = needs.iter().find(|program| peers::find(program).is_none()) {
        skip(test, &format!("{missing} is not installed"));
        return false;
    }
    // The kernel has one table of neighbours for all of them: large networks come one after another.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new("timeout")
        .args(["900", "unshare", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Runs a script here; it must succeed.
pub fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A network with this machine at 10.66.0.254/24 on one end of a cable, and another machine with as
/// many addresses as are given to it on the other.
pub struct Lan {
    other: Child,
}

impl Lan {
    pub fn new() -> Self {
        let other = Command::new("unshare")
            .args(["--net", "sleep", "900"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lan = Self { other };
        let number = lan.other.id();
        let name = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        until("another network", || {
            let theirs = name(&number.to_string())?;
            (Some(theirs) != name("self")).then_some(())
        });
        sh(&format!(
            "ip link set lo up; ip link add wpa type veth peer name wpb netns {number}; \
             ip addr add 10.66.0.254/24 dev wpa; ip link set wpa up"
        ));
        lan.there("ip link set lo up; ip link set wpb up; ip route add 10.66.0.254/32 dev wpb");
        lan
    }

    /// The process whose network the other machine is.
    pub fn process(&self) -> u32 {
        self.other.id()
    }

    /// Runs a script at the other machine.
    pub fn there(&self, script: &str) {
        let enter = format!("nsenter --net=/proc/{}/ns/net sh -ec", self.other.id());
        let quoted = script.replace('\'', "'\\''");
        sh(&format!("{enter} '{quoted}'"));
    }

    /// The other machine has these addresses.
    pub fn add(&self, last: impl IntoIterator<Item = u8>) {
        let each = last.into_iter().map(|n| format!("ip addr add 10.66.0.{n}/32 dev wpb"));
        self.there(&each.collect::<Vec<String>>().join("; "));
    }

    /// The other machine has them no more.
    pub fn remove(&self, last: impl IntoIterator<Item = u8>) {
        let each = last.into_iter().map(|n| format!("ip addr del 10.66.0.{n}/32 dev wpb"));
        self.there(&each.collect::<Vec<String>>().join("; "));
    }

    /// This share of all packets is lost each way, those of ARP, too.
    pub fn lose(&self, percent: u8) {
        let table = |device: &str| {
            format!(
                "printf 'table netdev loss {{ chain c {{ type filter hook ingress device {device} priority 0; \
                 numgen random mod 100 < {percent} drop; }}\\n}}\\n' | nft -f -"
            )
        };
        sh(&table("wpa"));
        self.there(&table("wpb"));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.other.kill();
        let _ = self.other.wait();
    }
}
