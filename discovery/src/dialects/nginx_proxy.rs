//! nginx-proxy: the variables `VIRTUAL_HOST`, `VIRTUAL_PATH`, `VIRTUAL_HOST_MULTIPORTS`.

use watchpost_targets::yaml;

use super::Finder;
use crate::rule::{Place, Reason, is_host};

impl Finder<'_> {
    pub(super) fn nginx_proxy(&mut self) {
        let environment = &self.service.environment;
        let get = |name: &str| environment.get(name).cloned();
        // A certificate is made for those that are served by TLS.
        let mut secure: Vec<String> = Vec::new();
        for name in ["LETSENCRYPT_HOST", "ACME_HOST"] {
            if let Some(written) = get(name)
                && let Some(text) = self.value(name, &written)
            {
                secure.extend(text.split(',').map(|host| host.trim().to_ascii_lowercase()));
            }
        }
        let by_tls = |host: &String| secure.contains(host).then_some(true);
        if let Some(written) = get("VIRTUAL_HOST")
            && let Some(text) = self.value("VIRTUAL_HOST", &written)
        {
            let path = get("VIRTUAL_PATH").map(|written| written.fill().text);
            let path = path.filter(|path| path.starts_with('/') && path != "/").unwrap_or_default();
            let mut hosts =
                text.split(',').map(str::trim).filter(|host| !host.is_empty()).peekable();
            if hosts.peek().is_none() {
                self.skip(&written.origin, "VIRTUAL_HOST is empty");
            }
            for host in hosts {
                if !is_host(host) {
                    let reason = Reason::Pattern(host.to_owned());
                    self.skip(&written.origin, format!("VIRTUAL_HOST: {reason}"));
                    continue;
                }
                let host = host.to_ascii_lowercase();
                let tls = by_tls(&host);
                let place = Place { host, path: path.trim_end_matches('/').to_owned() };
                self.place(&place, tls, None, "nginx-proxy", &written.origin);
            }
        }
        let Some(written) = get("VIRTUAL_HOST_MULTIPORTS") else { return };
        let Some(text) = self.value("VIRTUAL_HOST_MULTIPORTS", &written) else { return };
        // YAML within YAML: hosts, each with paths.
        let Ok(document) = yaml::parse(&text) else {
            self.skip(&written.origin, "VIRTUAL_HOST_MULTIPORTS: this is no YAML");
            return;
        };
        for entry in document.entries() {
            let host = entry.key.to_ascii_lowercase();
            if !is_host(&host) {
                let reason = Reason::Pattern(host);
                self.skip(&written.origin, format!("VIRTUAL_HOST_MULTIPORTS: {reason}"));
                continue;
            }
            let tls = by_tls(&host);
            let paths = entry.value.entries().iter().map(|entry| entry.key.as_str());
            let mut paths: Vec<&str> = paths.filter(|path| path.starts_with('/')).collect();
            if paths.is_empty() {
                paths.push("");
            }
            for path in paths {
                let path = path.trim_end_matches('/').to_owned();
                let place = Place { host: host.clone(), path };
                self.place(&place, tls, None, "nginx-proxy", &written.origin);
            }
        }
    }
}
