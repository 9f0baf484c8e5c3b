//! The `tracer` binary from the outside, as far as no privileges are needed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A folder for the files of one test, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tracer-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("created");
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left in the folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary, in an environment that configures nothing.
fn tracer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracer"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OTEL_") || text.starts_with("TRACER_") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn run<const N: usize>(arguments: [&str; N]) -> Output {
    tracer().args(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit code, and what was said on standard error. Nothing must be on standard output.
fn refused(output: &Output) -> (Option<i32>, String) {
    assert_eq!(text(&output.stdout), "", "an error goes to standard error");
    (output.status.code(), text(&output.stderr))
}

fn with_config(file: &Path) -> Output {
    tracer().args(["agent", "--config"]).arg(file).output().expect("the binary starts")
}

#[test]
fn help_has_the_exit_codes_and_examples() {
    let output = run(["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for part in ["Examples:", "tracer run -- ", "Exit codes:", "77", "--pid", "--exclude", "--otlp-endpoint"]
    {
        assert!(help.contains(part), "{part} is not in:\n{help}");
    }
}

#[test]
fn the_version_tells_whether_the_kernel_programs_are_there() {
    let version = text(&run(["--version"]).stdout);
    assert!(version.starts_with(concat!("tracer ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    assert!(version.contains("kernel programs"), "{version}");
}

#[test]
fn without_a_selector_it_refuses_and_shows_examples() {
    for arguments in [&[][..], &["agent"], &["--output", "json"], &["--exclude", "exe=*/curl"]] {
        let output = tracer().args(arguments).output().expect("the binary starts");
        let (code, error) = refused(&output);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains("tracer agent --config FILE"), "{arguments:?}: {error}");
        assert_eq!(error.matches("\n  tracer ").count(), 4, "{arguments:?}: {error}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_names_what_is_wrong() {
    for (arguments, part) in [
        (&["--prot", "80"][..], "--prot"),
        (&["--port", "99999"], "99999"),
        (&["--exclude", "shoe=1"], "shoe"),
        (&["--output", "xml"], "xml"),
        (&["--otlp-protocol", "smoke"], "smoke"),
        (&["run"], "COMMAND"),
        (&["replay"], "FILE"),
        (&["fly"], "fly"),
    ] {
        let output = tracer().args(arguments).output().expect("the binary starts");
        let (code, error) = refused(&output);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
    let dir = Dir::new("key");
    let file = dir.file(
        "tracer.yaml",
        "select:\n  include:\n    - port: [80]\nexport:\n  endpont: http://localhost:4318\n",
    );
    let (code, error) = refused(&with_config(&file));
    assert_eq!(code, Some(2), "{error}");
    let place = format!("{}:5:3: ", file.display());
    assert!(error.contains(&place), "{place} is not in: {error}");
    assert!(error.contains("`endpont`") && error.contains("`endpoint`"), "{error}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_its_place() {
    let dir = Dir::new("sense");
    for (content, parts) in [
        ("limits:\n  exchange_timeout: soon\n", &[":2:", "soon"][..]),
        ("select:\n  include: [\n", &[":"]),
        ("export:\n  endpoint: ${env:TRACER_CLI_TEST_UNSET}\n", &[":2:", "TRACER_CLI_TEST_UNSET"]),
        ("select: {include: [{port: [80]}]}\nlimits: {ring: 3MiB}\n", &["limits.ring"]),
        ("select: {include: [{exe: ['[x']}]}\n", &["select.include[0]", "[x"]),
        ("select: {include: [{service_name: shop}]}\n", &["select.include[0]"]),
    ] {
        let file = dir.file("tracer.yaml", content);
        let (code, error) = refused(&with_config(&file));
        assert_eq!(code, Some(2), "{content}{error}");
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}\nfor\n{content}");
        }
    }
    let (code, error) = refused(&with_config(Path::new("/no/such/tracer.yaml")));
    assert_eq!(code, Some(2));
    assert!(error.contains("/no/such/tracer.yaml"), "{error}");
}

#[test]
fn a_variable_in_a_comment_is_not_asked_for() {
    let dir = Dir::new("comment");
    let file = dir.file(
        "tracer.yaml",
        "# endpoint: ${env:TRACER_CLI_TEST_UNSET}\nselect: {} # ${env:TRACER_CLI_TEST_UNSET}\n",
    );
    let (_, error) = refused(&with_config(&file));
    assert!(!error.contains("TRACER_CLI_TEST_UNSET"), "{error}");
}

#[test]
fn a_variable_of_ours_that_makes_no_sense_is_named() {
    for (name, value) in [
        ("TRACER_LOG", "loud"),
        ("TRACER_OUTPUT", "xml"),
        ("TRACER_PROPAGATION", "on"),
        ("TRACER_SDK", "ignore"),
        ("TRACER_LINKS_HEADERS", "zipkin"),
    ] {
        let output = tracer().args(["--port", "1"]).env(name, value).output().expect("the binary starts");
        let (code, error) = refused(&output);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn an_endpoint_of_a_flag_or_a_file_that_cannot_be_used_is_refused_without_its_password() {
    let dir = Dir::new("endpoint");
    for (url, part) in [
        ("https://me:s3cret@a:4318", "TLS"),
        ("http://me:s3cret@a:99999", "port 99999"),
        ("http://me:s3cret@a:0/?token=s3cret", "port 0"),
        ("ftp://me:s3cret@a", "ftp"),
        ("http://", "no host"),
    ] {
        let flag =
            tracer().args(["--port", "1", "--otlp-endpoint", url]).output().expect("the binary starts");
        let file = dir.file(
            "tracer.yaml",
            &format!("select: {{include: [{{port: [1]}}]}}\nexport:\n  endpoint: '{url}'\n"),
        );
        for output in [flag, with_config(&file)] {
            let (code, error) = refused(&output);
            assert_eq!(code, Some(2), "{error}");
            assert!(error.contains(part) && error.contains("endpoint"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}

#[test]
fn a_configuration_file_can_be_checked() {
    let dir = Dir::new("check");
    let check = |content: &str| {
        let file = dir.file("tracer.yaml", content);
        let output = tracer().args(["config", "check"]).arg(&file).output().expect("the binary starts");
        (output, file.display().to_string())
    };
    let (output, file) =
        check("select: {include: [{port: 8080-8090}]}\nexport: {endpoint: 'http://a:4318'}\n");
    let said = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(said, (Some(0), format!("{file}: no errors\n"), String::new()));
    let (output, _) = check("# nothing\n");
    let said = text(&output.stdout);
    assert!(said.contains("select.include is empty") && said.contains("Spans are not exported"), "{said}");
    let (output, file) =
        check("export:\n  timeout: 0s\n  queue_spans: 0\nspans:\n  request_headers: [authorization]\n");
    let (code, error) = refused(&output);
    assert_eq!(code, Some(2), "{error}");
    for part in
        [":2:12: export.timeout: ", ":3:16: export.queue_spans: ", ":5:21: spans.request_headers[0]: "]
    {
        assert!(error.contains(&format!("tracer: {file}{part}")), "{error}");
    }
    assert_eq!(run(["config", "check", "/no/such/file"]).status.code(), Some(2));
}

#[test]
fn errors_at_the_start_have_the_form_of_the_log() {
    let dir = Dir::new("form");
    let file = dir.file("tracer.yaml", "log: {format: json}\nlimits: {ring: many}\n");
    let good = dir.file("good.yaml", "log: {format: json}\n");
    let in_json: [(Output, &str); 4] = [
        (with_config(&file), "limits.ring"),
        (with_config(&good), "name the processes to trace"),
        (run(["--log-format", "json", "--pid", "1", "--otlp-endpoint", "ftp://a"]), "--otlp-endpoint: "),
        (run(["--log-format=json", "--prot", "1"]), "unexpected argument '--prot'"),
    ];
    for (output, part) in in_json {
        let (code, error) = refused(&output);
        assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
        let line: serde_json::Value = serde_json::from_str(&error).expect("JSON");
        assert_eq!(line["level"], "ERROR");
        assert!(line["fields"]["message"].as_str().is_some_and(|message| message.contains(part)), "{error}");
        assert!(line["timestamp"].is_string());
    }
    let output =
        tracer().args(["agent", "--log-format", "text", "--config"]).arg(&file).output().expect("it starts");
    assert!(refused(&output).1.starts_with("tracer: "));
}

#[test]
fn a_program_that_cannot_run_has_the_exit_code_of_a_shell() {
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let (found, error) = refused(&run(["run", "--", program]));
        assert_eq!(found, Some(code), "{error}");
        assert!(error.contains(program), "{error}");
    }
    let (code, error) = refused(&run(["run", "--user", "no-such-user-here", "--", "true"]));
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn the_doctor_answers_and_its_exit_code_agrees() {
    let output = run(["doctor"]);
    let report = text(&output.stdout);
    match output.status.code() {
        Some(0) => assert!(!report.contains('✗') && report.contains("works here"), "{report}"),
        Some(77) => assert!(report.contains('✗'), "{report}"),
        other => panic!("{other:?}: {report}{}", text(&output.stderr)),
    }
    let json: serde_json::Value = serde_json::from_slice(&run(["doctor", "--json"]).stdout).expect("JSON");
    assert!(json.as_array().is_some_and(|findings| findings.len() > 4), "{json}");
}

#[test]
fn the_doctor_explains_a_process_without_an_agent() {
    let dir = Dir::new("explain");
    let socket = dir.0.join("none.sock");
    let own = std::process::id().to_string();
    let output =
        tracer().args(["doctor", "--pid", &own, "--socket"]).arg(&socket).output().expect("it starts");
    let answer = text(&output.stdout);
    assert!(
        answer.contains(&own) && answer.contains("No agent answers (") && answer.contains("none.sock"),
        "{answer}"
    );
}

#[test]
fn the_status_of_no_agent_is_an_error_that_names_the_socket() {
    let dir = Dir::new("status");
    let socket = dir.0.join("none.sock");
    let output = tracer().args(["status", "--socket"]).arg(&socket).output().expect("the binary starts");
    let (code, error) = refused(&output);
    assert_eq!(code, Some(1));
    assert!(error.contains(&socket.display().to_string()), "{error}");
}

#[test]
fn a_recording_that_is_none_is_an_error_that_names_it() {
    let dir = Dir::new("replay");
    let (code, error) = refused(&run(["replay", "/no/such/recording"]));
    assert_eq!(code, Some(1));
    assert!(error.contains("/no/such/recording"), "{error}");
    for content in ["", "GET / HTTP/1.1\r\n\r\n"] {
        let file = dir.file("recording", content);
        let (code, error) = refused(&run(["replay", &file.display().to_string()]));
        assert_eq!(code, Some(1));
        assert!(error.contains("is not a recording"), "{error}");
    }
}

#[test]
fn an_output_file_empties_nothing_but_an_old_output() {
    let dir = Dir::new("keep");
    let kept = dir.file("kept", "kept");
    let recording = dir.0.join("r.rec");
    std::fs::copy(recordings().join("curl.rec"), &recording).expect("copied");
    let text_of = |path: &Path| path.display().to_string();
    let (kept_name, recording_name) = (text_of(&kept), text_of(&recording));
    let size = std::fs::metadata(&recording).expect("there").len();
    let other_name = format!("{}/./r.rec", dir.0.display());
    for (arguments, code, part) in [
        (["replay", &recording_name, "--output=text", "--output-file", &recording_name], 2, "same file"),
        (["replay", &recording_name, "--output=text", "--output-file", &other_name], 2, "same file"),
        (["replay", "/etc/passwd", "--output=text", "--output-file", &kept_name], 1, "not a recording"),
        (["replay", &recording_name, "--output=none", "--output-file", &kept_name], 0, "is ignored"),
        (["--pid=1", "--record", &kept_name, "--output-file", &kept_name], 2, "same file"),
        (["--pid=1", "--config", &kept_name, "--output-file", &kept_name], 2, "kept"),
    ] {
        let (found, error) = refused(&run(arguments));
        assert_eq!(found, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert_eq!(std::fs::metadata(&recording).expect("there").len(), size, "{arguments:?}");
        assert_eq!(std::fs::read_to_string(&kept).expect("there"), "kept", "{arguments:?}");
    }
}

/// A replay of one of the recordings of real programs, for people, wherever they are.
fn replayed(name: &str, arguments: &[&str], locale: &str) -> String {
    let output = tracer()
        .arg("replay")
        .arg(recordings().join(name).with_extension("rec"))
        .args(arguments)
        .envs([("TZ", "UTC"), ("COLUMNS", "120"), ("LC_ALL", locale)])
        .output()
        .expect("the binary starts");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    text(&output.stdout)
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings")
}

#[test]
fn a_recording_is_drawn_as_it_was() {
    for name in ["curl", "node", "python"] {
        let expected = std::fs::read_to_string(recordings().join(name).with_extension("tree"));
        assert_eq!(replayed(name, &["--output", "tree"], "C.UTF-8"), expected.expect("a picture"), "{name}");
    }
}

#[test]
fn a_pipe_gets_lines_and_a_plain_locale_ascii() {
    let lines = replayed("curl", &[], "C.UTF-8");
    assert_eq!(lines, replayed("curl", &["--output", "text"], "C.UTF-8"));
    assert!(lines.contains("nginx     ← in   GET    /item/1?token=REDACTED"), "{lines}");
    let tree = replayed("curl", &["--output", "tree"], "C");
    assert!(tree.is_ascii() && tree.contains("` nginx         > GET /item/1"), "{tree}");
}

#[test]
fn the_schema_knows_every_top_level_key_of_the_reference() {
    let schema: serde_json::Value = serde_json::from_slice(&run(["config", "schema"]).stdout).expect("JSON");
    let reference = text(&run(["config", "reference"]).stdout);
    let keys = schema["properties"].as_object().expect("an object");
    assert!(keys.len() > 5);
    for key in keys.keys() {
        assert!(reference.contains(&format!("| `{key}")), "{key} is not in the reference");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // A process that is not traced is code 1, whoever reads it.
    for (arguments, code) in [
        (&["config", "schema"][..], 0),
        (&["--help"], 0),
        (&["doctor", "--pid", "1"], 1),
        (&["doctor", "--pid", "4194304"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = tracer()
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(code), String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn the_shipped_binary_has_no_switches_for_tests() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_tracer")).expect("the binary");
    let has = |text: &str| binary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("TRACER_PROPAGATION"), "documented variables are found in the same way");
    assert!(!has("TRACER_TEST_"));
}
