//! A steady load: requests at a constant rate, whether earlier ones were answered or not. As from many clients that do not know
//! of each other, the times between them are exponential.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How often an operation is asked for, in relation to the others.
pub(super) type Mix = &'static [(&'static str, u32)];

/// A client gives up after this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Numbers of items that are asked for, from 1 on.
const ITEMS: u64 = 1_000;

/// What clients saw.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Requests that were sent more than 50 ms after their time, because this machine was busy.
    pub(super) late: u64,
}

pub(super) struct Load {
    mix: Arc<Mutex<Mix>>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Seen>,
}

impl Load {
    /// Sends this many requests a second to the port, until it is ended.
    pub(super) fn start(port: u16, per_second: u32, mix: Mix, seed: u64) -> Self {
        let mix = Arc::new(Mutex::new(mix));
        let (stop, stopped) = mpsc::channel();
        let current = Arc::clone(&mix);
        let thread = thread::spawn(move || send(port, per_second, &current, seed, &stopped));
        Self { mix, stop, thread }
    }

    /// Changes what is asked for, at the same rate.
    pub(super) fn change(&self, mix: Mix) {
        if let Ok(mut current) = self.mix.lock() {
            *current = mix;
        }
    }

    /// Ends it, and waits for the answers.
    pub(super) fn end(self) -> Result<Seen> {
        drop(self.stop);
        self.thread.join().ok().context("the load ended by a panic")
    }
}

fn send(port: u16, per_second: u32, mix: &Mutex<Mix>, seed: u64, stopped: &mpsc::Receiver<()>) -> Seen {
    let (outcomes, seen) = mpsc::channel();
    let (mut due, gap) = (Instant::now(), Duration::from_secs(1) / per_second.max(1));
    let (mut random, mut late) = (Random(seed | 1), 0);
    loop {
        due += gap.mul_f64(-random.share().ln());
        let wait = due.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Disconnected) {
            break;
        }
        late += u64::from(due.elapsed() > Duration::from_millis(50));
        let path = mix.lock().map(|mix| path(*mix, &mut random)).unwrap_or_default();
        let outcome = outcomes.clone();
        thread::spawn(move || outcome.send(request(port, &path).is_some_and(|status| status < 500)));
    }
    drop(outcomes);
    let mut total = Seen { late, ..Seen::default() };
    for good in seen {
        total.answered += u64::from(good);
        total.failed += u64::from(!good);
    }
    total
}

fn path(mix: Mix, random: &mut Random) -> String {
    let whole: u32 = mix.iter().map(|(_, share)| share).sum();
    let mut left = (random.next() % u64::from(whole.max(1))) as u32;
    let mut word = "";
    for (name, share) in mix {
        word = name;
        if left < *share {
            break;
        }
        left -= share;
    }
    format!("/{word}/{}", 1 + random.next() % ITEMS)
}

/// The status of the answer, on a connection of its own.
fn request(port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

/// Marsaglia's xorshift64: the same load for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number above 0, and 1 at most.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_in_their_shares() {
        let mut random = Random(7);
        let paths: Vec<String> =
            (0..4_000).map(|_| path(&[("a", 1), ("b", 3), ("c", 0)], &mut random)).collect();
        let share = |word: &str| paths.iter().filter(|path| path.starts_with(word)).count();
        assert!((900..1_100).contains(&share("/a/")), "{}", share("/a/"));
        assert_eq!((share("/a/") + share("/b/"), share("/c/")), (4_000, 0));
    }

    #[test]
    fn gaps_are_exponential_and_one_on_average() {
        let mut random = Random(7);
        let gaps: Vec<f64> = (0..10_000).map(|_| -random.share().ln()).collect();
        let mean = gaps.iter().sum::<f64>() / 1e4;
        let short = gaps.iter().filter(|gap| **gap < std::f64::consts::LN_2).count();
        assert!((0.97..1.03).contains(&mean) && (4_850..5_150).contains(&short), "{mean} {short}");
    }
}
