//! What is known of the calls of proxies.

use super::*;

#[test]
fn a_proxy_calls_for_the_request_that_it_read_last_or_connected_for() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    world.correlator.fork(1, 2);
    let worker = thread(2, 2);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (kept, _) = world.connection(5);
    let first = world.open(&one, worker, 0, None);
    // It connects for the first request, then reads the second, and sends the first's call later.
    let (upstream, _) = world.connection(3);
    let second = world.open(&two, worker, 0, None);
    let (other, _) = world.connection(4);
    let for_first = world.open(&upstream, worker, 0, None);
    let for_second = world.open(&other, worker, 0, None);
    let check = world.open(&kept, worker, 50, None);
    let links = [&check, &for_second, &for_first].map(|pending| world.close(pending));
    assert_eq!(links[0].parent, None, "one call for each time that it read");
    let (outer_second, outer_first) = (world.close(&second), world.close(&first));
    assert_eq!(links[1].parent, Some((outer_second.span_id, Evidence::Proxy)));
    assert_eq!(links[2].parent, Some((outer_first.span_id, Evidence::Proxy)));
}

#[test]
fn a_proxy_goes_on_with_a_request_when_it_reads_an_answer_for_it() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let worker = thread(1, 1);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let first = world.ask_for(1).open(&one, worker, 0, None);
    let (authentication, _) = world.connection(3);
    let question = world.ask_for(9).open(&authentication, worker, 0, None);
    let second = world.ask_for(2).open(&two, worker, 0, None);
    let at = world.now();
    world.correlator.read(&authentication.0, worker, at);
    world.close(&question);
    let (upstream, _) = world.connection(4);
    let call = world.ask_for(1).open(&upstream, worker, 0, None);
    let link = world.close(&call);
    world.close(&second);
    let outer = world.close(&first);
    assert_eq!(link.parent, Some((outer.span_id, Evidence::Proxy)));
}

#[test]
fn more_of_a_request_is_no_reason_for_a_second_call() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let worker = thread(1, 1);
    let (_, one) = world.connection(1);
    let request = world.open(&one, worker, 0, None);
    let (upstream, _) = world.connection(2);
    let call = world.open(&upstream, worker, 0, None);
    let at = world.now();
    world.correlator.read(&one.0, worker, at);
    let (check, _) = world.connection(3);
    let second = world.open(&check, worker, 0, None);
    assert_eq!(world.close(&second).parent, None);
    assert_eq!(evidence(&world.close(&call)), Some(Evidence::Proxy));
    world.close(&request);
}

/// A proxy that reads what has come, and then calls.
const IN_ROUNDS: &str = "/usr/sbin/haproxy";

#[test]
fn calls_follow_in_the_order_of_the_requests_that_were_read_before_them() {
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (first_upstream, first_backend) = world.connection(3);
    let (second_upstream, _) = world.connection(4);
    let first = world.open(&one, worker, 100, None);
    let second = world.open(&two, worker, 100, None);
    let for_first = world.open(&first_upstream, worker, 100, None);
    let below = world.open(&first_backend, thread(2, 2), 100, None);
    let for_second = world.open(&second_upstream, worker, 100, None);
    let links = [&below, &for_first, &for_second, &first, &second].map(|pending| world.close(pending));
    let [below, for_first, for_second, first, second] = links;
    assert_eq!(for_first.parent, Some((first.span_id, Evidence::Proxy)));
    assert_eq!(for_second.parent, Some((second.span_id, Evidence::Proxy)));
    assert_eq!(below.parent, Some((for_first.span_id, Evidence::Wire)));
    assert_eq!((below.trace_id, for_first.trace_id), (first.trace_id, first.trace_id));
}

#[test]
fn of_two_requests_that_wait_one_call_may_be_for_either() {
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let [one, two, three] = [1, 2, 3].map(|number| world.connection(number).1);
    let first = world.open(&one, worker, 0, None);
    let second = world.open(&two, worker, 0, None);
    let unclear = world.call(worker);
    // One of the two is delayed: whose call comes now?
    let third = world.open(&three, worker, 0, None);
    let links = [unclear, world.call(worker), world.call(worker)];
    assert!(links.iter().all(|link| link.parent.is_none()));
    for pending in [&first, &second, &third] {
        world.close(pending);
    }
    // All is clear again.
    let fourth = world.open(&one, worker, 100, None);
    assert_eq!(evidence(&world.call(worker)), Some(Evidence::Proxy));
    world.close(&fourth);
}

#[test]
fn an_answer_before_all_calls_are_clear_leaves_them_unclear() {
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let first = world.open(&one, worker, 0, None);
    let second = world.open(&two, worker, 0, None);
    let unclear = world.call(worker);
    world.correlator.answered(&one.0, Kind::Serve, 0, (1, thread(1, 1)));
    assert_eq!((unclear.parent, world.call(worker).parent), (None, None));
    world.close(&first);
    world.close(&second);
}

#[test]
fn what_a_proxy_calls_by_itself_is_for_no_request() {
    const CHECK: u64 = 9;
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    // Seen once it may have been for a request from before the agent.
    let check = world.ask_for(CHECK).call(worker);
    let early = world.open(&one, worker, 0, None);
    assert_eq!(evidence(&world.call(worker)), Some(Evidence::Proxy));
    world.close(&early);
    world.now_ns += 2_000_000_000;
    let again = world.call(worker);
    let first = world.ask_for(1).open(&one, worker, 100, None);
    let during = world.ask_for(CHECK).call(worker);
    let second = world.open(&two, worker, 0, None);
    let unclear = world.call(worker);
    assert!([check, again, during, unclear].iter().all(|link| link.parent.is_none()));
    world.close(&second);
    assert_eq!(evidence(&world.ask_for(1).call(worker)), Some(Evidence::Proxy), "nothing else waits");
    world.close(&first);
}

/// Both kinds, and what one of them is called.
const PROXIES: [&str; 2] = ["/usr/sbin/nginx", IN_ROUNDS];

#[test]
fn a_delayed_request_does_not_get_the_call_of_another() {
    for program in PROXIES {
        for (targets, linked) in [([1, 2], true), ([1, 1], false)] {
            let mut world = World::new();
            world.correlator.program(1, program, None);
            let worker = thread(1, 1);
            let [one, two] = [1, 2].map(|number| world.connection(number).1);
            let first = world.ask_for(targets[0]).open(&one, worker, 0, None);
            world.now_ns += 10_000_000;
            let second = world.ask_for(targets[1]).open(&two, worker, 0, None);
            // Both have waited: the first is called for first, or last.
            let made = [world.ask_for(targets[1]).call(worker), world.ask_for(targets[0]).call(worker)];
            let (first, second) = (world.close(&first), world.close(&second));
            let expected = [&second, &first].map(|link| linked.then_some(link.span_id));
            assert_eq!(made.map(|link| link.parent.map(|(id, _)| id)), expected, "{program}");
        }
    }
}

#[test]
fn of_several_that_wait_the_last_is_known_when_the_others_have_called() {
    let mut world = World::new();
    world.correlator.program(1, PROXIES[0], None);
    let worker = thread(1, 1);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let first = world.open(&one, worker, 0, None);
    let (for_first, _) = world.connection(3);
    let second = world.open(&two, worker, 0, None);
    let (for_second, _) = world.connection(4);
    // What was connected last is sent first, and asks for something that it does not tell.
    world.ask_for(7);
    let made_second = world.open(&for_second, worker, 0, None);
    let made_first = world.open(&for_first, worker, 0, None);
    let links = [&made_second, &made_first, &second, &first].map(|pending| world.close(pending));
    assert_eq!(links[0].parent, Some((links[2].span_id, Evidence::Proxy)));
    assert_eq!(links[1].parent, Some((links[3].span_id, Evidence::Proxy)));
}

#[test]
fn pipelined_requests_are_called_for_one_after_the_other() {
    for program in PROXIES {
        let mut world = World::new();
        world.correlator.program(1, program, None);
        let worker = thread(1, 1);
        let (_, one) = world.connection(1);
        let requests = [0, 100].map(|offset| world.open(&one, worker, offset, None));
        let calls = requests.map(|request| (world.call(worker), world.close(&request)));
        for (call, request) in calls {
            assert_eq!(call.parent, Some((request.span_id, Evidence::Proxy)), "{program}");
        }
    }
}

#[test]
fn a_retry_is_not_for_what_waits_beside_it() {
    let mut world = World::new();
    world.correlator.program(1, PROXIES[0], None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let first = world.ask_for(1).open(&one, worker, 0, None);
    assert_eq!(evidence(&world.ask_for(5).call(worker)), Some(Evidence::Proxy));
    let upload = world.ask_for(2).open(&two, worker, 0, None);
    assert_eq!(evidence(&world.ask_for(5).call(worker)), None);
    assert_eq!(evidence(&world.ask_for(6).call(worker)), Some(Evidence::Proxy));
    world.close(&first);
    world.close(&upload);
}

#[test]
fn a_proxy_with_requests_that_are_not_seen_has_no_links_of_its_own() {
    for program in PROXIES {
        let mut world = World::new();
        world.correlator.program(1, program, None);
        world.correlator.opaque(1);
        let worker = thread(1, 1);
        let (_, one) = world.connection(1);
        let request = world.open(&one, worker, 0, None);
        assert_eq!(world.call(worker).parent, None, "{program}");
        world.close(&request);
    }
}

#[test]
fn a_call_below_which_a_span_was_told_stays_where_it_is() {
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let (upstream, backend) = world.connection(3);
    let first = world.open(&one, worker, 0, None);
    let second = world.open(&two, worker, 0, None);
    let for_first = world.open(&upstream, worker, 100, None);
    let below = world.open(&backend, thread(2, 2), 100, None);
    let below = world.close(&below);
    assert_eq!(evidence(&world.call(worker)), Some(Evidence::Proxy));
    let for_first = world.close(&for_first);
    assert_eq!((for_first.parent, for_first.trace_id), (None, below.trace_id));
    world.close(&first);
    world.close(&second);
}

#[test]
fn a_call_that_carries_its_trace_leaves_the_others_in_order() {
    let mut world = World::new();
    world.correlator.program(1, IN_ROUNDS, None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let (upstream, _) = world.connection(3);
    let first = world.open(&one, worker, 0, Some(incoming(7)));
    let second = world.open(&two, worker, 0, None);
    let carries = world.open(&upstream, worker, 100, Some(incoming(7)));
    let for_second = world.call(worker);
    assert_eq!(evidence(&world.close(&carries)), Some(Evidence::ForwardedHeader));
    world.close(&first);
    assert_eq!(for_second.parent, Some((world.close(&second).span_id, Evidence::Proxy)));
}

/// A world with this proxy, of one thread.
fn proxy(executable: &str) -> (World, Unit) {
    let mut world = World::new();
    world.correlator.program(1, executable, None);
    (world, thread(1, 1))
}

#[test]
fn a_call_without_an_answer_is_made_again_and_not_for_one_that_waits() {
    // Whether the request that waits asks for the same.
    for is_alike in [true, false] {
        let (mut world, worker) = proxy("/usr/sbin/nginx");
        let [one, two] = [1, 2].map(|number| world.connection(number).1);
        let first = world.ask_for(1).open(&one, worker, 0, None);
        let (upstream, _) = world.connection(3);
        let lost = world.ask_for(1).open(&upstream, worker, 0, None);
        let delayed = world.ask_for(if is_alike { 1 } else { 2 }).open(&two, worker, 0, None);
        let at = world.now();
        world.correlator.send_closed(upstream.0.number, at);
        let again = world.ask_for(1).call(worker);
        let outer = world.close(&first);
        assert_eq!(again.parent, (!is_alike).then_some((outer.span_id, Evidence::Proxy)));
        assert_eq!(world.close(&lost).parent, Some((outer.span_id, Evidence::Proxy)));
        world.close(&delayed);
    }
}

#[test]
fn a_connection_that_is_closed_behind_its_answer_is_no_reason_for_a_second_call() {
    let (mut world, worker) = proxy(IN_ROUNDS);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let first = world.open(&one, worker, 0, None);
    let (upstream, _) = world.connection(3);
    let call = world.open(&upstream, worker, 0, None);
    world.correlator.answered(&upstream.0, Kind::Call, 0, (1, thread(1, 1)));
    let at = world.now();
    world.correlator.send_closed(upstream.0.number, at);
    let second = world.open(&two, worker, 0, None);
    let for_second = world.call(worker);
    assert_eq!(evidence(&world.close(&call)), Some(Evidence::Proxy));
    world.close(&first);
    assert_eq!(for_second.parent, Some((world.close(&second).span_id, Evidence::Proxy)));
}

#[test]
fn of_an_unclear_call_that_is_lost_nobody_knows_who_calls_again() {
    let (mut world, worker) = proxy(IN_ROUNDS);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let first = world.open(&one, worker, 0, None);
    let second = world.open(&two, worker, 0, None);
    let (upstream, _) = world.connection(3);
    let lost = world.open(&upstream, worker, 0, None);
    let at = world.now();
    world.correlator.send_closed(upstream.0.number, at);
    // One of the two may be delayed: this may be for the other, as the lost one was.
    let again = world.call(worker);
    assert_eq!((again.parent, world.close(&lost).parent), (None, None));
    world.close(&first);
    world.close(&second);
}

#[test]
fn where_too_many_wait_calls_are_for_none_of_them_also_later() {
    let (mut world, worker) = proxy(IN_ROUNDS);
    let all: Vec<Pending> = (0..300)
        .map(|number| {
            let (_, server) = world.connection(number);
            world.open(&server, worker, 0, None)
        })
        .collect();
    assert_eq!(world.call(worker).parent, None);
    for pending in &all[1..] {
        world.close(pending);
    }
    // The one that is left may have had its call.
    assert_eq!(world.call(worker).parent, None);
    world.close(&all[0]);
    let (_, next) = world.connection(1000);
    let request = world.open(&next, worker, 0, None);
    assert_eq!(evidence(&world.call(worker)), Some(Evidence::Proxy));
    world.close(&request);
}

#[test]
fn a_request_whose_call_was_not_known_may_be_called_for_again_when_one_is_lost() {
    let (mut world, worker) = proxy("/usr/sbin/nginx");
    let [one, two, three] = [1, 2, 3].map(|number| world.connection(number).1);
    let first = world.open(&one, worker, 0, None);
    let second = world.open(&two, worker, 0, None);
    let (upstream, _) = world.connection(4);
    let lost = world.open(&upstream, worker, 0, None);
    assert_eq!(world.call(worker).parent, None);
    world.close(&second);
    // The call of the first is lost, and made again while another request is delayed.
    let third = world.open(&three, worker, 0, None);
    let at = world.now();
    world.correlator.send_closed(upstream.0.number, at);
    assert_eq!(world.call(worker).parent, None);
    assert_eq!(world.close(&lost).parent, None);
    world.close(&first);
    world.close(&third);
}

#[test]
fn what_may_have_called_may_still_call() {
    let (mut world, worker) = proxy("/usr/sbin/nginx");
    let [one, two, three, four] = [1, 2, 3, 4].map(|number| world.connection(number).1);
    let [first, second, third] = [&one, &two, &three].map(|server| world.open(server, worker, 0, None));
    // For one of the three; when it is answered, of the others nobody knows.
    world.call(worker);
    world.close(&first);
    let fourth = world.open(&four, worker, 0, None);
    let calls = [(); 3].map(|()| world.call(worker).parent);
    assert_eq!(calls, [None; 3]);
    world.close(&second);
    let fifth = world.open(&one, worker, 100, None);
    assert_eq!(evidence(&world.call(worker)), Some(Evidence::Proxy), "all others have called");
    for pending in [&third, &fourth, &fifth] {
        world.close(pending);
    }
}

/// A proxy whose two client requests, for two server requests, are pipelined on one connection.
struct Pipelined {
    world: World,
    worker: Unit,
    upstream: End,
    requests: [Pending; 2],
    made: [Pending; 2],
}

impl Pipelined {
    fn new() -> Self {
        let (mut world, worker) = proxy("/usr/sbin/nginx");
        let [one, two] = [1, 2].map(|number| world.connection(number).1);
        let first = world.ask_for(1).open(&one, worker, 0, None);
        let (upstream, _) = world.connection(3);
        let for_first = world.ask_for(1).open(&upstream, worker, 0, None);
        let second = world.ask_for(2).open(&two, worker, 0, None);
        let for_second = world.ask_for(2).open(&upstream, worker, 100, None);
        Self { world, worker, upstream, requests: [first, second], made: [for_first, for_second] }
    }

    /// The worker reads from the connection, and the parser finds the responses to these client requests,
    /// whole.
    fn read(&mut self, answers: &[usize]) {
        let at = self.world.now();
        self.world.correlator.read(&self.upstream.0, self.worker, at);
        for at in answers {
            let made = &self.made[*at];
            self.world.correlator.answered(&self.upstream.0, Kind::Call, made.offset, (1, thread(1, 1)));
            self.world.close(made);
        }
    }

    /// The parent of one more client request, which asks for this: the index of its server request.
    fn parent_of_next(&mut self, target: u64) -> Option<usize> {
        let link = self.world.ask_for(target).call(self.worker);
        let parent = link.parent.map(|(id, _)| id)?;
        let ids = self.requests.each_ref().map(|request| {
            Ids::new(1).span_id(request.facts.number, Direction::Receive, request.facts.first_received)
        });
        ids.iter().position(|id| *id == parent)
    }
}

#[test]
fn the_answer_on_a_pipelined_connection_belongs_to_the_first_request_that_is_open() {
    let mut pipelined = Pipelined::new();
    pipelined.read(&[0]);
    assert_eq!(pipelined.parent_of_next(9), Some(0));
    pipelined.read(&[1]);
    assert_eq!(pipelined.parent_of_next(8), Some(1));
}

#[test]
fn one_read_may_hold_the_answers_to_several_pipelined_requests() {
    for (target, expected) in [(1, Some(0)), (2, Some(1)), (9, None)] {
        let mut pipelined = Pipelined::new();
        pipelined.read(&[0, 1]);
        assert_eq!(pipelined.parent_of_next(target), expected, "the proxy may continue with either");
    }
}

#[test]
fn answers_out_of_order_belong_to_the_requests_that_the_parser_names() {
    let mut pipelined = Pipelined::new();
    pipelined.read(&[1]);
    // Before the parser had seen them, the bytes were taken for the first one's.
    assert_eq!(pipelined.parent_of_next(9), None);
    assert_eq!(pipelined.parent_of_next(2), Some(1));
    pipelined.read(&[0]);
    assert_eq!(pipelined.parent_of_next(1), Some(0));
}

#[test]
fn an_answer_that_comes_too_late_is_not_taken_for_that_of_the_next_request() {
    let mut pipelined = Pipelined::new();
    let late = &pipelined.made[0];
    let mut exchange = pipelined.world.exchange(late, pipelined.worker);
    exchange.outcome = Outcome::Timeout;
    without_status(&mut exchange);
    pipelined.world.correlator.closed(&late.facts, &exchange);
    pipelined.world.correlator.link(&late.facts, &exchange);
    pipelined.world.close(&pipelined.requests[0]);
    pipelined.read(&[]);
    assert_eq!(pipelined.parent_of_next(9), None);
    pipelined.read(&[1]);
    assert_eq!(pipelined.parent_of_next(9), Some(1));
}

#[test]
fn a_rewritten_target_is_known_by_an_end_that_only_one_waiting_request_has() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let worker = thread(1, 1);
    let [one, two, three] = [1, 2, 3].map(|number| world.connection(number).1);
    // What is waiting for long, so that no other rule tells the requests apart.
    let first = world.ask_path("/fast/x/1").open(&one, worker, 0, None);
    let second = world.ask_path("/fast/x/2").open(&two, worker, 0, None);
    let third = world.ask_path("/slow/x/2").open(&three, worker, 0, None);
    let for_first = world.ask_path("/x/1").call(worker);
    let for_either = world.ask_path("/x/2").call(worker);
    let [first, _, _] = [&first, &second, &third].map(|pending| world.close(pending));
    assert_eq!(for_first.parent, Some((first.span_id, Evidence::Proxy)));
    assert_eq!((for_either.parent, for_either.withheld), (None, Some(Withheld::Ambiguous)));
}

#[test]
fn a_target_is_rewritten_as_it_was_before() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let worker = thread(1, 1);
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let pairs = |world: &mut World, from: u64| {
        let first = world.ask_path(&format!("/old/{from}")).open(&one, worker, from, None);
        let second = world.ask_path(&format!("/old/{}", from + 1)).open(&two, worker, from, None);
        let call = world.ask_path(&format!("/new/{from}")).call(worker);
        let first = world.close(&first);
        world.close(&second);
        call.parent.is_some_and(|(parent, _)| parent == first.span_id)
    };
    assert!(!pairs(&mut world, 10));
    let alone = world.ask_path("/old/20").open(&one, worker, 20, None);
    assert_eq!(evidence(&world.ask_path("/new/20").call(worker)), Some(Evidence::Proxy));
    world.close(&alone);
    assert!(pairs(&mut world, 30));
}

/// nginx, at work for the client with this descriptor.
fn for_client(descriptor: u64) -> Unit {
    Unit { task: 1 << 40 | descriptor, ..thread(1, 1) }
}

#[test]
fn an_upstream_request_that_nginx_keeps_with_a_client_is_for_that_client_s_request() {
    for is_opaque in [false, true] {
        let mut world = World::new();
        world.correlator.program(1, "/usr/sbin/nginx", None);
        if is_opaque {
            world.correlator.opaque(1);
        }
        let (_, one) = world.connection(1);
        let (_, two) = world.connection(2);
        let requests = [(&one, 9), (&two, 10)];
        let [first, second] = requests.map(|(end, fd)| world.open(end, for_client(fd), 0, None));
        let calls = [10, 9, 9, 11].map(|fd| world.call(for_client(fd)).parent);
        let (second, first) = (world.close(&second), world.close(&first));
        let of = |link: &Link| Some((link.span_id, Evidence::RequestStructure));
        assert_eq!(calls, [of(&second), of(&first), of(&first), None], "opaque: {is_opaque}");
        assert_eq!(world.call(for_client(9)).parent, None, "it is answered");
    }
}

#[test]
fn of_two_connections_that_had_one_descriptor_the_later_is_the_client_s() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    // The end of the first was not told.
    let first = world.open(&one, for_client(9), 0, None);
    let second = world.open(&two, for_client(9), 0, None);
    let call = world.call(for_client(9));
    let (second, _) = (world.close(&second), world.close(&first));
    assert_eq!(call.parent, Some((second.span_id, Evidence::RequestStructure)));
}

#[test]
fn what_nginx_keeps_with_a_client_that_pipelines_may_be_for_the_request_before() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let (_, one) = world.connection(1);
    let [first, second] = [0, 100].map(|offset| world.open(&one, for_client(9), offset, None));
    world.close(&first);
    // A mirrored request of the first may leave after its response.
    let evidence = evidence(&world.call(for_client(9)));
    assert_ne!(evidence, Some(Evidence::RequestStructure));
    world.close(&second);
}
