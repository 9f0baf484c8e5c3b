/**
 * What a line of the ledger means, in a plain sentence: why calls have no parent. The agent tells it in few words; here is
 * space for more. By the counter's name.
 */
const REASONS: Record<string, string> = {
  "links.no_request":
    "The process was handling no request when it made these calls: a timer, a health check, or work after a response. They are roots of their own traces.",
  "links.learning":
    "Several requests were being handled at once, and the agent was still learning how this process shares its work among threads or tasks.",
  "links.several": "Several requests were being handled at once, and nothing told which of them made the call.",
  "links.other_thread": "The thread or task that made these calls was handling no request itself, or several.",
  "links.ambiguous": "The calls of this proxy fit none of the requests that it was handling, or more than one.",
  "links.earlier":
    "The only request being handled was already answered, or the call may still belong to a request before it.",
  "links.background":
    "The process also calls these addresses when it handles no request, so a call to them proves nothing.",
  "links.unseen":
    "The process may have been handling a request that the agent did not see: on a connection older than the agent, or of a client that left.",
  "links.opaque":
    "Some connections of the process cannot be read (TLS, HTTP/2), so a request on one of them may be the cause.",
  "links.off": "The rule that a sole request is the cause is switched off (links.sole_request).",
  "links.own_trace":
    "The call carried a trace header of its own, which names a trace that no request being handled has.",
  "links.late": "It became certain who made the call only after it was over: the first call on an older connection.",
  "links.left": "The call had left with its trace header before its parent was known.",
  "links.other_trace":
    "The call left with the header of one trace, and its span stands in another: its cause was seen too late.",
};

/** What a line means in a plain sentence; what the agent says of it if there is none. */
export function reasonOf(name: string, meaning: string): string {
  return REASONS[name] ?? meaning;
}
