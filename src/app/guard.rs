//! Access rules of our own listeners. A browser on this machine can be led to a loopback address by
//! any page (DNS rebinding, forged requests); it names the host and the origin that it believes in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::net::http_server::host_name;

/// Why a request is refused: the status, and a line that says why.
pub(super) type Refusal = (StatusCode, &'static str);

const OTHER_SITE: Refusal = (StatusCode::FORBIDDEN, "asked for by the page of another site\n");

/// The access rules of one listener.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// It can be reached from this machine only.
    loopback: bool,
    /// `http.hosts`: other names of this machine.
    hosts: Arc<[String]>,
}

impl Guard {
    /// The guard of an address that we listen on.
    pub(super) fn new(listen: SocketAddr, hosts: Arc<[String]>) -> Self {
        Self { loopback: listen.ip().to_canonical().is_loopback(), hosts }
    }

    /// Whether a request is answered at all.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = single(headers, HOST, "more than one Host header, or one that is not ASCII\n")?;
        single(headers, ORIGIN, "more than one Origin header, or one that is not ASCII\n")?;
        if !self.loopback {
            return Ok(());
        }
        // A request without a host comes from no browser.
        let named = [host, uri.authority().map(|authority| authority.as_str())];
        if named.into_iter().flatten().all(|host| self.is_own(host, IpAddr::is_loopback)) {
            return Ok(());
        }
        let why = "this address answers to localhost and loopback addresses; \
            add other names to http.hosts\n";
        Err((StatusCode::MISDIRECTED_REQUEST, why))
    }

    /// Whether an admitted request may reload; `allowed` is `http.reload`, where it is written.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn reload(
        &self,
        allowed: Option<bool>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if !allowed.unwrap_or(self.loopback) {
            let why = "reload is off here: set http.reload: true, or send SIGHUP\n";
            return Err((StatusCode::FORBIDDEN, why));
        }
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = get("host").or_else(|| uri.authority().map(|authority| authority.as_str()));
        if get("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(OTHER_SITE);
        }
        if let Some(origin) = get("origin") {
            let from = origin.split_once("://").map(|(_, rest)| rest);
            if from.is_none() || from != host {
                return Err(OTHER_SITE);
            }
        }
        // A name that leads to this machine may be anybody's: DNS rebinding.
        let browser = headers.keys().any(|name| {
            name == "origin" || name.as_str().starts_with("sec-fetch-") || name == "cookie"
        });
        let own = host.is_some_and(|host| self.is_own(host, |_| true));
        if (self.loopback || browser) && !own {
            let why = "asked for under a name that is not this machine's\n";
            return Err((StatusCode::FORBIDDEN, why));
        }
        Ok(())
    }

    /// Whether a host, with or without a port, is `localhost`, an address that will do, or listed.
    fn is_own(&self, host: &str, will_do: impl Fn(&IpAddr) -> bool) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let Some(name) = host_name(name) else { return false };
        let address: Option<IpAddr> = name.parse().ok();
        name == "localhost" || address.is_some_and(|ip| will_do(&ip)) || self.hosts.contains(&name)
    }
}

/// The only header of a name; none is fine, too.
fn single<'h>(
    headers: &'h HeaderMap,
    name: HeaderName,
    why: &'static str,
) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    let text = first.map(HeaderValue::to_str).transpose();
    match (text, values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err((StatusCode::BAD_REQUEST, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            (HeaderName::from_static(name), value)
        };
        let mut map = HeaderMap::new();
        for (name, value) in list.iter().map(header) {
            map.append(name, value);
        }
        map
    }

    fn guard(listen: &str) -> Guard {
        let hosts = Arc::from(["watch.example".to_owned()]);
        Guard::new(listen.parse().expect("an address"), hosts)
    }

    fn admitted(listen: &str, list: &[(&'static str, &str)]) -> Option<u16> {
        let uri = Uri::from_static("/metrics");
        guard(listen).admit(&uri, &headers(list)).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_loopback_address_answers_to_its_own_names() {
        for host in [
            "localhost",
            "LOCALHOST:9115",
            "localhost.:9115",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9:9115",
            "127.1:9115",
            "2130706433",
            "0x7f.1",
            "[::1]:9115",
            "[0:0::1]",
            "[::ffff:127.0.0.1]:80",
            "watch.example",
            "Watch.Example.:9115",
        ] {
            for listen in ["127.0.0.1:9115", "[::1]:9115"] {
                assert_eq!(admitted(listen, &[("host", host)]), None, "{host}");
            }
        }
        for host in [
            "evil.invalid",
            "evil.invalid:9115",
            "localhost.evil.invalid",
            "127.0.0.1.evil.invalid",
            "192.0.2.1",
            "[2001:db8::1]:9115",
            "0.0.0.0:9115",
            "",
            ":9115",
            "user@localhost",
            "localhost/",
            "127.0.0.1:9115:80",
        ] {
            assert_eq!(admitted("127.0.0.1:9115", &[("host", host)]), Some(421), "{host}");
            assert_eq!(admitted("0.0.0.0:9115", &[("host", host)]), None, "{host}");
        }
        assert_eq!(admitted("127.0.0.1:9115", &[]), None, "no browser");
        let uri = Uri::from_static("http://evil.invalid/metrics");
        let refused = guard("127.0.0.1:1").admit(&uri, &headers(&[("host", "localhost")]));
        assert_eq!(refused.expect_err("by its URI").0, StatusCode::MISDIRECTED_REQUEST);
    }

    #[test]
    fn what_is_said_twice_is_refused() {
        let own = ("host", "localhost");
        for listen in ["127.0.0.1:9115", "0.0.0.0:9115"] {
            assert_eq!(admitted(listen, &[own, own]), Some(400));
            let origin = ("origin", "http://localhost");
            assert_eq!(admitted(listen, &[own, origin]), None);
            assert_eq!(admitted(listen, &[own, origin, origin]), Some(400));
            assert_eq!(admitted(listen, &[own, ("origin", "http://löcalhost")]), Some(400));
        }
    }

    fn check(list: &[(&'static str, &str)], allowed: bool) {
        let uri = Uri::from_static("/-/reload");
        let answer = guard("127.0.0.1:9115").reload(None, &uri, &headers(list));
        assert_eq!(answer.is_ok(), allowed, "{list:?}");
    }

    #[test]
    fn only_our_own_page_and_no_page_may_reload() {
        check(&[("host", "127.0.0.1:9115")], true);
        check(&[("host", "[::1]:9115")], true);
        check(&[("host", "localhost:9115"), ("sec-fetch-site", "none")], true);
        check(&[("host", "watch.example")], true);
        check(&[("host", "127.0.0.1:9115"), ("origin", "http://127.0.0.1:9115")], true);
        check(&[("host", "127.0.0.1:9115"), ("origin", "http://evil.example")], false);
        check(&[("host", "127.0.0.1:9115"), ("origin", "null")], false);
        check(&[("host", "127.0.0.1:9115"), ("sec-fetch-site", "cross-site")], false);
        check(
            &[("host", "rebound.example:9115"), ("origin", "http://rebound.example:9115")],
            false,
        );
        check(&[], false);
    }

    #[test]
    fn from_elsewhere_only_who_has_switched_it_on_reloads() {
        let (uri, headers) = (Uri::from_static("/-/reload"), headers(&[("host", "pi.lan:9115")]));
        let reload = |listen, allowed| guard(listen).reload(allowed, &uri, &headers).is_ok();
        assert!(!reload("0.0.0.0:9115", None));
        assert!(!reload("[::]:9115", Some(false)));
        assert!(reload("0.0.0.0:9115", Some(true)));
        let local = Uri::from_static("http://localhost/-/reload");
        let off = guard("127.0.0.1:1").reload(Some(false), &local, &HeaderMap::new());
        assert!(off.is_err(), "switched off on loopback, too");
    }
}
