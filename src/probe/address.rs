//! The shape of a target's address: a URL, a host with a port, or a host alone.

use std::net::Ipv6Addr;

use url::Url;
use watchpost_targets::without_secrets;

/// What a prober is pointed at.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// For `http` modules.
    Url(Box<Url>),
    /// For `tcp` modules.
    HostPort(String, u16),
    /// For `icmp` modules.
    Host(String),
}

/// The kind of probe that an address is for when nobody names a module.
#[must_use]
pub fn default_module(text: &str) -> &'static str {
    if has_http_scheme(text) {
        "http_2xx"
    } else if host_port(text).is_ok() {
        "tcp_connect"
    } else {
        "icmp"
    }
}

fn has_http_scheme(text: &str) -> bool {
    let lower =
        |prefix: &str| text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix));
    lower("http://") || lower("https://")
}

/// Reads an address for an `http` module; without a scheme it is `http://`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn url(text: &str) -> Result<Address, String> {
    let shown = without_secrets(text);
    if let Some((scheme, _)) = text.split_once("://")
        && !has_http_scheme(text)
    {
        return Err(format!(
            "{shown:?}: an http module knows http:// and https://, not {scheme}://"
        ));
    }
    let whole = if has_http_scheme(text) { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("{shown:?} is not a URL: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{shown:?} names no host"));
    }
    Ok(Address::Url(Box::new(url)))
}

/// Reads `host:port`, also `[::1]:port`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn host_port(text: &str) -> Result<Address, String> {
    let shown = without_secrets(text);
    let wrong = || format!("{shown:?} is not host:port, which a tcp module needs");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = Some(port).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if port == 0 {
        return Err(format!("{shown:?}: port 0 is no port"));
    }
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
        Some(_) => return Err(wrong()),
        None => {
            check_host(host).map_err(|()| wrong())?;
            host
        }
    };
    Ok(Address::HostPort(host.to_owned(), port))
}

/// Reads a host or an IP address alone.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn host(text: &str) -> Result<Address, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{:?} {why}, and an icmp module needs a host or an address alone",
            without_secrets(text)
        ))
    };
    if text.contains("://") {
        return wrong("is a URL");
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(Address::Host(bare.to_owned()));
    }
    if text.contains(':') {
        return wrong("has a port");
    }
    if text.contains('/') {
        return wrong("is a network or a path");
    }
    match check_host(text) {
        Ok(()) => Ok(Address::Host(text.to_owned())),
        Err(()) => wrong("is not a host"),
    }
}

fn check_host(host: &str) -> Result<(), ()> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(fine)
            && label.chars().any(|c| c != '-')
    };
    // A name may end with a dot: it is then complete.
    let sound = host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label);
    if sound { Ok(()) } else { Err(()) }
}

/// A text by which addresses sort as people expect: numbers in IP addresses padded.
#[must_use]
pub fn sort_key(address: &Address) -> String {
    let (host, port) = match address {
        Address::Url(url) => (url.host_str().unwrap_or_default(), url.port_or_known_default()),
        Address::HostPort(host, port) => (host.as_str(), Some(*port)),
        Address::Host(host) => (host.as_str(), None),
    };
    let key = match crate::net::resolve::literal(host) {
        Some(std::net::IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{a:03}.{b:03}.{c:03}.{d:03}")
        }
        Some(std::net::IpAddr::V6(ip)) => {
            ip.segments().map(|part| format!("{part:04x}")).as_slice().join(":")
        }
        None => host.to_owned(),
    };
    port.map_or_else(|| key.clone(), |port| format!("{key}:{port:05}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_choose_modules() {
        for (text, module) in [
            ("http://a.invalid/x", "http_2xx"),
            ("HtTpS://a.invalid", "http_2xx"),
            ("a.invalid:443", "tcp_connect"),
            ("[::1]:22", "tcp_connect"),
            ("127.0.0.1", "icmp"),
            ("::1", "icmp"),
            ("router", "icmp"),
        ] {
            assert_eq!(default_module(text), module, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for text in
            ["", ":0", ":80", "a", "a:b", "a:70000", "a:0", "::1:80", "[x]:80", "a b:1", "a:+80"]
        {
            assert!(host_port(text).is_err(), "{text}");
        }
        for text in
            ["", "http://a", "a:1", "192.168.2.0/24", "a/b", ".x", "a..b", "-", &"x".repeat(64)]
        {
            assert!(host(text).is_err(), "{text}");
        }
        for text in ["", "ftp://a", "invalid://", "http://", "https://a:99999"] {
            assert!(url(text).is_err(), "{text}");
        }
        for text in ["a.invalid", "127.0.0.1:8080/x?y", "HTTP://a", "[::1]:80"] {
            assert!(url(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn sort_keys_pad_numbers() {
        assert_eq!(sort_key(&host("192.168.2.7").expect("host")), "192.168.002.007");
        assert_eq!(
            sort_key(&host_port("10.0.0.1:80").expect("host:port")),
            "010.000.000.001:00080"
        );
    }
}
