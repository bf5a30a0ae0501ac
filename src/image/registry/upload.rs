//! Bringing content to a registry (OCI distribution specification 1.1, "Push").

use std::fs::File;
use std::io::{self, Read};

use ureq::http::{Response, StatusCode};
use ureq::{Body, SendBody};

use super::{Error, Reason, Repository, retry};
use crate::image::Digest;

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Known,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// A blob to be sent.
pub struct Outgoing<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Opens it, from its start.
    pub open: &'a (dyn Fn() -> crate::image::Result<File> + Sync),
    /// A repository of the same registry that has it, as far as anybody knows.
    pub elsewhere: Option<&'a str>,
    /// Hears how many bytes are sent.
    pub sent: &'a (dyn Fn(u64) + Sync),
}

impl Repository {
    /// Sees to it that a blob is in the repository. One that is there is not sent; what a broken connection took away is sent again.
    pub fn upload(&self, blob: &Outgoing<'_>) -> crate::image::Result<Uploaded> {
        let what = format!("blob {}", blob.digest);
        if retry::attempts(|| self.has_blob(&what, blob.digest))? {
            return Ok(Uploaded::Known);
        }
        let mut opened = Ok(());
        let uploaded = retry::attempts(|| {
            let Some(url) = self.begin(&what, blob)? else { return Ok(Uploaded::Mounted) };
            match (blob.open)() {
                Ok(file) => self.send(&what, &url, blob, &file).map(|()| Uploaded::Sent),
                Err(error) => {
                    opened = Err(error);
                    Ok(Uploaded::Sent)
                }
            }
        })?;
        opened.map(|()| uploaded)
    }

    fn has_blob(&self, what: &str, digest: Digest) -> Result<bool, Error> {
        match self.request(what, &self.blob_url(digest), |url| self.agent.head(url)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.reason(), Reason::Status { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks for a place to send a blob to; `None` when it is not needed, because the registry took the blob from elsewhere.
    fn begin(&self, what: &str, blob: &Outgoing<'_>) -> Result<Option<String>, Error> {
        let url = format!("{}/blobs/uploads/", self.base);
        let post = |from: Option<&str>| {
            self.exchange(what, |header| {
                let mut request = self.agent.post(&url);
                if let Some(from) = from {
                    request = request.query("mount", blob.digest.to_string()).query("from", from);
                }
                if let Some(header) = header {
                    request = request.header("authorization", header);
                }
                request.send_empty()
            })
        };
        let response = match post(blob.elsewhere) {
            // Who may write here may not be one who may read there.
            Err(error) if blob.elsewhere.is_some() && error.reason().is_refusal() => post(None),
            answered => answered,
        }?;
        if response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| self.resolve(location));
        location.map(Some).ok_or_else(|| {
            self.error(what, Reason::Protocol("it does not say where to send a blob to".to_owned()))
        })
    }

    /// The address that a registry means: a path is on the same host.
    fn resolve(&self, location: &str) -> Option<String> {
        match location.strip_prefix('/') {
            Some(_) => Some(format!("{}{location}", self.origin())),
            None => (location.starts_with("https://") || location.starts_with("http://"))
                .then(|| location.to_owned()),
        }
    }

    /// Sends all of a blob.
    fn send(&self, what: &str, url: &str, blob: &Outgoing<'_>, file: &File) -> Result<(), Error> {
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}digest={}", blob.digest);
        // What is for this host is no other's affair.
        let own = url.strip_prefix(self.origin()).is_some_and(|rest| rest.starts_with('/'));
        let response = self.exchange(what, |header| {
            let mut source = Counted { file, sent: 0, told: blob.sent };
            io::Seek::rewind(&mut source.file).map_err(ureq::Error::Io)?;
            let mut request = self
                .agent
                .put(&url)
                .header("content-type", "application/octet-stream")
                .header("content-length", blob.size.to_string());
            if let Some(header) = header.filter(|_| own) {
                request = request.header("authorization", header);
            }
            request.send(SendBody::from_reader(&mut source))
        })?;
        self.confirm(what, blob.digest, &response)
    }

    /// A registry that says which digest it has must say the right one.
    fn confirm(&self, what: &str, promised: Digest, response: &Response<Body>) -> Result<(), Error> {
        let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match said.and_then(|digest| digest.parse().ok()) {
            Some(actual) if actual != promised => {
                Err(self.error(what, Reason::WrongDigest { promised, actual }))
            }
            _ => Ok(()),
        }
    }

    /// Gives a manifest, all of whose content is there, a name. `kind` is its media type.
    pub fn put_manifest(&self, version: &str, kind: &str, json: &[u8]) -> Result<(), Error> {
        let what = format!("manifest {version}");
        let url = format!("{}/manifests/{version}", self.base);
        let response = retry::attempts(|| {
            self.exchange(&what, |header| {
                let mut request = self.agent.put(&url).header("content-type", kind);
                if let Some(header) = header {
                    request = request.header("authorization", header);
                }
                request.send(json)
            })
        })?;
        self.confirm(&what, Digest::of(json), &response)
    }
}

/// Says how much of a file was read.
struct Counted<'a> {
    file: &'a File,
    sent: u64,
    told: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.sent += count as u64;
        (self.told)(self.sent);
        Ok(count)
    }
}
