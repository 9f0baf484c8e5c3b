//! What a person can do to see a first trace.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::listening::Place;
use crate::agent::status::ServiceStatus;

/// Services that are named; more help nobody.
const MOST: usize = 5;

/// A sentence for each service that can be asked; what to start, if nothing is there.
pub(super) fn advice(services: &[&ServiceStatus], places: &HashMap<u32, Place>) -> Vec<String> {
    let alive: Vec<&&ServiceStatus> = services.iter().filter(|service| service.processes > 0).collect();
    if alive.is_empty() {
        return vec![
            "No process meets the selectors now: start one, or look at the selectors on the agent's page."
                .to_owned(),
        ];
    }
    let asked = alive.iter().filter_map(|service| {
        let place = places.get(&service.pid)?;
        let port = place.ports.first()?;
        let name = &service.name;
        Some(match place.is_on_host {
            true => format!("Send a request to {name}: try curl http://127.0.0.1:{port}/"),
            false => format!(
                "Send a request to {name}: it listens on port {port} of a network of its own, such as that of a container"
            ),
        })
    });
    let told: Vec<String> = asked.take(MOST).collect();
    if !told.is_empty() {
        return told;
    }
    let mut names: Vec<String> = alive.iter().map(|service| service.name.to_string()).collect();
    names.dedup();
    let more = if names.len() > MOST { " and others" } else { "" };
    names.truncate(MOST);
    vec![format!(
        "{}{more}: listens on no TCP port yet. A request that comes in or goes out is shown here.",
        names.join(", ")
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(pid: u32, name: &str) -> ServiceStatus {
        ServiceStatus { pid, name: name.into(), processes: 1, ..ServiceStatus::default() }
    }

    fn told(services: &[ServiceStatus], places: &[(u32, &[u16], bool)]) -> Vec<String> {
        let place = |ports: &[u16], is_on_host| Place { ports: ports.to_vec(), is_on_host };
        let places = places.iter().map(|(pid, ports, on_host)| (*pid, place(ports, *on_host))).collect();
        advice(&services.iter().collect::<Vec<_>>(), &places)
    }

    #[test]
    fn each_service_that_listens_is_named_with_what_to_try() {
        let services = [service(7, "shop"), service(8, "worker"), service(9, "boxed")];
        let places: [(u32, &[u16], bool); 3] = [(7, &[8080, 9090], true), (8, &[], true), (9, &[80], false)];
        assert_eq!(
            told(&services, &places),
            [
                "Send a request to shop: try curl http://127.0.0.1:8080/",
                "Send a request to boxed: it listens on port 80 of a network of its own, such as that of a container",
            ]
        );
    }

    #[test]
    fn one_that_listens_nowhere_and_none_at_all_are_told() {
        let quiet = told(&[service(8, "worker")], &[(8, &[], true)]);
        assert!(quiet[0].starts_with("worker: listens on no TCP port yet."), "{quiet:?}");
        let ended = ServiceStatus { processes: 0, ..service(8, "worker") };
        assert!(told(&[ended], &[])[0].starts_with("No process meets the selectors now"));
    }
}
