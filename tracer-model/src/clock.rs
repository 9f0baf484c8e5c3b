//! Where a request's span at its server lies within that of its client, when their clocks differ.

/// By how much a child must be moved to lie in the middle of its parent, nanoseconds; 0 if it lies within. None if it took
/// longer than its parent. Each is told by start and duration.
///
/// Without the child's time, what is left of the parent's was on the way: half there and half back is the best guess.
pub fn centring_ns(child: (u64, u64), parent: (u64, u64)) -> Option<i128> {
    let (child_start, child_ns) = (i128::from(child.0), i128::from(child.1));
    let (parent_start, parent_ns) = (i128::from(parent.0), i128::from(parent.1));
    if child_ns > parent_ns {
        return None;
    }
    if child_start >= parent_start && child_start + child_ns <= parent_start + parent_ns {
        return Some(0);
    }
    Some(parent_start + (parent_ns - child_ns) / 2 - child_start)
}
