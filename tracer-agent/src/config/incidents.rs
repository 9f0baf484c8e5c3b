//! Who is told of incidents.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Poster, TlsFiles},
    problem::Problem,
};

/// Incidents: what the viewer finds wrong in the traces that come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// Look for faults in the traces that come in, while the viewer is on. It takes two percent of a processor at most.
    pub watch: bool,
    /// Address that each incident is sent to when it opens and when it ends: a JSON object, by `POST`.
    pub webhook: Option<String>,
    /// Base address of an OTLP receiver, such as `http://localhost:4318`, that gets incidents as log records (events) in JSON;
    /// `/v1/logs` is added to its path, unless the path ends so.
    pub otlp_endpoint: Option<String>,
    /// Headers of each of these requests.
    pub headers: BTreeMap<String, String>,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        Self { watch: true, webhook: None, otlp_endpoint: None, headers: BTreeMap::new() }
    }
}

/// Path of the receiver of log records.
const LOGS: &str = "/v1/logs";

impl IncidentConfig {
    /// The address for log records.
    pub fn logs_address(&self) -> Option<String> {
        let endpoint = self.otlp_endpoint.as_deref()?.trim_end_matches('/');
        Some(format!("{}{LOGS}", endpoint.strip_suffix(LOGS).unwrap_or(endpoint)))
    }

    /// What sends to an address.
    ///
    /// # Errors
    /// The address or a header cannot be used.
    pub fn poster(&self, url: &str) -> Result<Poster, String> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Poster::new(url, headers, &TlsFiles::default()).map_err(|error| error.to_string())
    }

    /// The values that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let addresses = [("webhook", self.webhook.clone()), ("otlp_endpoint", self.logs_address())];
        let problem =
            |(key, url): (&'static str, Option<String>)| Some(Problem::new(key, self.poster(&url?).err()?));
        addresses.into_iter().filter_map(problem).collect()
    }

    /// Whether anybody is told.
    pub fn tells(&self) -> bool {
        self.webhook.is_some() || self.otlp_endpoint.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_records_go_to_their_path() {
        for endpoint in ["http://x:4318", "http://x:4318/", "http://x:4318/v1/logs"] {
            let config =
                IncidentConfig { otlp_endpoint: Some(endpoint.to_owned()), ..IncidentConfig::default() };
            assert_eq!(config.logs_address().as_deref(), Some("http://x:4318/v1/logs"));
            assert!(config.problems().is_empty());
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_named_by_its_key() {
        let config = IncidentConfig { webhook: Some("ftp://x".to_owned()), ..IncidentConfig::default() };
        let keys: Vec<_> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["webhook"]);
    }
}
