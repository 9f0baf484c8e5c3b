//! What a person can do about a gap or a loss.

#![forbid(unsafe_code)]

/// What can be done about what this counter of the ledger counts; empty if nothing can.
pub(super) fn remedy(counter: &str) -> &'static str {
    match counter {
        "bytes.lost" | "events.lost" => "Raise limits.ring, or select fewer processes.",
        "events.skipped" => "Another tracing program may run on this host: see `tracer doctor`.",
        "connections.evicted" => "Raise limits.connections.",
        "exchanges.forgotten" => "Raise limits.message_memory.",
        "connections.tls" | "connections.upper_layer" => {
            "TLS is not read yet: trace the service behind the proxy that ends TLS."
        }
        "process.selected_late" => {
            "Requests before that are missing: select by executable or port, which the kernel matches at once."
        }
        "process.attach_failed" => "`tracer doctor --pid N` says why.",
        "links.learning" => "It ends when some requests of the process have overlapped.",
        "links.several" | "links.other_thread" | "links.ambiguous" => {
            "`tracer doctor --pid N` says whether the runtime's tasks are read."
        }
        "links.opaque" => "The process serves connections that are not read: a link could be wrong.",
        "headers.unknown_port" | "headers.unknown_port_limited" => {
            "Name the port by --propagation-http-ports, if it speaks HTTP/1."
        }
        "headers.other_host" => "List the host in propagation.proxied_hosts.",
        "headers.destination" => "List the address in propagation.destinations.",
        "headers.memory" => "Raise net.ipv4.tcp_mem, or the memory limit of the group.",
        "headers.only_first" => {
            "A kernel with a right FIONREAD gives every request one: see `tracer doctor`."
        }
        "spans.unnamed" => "Configure routes in spans.routes, or raise their limit.",
        "spans.not_exported" | "spans.unconfirmed" => "Look at the export in `tracer status`.",
        "spans.not_stored" => "The viewer's store was too slow: the machine is short of processor time.",
        "tasks.unread" => "`tracer doctor --pid N` says what cannot be read.",
        _ => "",
    }
}
