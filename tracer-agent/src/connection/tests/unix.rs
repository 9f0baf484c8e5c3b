//! The two ends of a Unix connection.

use tracer_common::{IDENTITY_SOCKETS, OPEN_SERVER, TRANSPORT_UNIX_STREAM};

use super::*;
use crate::endpoint::PeerIdentity;

fn end(connection: u64, flags: u8, own: u64, other: u64) -> OpenRecord {
    let mut record = OpenRecord {
        kind: RecordKind::Open as u8,
        flags: flags | OPEN_BIRTH,
        family: libc::AF_UNIX as u16,
        connection,
        transport: TRANSPORT_UNIX_STREAM,
        identity: IDENTITY_SOCKETS,
        ..OpenRecord::default()
    };
    record.local_address[..8].copy_from_slice(&own.to_ne_bytes());
    record.remote_address[..8].copy_from_slice(&other.to_ne_bytes());
    record
}

/// Sends are seen after they were done.
fn moved(driver: &mut Driver, connection: u64, direction: u8, bytes: &[u8], time_ns: u64) {
    let header = DataHeader {
        kind: RecordKind::Data as u8,
        direction,
        flags: FLAG_TURN,
        connection,
        time_ns,
        start_ns: time_ns,
        pid: connection as u32,
        length: bytes.len() as u32,
        ..DataHeader::default()
    };
    driver.table.data(&header, bytes, &[], &mut driver.seen);
}

#[test]
fn both_ends_find_each_other_by_the_numbers_of_their_sockets() {
    let mut driver = Driver::new();
    let (server, client) = (1, 2);
    driver.table.open(&end(server, OPEN_SERVER, 7, 8), b"/run/app.sock", &mut driver.seen);
    moved(&mut driver, server, RECEIVE, ASK, 10 * MS);
    driver.table.open(&end(client, OPEN_CLIENT, 8, 7), b"/run/app.sock", &mut driver.seen);
    // Another pair.
    driver.table.open(&end(3, 0, 17, 18), b"", &mut driver.seen);
    moved(&mut driver, client, SEND, ASK, 12 * MS);
    moved(&mut driver, server, SEND, ANSWER, 20 * MS);
    moved(&mut driver, client, RECEIVE, ANSWER, 21 * MS);
    for _ in 0..2 {
        driver.tick(22 * MS);
    }
    let made: Vec<_> = driver
        .seen
        .exchanges
        .iter()
        .map(|(facts, exchange)| (exchange.kind, exchange.start_ns, facts.peer, facts.local.to_string()))
        .collect();
    // The request was sent no later than it was read.
    assert_eq!(
        made,
        [
            (Kind::Serve, 10 * MS, Some(client), "/run/app.sock".to_owned()),
            (Kind::Call, 10 * MS, Some(server), "unix:[8]".to_owned()),
        ]
    );
    assert_eq!(driver.seen.exchanges[0].0.identity, PeerIdentity::Sockets { own: 7, other: 8 });
}
