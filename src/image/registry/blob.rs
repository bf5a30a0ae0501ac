//! Blobs as they arrive, taken up again where a connection broke.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::StatusCode;

use super::retry::Waits;
use super::{Error, Reason, Repository};
use crate::image::Digest;

/// How often a blob is taken up again in all, even if each connection brings some of it.
const MAX_RESUMES: u32 = 50;

/// Reads a blob of known size from a registry.
pub struct BlobReader<'a> {
    repository: &'a Repository,
    what: String,
    url: String,
    size: u64,
    position: u64,
    body: Option<ureq::BodyReader<'static>>,
    waits: Waits,
    resumes: u32,
    /// Set when somebody else wants this to end.
    cancelled: &'a AtomicBool,
    failure: Option<Error>,
}

impl Repository {
    /// Reads the layer `digest` of `size` bytes, until `cancelled`.
    pub fn layer<'a>(&'a self, digest: Digest, size: u64, cancelled: &'a AtomicBool) -> BlobReader<'a> {
        BlobReader {
            repository: self,
            what: format!("layer {digest}"),
            url: self.blob_url(digest),
            size,
            position: 0,
            body: None,
            waits: Waits::new(),
            resumes: 0,
            cancelled,
            failure: None,
        }
    }
}

impl BlobReader<'_> {
    /// Why reading failed, where the registry is to blame: what [`Read`] says is less.
    pub fn failure(self) -> Option<Error> {
        self.failure
    }

    fn error(&self, reason: Reason) -> Error {
        self.repository.error(&self.what, reason)
    }

    /// Reads on. Progress makes earlier failures forgotten.
    fn attempt(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let body = self.body.as_mut().expect("it was just opened");
        let wanted = (self.size - self.position).min(buffer.len() as u64) as usize;
        match body.read(&mut buffer[..wanted]) {
            Ok(0) => Err(self.error(Reason::WrongSize { promised: self.size, actual: self.position })),
            Ok(n) => {
                self.position += n as u64;
                self.waits = Waits::new();
                Ok(n)
            }
            Err(error) => Err(self.error(Reason::of_io(error))),
        }
    }

    /// Asks for what is missing.
    fn open(&self) -> Result<ureq::BodyReader<'static>, Error> {
        let range = format!("bytes={}-", self.position);
        let request = |url: &str| match self.position {
            0 => self.repository.agent.get(url),
            _ => self.repository.agent.get(url).header("range", &range),
        };
        let response = self.repository.request(&self.what, &self.url, request)?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if response.body().mime_type() == Some("text/html") {
            return Err(self.error(Reason::Html));
        }
        // A registry that knows no ranges sends all of it again.
        let skipped = if partial { 0 } else { self.position };
        let rest = self.size - self.position + skipped;
        if let Some(length) = response.body().content_length().filter(|&length| length != rest) {
            let actual = if partial { self.position + length } else { length };
            return Err(self.error(Reason::WrongSize { promised: self.size, actual }));
        }
        let mut body = response.into_body().into_reader();
        io::copy(&mut (&mut body).take(skipped), &mut io::sink())
            .map_err(|error| self.error(Reason::of_io(error)))?;
        Ok(body)
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.size || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.failure.is_some() || self.cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("it did not arrive whole"));
            }
            let error = match self.attempt(buffer) {
                Ok(n) => return Ok(n),
                Err(error) => error,
            };
            self.body = None;
            self.resumes += 1;
            // A connection that ended early is one that broke.
            let error = match *error.reason() {
                Reason::WrongSize { actual, .. } if actual == self.position => {
                    let broken = format!("it ended after {actual} of {} bytes", self.size);
                    self.error(Reason::Broken(broken))
                }
                _ => error,
            };
            let given_up = if self.resumes > MAX_RESUMES { Err(error) } else { self.waits.wait(error) };
            self.failure = given_up.err();
        }
    }
}
