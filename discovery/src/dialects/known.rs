//! Labels that are known, read or not.

/// Dialects that are known and not read, by the beginning of their labels or variables.
pub(super) const NOT_READ: [(&str, &str); 8] = [
    ("tsdproxy.", "tsdproxy"),
    ("glance.", "glance"),
    ("swag", "swag"),
    ("dev.dozzle.", "dozzle"),
    ("coolify.", "coolify"),
    ("runtipi.", "runtipi"),
    ("casaos", "casaos"),
    ("docktail.", "docktail"),
];

/// Labels that dialects read, by the beginnings of their names.
const READ: [&str; 5] = ["watchpost.", "traefik.", "caddy", "kuma.", "homepage."];

/// Whether a label, by its name in small letters, says where a service answers or why it is no target.
pub(crate) fn is_read(label: &str) -> bool {
    let known = NOT_READ.iter().map(|(begin, _)| begin);
    READ.iter().chain(known).any(|begin| label.starts_with(begin))
}
