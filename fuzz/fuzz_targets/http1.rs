//! Pieces of both sides in any order, copied or not: no panic, and no more responses than requests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_agent::protocol::{
    Call, End, Parser, Role, Side, Start, Yield,
    http1::{Http1, Limits},
};

fuzz_target!(|input: &[u8]| {
    let Some((&start, mut rest)) = input.split_first() else { return };
    let mut parser = Http1::new(if start & 1 == 0 { Start::Birth } else { Start::MidStream }, Role::Client, Limits::default());
    let mut out = Vec::new();
    let mut now = 0;
    while let [what, length, after @ ..] = rest {
        now += 1;
        let (bytes, later) = after.split_at(usize::from(*length).min(after.len()));
        rest = later;
        let side = if what & 1 == 0 { Side::Request } else { Side::Response };
        let call = Call {
            start_ns: now,
            end_ns: now,
            first: what & 2 == 0,
            after: u64::from(what >> 6),
            ..Call::default()
        };
        match what >> 2 & 3 {
            0 | 1 => parser.data(side, bytes, &call, &mut out),
            2 => parser.skip(side, u64::from(*length), &call, &mut out),
            _ => parser.gap(side, u64::from(*length), now, &mut out),
        }
        parser.tick(now * 1_000_000_000, &mut out);
        parser.want(side);
    }
    parser.close(End::Closed, now + 1, &mut out);
    for made in out {
        if let Yield::Exchange(exchange) = made {
            assert!(exchange.start_ns <= exchange.end_ns);
        }
    }
});
