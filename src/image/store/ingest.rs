//! Adding content: blobs, checked while they stream in, and layers, which become EROFS images on the way.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use super::lock::{Lock, Mode};
use super::metadata::{Metadata, Name, Record};
use super::{Image, Store, TEMP, sync_folder};
use crate::image::compression::{self, Compression};
use crate::image::digest::Digesting;
use crate::image::{Digest, Error, Reference, Result, erofs};

/// How much is read at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// The right to add content to a store. While it is held nothing is removed that no image uses yet.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    _lock: Lock,
}

/// What a layer's blob must turn out to be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The layer in messages, such as `layer sha256:…`.
    pub what: String,
    /// Digest of the blob.
    pub blob: Option<Digest>,
    /// Size of the blob in bytes: not a byte more is read.
    pub size: Option<u64>,
    /// Digest of the blob once decompressed.
    pub diff_id: Option<Digest>,
}

/// What a layer's blob turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingested {
    /// Digest of the blob.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of it once decompressed.
    pub diff_id: Digest,
    /// How it is compressed.
    pub compression: Compression,
}

/// Content of any kind that was written to the store's temporary folder, and goes away when this is dropped.
#[derive(Debug)]
pub struct Spooled {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    path: TempPath,
}

impl Spooled {
    /// Opens it for reading, from its start.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(Error::file("cannot open", &self.path))
    }
}

impl Expected {
    /// Whether the layer is what it must be.
    pub fn check(&self, layer: &Ingested) -> Result<()> {
        if let Some(promised) = self.size.filter(|&promised| promised != layer.size) {
            let reason = match layer.size > promised {
                true => format!("it is longer than the {promised} bytes its manifest says"),
                false => format!("it ends after {} of {promised} bytes", layer.size),
            };
            return Err(Error::malformed(&self.what, reason));
        }
        check(&self.what, self.blob, layer.blob)?;
        check(&format!("the content of {}", self.what), self.diff_id, layer.diff_id)
    }
}

impl Store {
    /// Begins to add content.
    pub fn ingest(&self) -> Result<Ingest> {
        let lock = Lock::wait(&self.root.join("ingest.lock"), Mode::Shared)?;
        Ok(Ingest { store: self.clone(), _lock: lock })
    }
}

impl Ingest {
    /// The store that is added to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether both the blob and the file system of a layer are there already.
    pub fn has_layer(&self, blob: Digest, diff_id: Digest) -> bool {
        self.store.blob_path(blob).exists() && self.store.layer_path(diff_id).exists()
    }

    /// Adds a small blob.
    pub fn blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(Error::file("cannot write", file.path()))?;
        publish(file.into_temp_path(), &self.store.blob_path(digest))?;
        Ok(digest)
    }

    /// Adds a layer: keeps `blob` as it comes and writes its file system, in one pass.
    pub fn layer(&self, blob: impl Read, expected: &Expected) -> Result<Ingested> {
        let keep = self.temporary()?;
        let (layer, file_system) =
            self.convert(Tee { source: blob, copy: keep.as_file() }, expected, keep.path())?;
        publish(keep.into_temp_path(), &self.store.blob_path(layer.blob))?;
        publish(file_system.into_temp_path(), &self.store.layer_path(layer.diff_id))?;
        Ok(layer)
    }

    /// Adds a layer that was spooled.
    pub fn spooled_layer(&self, spooled: Spooled, expected: &Expected) -> Result<Ingested> {
        let (layer, file_system) = self.convert(spooled.open()?, expected, &spooled.path)?;
        publish(spooled.path, &self.store.blob_path(layer.blob))?;
        publish(file_system.into_temp_path(), &self.store.layer_path(layer.diff_id))?;
        Ok(layer)
    }

    /// Writes what `source` yields to the temporary folder. `what` names it in messages.
    pub fn spool(&self, source: impl Read, what: &str) -> Result<Spooled> {
        let file = self.temporary()?;
        let mut source = Digesting::new(source);
        let mut buffer = vec![0; BUFFER];
        loop {
            let n =
                source.read(&mut buffer).map_err(|source| Error::Read { what: what.to_owned(), source })?;
            if n == 0 {
                break;
            }
            file.as_file().write_all(&buffer[..n]).map_err(Error::file("cannot write", file.path()))?;
        }
        let size = source.length();
        Ok(Spooled { digest: source.finish().1, size, path: file.into_temp_path() })
    }

    /// Adds the image that the manifest describes, all of whose content is there, under these names.
    pub fn commit(&self, manifest: Digest, names: &[Reference]) -> Result<Image> {
        let blueprint = self.store.blueprint(manifest)?;
        let id = Digest::of(blueprint.config_json.as_bytes());
        for folder in [super::BLOBS, super::LAYERS] {
            sync_folder(&self.store.root.join(folder))?;
        }
        self.store.change(|metadata: &mut Metadata| {
            // The same image may have come before with layers compressed otherwise.
            metadata.images.entry(id).or_insert(Record { manifest });
            metadata.names.extend(names.iter().map(|name| (Name(name.clone()), id)));
            self.store.image(metadata, id)
        })
    }

    /// Reads a blob to its end, checks it, and writes its file system to a temporary file. `path` is where the blob is kept.
    fn convert(
        &self,
        blob: impl Read,
        expected: &Expected,
        path: &Path,
    ) -> Result<(Ingested, NamedTempFile)> {
        let read_error = |source| match source {
            Cause::Read(source) => Error::Read { what: expected.what.clone(), source },
            Cause::Write(source) => Error::File { what: "cannot write", path: path.to_owned(), source },
        };
        let mut file_system = self.temporary()?;
        // A byte more than promised is enough to know that the promise is broken.
        let limit = expected.size.map_or(u64::MAX, |size| size.saturating_add(1));
        let mut blob = Digesting::new(blob.take(limit));
        let outcome = unpack(&mut blob, file_system.as_file_mut());
        if let Err(Unpack::FileSystem(source @ erofs::Error::Write(_))) = outcome {
            return Err(Error::Layer { layer: expected.what.clone(), source });
        }
        // What is wrong with the blob itself is said first: it is why its content makes no sense.
        let drained = io::copy(&mut blob, &mut io::sink());
        let size = blob.length();
        let (_, digest) = blob.finish();
        drained.map_err(|error| read_error(Cause::of(error)))?;
        let blob_only = Expected { diff_id: None, ..expected.clone() };
        blob_only.check(&Ingested { blob: digest, size, diff_id: digest, compression: Compression::None })?;
        let (compression, diff_id) = outcome.map_err(|error| match error {
            Unpack::Read(error) => read_error(Cause::of(error)),
            Unpack::FileSystem(source) => Error::Layer { layer: expected.what.clone(), source },
        })?;
        let layer = Ingested { blob: digest, size, diff_id: diff_id.unwrap_or(digest), compression };
        expected.check(&layer)?;
        Ok((layer, file_system))
    }

    fn temporary(&self) -> Result<NamedTempFile> {
        let folder = self.store.root.join(TEMP);
        NamedTempFile::new_in(&folder).map_err(Error::file("cannot make a file in", &folder))
    }
}

/// Why a blob did not become a file system.
enum Unpack {
    Read(io::Error),
    FileSystem(erofs::Error),
}

/// Writes the file system of a layer's blob, and returns the digest of what was compressed, if it was.
fn unpack(blob: &mut impl Read, file_system: &mut File) -> Result<(Compression, Option<Digest>), Unpack> {
    let (compression, blob) = compression::detect(blob).map_err(Unpack::Read)?;
    let archive =
        compression::decompress(compression, BufReader::with_capacity(BUFFER, blob)).map_err(Unpack::Read)?;
    if compression == Compression::None {
        let mut archive = archive;
        erofs::write_from_tar(&mut archive, file_system).map_err(Unpack::FileSystem)?;
        return Ok((compression, None));
    }
    let mut archive = Digesting::new(BufReader::with_capacity(BUFFER, archive));
    erofs::write_from_tar(&mut archive, file_system).map_err(Unpack::FileSystem)?;
    // The DiffID counts what follows the archive's end, too.
    io::copy(&mut archive, &mut io::sink()).map_err(Unpack::Read)?;
    Ok((compression, Some(archive.finish().1)))
}

fn check(what: &str, expected: Option<Digest>, actual: Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != actual => {
            Err(Error::WrongDigest { what: what.to_owned(), expected, actual })
        }
        _ => Ok(()),
    }
}

/// Gives a temporary file its final name, unless another process was quicker.
fn publish(file: TempPath, path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let sync = File::open(&file).and_then(|file| file.sync_data());
    sync.map_err(Error::file("cannot write", &file))?;
    file.persist(path).map_err(|failed| Error::file("cannot write", path)(failed.error))
}

/// A reader that writes what it reads to a file.
struct Tee<'a, R> {
    source: R,
    copy: &'a File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..n]).map_err(|error| io::Error::new(error.kind(), WriteError(error)))?;
        Ok(n)
    }
}

/// Marks an error of [`Tee`]'s copy among those of its source.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct WriteError(io::Error);

/// Which side of a [`Tee`] failed.
enum Cause {
    Read(io::Error),
    Write(io::Error),
}

impl Cause {
    fn of(error: io::Error) -> Self {
        match error.downcast::<WriteError>() {
            Ok(WriteError(error)) => Cause::Write(error),
            Err(error) => Cause::Read(error),
        }
    }
}
