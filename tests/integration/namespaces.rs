//! What needs a network of its own: ICMP with and without rights, routers that complain, and the
//! embedded default. Each test makes its namespaces (as root) and they end with it.

use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::support::skip;

/// Runs a shell script in a network namespace where only loopback is up. `$W` is the program.
fn inside(script: &str) -> Output {
    let whole = format!("set -e; ip link set lo up; {script}");
    Command::new("timeout")
        .args(["60", "unshare", "--net", "--mount", "sh", "-c", &whole])
        .env("W", env!("CARGO_BIN_EXE_watchpost"))
        .env("WATCHPOST_DUMPABLE", "1")
        .output()
        .unwrap()
}

/// Whether namespaces can be made here; tells why not.
pub(crate) fn able(test: &str) -> bool {
    static ABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let able = ABLE.get_or_init(|| {
        let output = inside("true");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    });
    if let Err(why) = able {
        skip(test, &format!("no network namespace can be made: {why}"));
    }
    able.is_ok()
}

pub(crate) fn check(script: &str, code: i32, expected: &[&str]) {
    let output = inside(script);
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{script}\n{all}");
    for part in expected {
        assert!(all.contains(part), "{part:?} in\n{all}");
    }
}

pub(crate) const NOBODY: &str =
    "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all";
pub(crate) const ALLOW: &str = "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range";
pub(crate) const FORBID: &str = "echo '1 0' > /proc/sys/net/ipv4/ping_group_range";

/// The program where nobody may read it: below a folder of root's it would not start.
pub(crate) const COPY: &str =
    "cp \"$W\" /tmp/watchpost-$$ && W=/tmp/watchpost-$$ && trap 'rm -f $W' EXIT && chmod 755 $W";

#[test]
fn a_raw_socket_where_datagrams_are_refused() {
    if able("a_raw_socket_where_datagrams_are_refused") {
        check(&format!("{FORBID}; $W probe 127.0.0.1"), 0, &["is up", "rtt", "reply TTL    64"]);
        check(&format!("{FORBID}; $W probe ::1"), 0, &["is up", "rtt"]);
    }
}

#[test]
fn a_datagram_socket_needs_no_right() {
    if able("a_datagram_socket_needs_no_right") {
        check(&format!("{COPY}; {ALLOW}; {NOBODY} $W probe 127.0.0.1"), 0, &["is up", "rtt"]);
        check(&format!("{COPY}; {ALLOW}; {NOBODY} $W probe ::1"), 0, &["is up", "rtt"]);
    }
}

/// As `PrivateUsers=yes` of the unit has it.
#[test]
fn a_datagram_socket_works_with_users_of_its_own() {
    if able("a_datagram_socket_works_with_users_of_its_own") {
        let inner = "unshare --user $W probe 127.0.0.1";
        check(&format!("{COPY}; {ALLOW}; {NOBODY} {inner}"), 0, &["is up", "rtt"]);
        let inner = "unshare --user $W sweep 127.0.0.1 --no-dns";
        check(&format!("{COPY}; {ALLOW}; {NOBODY} {inner}"), 0, &["1 of 1 addresses are there"]);
    }
}

#[test]
fn without_any_right_one_message_says_what_to_set() {
    if able("without_any_right_one_message_says_what_to_set") {
        let expected = ["no_socket", "net.ipv4.ping_group_range", "CAP_NET_RAW"];
        check(&format!("{COPY}; {FORBID}; {NOBODY} $W probe 127.0.0.1"), 1, &expected);
        let expected = ["net.ipv4.ping_group_range", "CAP_NET_RAW"];
        check(&format!("{COPY}; {FORBID}; {NOBODY} $W sweep 127.0.0.1"), 1, &expected);
        // A port is asked without any right.
        let sweep = "$W sweep 127.0.0.1 --ports 9 --no-dns";
        let expected = ["only ports are asked", "1 of 1 addresses are there"];
        check(&format!("{COPY}; {FORBID}; {NOBODY} {sweep}"), 0, &expected);
    }
}

#[test]
fn our_own_routes_say_no() {
    if able("our_own_routes_say_no") {
        let route = |kind: &str| {
            format!("ip route add {kind} 10.66.0.0/24; {ALLOW}; $W probe 10.66.0.1 || test $? = 1")
        };
        check(&route("unreachable"), 0, &["host_unreachable"]);
        check(&route("prohibit"), 0, &["network_unreachable"]);
        check(&route("blackhole"), 0, &["network_unreachable"]);
        check(&format!("{ALLOW}; $W probe 10.66.0.1 || test $? = 1"), 0, &["network_unreachable"]);
    }
}

/// A cable whose other end nobody listens at, with a neighbour that is only believed in.
const SILENCE: &str = "ip link add wpa type veth peer name wpb; ip addr add 10.66.0.1/24 dev wpa; ip link set wpa up; ip link set wpb up; \
     ip neigh add 10.66.0.2 lladdr 02:00:00:00:00:02 dev wpa";

#[test]
fn a_silent_host_times_out() {
    if able("a_silent_host_times_out") {
        let config =
            "printf 'modules: {quick: {prober: icmp, timeout: 700ms}}' > /tmp/silent-$$.yaml";
        let probe = "$W probe 10.66.0.2 -m quick --config /tmp/silent-$$.yaml; code=$?; rm /tmp/silent-$$.yaml; exit $code";
        check(
            &format!("{SILENCE}; {config}; set +e; {probe}"),
            1,
            &["icmp_timeout", "no end within 700ms"],
        );
    }
}

/// A router in a second namespace that forwards nothing to 10.77 and lies before 10.88.
const ROUTER: &str = "unshare --net sleep 30 & R=$!; \
     for i in 1 2 3 4 5 6 7 8 9 10; do [ \"$(readlink /proc/$R/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ] && break; sleep 0.1; done; \
     trap 'kill $R' EXIT; \
     ip link add wpa type veth peer name wpb netns $R; ip addr add 10.66.0.1/24 dev wpa; ip link set wpa up; \
     r() { nsenter --net=/proc/$R/ns/net \"$@\"; }; \
     r ip link set lo up; r ip addr add 10.66.0.254/24 dev wpb; r ip link set wpb up; \
     r sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'; \
     r ip route add unreachable 10.77.0.0/16; r ip link add wpc type veth peer name wpd; r ip addr add 10.88.0.1/24 dev wpc; r ip link set wpc up; r ip link set wpd up; \
     ip route add default via 10.66.0.254";

#[test]
fn what_routers_say_is_heard_through_a_raw_socket() {
    if able("what_routers_say_is_heard_through_a_raw_socket") {
        check(
            &format!("{ROUTER}; {FORBID}; $W probe 10.77.0.1 || test $? = 1"),
            0,
            &["icmp_unreachable"],
        );
        let config = "printf 'modules: {near: {prober: icmp, timeout: 2s, icmp: {ttl: 1}}}' > /tmp/near-$$.yaml";
        let probe = "$W probe 10.88.0.9 -m near --config /tmp/near-$$.yaml || test $? = 1; rm /tmp/near-$$.yaml";
        check(&format!("{ROUTER}; {FORBID}; {config}; {probe}"), 0, &["icmp_ttl_exceeded"]);
        check(&format!("{ROUTER}; {FORBID}; $W probe 10.66.0.254"), 0, &["is up"]);
    }
}

#[test]
fn payloads_of_every_size() {
    if able("payloads_of_every_size") {
        for size in [0, 1, 1472, 9000] {
            let config = format!(
                "printf 'modules: {{m: {{prober: icmp, timeout: 2s, icmp: {{payload_size: {size}, source_ip_address: 127.0.0.5}}}}}}' > /tmp/size-$$.yaml"
            );
            let probe = "$W probe 127.0.0.9 -m m --config /tmp/size-$$.yaml; rm /tmp/size-$$.yaml";
            check(&format!("{config}; {ALLOW}; {probe}"), 0, &["is up"]);
        }
    }
}

/// Several receivers ping one address through shared sockets, where the kernel owns the identifier:
/// no echo takes another's reply, none is refused as a duplicate.
#[test]
fn many_echoes_to_one_address_do_not_mix() {
    if able("many_echoes_to_one_address_do_not_mix") {
        let config = "cat > /tmp/mix-$$.yaml <<'END'
receivers:
  probe/a: {interval: 1s, targets: ['127.0.0.1', '127.0.0.1;s;;;small', '127.0.0.1;l;;;large', '127.0.0.2']}
  probe/b: {interval: 1s, targets: ['127.0.0.1', '127.0.0.1;s;;;small']}
  probe/c: {interval: 1s, targets: ['127.0.0.1', 'localhost']}
modules:
  small: {prober: icmp, icmp: {payload_size: 1}}
  large: {prober: icmp, icmp: {payload_size: 1400}}
  well: {prober: http, http: {fail_if_body_matches_regexp: ['outcome=\"failed\"|reason=\"no_socket\"'], fail_if_body_not_matches_regexp: ['watchpost_slots_total.outcome=\"ok\",receiver=\"probe/c\". ([4-9]|1[0-9])']}}
http: {listen: '127.0.0.1:9115'}
END";
        let probe = "$W --config /tmp/mix-$$.yaml & D=$!; sleep 5; set +e; $W probe http://127.0.0.1:9115/metrics -m well --config /tmp/mix-$$.yaml; code=$?; \
             kill $D; wait $D; rm /tmp/mix-$$.yaml; exit $code";
        for rights in [ALLOW, FORBID] {
            check(&format!("{config}\n{rights}; {probe}"), 0, &["is up"]);
        }
    }
}

#[test]
fn the_embedded_default_watches_this_machine() {
    if !able("the_embedded_default_watches_this_machine") {
        return;
    }
    // Something to watch: another Watchpost, which listens on a port.
    let other = "printf 'http: {listen: \"127.0.0.1:8099\"}' > /tmp/other-$$.yaml; $W --config /tmp/other-$$.yaml --log-level error & O=$!";
    let end = "kill $O; wait $O || true; rm /tmp/other-$$.yaml";
    let terminal = "script -qec 'stty cols 110 rows 30; timeout -s INT 9 $W' /dev/null";
    let script = format!("{other}; {ALLOW}; sleep 0.5; {terminal} || true; {end}");
    check(
        &script,
        0,
        &[
            "3 up  0 down",
            "watchpost",
            "127.0.0.1:8099",
            "loopback",
            "http://127.0.0.1:9115/metrics",
            "stopped",
        ],
    );
    // Without a terminal it logs, and takes the next port when its own is taken.
    let taken = other.replace("8099", "9115");
    let script = format!("{taken}; {ALLOW}; sleep 0.5; timeout -s INT 3 $W || true; {end}");
    check(
        &script,
        0,
        &["watching address=127.0.0.1:9116", "stopping signal=\"SIGINT\"", "stopped"],
    );
}
