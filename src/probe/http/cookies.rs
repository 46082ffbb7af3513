//! Cookies within one attempt: what a hop sets, the next hop of the same origin sends. No cookie outlives the attempt or
//! a redirect to another origin, so dates do not matter; domains wider than the host are not followed.

use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

/// More cookies than any redirect needs.
const MAX_COOKIES: usize = 50;

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    secure: bool,
    name: String,
    value: String,
}

/// The cookies of an attempt.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

impl Jar {
    /// Keeps what a response sets.
    pub(super) fn store(&mut self, url: &Url, headers: &HeaderMap) {
        let host = url.host_str().unwrap_or_default();
        for value in headers.get_all(SET_COOKIE) {
            let Ok(text) = value.to_str() else { continue };
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let folder = url.path().rfind('/').map_or("/", |end| &url.path()[..=end]);
            let mut cookie = Cookie {
                host: host.to_owned(),
                path: folder.to_owned(),
                secure: false,
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
            };
            let mut gone = false;
            for attribute in parts {
                let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
                match key.to_ascii_lowercase().as_str() {
                    "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                    "secure" => cookie.secure = true,
                    "max-age" => gone = value.parse::<i64>().is_ok_and(|age| age <= 0),
                    _ => {}
                }
            }
            self.0.retain(|have| {
                (&have.host, &have.path, &have.name) != (&cookie.host, &cookie.path, &cookie.name)
            });
            if !gone && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// What to show to a URL.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let fits = |cookie: &&Cookie| {
            let below = url.path().strip_prefix(cookie.path.as_str());
            let path = below.is_some_and(|rest| {
                cookie.path.ends_with('/') || rest.is_empty() || rest.starts_with('/')
            });
            Some(cookie.host.as_str()) == url.host_str()
                && path
                && (!cookie.secure || url.scheme() == "https")
        };
        let pairs: Vec<String> =
            self.0.iter().filter(fits).map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_stay_with_host_and_path() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let mut headers = HeaderMap::new();
        for text in
            ["a=1; Path=/", "b=2; Path=/x", "c=3; Secure; Path=/", "d=4; Max-Age=0", "broken"]
        {
            headers.append(SET_COOKIE, text.parse().expect("a value"));
        }
        let mut jar = Jar::default();
        jar.store(&url("http://h.invalid/dir/page"), &headers);
        assert_eq!(jar.header(&url("http://h.invalid/")).as_deref(), Some("a=1"));
        assert_eq!(jar.header(&url("http://h.invalid/x/y")).as_deref(), Some("a=1; b=2"));
        assert_eq!(jar.header(&url("http://h.invalid/xy")).as_deref(), Some("a=1"));
        assert_eq!(jar.header(&url("https://h.invalid/")).as_deref(), Some("a=1; c=3"));
        assert_eq!(jar.header(&url("http://other.invalid/")), None);
    }
}
