//! The environment of the program.

#![forbid(unsafe_code)]

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

use super::user::User;

/// Variables with credentials of the one who exports, or with the paths of their files (OpenTelemetry, OTLP
/// exporter configuration): each stands between these two, for one signal or for all.
const EXPORTER: &str = "OTEL_EXPORTER_OTLP_";
const CREDENTIALS: [&str; 3] = ["HEADERS", "CLIENT_KEY", "CLIENT_CERTIFICATE"];
/// Addresses, which can hold a user and a password.
const ADDRESS: &str = "ENDPOINT";
/// Variables that configure the agent.
const OURS: &str = "TRACER_";

/// Our environment. For another user: with what the user's shell would set, and without credentials of our own;
/// `consumed` names further variables of which the agent made credentials.
///
/// # Errors
/// A variable holds a zero byte.
pub(super) fn environment(user: Option<&User>, consumed: &[String]) -> io::Result<Vec<CString>> {
    changed(std::env::vars_os().collect(), user, consumed)
        .into_iter()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            CString::new(key.as_bytes()).map_err(io::Error::other)
        })
        .collect()
}

fn changed(
    mut variables: Vec<(OsString, OsString)>,
    user: Option<&User>,
    consumed: &[String],
) -> Vec<(OsString, OsString)> {
    let Some(user) = user else { return variables };
    if user.is_another() {
        variables.retain(|(key, value)| {
            !is_credential(key, value) && !consumed.iter().any(|name| OsStr::new(name) == key)
        });
    }
    let name = OsStr::from_bytes(user.name.as_bytes()).to_owned();
    for (key, value) in [("HOME", user.home.clone()), ("USER", name.clone()), ("LOGNAME", name)] {
        variables.retain(|(known, _)| known != key);
        variables.push((key.into(), value));
    }
    variables
}

/// Whether a variable holds or names what only its owner should have. Traced programs get none of the agent's own
/// variables either.
fn is_credential(key: &OsStr, value: &OsStr) -> bool {
    let key = key.to_string_lossy();
    if let Some(rest) = key.strip_prefix(EXPORTER) {
        let ends_with = |end: &str| rest == end || rest.ends_with(&format!("_{end}"));
        return CREDENTIALS.into_iter().any(ends_with)
            || ends_with(ADDRESS) && value.as_bytes().contains(&b'@');
    }
    key.starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_gets_no_credentials_and_the_same_user_keeps_them() {
        let set = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("TOKEN", "t"),
            ("TRACER_SOCKET", "/run/s"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=a"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=a"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "authorization=a"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/root/key"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/root/crt"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@host:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://host:4318"),
        ];
        let variables = || set.iter().map(|(key, value)| (key.into(), value.into())).collect::<Vec<_>>();
        let keys = |user: Option<&User>| {
            let changed = changed(variables(), user, &["TOKEN".to_owned()]);
            let mut keys: Vec<String> =
                changed.iter().map(|(key, _)| key.to_string_lossy().into_owned()).collect();
            keys.sort();
            keys.join(" ")
        };
        let own = rustix::process::geteuid().as_raw();
        let user = |uid| User { name: c"me".into(), uid, gid: uid, groups: vec![uid], home: "/me".into() };
        assert_eq!(
            keys(Some(&user(own + 1))),
            "HOME LOGNAME OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_SERVICE_NAME PATH USER"
        );
        assert!(keys(None).contains("OTEL_EXPORTER_OTLP_HEADERS"));
        assert!(keys(Some(&user(own))).contains("TOKEN"));
        let homes = changed(variables(), Some(&user(own)), &[]);
        assert!(homes.contains(&("HOME".into(), "/me".into())), "{homes:?}");
    }
}
