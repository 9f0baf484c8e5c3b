//! Protobuf's wire format: fields of a message, read where they lie and written one after the other.
//!
//! The spans are made straight from the bytes. With structs of messages in between, each text would be allocated twice.

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

use super::OtlpError;

/// Value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Number and value of the next field; none at the end. Groups, which proto3 does not have, are skipped.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, OtlpError> {
        while !self.0.is_empty() {
            let (number, wire_type) = decode_key(&mut self.0)
                .map_err(|_| OtlpError::Protobuf("the key of a field is not valid"))?;
            let value = match wire_type {
                WireType::Varint => Field::Varint(self.varint()?),
                WireType::SixtyFourBit => Field::Fixed64(u64::from_le_bytes(self.array()?)),
                WireType::ThirtyTwoBit => Field::Fixed32(u32::from_le_bytes(self.array()?)),
                WireType::LengthDelimited => {
                    let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                    let (bytes, rest) = self.0.split_at_checked(length).ok_or(ENDS_TOO_EARLY)?;
                    self.0 = rest;
                    Field::Bytes(bytes)
                }
                WireType::StartGroup | WireType::EndGroup => {
                    skip_field(wire_type, number, &mut self.0, DecodeContext::default())
                        .map_err(|_| OtlpError::Protobuf("a group of fields has no end"))?;
                    continue;
                }
            };
            return Ok(Some((number, value)));
        }
        Ok(None)
    }

    fn varint(&mut self) -> Result<u64, OtlpError> {
        decode_varint(&mut self.0).map_err(|_| OtlpError::Protobuf("a number is not valid or ends too early"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OtlpError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(ENDS_TOO_EARLY)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

const ENDS_TOO_EARLY: OtlpError = OtlpError::Protobuf("a field ends after the end of its message");

/// Writes messages.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// A message: `write` writes its fields.
    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        let begin = self.bytes.len();
        write(self);
        // The length stands before the fields, and takes as many bytes as it needs: the fields move.
        let length = (self.bytes.len() - begin) as u64;
        encode_varint(length, &mut self.bytes);
        let length_bytes = self.bytes.len() - begin - length as usize;
        self.bytes[begin..].rotate_right(length_bytes);
    }

    /// Bytes or a string, also if there are none.
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(bytes.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(bytes);
    }

    /// A string, if there is one.
    pub(super) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// A number, also zero.
    pub(super) fn varint(&mut self, number: u32, value: u64) {
        encode_key(number, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    /// A number, if it is not zero.
    pub(super) fn count(&mut self, number: u32, value: u32) {
        if value != 0 {
            self.varint(number, u64::from(value));
        }
    }

    /// Eight bytes, also of zero.
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        encode_key(number, WireType::SixtyFourBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes, if they are not zero.
    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        if value != 0 {
            encode_key(number, WireType::ThirtyTwoBit, &mut self.bytes);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_groups_are_skipped() {
        let mut writer = Writer::default();
        writer.varint(1, u64::MAX);
        // A group of number 9 with one field inside.
        writer.bytes.extend([9 << 3 | 3, 8, 1, 9 << 3 | 4]);
        writer.message(2, |writer| writer.bytes(1, &[7; 300]));
        writer.fixed64(3, 3);
        writer.fixed32(16, 4);
        let mut fields = Fields(&writer.bytes);
        assert_eq!(fields.next().unwrap(), Some((1, Field::Varint(u64::MAX))));
        let Some((2, Field::Bytes(inner))) = fields.next().unwrap() else { panic!("no message") };
        assert_eq!(Fields(inner).next().unwrap(), Some((1, Field::Bytes(&[7; 300]))));
        assert_eq!(fields.next().unwrap(), Some((3, Field::Fixed64(3))));
        assert_eq!(fields.next().unwrap(), Some((16, Field::Fixed32(4))));
        assert_eq!(fields.next().unwrap(), None);
    }

    #[test]
    fn lengths_beyond_the_end_and_open_groups_are_errors() {
        for wrong in
            [&[0x0a, 0x05, 0x01][..], &[0x0a], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert!(Fields(wrong).next().is_err(), "{wrong:?}");
        }
        assert!(Fields(&[0x0b]).next().is_err());
        assert!(Fields(&[0x0b; 100_000]).next().is_err(), "groups in groups do not overflow the stack");
        assert!(Fields(&[0x0c]).next().is_err());
    }
}
