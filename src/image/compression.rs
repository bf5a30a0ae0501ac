//! How layers and archives are compressed, told by their first bytes: media types and file names can be wrong.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Windows of zstd frames up to this power of two are accepted, in bytes; it bounds memory. The format's own
/// recommendation is 8 MiB, `zstd --long` writes 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;

/// A compression that layers come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The media type of a layer so compressed (OCI image specification, layer.md).
    pub fn layer_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Looks at the first bytes of `source`. Returns what is compressing it, and what yields all of it, the looked-at bytes too.
pub fn detect<R: Read>(mut source: R) -> io::Result<(Compression, impl Read)> {
    let mut start = Vec::with_capacity(6);
    (&mut source).take(6).read_to_end(&mut start)?;
    let compression = match start.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or the skippable one that some writers begin with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(unsupported("xz")),
        [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
        _ => Compression::None,
    };
    Ok((compression, Cursor::new(start).chain(source)))
}

fn unsupported(name: &str) -> io::Error {
    let reason = format!("it is compressed by {name}; hull reads gzip, zstd and uncompressed data");
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

/// What `source` holds once decompressed.
pub fn decompress<'a>(compression: Compression, source: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}
