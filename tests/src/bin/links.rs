//! Measures the links of a service that `cargo xtask frameworks` or `cargo xtask versions` has installed. Standard input
//! names it in JSON, and the links of each of its ways are printed in JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};
use tracer_tests::{
    labelled::{Found, PHASES_AND_KEPT, Service, measure},
    programs::Program,
};

fn main() {
    let asked: Value = serde_json::from_reader(std::io::stdin()).expect("JSON");
    let command: Vec<&str> = asked["command"].as_array().expect("words").iter().map(text).collect();
    let folder = Path::new(text(&asked["folder"]));
    let environment = asked["environment"].as_object().expect("variables");
    let backend = Program::backend_on("127.0.0.1");
    let address = format!("127.0.0.1:{}", backend.port);
    let start = |way: &Value| {
        let (name, calls) = (text(&way[0]), way[1].as_u64().expect("a number") as u32);
        let variables = environment.iter().map(|(name, value)| (name.as_str(), text(value)));
        let program = Program::of_command(&command, folder, variables, name, &address);
        Service { name: name.to_owned(), program, calls }
    };
    let services: Vec<Service> = asked["ways"].as_array().expect("ways").iter().map(start).collect();
    let (agent, found) = measure(&backend, &services.iter().collect::<Vec<_>>(), &PHASES_AND_KEPT);
    let status = agent.status();
    let rows: Vec<Value> =
        services.iter().zip(&found).map(|(service, found)| row(service, found, &status)).collect();
    println!("{}", Value::from(rows));
    agent.stop();
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What was found for a service in all phases, and what the agent says of it.
fn row(service: &Service, found: &[Found], status: &Value) -> Value {
    let mut links = BTreeMap::<&str, u32>::new();
    for (evidence, count) in found.iter().flat_map(|found| &found.links) {
        *links.entry(evidence).or_default() += count;
    }
    let judged = PHASES_AND_KEPT.iter().zip(found).filter(|(phase, _)| !phase.learns);
    let wrong: Vec<&String> = found.iter().flat_map(|found| &found.wrong).collect();
    let own = status["services"].as_array().into_iter().flatten();
    let own = own.filter(|other| other["pid"] == service.program.pid());
    let mut profiles = BTreeSet::new();
    let mut withheld = BTreeMap::<String, u64>::new();
    for status in own {
        for profile in status["profiles"].as_array().into_iter().flatten() {
            profiles.insert(format!(
                "{}: {}",
                profile["profile"].as_str().unwrap_or_default(),
                profile["why"].as_str().unwrap_or_default()
            ));
        }
        for count in status["counts"].as_array().into_iter().flatten() {
            let (name, count) = (count["name"].as_str(), count["count"].as_u64());
            let (Some(name), Some(count)) = (name, count) else { continue };
            let is_reason = name.starts_with("links.") && name != "links.made" || name.starts_with("tasks.");
            if is_reason && count > 0 {
                *withheld.entry(name.to_owned()).or_default() += count;
            }
        }
    }
    json!({
        "way": service.name,
        "calls": found.iter().map(|found| found.calls).sum::<u32>(),
        "links": links,
        "right": found.iter().map(|found| found.right).sum::<u32>(),
        "wrong": wrong,
        "recalls": judged.map(|(_, found)| found.recall()).collect::<Vec<_>>(),
        "profile": profiles.into_iter().collect::<Vec<_>>().join("; "),
        "withheld": withheld,
    })
}
