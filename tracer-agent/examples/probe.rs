//! x
use std::time::Duration;
fn main() {
    let plan = tracer_agent::kernel::Plan { ring_bytes: 8 << 20, report_every_exec: false, ports: vec![], files: vec![], names: vec![] };
    let t = std::time::Instant::now();
    let mut k = match tracer_agent::kernel::Kernel::load(&plan) { Ok(k) => k, Err(e) => { println!("{e}"); std::process::exit(1) } };
    println!("loaded in {:?} {:?}", t.elapsed(), tracer_agent::kernel::verified_instructions(&k));
    let sel = k.selection();
    for a in std::env::args().skip(1) { sel.set(a.parse().unwrap(), true); }
    let mut ring = k.take_ring().unwrap();
    for _ in 0..50 { ring.wait(Duration::from_millis(100)); ring.drain(10000, |r| {
        match r[0] { 1 => { let h: tracer_common::DataHeader = unsafe { std::ptr::read_unaligned(r.as_ptr().cast()) }; println!("{h:?} {:?} .. {:?}", String::from_utf8_lossy(&r[56..56+(h.head_length as usize).min(60)]), String::from_utf8_lossy(&r[56+h.head_length as usize..][..h.tail_length as usize])); }
          2 => { let h: tracer_common::OpenRecord = unsafe { std::ptr::read_unaligned(r.as_ptr().cast()) }; println!("{h:?}"); }
          3 => { let h: tracer_common::CloseRecord = unsafe { std::ptr::read_unaligned(r.as_ptr().cast()) }; println!("{h:?}"); }
          _ => { let h: tracer_common::ProcessRecord = unsafe { std::ptr::read_unaligned(r.as_ptr().cast()) }; println!("{h:?}"); } }
    }); }
    println!("{:?} misses {}", k.counters(), k.recursion_misses());
}
