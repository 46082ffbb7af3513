use super::*;

fn hosts(allow: &[&str], deny: &[&str]) -> Hosts {
    let parse = |all: &[&str]| all.iter().map(|text| Pattern::parse(text).expect("good")).collect();
    Hosts { allow: parse(allow), deny: parse(deny) }
}

const LOCAL: [&str; 48] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0X7F.0.0.0x1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7f00:1]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2001:0:7f00:1::]",
    "[2001:0:1:2:3:4:80ff:fffe]",
    "[fd00::5efe:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "ip6-localhost",
    "metadata.google.internal",
    "169.254.169.254",
    "169.254.169.254.",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "2852039166",
    "025177524776",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[64:ff9b::a9fe:a9fe]",
    "[fe80::1]",
    "[febf::1]",
    "[ff02::1]",
    "255.255.255.255",
];

#[test]
fn loopback_and_link_local_in_all_spellings() {
    let none = Hosts::default();
    for host in LOCAL {
        let url = format!("http://{host}:80/latest/meta-data?x=y#z");
        let user = format!("HTTPS://a.example.net:x@{host}/");
        for address in [url, user, host.to_owned(), format!("{host}:22"), format!("u@{host}/")] {
            assert!(none.judge(&address).is_err(), "{address}");
        }
    }
    for address in [
        "http://%31%32%37.0.0.1/",
        "http://%6c%6Fcalhost/",
        "http://１２７。０。０。１/",
        "http://⑯⑨.254.169.254/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http:///127.0.0.1/",
        "http:\\\\127.0.0.1\\x",
        "http://a.example.net\\@127.0.0.1/",
        "http://127.0.0.1\\@a.example.net/",
        "http://127.0.0.1#@a.example.net/",
        "::1",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "[fe80::1%25eth0]:22",
        "127.0.0.1/x",
        "ftp://127.0.0.1/",
        "x://localhost/",
    ] {
        let judged = none.judge(address);
        // Parsers differ about backslashes; the URL standard reads them as slashes.
        if address == "http://a.example.net\\@127.0.0.1/" {
            assert_eq!(judged, Ok(()), "{address}");
        } else {
            assert!(judged.is_err(), "{address}");
        }
    }
}

#[test]
fn other_hosts_are_allowed() {
    for address in [
        "http://a.example.net/127.0.0.1?x=http://127.0.0.1/#localhost",
        "http://localhost.example.net",
        "http://notlocalhost/",
        "a:80",
        "192.0.2.1",
        "10.0.0.1:22",
        "[2001:db8::1]:80",
        "2001:db8::1",
        "fd00::1",
        "1.2.3.4.5:80",
        "http://[::ffff:192.0.2.1]/",
        "bücher.example.net",
        "a_b.example.net",
        "169.255.0.1",
    ] {
        assert_eq!(Hosts::default().judge(address), Ok(()), "{address}");
    }
    assert!(Hosts::default().judge("http://").is_err());
}

#[test]
fn deny_wins_over_allow_and_allow_over_the_default() {
    for (allow, deny, address, expected) in [
        (&["127.0.0.0/8"][..], &[][..], "http://127.1:80", true),
        (&["127.0.0.1"], &[], "http://[::ffff:127.0.0.1]", true),
        (&["127.0.0.1"], &[], "http://127.0.0.2", false),
        (&["localhost"], &[], "localhost:80", true),
        (&["localhost"], &[], "127.0.0.1:80", false),
        (&["*.localhost"], &[], "a.localhost:80", true),
        (&["a.localhost"], &[], "a.localhost:80", true),
        // All that there is does not mean this machine.
        (&["*"], &[], "127.0.0.1:80", false),
        (&["0.0.0.0/0"], &[], "127.0.0.1:80", false),
        (&["0.0.0.0/0"], &[], "192.0.2.1:80", true),
        (&["*", "127.0.0.1"], &[], "127.0.0.1:80", true),
        (&["*", "127.0.0.1"], &[], "a.example.net:80", true),
        // `allow` is exclusive.
        (&["*.example.net"], &[], "https://a.b.EXAMPLE.net./x", true),
        (&["*.example.net"], &[], "https://example.net/x", false),
        (&["*.example.net"], &[], "https://aexample.net/x", false),
        (&["*.example.net"], &[], "https://192.0.2.1/x", false),
        (&["*.bücher.example"], &[], "https://a.xn--bcher-kva.example", true),
        (&["10.0.0.0/8"], &["10.0.0.5"], "10.0.0.5:80", false),
        (&["10.0.0.0/8"], &["10.0.0.5"], "http://0xa.5/", false),
        (&["10.0.0.0/8"], &["10.0.0.5"], "10.0.0.6:80", true),
        (&["127.0.0.1"], &["127.0.0.0/8"], "127.0.0.1:80", false),
        (&[], &["*.example.net", "192.0.2.0/24"], "http://a.example.net", false),
        (&[], &["192.0.2.0/24"], "http://[64:ff9b::192.0.2.1]/", false),
        (&[], &["192.0.2.0/24"], "http://192.0.3.1/", true),
        (&[], &["nas.lan"], "NAS.lan.:22", false),
        (&[], &["*"], "nas.lan:22", false),
    ] {
        let judged = hosts(allow, deny).judge(address);
        assert_eq!(judged.is_ok(), expected, "{allow:?} {deny:?} {address}: {judged:?}");
    }
    let strict = hosts(&["*.example.net"], &["192.0.2.1"]);
    assert_eq!(strict.judge_published("127.0.0.1:80"), Ok(()));
    assert!(strict.judge_published("192.0.2.1:80").is_err());
}

#[test]
fn patterns() {
    for good in ["10.0.0.0/8", "10.1.2.3/8", "::1", "[::1]", "nas", "*.lan", "*", "127.1"] {
        assert!(Pattern::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "*.", "http://a", "a:80", "a*", "10.*", "a/b", "10.0.0.0/33", "*.127.1"] {
        assert!(Pattern::parse(bad).is_err(), "{bad}");
    }
}
