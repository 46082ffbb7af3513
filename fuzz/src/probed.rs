//! Bytes from targets: certificates, which are read whether they are trusted or not, and redirects to anywhere.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use url::Url;
use watchpost::config::{self, Environment, Sources, Strictness};
use watchpost::net::x509;
use watchpost::probe::module::{Module, Prober};
use watchpost::probe::trail;

use super::made_up::Take;

/// Facts of certificates, and the end of the chains that they make.
pub fn certificate(bytes: &[u8]) {
    // Several, one after the other, as far as their lengths go.
    let mut take = Take::new(bytes);
    let count = 1 + take.below(4);
    let each = bytes.len().saturating_sub(1) / count;
    let ders: Vec<&[u8]> = (0..count).map(|_| take.bytes(each)).collect();
    for facts in ders.iter().filter_map(|der| x509::facts(der)) {
        for text in [&facts.subject, &facts.issuer, &facts.dns_names, &facts.serial_number] {
            assert!(text.len() <= 1_024, "{} bytes", text.len());
            let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
            assert!(!text.contains(steers), "{text:?}");
        }
        assert_eq!(facts.fingerprint_sha256.len(), 64);
    }
    let links: Vec<_> = ders.iter().filter_map(|der| x509::link(der)).collect();
    let until = x509::chain_expiry(&links, &links);
    assert!(until.is_none_or(|until| links.iter().any(|link| link.not_after() == until)));
}

/// A real one, alone and thrice.
pub fn certificate_seeds() -> Vec<Vec<u8>> {
    let der = include_bytes!("../seeds/certificate.der");
    vec![[&[0][..], der].concat(), [&[2][..], der, der, der].concat()]
}

fn module() -> &'static Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let text = "yaml:modules: {m: {prober: http, http: {method: POST, body: kanarie7-body, headers: \
                    {X-Token: kanarie7-token, Cookie: kanarie7-cookie, Accept: text/html}}}}";
        let sources = Sources { configs: vec![text.to_owned()], sets: Vec::new() };
        let loaded = config::load(&sources, &Environment::new(), Strictness::Check);
        let plan = loaded.plan.expect("a good configuration");
        Arc::clone(plan.modules.get("m").expect("it is there"))
    })
}

/// Where redirects lead, and what is taken along: nothing secret, once they have left the origin.
pub fn redirect(bytes: &[u8]) {
    let Prober::Http(module) = &module().prober else { unreachable!("it is one for HTTP") };
    let mut take = Take::new(bytes);
    let first = ["http://a.invalid/", "https://a.invalid:8443/x/", "http://127.0.0.1:8080/"];
    let first = Url::parse(first[take.below(3)]).expect("a URL");
    let mut hops = Vec::new();
    while hops.len() < 6 && !take.is_empty() {
        let status = [301, 302, 303, 307, 308][take.below(5)];
        let long = take.below(64);
        if let Ok(location) = HeaderValue::from_bytes(take.bytes(long)) {
            hops.push((status, location));
        }
    }
    let secret = HeaderValue::from_static("Basic kanarie7");
    let asked = trail(module, &first, Some(secret), &hops);
    assert_eq!(asked[0].0, first);
    assert_eq!(asked[0].1["authorization"], "Basic kanarie7");
    let mut at_home = true;
    for pair in asked.windows(2) {
        let (from, (to, headers, body)) = (&pair[0].0, &pair[1]);
        assert!(matches!(to.scheme(), "http" | "https"), "{to}");
        let origin = |url: &Url| {
            (
                url.scheme().to_owned(),
                url.host_str().map(str::to_owned),
                url.port_or_known_default(),
            )
        };
        let secured = (from.scheme(), to.scheme()) == ("http", "https")
            && from.host_str() == to.host_str()
            && from.port().is_none()
            && to.port().is_none();
        at_home &= origin(from) == origin(to) || secured;
        let shown = format!("{headers:?}");
        if !at_home {
            assert!(!shown.contains("kanarie7") && body.is_empty(), "{to}: {shown}");
        }
        assert!(headers.contains_key("accept") && headers.contains_key("host"), "{to}: {shown}");
    }
}

/// Redirects of each kind.
pub fn redirect_seeds() -> Vec<Vec<u8>> {
    let seed = |first: u8, locations: &[&str]| {
        let hop = |text: &&str| {
            let long = u8::try_from(text.len()).expect("a short text");
            [&[1, long], text.as_bytes()].concat()
        };
        [vec![first], locations.iter().flat_map(hop).collect()].concat()
    };
    vec![
        seed(0, &["/next", "https://a.invalid/", "http://a.invalid/"]),
        seed(1, &["//b.invalid/", "https://a.invalid:8443/back"]),
        seed(2, &["http://127.0.0.1:80/", "http://[::1]/", "ftp://x/"]),
        seed(
            0,
            &["http://user:secret@a.invalid/", "?q", "http://A.INVALID:80/", "HTTPS://a.invalid./"],
        ),
    ]
}
