//! The parts of a request, and which of them a redirect keeps. The target decides where a redirect leads, so
//! whatever is secret stays with the origin for which it was configured, and is never sent again after leaving it.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::cookies::Jar;
use crate::net::AGENT;
use crate::probe::module::Http;
use crate::probe::trace::Stop;
use crate::signal::outcome::Reason;

/// Configured headers that say nothing about us, and go everywhere.
const HARMLESS: [HeaderName; 3] = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT];

/// The request of one hop.
pub(super) struct Ask {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) body: Bytes,
    pub(super) cookies: Jar,
    credentials: Option<HeaderValue>,
    /// Whether all hops so far were to the origin of the target.
    at_home: bool,
}

impl Ask {
    /// The request to the target itself.
    pub(super) fn first(module: &Http, url: &Url, credentials: Option<HeaderValue>) -> Self {
        Self {
            url: url.clone(),
            method: module.method.clone(),
            body: Bytes::copy_from_slice(module.body.as_bytes()),
            cookies: Jar::default(),
            credentials,
            at_home: true,
        }
    }

    pub(super) fn headers(&self, module: &Http) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let host = self.url.host_str().unwrap_or_default();
        let authority =
            self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if let Ok(value) = HeaderValue::try_from(authority) {
            headers.insert(HOST, value);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &module.headers {
            if self.at_home || HARMLESS.contains(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(value) = self.credentials.as_ref().filter(|_| self.at_home) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(cookies) = self.cookies.header(&self.url)
            && let Ok(value) = HeaderValue::try_from(cookies)
        {
            headers.insert(COOKIE, value);
        }
        headers
    }

    /// Points the next request at where a redirect leads, by the rules of RFC 9110 15.4.
    pub(super) fn follow(&mut self, status: u16, location: &HeaderValue) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(location.as_bytes());
        let wrong = |why: String| Stop::down(Reason::HttpProtocol, why);
        let next = self
            .url
            .join(&text)
            .map_err(|error| wrong(format!("a redirect to {text:?}: {error}")))?;
        if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none_or(str::is_empty) {
            return Err(wrong(format!("a redirect to {text:?}, which is not HTTP")));
        }
        if matches!(status, 301..=303) && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
        }
        if !same_origin(&self.url, &next) {
            self.at_home = false;
            self.cookies = Jar::default();
            if !self.body.is_empty() {
                let why = format!("a redirect of the request's body to {text:?}");
                return Err(Stop::down(Reason::RedirectRefused, why));
            }
        }
        self.url = next;
        Ok(())
    }

    /// Refuses link-local addresses that the target itself does not have: services of a cloud or of this network that
    /// trust whoever reaches them. `first` is the address of the first hop.
    pub(super) fn may_lead_to(&self, address: IpAddr, first: Option<IpAddr>) -> Result<(), Stop> {
        if is_link_local(address) && first != Some(address) {
            let why = format!("a redirect to the link-local address {address}");
            return Err(Stop::down(Reason::RedirectRefused, why));
        }
        Ok(())
    }
}

/// A request of a trail: where, with which headers, with which body.
pub type Asked = (Url, HeaderMap, Bytes);

/// The requests to which redirects lead, as an attempt sends them. Sends nothing; ends where a redirect is refused.
#[must_use]
pub fn trail(
    module: &Http,
    url: &Url,
    credentials: Option<HeaderValue>,
    hops: &[(u16, HeaderValue)],
) -> Vec<Asked> {
    let mut ask = Ask::first(module, url, credentials);
    let asked = |ask: &Ask| (ask.url.clone(), ask.headers(module), ask.body.clone());
    let mut trail = vec![asked(&ask)];
    for (status, location) in hops {
        if ask.follow(*status, location).is_err() {
            break;
        }
        trail.push(asked(&ask));
    }
    trail
}

/// Whether two URLs have one origin; the step from `http` to `https` of one host on default ports counts as one.
fn same_origin(from: &Url, to: &Url) -> bool {
    let upgrade = from.scheme() == "http"
        && to.scheme() == "https"
        && from.host() == to.host()
        && (from.port(), to.port()) == (None, None);
    from.origin() == to.origin() || upgrade
}

/// Whether an address is link-local, also by way of IPv6 prefixes that carry an address of IPv4.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => {
            let [a, b, c, .., y, z] = ip.segments();
            let carried = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Ipv4Addr::new(a, b, c, d).is_link_local()
            };
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| ip.is_link_local());
            let translated = (a, b) == (0x64, 0xff9b) && carried(y, z); // RFC 6052, RFC 8215
            let by_6to4 = a == 0x2002 && carried(b, c); // RFC 3056
            ip.is_unicast_link_local() || mapped || translated || by_6to4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_scheme_host_and_port() {
        for (from, to, same) in [
            ("http://a.invalid/x", "http://a.invalid:80/y", true),
            ("http://a.invalid/", "https://a.invalid/", true),
            ("https://a.invalid/", "http://a.invalid/", false),
            ("http://a.invalid:8080/", "https://a.invalid/", false),
            ("http://a.invalid/", "https://a.invalid:8443/", false),
            ("http://a.invalid/", "http://b.invalid/", false),
            ("http://127.0.0.1:1/", "http://127.0.0.1:2/", false),
        ] {
            let url = |text| Url::parse(text).expect("a URL");
            assert_eq!(same_origin(&url(from), &url(to)), same, "{from} to {to}");
        }
    }

    #[test]
    fn link_local_addresses_are_known_in_all_spellings() {
        for (text, expected) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("64:ff9b:1::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("169.253.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("fd00::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_link_local(text.parse().expect(text)), expected, "{text}");
        }
    }
}
