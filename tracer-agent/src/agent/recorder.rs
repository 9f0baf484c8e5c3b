//! The recording of a running agent, behind a queue and a thread of its own.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    config::{Config, ViewerConfig},
    event::{
        Input,
        recording::{Masks, Preamble, RecordSizes, RecordingError, VERSION, Writer, create},
    },
    process::identity::Host,
    protocol::mask::MaskRules,
    redact::Redactor,
    sink::{
        otlp::ExportConfig,
        outlet::{Outlet, OutletWriter},
    },
};

/// Compressed bytes that wait for the disk.
const QUEUE_BYTES: usize = 16 << 20;

/// Records what the pipeline is told. A recording with a hole would replay to other spans: it ends where
/// its file takes too little, or fails, and the rest is counted.
pub(super) struct Recorder {
    writer: Option<Writer>,
    path: PathBuf,
    outlet: Outlet,
    missing: u64,
    /// Of these the ledger knows.
    counted: u64,
}

impl Recorder {
    /// Creates the file, readable by its owner only.
    pub(super) fn start(path: &Path, config: &Config, host: &Host, seed: u64) -> Result<Self, String> {
        let file = create(path).map_err(|error| error.to_string())?;
        Self::over(Box::new(file), path, config, host, seed)
    }

    /// Records into what was opened already.
    fn over(
        file: Box<dyn Write + Send>,
        path: &Path,
        config: &Config,
        host: &Host,
        seed: u64,
    ) -> Result<Self, String> {
        let header = Preamble {
            version: VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: super::host::kernel_release(),
            seed,
            host: serde_json::to_value(host).unwrap_or_default(),
            // Headers of the exporter hold credentials, and the viewer has a token.
            config: serde_json::to_value(Config {
                export: ExportConfig::default(),
                viewer: ViewerConfig::default(),
                ..config.clone()
            })
            .unwrap_or_default(),
            records: RecordSizes::current(),
        };
        let failed = |source| RecordingError::Io { path: path.to_owned(), source }.to_string();
        // The next write tells of it.
        let outlet = Outlet::start("tracer-record", QUEUE_BYTES, file, |_| {}).map_err(failed)?;
        let out = Box::new(OutletWriter(outlet.clone()));
        let masks = (!config.record_raw).then(|| {
            Masks::new(MaskRules {
                redactor: Redactor::new(&config.spans.redact_query_keys),
                fields: config.spans.fields_read(),
            })
        });
        let writer = Writer::to(out, path, &header, masks).map_err(|error| error.to_string())?;
        Ok(Self { writer: Some(writer), path: path.to_owned(), outlet, missing: 0, counted: 0 })
    }

    /// Records an input, or counts it.
    pub(super) fn tell(&mut self, input: &Input<'_>) {
        let Some(writer) = &mut self.writer else {
            self.missing += 1;
            return;
        };
        if let Err(error) = writer.write(input) {
            tracing::error!(%error, "the recording ends here");
            self.writer = None;
            self.missing += 1;
        }
    }

    /// Inputs that are missing from the recording and were not told before.
    pub(super) fn take_missing(&mut self) -> u64 {
        self.missing - std::mem::replace(&mut self.counted, self.missing)
    }

    /// Completes the file, and hands it to the thread.
    pub(super) fn finish(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.finish()
        {
            tracing::error!(%error, "the recording is not complete");
        }
        self.outlet.close();
    }

    /// Bytes that are not written yet.
    pub(super) fn bytes_waiting(&self) -> usize {
        self.outlet.bytes_waiting()
    }

    /// Waits until all is written, until the deadline at most. Returns why it is not complete, if it is not.
    pub(super) fn wait(&self, deadline: Instant) -> Option<String> {
        self.outlet.finish(deadline);
        let path = self.path.display();
        match self.outlet.error() {
            Some(error) => Some(format!("the recording {path} is not complete: {error}")),
            None if self.missing > 0 || !self.outlet.is_delivered() => {
                Some(format!("the recording {path} is not complete: its file takes too little"))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracer_common::{DataHeader, Kind};
    use zerocopy::Unalign;

    use super::*;
    use crate::event::{Data, Event, input::OwnedInput, recording::Reader};

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tracer-recorder-{}-{name}", std::process::id()))
    }

    fn start(path: &Path) -> Recorder {
        Recorder::start(path, &Config::default(), &Host::default(), 1).expect("it starts")
    }

    /// Records into what may keep its writer waiting, which is refused where a file is named.
    fn start_over(path: &Path) -> Recorder {
        let file = crate::sink::outlet::create(path).expect("it opens");
        let config = Config { record_raw: true, ..Config::default() };
        Recorder::over(file, path, &config, &Host::default(), 1).expect("it starts")
    }

    /// Tells a record that holds these bytes.
    fn tell(recorder: &mut Recorder, bytes: &[u8]) {
        let header = Unalign::new(DataHeader { kind: Kind::Data as u8, ..DataHeader::default() });
        recorder.tell(&Input::Event(Event::Data(Data { fixed: &header, head: bytes, tail: &[] })));
    }

    /// Bytes that no compression makes less of.
    struct Noise(u64);

    impl Noise {
        fn bytes(&mut self, n: usize) -> Vec<u8> {
            let mut next = || {
                // Xorshift (Marsaglia 2003).
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                self.0.to_le_bytes()
            };
            (0..n / 8).flat_map(|_| next()).collect()
        }
    }

    #[test]
    fn a_recording_into_a_fifo_that_nobody_reads_keeps_nobody_waiting() {
        let path = path("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        let begin = Instant::now();
        let mut recorder = start_over(&path);
        let mut noise = Noise(88_172_645_463_325_252);
        for _ in 0..40 {
            tell(&mut recorder, &noise.bytes(1 << 20));
        }
        assert!(recorder.take_missing() > 0, "40 MiB do not fit into 16 MiB");
        assert_eq!(recorder.take_missing(), 0);
        recorder.finish();
        let problem = recorder.wait(Instant::now() + Duration::from_millis(50)).expect("it is not complete");
        assert!(problem.ends_with("its file takes too little"), "{problem}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_recording_on_a_full_disk_ends_and_its_rest_is_counted() {
        let mut recorder = start_over(Path::new("/dev/full"));
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut noise = Noise(88_172_645_463_325_252);
        let mut missing = 0;
        while missing == 0 && Instant::now() < deadline {
            tell(&mut recorder, &noise.bytes(1 << 18));
            missing += recorder.take_missing();
        }
        assert_eq!(missing, 1);
        recorder.tell(&Input::Tick { now_ns: 1 });
        assert_eq!(recorder.take_missing(), 1);
        recorder.finish();
        let problem = recorder.wait(deadline).expect("it is not complete");
        assert!(problem.contains("No space left on device"), "{problem}");
    }

    #[test]
    fn a_recording_that_is_finished_can_be_read() {
        let path = path("whole");
        let mut recorder = start(&path);
        recorder.tell(&Input::Tick { now_ns: 7 });
        recorder.finish();
        assert_eq!(recorder.wait(Instant::now() + Duration::from_secs(30)), None);
        assert_eq!(recorder.take_missing(), 0);
        let mut reader = Reader::open(&path).expect("a recording");
        assert!(matches!(reader.next_input().expect("whole"), Some(OwnedInput::Tick(7))));
        assert!(reader.next_input().expect("whole").is_none());
        std::fs::remove_file(path).expect("removed");
    }
}
