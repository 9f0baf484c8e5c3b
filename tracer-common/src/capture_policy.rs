//! Which bytes of a connection are copied.

/// Slots of the policy array, and of other arrays that are indexed by the connection number; a power of two.
pub const POLICY_SLOTS: u32 = 1 << 16;
/// Words of the policy array: one for each direction of each slot.
pub const POLICY_WORDS: u32 = 2 * POLICY_SLOTS;

/// The capture policy for one direction of a connection. It is one word of the policy array: the low 32 bits are
/// a position, 3 bits the kind, the rest a tag of the connection's number. The tag keeps two connections apart that
/// share a slot: each reads the other's word as [`CapturePolicy::Heads`], which costs copying and never hides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturePolicy {
    /// Copy the heads of messages. Every connection begins so.
    Heads,
    /// Copy nothing more, and send no records.
    Ignore,
    /// The bytes before `position` are a body.
    BodyUntil {
        /// Sequence number behind the body's last byte.
        position: u32,
    },
    /// Copy all bytes, up to [`OPEN_HEAD_BUDGET`](crate::OPEN_HEAD_BUDGET) of each system call.
    Everything,
    /// Copy the headers of HTTP/2 frames and the header blocks, wherever they stand. The kernel programs treat it
    /// as [`CapturePolicy::Everything`]: they do not follow frames yet.
    Frames,
}

/// Kind bits of a policy word: see [`CapturePolicy::word`].
pub const POLICY_HEADS: u64 = 0;
/// See [`POLICY_HEADS`].
pub const POLICY_IGNORE: u64 = 1;
/// See [`POLICY_HEADS`].
pub const POLICY_BODY: u64 = 2;
/// See [`POLICY_HEADS`]. This kind and all above it copy everything.
pub const POLICY_EVERYTHING: u64 = 3;
/// See [`POLICY_HEADS`].
pub const POLICY_FRAMES: u64 = 4;

/// The part of a connection's number that a policy word carries, in its place.
pub const fn policy_tag(connection: u64) -> u64 {
    (connection / POLICY_SLOTS as u64) << 35
}

/// The slot of a connection in arrays of [`POLICY_SLOTS`].
pub const fn policy_slot(connection: u64) -> u32 {
    (connection as u32) & (POLICY_SLOTS - 1)
}

/// The index of a direction's word in the policy array.
#[inline(always)]
pub const fn policy_index(connection: u64, direction: u8) -> u32 {
    policy_slot(connection) * 2 + (direction & 1) as u32
}

impl CapturePolicy {
    /// The word that stands for this policy on a direction of `connection`.
    pub const fn word(self, connection: u64) -> u64 {
        let (kind, position) = match self {
            Self::Heads => (POLICY_HEADS, 0),
            Self::Ignore => (POLICY_IGNORE, 0),
            Self::BodyUntil { position } => (POLICY_BODY, position),
            Self::Everything => (POLICY_EVERYTHING, 0),
            Self::Frames => (POLICY_FRAMES, 0),
        };
        policy_tag(connection) | kind << 32 | position as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RECEIVE, SEND};

    #[test]
    fn policy_words_of_connections_in_one_slot_differ() {
        let first = 7;
        let second = 7 + u64::from(POLICY_SLOTS);
        assert_eq!(policy_slot(first), policy_slot(second));
        assert_ne!(CapturePolicy::Ignore.word(first), CapturePolicy::Ignore.word(second));
        assert_eq!(CapturePolicy::Heads.word(3), 0);
    }

    #[test]
    fn each_direction_of_each_slot_has_a_word_of_its_own() {
        let last = u64::from(POLICY_SLOTS - 1);
        let indices = [(0, RECEIVE), (0, SEND), (1, RECEIVE), (last, SEND)];
        let indices = indices.map(|(connection, direction)| policy_index(connection, direction));
        assert_eq!(indices, [0, 1, 2, POLICY_WORDS - 1]);
    }

    #[test]
    fn kinds_of_policies_leave_the_tag_alone() {
        let connection = 7 + 5 * u64::from(POLICY_SLOTS);
        let all = [
            CapturePolicy::Heads,
            CapturePolicy::Ignore,
            CapturePolicy::BodyUntil { position: u32::MAX },
            CapturePolicy::Everything,
            CapturePolicy::Frames,
        ];
        for (kind, policy) in all.into_iter().enumerate() {
            let word = policy.word(connection);
            assert_eq!((word ^ policy_tag(connection)) >> 32, kind as u64);
        }
    }
}
