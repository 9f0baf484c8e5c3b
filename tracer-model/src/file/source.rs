//! The bytes of a file, decompressed, within a bound.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::FileError;

/// Bytes of a file, decompressed.
pub(super) struct Source<'file> {
    reader: BufReader<Box<dyn Read + 'file>>,
    compression: Option<&'static str>,
    max_bytes: u64,
    bytes: u64,
    /// The compressed data ended too early.
    pub(super) is_cut: bool,
    /// Why no more can be read.
    pub(super) failure: Option<FileError>,
}

impl<'file> Source<'file> {
    pub(super) fn new(reader: impl Read + 'file, max_bytes: u64) -> Result<Self, FileError> {
        let mut reader = BufReader::new(reader);
        let begin = reader.fill_buf().map_err(FileError::Read)?;
        let (compression, reader): (_, Box<dyn Read>) = if begin.starts_with(&[0x1f, 0x8b]) {
            (Some("gzip"), Box::new(MultiGzDecoder::new(reader)))
        } else if begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::Decoder::with_buffer(reader)
                .map_err(|error| FileError::Compression { compression: "zstd", error })?;
            (Some("zstd"), Box::new(decoder))
        } else {
            (None, Box::new(reader))
        };
        let reader = BufReader::with_capacity(64 << 10, reader);
        Ok(Self { reader, compression, max_bytes, bytes: 0, is_cut: false, failure: None })
    }

    /// The next byte. None at the end, and where no more can be read.
    pub(super) fn peek(&mut self) -> Option<u8> {
        // What went wrong is kept in `failure`.
        self.fill_buf().ok()?.first().copied()
    }

    /// Passes bytes over, if they come next and at once.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        if self.fill_buf().is_ok_and(|begin| begin.starts_with(bytes)) {
            self.consume(bytes.len());
        }
    }

    /// Whether nothing but blanks is left, which is passed over.
    pub(super) fn has_only_blanks(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            if !byte.is_ascii_whitespace() {
                return false;
            }
            self.consume(1);
        }
        true
    }

    fn fail(&mut self, failure: FileError) -> io::Error {
        self.failure.get_or_insert(failure);
        io::Error::other("the file cannot be read to its end")
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_empty = match self.reader.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => match self.compression {
                None => return Err(self.fail(FileError::Read(error))),
                Some(_) if error.kind() == io::ErrorKind::UnexpectedEof && self.bytes > 0 => {
                    self.is_cut = true;
                    return Ok(&[]);
                }
                Some(compression) => return Err(self.fail(FileError::Compression { compression, error })),
            },
        };
        if !is_empty && self.bytes >= self.max_bytes {
            let max_bytes = self.max_bytes;
            return Err(self.fail(FileError::TooLarge { max_bytes }));
        }
        let left = usize::try_from(self.max_bytes - self.bytes).unwrap_or(usize::MAX);
        let bytes = self.reader.buffer();
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        self.reader.consume(count);
    }
}
