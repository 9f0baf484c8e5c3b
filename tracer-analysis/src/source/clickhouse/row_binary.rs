//! ClickHouse's format RowBinary, read as it comes: the columns of a row one after the other, without names. A million rows of
//! numbers are read in a tenth of the time of `JSONCompactEachRow`, and are a third as long.

use super::super::SourceError;

/// Longest row: a span with all of its attributes and events.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Why no row was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its end has not come yet.
    More,
    /// It is none.
    Wrong,
}

/// Reads the columns of a row.
pub(super) struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::More)?;
        self.0 = rest;
        Ok(taken)
    }

    /// `UInt64`.
    pub(super) fn u64(&mut self) -> Result<u64, Stop> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Stop::More)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// `Int64`.
    pub(super) fn i64(&mut self) -> Result<i64, Stop> {
        Ok(self.u64()?.cast_signed())
    }

    /// A length: seven bits a byte, the lowest first.
    fn length(&mut self) -> Result<usize, Stop> {
        let mut length = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let length = usize::try_from(length).map_err(|_| Stop::Wrong)?;
                return if length > MAX_ROW_BYTES { Err(Stop::Wrong) } else { Ok(length) };
            }
        }
        Err(Stop::Wrong)
    }

    /// `String`; what is no UTF-8 is replaced.
    pub(super) fn text(&mut self) -> Result<String, Stop> {
        let length = self.length()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// `Array`, member by member.
    pub(super) fn list<T>(
        &mut self,
        mut member: impl FnMut(&mut Self) -> Result<T, Stop>,
    ) -> Result<Vec<T>, Stop> {
        // What it says is its length reserves no memory: it may be wrong.
        let length = self.length()?;
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(member(self)?);
        }
        Ok(list)
    }

    /// `Map(String, String)`.
    pub(super) fn map(&mut self) -> Result<Vec<(String, String)>, Stop> {
        self.list(|columns| Ok((columns.text()?, columns.text()?)))
    }
}

/// Rows out of an answer that comes in parts.
#[derive(Default)]
pub(super) struct Rows {
    pending: Vec<u8>,
    /// Bytes that must be pending before a row is tried again: what is read twice is at most as much as was read once.
    wanted: usize,
}

impl Rows {
    /// Takes a part of the answer, and hands on the rows that end in it.
    pub(super) fn take<T>(
        &mut self,
        part: &[u8],
        read: impl Fn(&mut Columns<'_>) -> Result<T, Stop>,
        mut row: impl FnMut(T) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.pending.extend_from_slice(part);
        if self.pending.len() < self.wanted {
            return Ok(());
        }
        self.wanted = 0;
        let mut at = 0;
        loop {
            let mut columns = Columns(&self.pending[at..]);
            if columns.0.is_empty() {
                break;
            }
            match read(&mut columns) {
                Ok(read) => {
                    at = self.pending.len() - columns.0.len();
                    row(read)?;
                }
                Err(Stop::More) if self.pending.len() - at <= MAX_ROW_BYTES => {
                    self.wanted = (self.pending.len() - at) * 2;
                    break;
                }
                Err(_) => return Err(strange()),
            }
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// The answer has ended.
    pub(super) fn end<T>(
        mut self,
        read: impl Fn(&mut Columns<'_>) -> Result<T, Stop>,
        row: impl FnMut(T) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.wanted = 0;
        self.take(&[], read, row)?;
        if self.pending.is_empty() { Ok(()) } else { Err(cut()) }
    }
}

fn cut() -> SourceError {
    SourceError::Answer(
        "an answer of ClickHouse ends in the middle of a row: ask again, or for less".to_owned(),
    )
}

fn strange() -> SourceError {
    SourceError::Answer(
        "an answer of ClickHouse is not as it should be: is it ClickHouse's HTTP port?".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (u64, Vec<(String, String)>);

    fn row(columns: &mut Columns<'_>) -> Result<Row, Stop> {
        Ok((columns.u64()?, columns.map()?))
    }

    fn rows_of(parts: &[&[u8]]) -> Result<Vec<Row>, SourceError> {
        let mut rows = Rows::default();
        let mut read = Vec::new();
        for part in parts {
            rows.take(part, row, |row| {
                read.push(row);
                Ok(())
            })?;
        }
        rows.end(row, |row| {
            read.push(row);
            Ok(())
        })?;
        Ok(read)
    }

    fn encoded() -> Vec<u8> {
        let mut bytes = 7_u64.to_le_bytes().to_vec();
        bytes.extend([1, 1, b'k', 2, b'v', 0xff]);
        bytes.extend(8_u64.to_le_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn rows_are_the_same_wherever_the_answer_is_parted() {
        let bytes = encoded();
        let expected = vec![(7, vec![("k".to_owned(), "v\u{fffd}".to_owned())]), (8, Vec::new())];
        for at in 0..bytes.len() {
            let (one, other) = bytes.split_at(at);
            assert_eq!(rows_of(&[one, other]).expect("rows"), expected, "{at}");
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(rows_of(&bytewise).expect("rows"), expected);
    }

    #[test]
    fn a_cut_answer_is_no_shorter_answer() {
        let bytes = encoded();
        for length in (1..bytes.len()).filter(|length| *length != 14) {
            let error = rows_of(&[&bytes[..length]]).expect_err("cut").to_string();
            assert!(error.contains("ends in the middle of a row"), "{length}: {error}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_memory_is_taken() {
        let mut bytes = 7_u64.to_le_bytes().to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(rows_of(&[&bytes]).expect_err("huge").to_string().contains("not as it should be"));
        let html = b"<html><body>It works, and is another server</body></html>";
        assert!(rows_of(&[html]).is_err());
    }
}
