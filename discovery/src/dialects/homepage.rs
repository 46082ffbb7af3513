//! homepage (gethomepage.dev): `homepage.href` and `homepage.name`.

use super::Finder;

impl Finder<'_> {
    pub(super) fn homepage(&mut self) {
        let Some(written) = self.service.labels.get("homepage.href") else { return };
        let Some(text) = self.value("homepage.href", written) else { return };
        let text = text.trim();
        if text.starts_with("http://") || text.starts_with("https://") {
            self.candidate(text.to_owned(), None, "homepage", &written.origin);
        } else {
            self.skip(&written.origin, format!("homepage.href: {text:?} is no whole URL"));
        }
    }

    /// The name that homepage shows.
    pub(super) fn homepage_name(&self) -> Option<String> {
        let written = self.service.labels.get("homepage.name")?;
        let filled = written.fill();
        let known = filled.wrong.is_none() && filled.unset.is_empty();
        (known && !filled.text.trim().is_empty()).then(|| filled.text.trim().to_owned())
    }
}
