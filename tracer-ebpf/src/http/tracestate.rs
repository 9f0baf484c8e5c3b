//! The list of a `tracestate`, by the rules of W3C trace context level 2 (section 3.3.1): a list that breaks one is as
//! if absent. One step looks at one byte, in the loop of a helper. Two members with one key are not looked for.

use tracer_common::MAX_STATE;

use super::{
    Text, TextMut,
    head::{Head, STATES},
};

/// What was seen of a list.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Members {
    begin: u32,
    length: u32,
    /// `Members::*`.
    part: u32,
    /// Bytes of the key or value that is looked at.
    bytes: u32,
    /// Bytes of the value up to its last that is not blank.
    value: u32,
    /// Members so far.
    count: u32,
    /// Not 0 once the list breaks a rule.
    is_wrong: u32,
    /// Not 0 if the value has a tab behind it.
    has_tab: u32,
}

impl Members {
    /// The list of `length` bytes from `begin` on.
    pub(crate) const fn new(begin: u32, length: u32) -> Self {
        Self { begin, length, part: Self::BETWEEN, bytes: 0, value: 0, count: 0, is_wrong: 0, has_tab: 0 }
    }

    /// Whether no rule was broken.
    #[inline(always)]
    pub(crate) fn is_valid(&self) -> bool {
        self.is_wrong == 0
    }

    /// Before a key.
    const BETWEEN: u32 = 0;
    const KEY: u32 = 1;
    const VALUE: u32 = 2;
    /// Most of a list.
    const MOST: u32 = 32;
    /// Longest key or value.
    const LONGEST: u32 = 256;
}

/// Looks at the byte with this number; the list ends as a member does. Returns whether all is known.
#[inline(always)]
pub(crate) fn step(members: &mut Members, text: &impl Text, index: u64) -> bool {
    let at = index as u32;
    let is_end = at >= members.length;
    let byte = if is_end { b',' } else { text.word(u64::from(members.begin + at)) as u8 };
    let is_blank = byte == b' ' || byte == b'\t';
    let is_plain = byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut is_right = true;
    match members.part {
        Members::BETWEEN => {
            if !is_blank && byte != b',' {
                members.part = Members::KEY;
                members.bytes = 1;
                members.count += 1;
                is_right = is_plain && members.count <= Members::MOST;
            }
        }
        Members::KEY => {
            members.bytes += 1;
            if byte == b'=' {
                members.part = Members::VALUE;
                members.bytes = 0;
                members.value = 0;
                members.has_tab = 0;
            } else {
                let is_sign = matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
                is_right = (is_plain || is_sign) && members.bytes <= Members::LONGEST;
            }
        }
        _ => {
            members.bytes += 1;
            if byte == b',' {
                members.part = Members::BETWEEN;
                is_right = members.value != 0 && members.value <= Members::LONGEST;
            } else if byte == b'\t' {
                members.has_tab = 1;
            } else if byte != b' ' {
                members.value = members.bytes;
                is_right = byte.is_ascii_graphic() && byte != b'=' && members.has_tab == 0;
            }
        }
    }
    members.is_wrong |= u32::from(!is_right);
    is_end || !is_right
}

/// Where the `tracestate` of a head begins, and its length; 0 for none. Several fields are put together, over the
/// bytes before them in the head.
#[inline(always)]
pub(crate) fn join(head: &Head, text: &mut impl TextMut) -> (u32, u32) {
    let Head { states, state_begin, state_end, .. } = *head;
    if states == 1 {
        return (state_begin[0], state_end[0].wrapping_sub(state_begin[0]));
    }
    if states as usize > STATES {
        return (0, 0);
    }
    let mut all = 0;
    let mut field = 0;
    while field < STATES {
        let length = state_end[field].wrapping_sub(state_begin[field]);
        // One without members, or none.
        if field < states as usize && length != 0 {
            if length > MAX_STATE || all > MAX_STATE {
                return (0, 0);
            }
            if all != 0 {
                text.put(u64::from(all), u64::from(b','));
                all += 1;
            }
            if !text.take_forward(all, state_begin[field], length) {
                return (0, 0);
            }
            all += length;
        }
        field += 1;
    }
    (0, all)
}
