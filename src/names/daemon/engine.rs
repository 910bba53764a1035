//! The names that a container engine knows, read by a process of its own: who may speak with an engine is root, and that is no place
//! for the daemon, which hears other hosts. This process has no network, and passes on names and addresses alone.
//!
//! The API is that of Docker, which Podman speaks too: `GET /containers/json`, `/containers/ID/json`, `/events`. Requests are of
//! HTTP/1.0, whose answers end with the connection (RFC 1945).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::control::{self, Request};
use crate::fan::label::Label;

/// The longest answer of an engine in bytes.
const LONGEST: u64 = 64 << 20;
/// How long an engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often all containers are listed, also without an event.
const LOOK: Duration = Duration::from_secs(30);
/// Several changes are seldom far apart: how long to wait for more.
const REST: Duration = Duration::from_millis(20);

/// Changes after which names may be others: `{"event":["start","die","rename","connect","disconnect"]}`.
const EVENTS: &str = "/events?filters=%7B%22event%22%3A%5B%22start%22%2C%22die%22%2C%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// A container's label with more names, with commas between them.
const MORE: &str = "fan.name";
/// A container's label that hides it, if it is `off`.
const HIDDEN: &str = "fan.names";

type Name = (Label, Ipv4Addr);

/// What was learned of containers, by their id: what they were listed with, and their names.
type Known = BTreeMap<String, (Value, Vec<Name>)>;

/// Why no names are passed on any more.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The engine.
    Engine(io::Error),
    /// The daemon of names.
    Daemon(io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "the container engine does not answer: {error}"),
            Self::Daemon(error) => write!(f, "the daemon of names does not answer: {error}"),
        }
    }
}

/// Passes on the names of an engine's containers until one of the two ends.
///
/// # Errors
/// Which one, and why.
pub(crate) fn pass_on(socket: &Path) -> Result<(), EngineError> {
    let mut known = Known::new();
    loop {
        // Listening begins before looking, so that nothing is missed.
        let mut events = request(socket, EVENTS).map_err(EngineError::Engine)?;
        events.set_read_timeout(Some(LOOK)).map_err(EngineError::Engine)?;
        loop {
            let names = look(socket, &mut known).map_err(EngineError::Engine)?;
            control::ask(&Request::Engine { names }).map_err(EngineError::Daemon)?;
            match events.read(&mut [0; 4_096]) {
                Ok(0) => break,
                Ok(_) => thread::sleep(REST),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) => return Err(EngineError::Engine(error)),
            }
        }
    }
}

/// Asks, and leaves the answer to be read.
fn request(socket: &Path, path: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    Ok(stream)
}

fn get(socket: &Path, path: &str) -> io::Result<Value> {
    let mut answer = Vec::new();
    request(socket, path)?.take(LONGEST).read_to_end(&mut answer)?;
    body(&answer).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("'{path}': an answer that is none")))
}

/// The JSON of an answer whose status is 200.
fn body(answer: &[u8]) -> Option<Value> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let status = std::str::from_utf8(&answer[..end]).ok()?.split(' ').nth(1)?;
    if status != "200" {
        return None;
    }
    serde_json::from_slice(&answer[end + 4..]).ok()
}

/// The names of all containers that run. What was learned of a container is known by its id and its networks, as they are listed.
fn look(socket: &Path, known: &mut Known) -> io::Result<Vec<Name>> {
    let list = get(socket, "/containers/json")?;
    let listed: Vec<&Value> = list.as_array().map(|list| list.iter().collect()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for container in listed {
        let is_id = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(id) = container["Id"].as_str().filter(is_id) else {
            continue;
        };
        let mark = serde_json::json!([container["Names"], container["NetworkSettings"]]);
        let entry = match known.remove(id) {
            Some(entry) if entry.0 == mark => entry,
            // One that ends meanwhile has no names.
            _ => match get(socket, &format!("/containers/{id}/json")) {
                Ok(container) => (mark, names(&container)),
                Err(error) if error.kind() == ErrorKind::InvalidData => continue,
                Err(error) => return Err(error),
            },
        };
        found.insert(id.to_string(), entry);
    }
    *known = found;
    Ok(known.values().flat_map(|(_, names)| names.iter().cloned()).collect())
}

/// The names of a container, as its inspection tells them: its own, its aliases in each network, and those of its label.
#[must_use]
pub fn names(container: &Value) -> Vec<(Label, Ipv4Addr)> {
    let labels = &container["Config"]["Labels"];
    if labels[HIDDEN] == "off" {
        return Vec::new();
    }
    let id = container["Id"].as_str().unwrap_or_default();
    let own = container["Name"].as_str().map(|name| name.trim_start_matches('/'));
    let more = labels[MORE].as_str().unwrap_or_default().split(',').map(str::trim);
    let everywhere: Vec<&str> = own.into_iter().chain(more).collect();
    let mut found = BTreeSet::new();
    for (_, network) in container["NetworkSettings"]["Networks"].as_object().into_iter().flatten() {
        let Some(address) = network["IPAddress"].as_str().and_then(|text| text.parse().ok()) else { continue };
        let aliases = network["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // Docker has the container's number among the aliases.
        let aliases = aliases.filter(|alias| alias.len() < 12 || !id.starts_with(alias));
        let names = everywhere.iter().copied().chain(aliases);
        found.extend(names.filter_map(|name| Some((Label::new(name).ok()?, address))));
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(labels: &Value) -> Value {
        json!({
            "Id": "0123456789abcdef0123", "Name": "/shop-web-1", "Config": { "Labels": labels },
            "NetworkSettings": { "Networks": {
                "fan": { "IPAddress": "250.0.28.7", "Aliases": ["web", "0123456789ab", "a.b"] },
                "none": { "IPAddress": "", "Aliases": null },
            } },
        })
    }

    fn told(container: &Value) -> Vec<String> {
        names(container).iter().map(|(label, address)| format!("{label} {address}")).collect()
    }

    #[test]
    fn a_container_has_its_name_and_its_aliases() {
        assert_eq!(told(&container(&json!({}))), ["shop-web-1 250.0.28.7", "web 250.0.28.7"]);
        let more = container(&json!({ "fan.name": "www, shop" }));
        assert_eq!(told(&more), ["shop 250.0.28.7", "shop-web-1 250.0.28.7", "web 250.0.28.7", "www 250.0.28.7"]);
        assert!(told(&container(&json!({ "fan.names": "off" }))).is_empty());
        assert!(told(&json!([1])).is_empty());
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n[1]"), Some(json!([1])));
        assert_eq!(body(b"HTTP/1.0 404 Not Found\r\n\r\n{}"), None);
        assert_eq!(body(b"HTTP/1.0 200 OK\r\n\r\n[1"), None);
        assert_eq!(body(b""), None);
    }
}
