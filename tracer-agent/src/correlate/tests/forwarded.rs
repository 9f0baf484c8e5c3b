//! Headers of other formats than W3C's.

use super::*;

const SERVER: Unit = Unit::thread(1, 1);
const OTHER: Unit = Unit::thread(1, 9);

fn world(formats: &[HeaderFormat]) -> World {
    let mut world = World::new();
    world.formats = HeaderFormats::new(formats);
    world
}

fn b3(trace: u8, span: u8) -> String {
    format!("b3: {trace:032x}-{span:016x}-1")
}

fn id<const N: usize>(last: u8) -> [u8; N] {
    let mut id = [0; N];
    id[N - 1] = last;
    id
}

#[test]
fn a_configured_format_gives_trace_parent_and_decision() {
    for (formats, expected) in
        [(&[HeaderFormat::B3][..], Some(HeaderFormat::B3)), (&[], None), (&[HeaderFormat::Xray], None)]
    {
        let mut world = world(formats);
        let (_, one) = world.connection(1);
        let request = world.open_with(&one, SERVER, 0, None, Some(&b3(7, 8)));
        let link = world.close(&request);
        assert_eq!(link.format, expected);
        assert_eq!(link.parent, expected.map(|_| (id(8), Evidence::Header)));
        if expected.is_some() {
            assert_eq!((link.trace_id, link.flags), (id(7), 0x301));
        }
    }
}

#[test]
fn a_traceparent_is_stronger_than_what_is_configured() {
    let mut world = world(&[HeaderFormat::B3]);
    let (_, one) = world.connection(1);
    let request = world.open_with(&one, SERVER, 0, Some(incoming(9)), Some(&b3(7, 8)));
    let link = world.close(&request);
    assert_eq!((link.trace_id, link.parent, link.format), ([9; 16], Some(([9; 8], Evidence::Header)), None));
}

#[test]
fn a_decision_alone_holds_for_a_root_and_what_hangs_on_it() {
    let mut world = world(&[HeaderFormat::B3]);
    let (client, server) = world.connection(1);
    let denied = world.open_with(&client, OTHER, 0, None, Some("b3: 0"));
    let served = world.open_with(&server, thread(2, 2), 0, None, Some("b3: 0"));
    let (inner, outer) = (world.close(&served), world.close(&denied));
    assert_eq!((outer.parent, outer.flags & 1), (None, 0));
    assert_eq!((inner.trace_id, inner.flags & 1), (outer.trace_id, 0));
    // Without a decision the sampler makes it, and the id is not called random.
    let (_, one) = world.connection(2);
    let open = world.open_with(&one, SERVER, 0, None, Some(&b3(7, 8)[..4 + 32 + 1 + 16]));
    assert_eq!(world.close(&open).flags, 0x301);
}

#[test]
fn a_call_with_the_trace_id_of_one_open_request_belongs_to_it_in_any_format() {
    let mut world = world(&[HeaderFormat::Datadog, HeaderFormat::B3]);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (call, _) = world.connection(3);
    let both = format!("{}\r\nx-datadog-trace-id: 5\r\nx-datadog-parent-id: 6", b3(7, 8));
    // The trace goes on by the stronger header; the service forwards only the other.
    let first = world.open_with(&one, SERVER, 0, None, Some(&both));
    let second = world.open_with(&two, SERVER, 0, None, Some(&b3(9, 8)));
    let made = world.open_with(&call, OTHER, 10, None, Some(&b3(7, 8)));
    let link = world.close(&made);
    assert_eq!((evidence(&link), link.format), (Some(Evidence::ForwardedHeader), Some(HeaderFormat::B3)));
    assert_eq!(link.trace_id, id(5));
    assert_eq!(link.parent.map(|(id, _)| id), Some(world.close(&first).span_id));
    world.close(&second);
}

#[test]
fn a_call_with_the_id_of_one_open_request_belongs_to_it() {
    let mut world = world(&[HeaderFormat::XRequestId]);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (_, three) = world.connection(3);
    let (call, _) = world.connection(4);
    let field = |id: &str| format!("x-request-id: {id}");
    let first = world.open_with(&one, SERVER, 0, None, Some(&field("aaaaaaaa")));
    let second = world.open_with(&two, SERVER, 0, None, Some(&field("bbbbbbbb")));
    let made = world.open_with(&call, OTHER, 10, None, Some(&field("bbbbbbbb")));
    let link = world.close(&made);
    assert_eq!(
        (evidence(&link), link.format),
        (Some(Evidence::ForwardedHeader), Some(HeaderFormat::XRequestId))
    );
    let unknown = world.open_with(&call, OTHER, 20, None, Some(&field("cccccccc")));
    assert_eq!(evidence(&world.close(&unknown)), None);
    let third = world.open_with(&three, SERVER, 0, None, Some(&field("bbbbbbbb")));
    let unclear = world.open_with(&call, OTHER, 30, None, Some(&field("bbbbbbbb")));
    assert_eq!(evidence(&world.close(&unclear)), None, "two are open with this id");
    assert_eq!(link.parent.map(|(id, _)| id), Some(world.close(&second).span_id));
    let again = world.open_with(&call, OTHER, 40, None, Some(&field("bbbbbbbb")));
    let first_again = world.open_with(&call, OTHER, 45, None, Some(&field("aaaaaaaa")));
    let elsewhere = world.open_with(&call, thread(2, 2), 50, None, Some(&field("aaaaaaaa")));
    assert_eq!(evidence(&world.close(&elsewhere)), None, "another process");
    assert_eq!(world.close(&again).parent, None, "the one that has ended may still be worked for");
    assert_eq!(world.close(&first_again).parent.map(|(id, _)| id), Some(world.close(&first).span_id));
    world.close(&third);
}

#[test]
fn a_context_that_was_passed_on_names_one_request_and_none_after_that_has_ended() {
    let context = |span: u8| Incoming { parent_id: [span; 8], ..super::incoming(7) };
    let mut world = world(&[]);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (call, _) = world.connection(3);
    let first = world.open(&one, SERVER, 0, Some(context(1)));
    let second = world.open(&two, SERVER, 0, Some(context(2)));
    let of_first = world.open(&call, OTHER, 10, Some(context(1)));
    let unclear = world.open(&call, OTHER, 20, Some(context(9)));
    assert_eq!(world.close(&unclear).parent, None, "two came with this trace");
    let of_first = world.close(&of_first);
    assert_eq!(of_first.parent, Some((world.close(&first).span_id, Evidence::ForwardedHeader)));
    // What works on after its answer passes on what it came with.
    let background = world.open(&call, OTHER, 30, Some(context(1)));
    let background = world.close(&background);
    assert_eq!((background.trace_id, background.parent), ([7; 16], Some(([1; 8], Evidence::Header))));
    let unclear = world.open(&call, OTHER, 40, Some(context(8)));
    assert_ne!(evidence(&world.close(&unclear)), Some(Evidence::ForwardedHeader), "of which of the two?");
    world.close(&second);
}

#[test]
fn of_two_requests_with_one_context_the_first_may_still_be_worked_for() {
    let mut world = world(&[]);
    let [one, two, three] = [1, 2, 3].map(|number| world.connection(number).1);
    let (call, _) = world.connection(4);
    let other = world.open(&three, SERVER, 0, None);
    world.open(&one, SERVER, 0, Some(incoming(7)));
    // Its caller gave up, and comes again with the same.
    world.correlator.left(one.0.number);
    let again = world.open(&two, SERVER, 0, Some(incoming(7)));
    let made = world.open(&call, OTHER, 0, Some(incoming(7)));
    // Below the span of the caller, and of neither request.
    assert_eq!(world.close(&made).parent, Some(([7; 8], Evidence::Header)));
    world.close(&again);
    world.close(&other);
}

#[test]
fn requests_of_a_circle_do_not_hang_on_each_other() {
    let mut world = world(&[]);
    let trace = |span: [u8; 8]| Incoming { parent_id: span, ..super::incoming(7) };
    let (a_to_b, at_b) = world.connection(1);
    let (b_to_a, at_a) = world.connection(2);
    let (a, b) = (thread(1, 1), thread(2, 2));
    // The record of the first call comes last, and with it what would close the circle.
    let served = world.open(&at_b, b, 0, Some(trace([1; 8])));
    let back = world.open(&b_to_a, b, 0, Some(trace([1; 8])));
    let again = world.open(&at_a, a, 0, Some(trace([3; 8])));
    let first = world.open(&a_to_b, a, 0, Some(trace([1; 8])));
    let links = [&served, &back, &again, &first].map(|pending| world.close(pending));
    for link in &links {
        assert_ne!(link.parent.map(|(id, _)| id), Some(link.span_id));
    }
    let parent_of = |id: [u8; 8]| links.iter().find(|link| link.span_id == id).and_then(|link| link.parent);
    for link in &links {
        let mut steps = 0;
        let mut above = link.parent;
        while let Some((id, _)) = above {
            above = parent_of(id);
            steps += 1;
            assert!(steps < 5, "{links:?}");
        }
    }
}

#[test]
fn a_request_that_came_with_a_header_that_was_passed_on_is_below_the_client_request_that_passed_it_on() {
    for server_first in [false, true] {
        let mut world = World::new();
        let (_, front) = world.connection(1);
        let (upstream, back) = world.connection(2);
        let first = world.open(&front, SERVER, 0, Some(incoming(7)));
        let passed_on = |world: &mut World| world.open(&upstream, SERVER, 0, Some(incoming(7)));
        let arrived = |world: &mut World| world.open(&back, OTHER, 0, Some(incoming(7)));
        let (client, server) = if server_first {
            let server = arrived(&mut world);
            (passed_on(&mut world), server)
        } else {
            let client = passed_on(&mut world);
            (client, arrived(&mut world))
        };
        let of_server = world.close(&server);
        let of_client = world.close(&client);
        assert_eq!(of_server.parent, Some((of_client.span_id, Evidence::Wire)), "{server_first}");
        let of_first = world.close(&first);
        assert_eq!(of_client.parent, Some((of_first.span_id, Evidence::ForwardedHeader)));
        assert_eq!([of_server.trace_id, of_client.trace_id], [[7; 16]; 2]);
    }
}
