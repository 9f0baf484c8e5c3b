//! The store in a directory.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use tracer_model::{
    otlp::decode_json,
    span::{Event, Span, StatusCode, TraceId, Value},
};
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::spans::{span, text};

/// A directory of its own, which goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}-{}", std::process::id()));
        // It is there if an earlier run was killed.
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("the store").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains(part)).collect();
        files.sort_unstable();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn limits() -> Limits {
    Limits { max_spans_per_segment: 100, ..Limits::default() }
}

fn trace(number: u128) -> Vec<Span> {
    let spans = (1..6u64).map(|place| {
        let mut span = span(number, place, place - 1, "shop", "GET /x", number as u64);
        span.attributes = vec![
            ("n".into(), Value::Int(number as i64)),
            ("who".into(), text(&format!("user {number} {place}"))),
        ];
        span.events = vec![Event {
            time_unix_ns: span.start_unix_ns,
            name: "said".into(),
            attributes: vec![("what".into(), text("é\u{0}\n"))],
            dropped_attributes: 1,
        }];
        span
    });
    spans.collect()
}

/// All traces, their spans by id.
fn all(store: &Store) -> HashMap<TraceId, Vec<Span>> {
    let options = SearchOptions { limit: 10_000, ..SearchOptions::default() };
    let found = store.search(&Query::default(), &options).traces.into_iter();
    let traces = found.map(|trace| {
        let trace_id = TraceId::parse(&trace.trace_id).expect("an id");
        let mut spans = store.trace(trace_id, usize::MAX).expect("a trace that was found");
        spans.sort_by_key(|span| span.span_id);
        (trace_id, spans)
    });
    traces.collect()
}

#[test]
fn what_was_stored_is_there_at_the_next_start() {
    let scratch = Scratch::new("reopen");
    let before = {
        let store = Store::open(&scratch.0, limits()).expect("a store");
        (1..=90).for_each(|number| {
            store.insert(trace(number));
        });
        store.flush().expect("a disk");
        all(&store)
    };
    assert_eq!(before.len(), 90);
    for round in 0..3u128 {
        let store = Store::open(&scratch.0, limits()).expect("a store");
        let status = store.status();
        assert_eq!((status.problem, status.cut_bytes), (None, 0));
        assert_eq!(status.traces as u128, 90 + round);
        let mut after = all(&store);
        after.retain(|trace_id, _| before.contains_key(trace_id));
        assert!(after == before, "each span is as it was");
        // Without a flush: a store that ends writes what it has.
        store.insert(trace(1000 + round));
    }
}

#[test]
fn files_are_lines_of_otlp_json() {
    let scratch = Scratch::new("lines");
    let store = Store::open(&scratch.0, limits()).expect("a store");
    store.insert(trace(1));
    store.flush().expect("a disk");
    let file = fs::File::open(&scratch.files("spans-")[0]).expect("a file");
    let text = zstd::stream::decode_all(file).expect("frames");
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(decode_json(lines[0]).expect("OTLP").spans, trace(1));
}

#[test]
fn the_torn_end_of_a_file_is_cut_and_counted() {
    let scratch = Scratch::new("torn");
    let file = {
        let store = Store::open(&scratch.0, limits()).expect("a store");
        store.insert(trace(1));
        store.flush().expect("a disk");
        store.insert(trace(2));
        store.flush().expect("a disk");
        scratch.files("spans-").remove(0)
    };
    let whole = fs::read(&file).expect("a file");
    for cut in (1..whole.len()).step_by(41) {
        fs::write(&file, &whole[..whole.len() - cut]).expect("a file");
        let store = Store::open(&scratch.0, limits()).expect("a store");
        let status = store.status();
        let left = fs::metadata(&file).map_or(0, |file| file.len());
        assert_eq!(left + status.cut_bytes, (whole.len() - cut) as u64);
        assert!(status.cut_bytes > 0 || left == 0 || status.spans == 5);
        assert!(all(&store).values().all(|spans| spans.len() == 5));
    }
    let mut broken = whole.clone();
    let place = broken.len() - 20;
    broken[place] ^= 0x40;
    fs::write(&file, &broken).expect("a file");
    let store = Store::open(&scratch.0, limits()).expect("a store");
    assert_eq!(store.status().spans, 5, "what lies before the broken frame is there");
    assert!(store.status().cut_bytes > 20);
    store.insert(trace(3));
    drop(store);
    assert_eq!(Store::open(&scratch.0, limits()).expect("a store").status().spans, 10);
}

#[test]
fn damage_in_the_middle_of_a_file_takes_nothing_behind_it() {
    let scratch = Scratch::new("damaged");
    let file = {
        let store = Store::open(&scratch.0, limits()).expect("a store");
        for number in 1..=3 {
            store.insert(trace(number));
            store.flush().expect("a disk");
        }
        scratch.files("spans-").remove(0)
    };
    let whole = fs::read(&file).expect("a file");
    for place in (whole.len() / 3 + 8..whole.len() * 2 / 3 - 8).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0xff;
        fs::write(&file, &damaged).expect("a file");
        let store = Store::open(&scratch.0, limits()).expect("a store");
        assert!(store.status().spans >= 10, "a byte at {place}: {:?}", store.status());
        assert!(store.status().cut_bytes > 0);
        drop(store);
        assert_eq!(fs::metadata(&file).expect("a file").len(), whole.len() as u64, "nothing is cut off");
    }
}

#[test]
fn files_go_with_their_segments_and_traces_stay_whole() {
    let scratch = Scratch::new("evict");
    let limits = Limits { max_bytes: 2 * 1024 * 1024, ..Limits::default() };
    let before = {
        let store = Store::open(&scratch.0, limits.clone()).expect("a store");
        for number in 1..=9_000u128 {
            let mut spans = trace(number);
            if number % 500 == 0 {
                spans[4].status = StatusCode::Error;
            }
            store.insert(spans);
            if number % 100 == 0 {
                store.flush().expect("a disk");
            }
        }
        store.flush().expect("a disk");
        assert!(store.status().evicted_spans > 0);
        assert!(scratch.files(".jsonl.zst").len() <= 64, "{} files", scratch.files(".jsonl.zst").len());
        all(&store)
    };
    assert!(before.values().all(|spans| spans.len() == 5));
    let store = Store::open(&scratch.0, limits).expect("a store");
    let after = all(&store);
    assert!(after.values().all(|spans| spans.len() == 5), "no trace is cut in half");
    assert!(after.len() * 10 >= before.len() * 9, "{} of {} traces", after.len(), before.len());
    assert!(after.contains_key(&TraceId(500u128.to_be_bytes())), "the error is still there");
    assert!(store.status().bytes <= 2 * 1024 * 1024);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone_and_spans_stay_in_memory() {
    let scratch = Scratch::new("newer");
    drop(Store::open(&scratch.0, limits()).expect("a store"));
    let manifest = r#"{"version":99,"form":"something else"}"#;
    fs::write(scratch.0.join("store.json"), manifest).expect("a file");
    let store = Store::open(&scratch.0, limits()).expect("a store");
    store.insert(trace(1));
    let status = store.status();
    assert_eq!(status.spans, 5);
    assert!(status.problem.is_some_and(|problem| problem.contains("version 99")));
    assert!(store.flush().is_err());
    assert_eq!(store.status().unwritten_spans, 0);
    drop(store);
    assert_eq!(fs::read_to_string(scratch.0.join("store.json")).expect("a file"), manifest);
    assert!(scratch.files(".jsonl.zst").is_empty());
}

#[test]
fn a_second_process_is_refused_until_the_first_has_ended() {
    let scratch = Scratch::new("lock");
    let store = Store::open(&scratch.0, limits()).expect("a store");
    let refused = Store::open(&scratch.0, limits()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(store);
    assert!(Store::open(&scratch.0, limits()).is_ok());
}

#[test]
fn a_path_that_is_no_directory_is_an_error_that_names_it() {
    let scratch = Scratch::new("file");
    fs::create_dir_all(&scratch.0).expect("a directory");
    let path = scratch.0.join("file");
    fs::write(&path, "x").expect("a file");
    let error = Store::open(&path, limits()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("cannot create the store") && error.contains("file"), "{error}");
}

/// `/dev/full` fails as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_the_store_goes_on_in_memory_until_there_is_space() {
    let scratch = Scratch::new("full");
    let store = Store::open(&scratch.0, limits()).expect("a store");
    let file = scratch.0.join("spans-0000000001.jsonl.zst");
    std::os::unix::fs::symlink("/dev/full", &file).expect("a link");
    (1..=50).for_each(|number| {
        store.insert(trace(number));
    });
    let error = store.flush().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(store.status().problem, Some(error));
    assert_eq!(
        (store.status().spans, store.status().unwritten_spans),
        (250, 250),
        "what the disk lacks is counted"
    );
    assert_eq!(store.trace_spans(TraceId(1u128.to_be_bytes())), 5);
    fs::remove_file(&file).expect("a link");
    // The file is still open: the store begins it anew once that fails no more.
    store.insert(trace(51));
    store.flush().expect("space");
    assert_eq!((store.status().problem, store.status().unwritten_spans), (None, 0));
    let before = all(&store);
    drop(store);
    assert!(all(&Store::open(&scratch.0, limits()).expect("a store")) == before);
}
