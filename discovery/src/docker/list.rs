//! The engine's list of containers, read piece by piece: what is not needed is passed over and never kept, and a
//! field of another type is taken for one that is absent.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use watchpost_targets::Origin;

use super::{Containers, Endpoint};
use crate::dialects::known::is_read;
use crate::interpolate::Variables;
use crate::service::{Port, Replaced, Service, Written};
use crate::text;

/// Containers of a list.
const MAX_CONTAINERS: usize = 10_000;
/// Labels and ports of all containers together.
const MAX_PARTS: usize = 100_000;
/// Labels and ports of one container.
const MAX_OWN: usize = 2_000;
/// The longest name of a container.
const MAX_NAME: usize = 1 << 10;
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// Reads a list.
pub(super) fn read(bytes: &[u8], endpoint: &Endpoint) -> Result<Containers, String> {
    let wrong = |error: serde_json::Error| {
        format!("this is no list of containers: {}", text::foreign(&error.to_string()))
    };
    let list: Listed = serde_json::from_slice(bytes).map_err(wrong)?;
    let Listed { mut containers, health } = list;
    // The engine names the newest first. An address belongs to who was there first.
    containers.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let origin = Origin { file: endpoint.text().into(), line: 0 };
    let variables = Rc::new(Variables::new());
    // Compose has filled in the variables; a dollar is a dollar.
    let written = |text: &str| Written {
        text: text.replace('$', "$$"),
        origin: origin.clone(),
        variables: Rc::clone(&variables),
    };
    let services = containers.into_iter().map(|one| one.service(&origin, &written)).collect();
    Ok(Containers { services, health })
}

/// A list.
#[derive(Default)]
struct Listed {
    /// Those with a name.
    containers: Vec<Container>,
    health: BTreeMap<&'static str, usize>,
}

/// The fields of a container that are read.
#[derive(Default)]
struct Container {
    name: String,
    created: u64,
    labels: BTreeMap<String, String>,
    ports: Vec<Published>,
    health: &'static str,
}

/// A published port.
#[derive(Default)]
struct Published {
    port: Option<u64>,
    ip: Option<String>,
    protocol: Option<String>,
}

impl Container {
    fn service(self, origin: &Origin, written: &dyn Fn(&str) -> Written) -> Service {
        let ports = self.ports.iter().map(|port| Port::Long {
            published: port.port.map(|number| written(&number.to_string())),
            host_ip: port.ip.as_deref().filter(|ip| !ip.is_empty()).map(written),
            protocol: port.protocol.as_deref().map(written),
        });
        let ports = ports.collect();
        let name = self.labels.get(SERVICE).cloned().unwrap_or(self.name);
        Service {
            name,
            project: self.labels.get(PROJECT).cloned(),
            runs: true,
            origin: origin.clone(),
            labels: self
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), written(value)))
                .collect(),
            deploy_labels: BTreeMap::new(),
            environment: BTreeMap::new(),
            env_files: Vec::new(),
            ports,
            network_mode: None,
            profiles: Vec::new(),
            replicas: None,
            extends: None,
            replaced: Replaced::default(),
        }
    }

    /// While Compose replaces a container, the old one has its number before its name.
    fn is_temporary(&self) -> bool {
        let name = self.name.as_bytes();
        name.len() > 13 && name[12] == b'_' && name[..12].iter().all(u8::is_ascii_hexdigit)
    }
}

fn health(status: &str) -> &'static str {
    match status {
        _ if status.contains("(unhealthy)") => "unhealthy",
        _ if status.contains("(healthy)") => "healthy",
        _ if status.contains("(health: starting)") => "starting",
        _ => "none",
    }
}

/// The values of a field: a list, a map or a single value.
trait Field: Default {
    fn text(_: &str) -> Self {
        Self::default()
    }

    fn number(_: u64) -> Self {
        Self::default()
    }

    fn seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// A field that is read; one of another type is as one that is absent.
#[derive(Default)]
struct Loose<T>(T);

impl<'de, T: Field> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData)).map(Loose)
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Field> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(text))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::map(map)
    }
}

/// A text, if it is one.
#[derive(Default)]
pub(super) struct Text(pub(super) Option<String>);

impl Field for Text {
    fn text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// A number, if it is one.
#[derive(Default)]
struct Number(Option<u64>);

impl Field for Number {
    fn number(number: u64) -> Self {
        Self(Some(number))
    }
}

/// Names: the first one counts.
#[derive(Default)]
struct First(Option<String>);

impl Field for First {
    fn seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let first = seq.next_element::<Text>()?.and_then(|text| text.0);
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self(first))
    }
}

/// How a container is: of its text only that is kept.
#[derive(Default)]
struct Health(Option<&'static str>);

impl Field for Health {
    fn text(text: &str) -> Self {
        Self(Some(health(text)))
    }
}

/// Labels that are read, by their names in small letters.
#[derive(Default)]
struct LabelMap(BTreeMap<String, String>);

impl Field for LabelMap {
    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some(name) = map.next_key::<Text>()? {
            let name = name.0.unwrap_or_default().to_ascii_lowercase();
            if !(is_read(&name) || [PROJECT, SERVICE].contains(&name.as_str())) {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(value) = map.next_value::<Text>()?.0 {
                labels.insert(name, value);
                if labels.len() > MAX_OWN {
                    return Err(A::Error::custom(format!("more than {MAX_OWN} labels of one")));
                }
            }
        }
        Ok(Self(labels))
    }
}

impl Field for Published {
    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut port = Self::default();
        while let Some(name) = map.next_key::<Text>()? {
            match name.0.as_deref() {
                Some("PublicPort") => port.port = map.next_value::<Loose<Number>>()?.0.0,
                Some("IP") => port.ip = map.next_value::<Text>()?.0,
                Some("Type") => port.protocol = map.next_value::<Text>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(port)
    }
}

/// Ports that are published.
#[derive(Default)]
struct Ports(Vec<Published>);

impl Field for Ports {
    fn seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut ports = Vec::new();
        while let Some(Loose(port)) = seq.next_element::<Loose<Published>>()? {
            ports.extend(port.port.is_some().then_some(port));
            if ports.len() > MAX_OWN {
                return Err(A::Error::custom(format!("more than {MAX_OWN} ports of one")));
            }
        }
        Ok(Self(ports))
    }
}

impl Field for Container {
    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut container = Self { health: "none", ..Self::default() };
        while let Some(name) = map.next_key::<Text>()? {
            match name.0.as_deref() {
                Some("Names") => {
                    let name = map.next_value::<Loose<First>>()?.0.0.unwrap_or_default();
                    let end = name.floor_char_boundary(MAX_NAME);
                    container.name = name[..end].trim_start_matches('/').to_owned();
                }
                Some("Created") => {
                    container.created = map.next_value::<Loose<Number>>()?.0.0.unwrap_or(0);
                }
                Some("Labels") => container.labels = map.next_value::<Loose<LabelMap>>()?.0.0,
                Some("Ports") => container.ports = map.next_value::<Loose<Ports>>()?.0.0,
                Some("Status") => {
                    container.health = map.next_value::<Loose<Health>>()?.0.0.unwrap_or("none");
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(container)
    }
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Listed, A::Error> {
        let (mut listed, mut count, mut parts) = (Listed::default(), 0, 0);
        while let Some(Loose(mut container)) = seq.next_element::<Loose<Container>>()? {
            count += 1;
            parts += container.labels.len() + container.ports.len();
            if count > MAX_CONTAINERS {
                return Err(A::Error::custom(format!("more than {MAX_CONTAINERS} containers")));
            }
            if parts > MAX_PARTS {
                return Err(A::Error::custom(format!("more than {MAX_PARTS} labels and ports")));
            }
            if container.health.is_empty() {
                container.health = "none";
            }
            *listed.health.entry(container.health).or_default() += 1;
            if !container.name.is_empty() && !container.is_temporary() {
                listed.containers.push(container);
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests;
