//! Images made up for tests: their parts, and the archives and folders they come in.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Where a blob is in an OCI layout.
pub fn blob_path(bytes: &[u8]) -> String {
    digest(bytes).replace(':', "/").replacen("sha256", "blobs/sha256", 1)
}

/// A tar archive of these files, in this order.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *data).expect("a member");
    }
    builder.into_inner().expect("an archive")
}

/// A tar archive of one member, whose header is made with nothing checked, and these pax records before it.
pub fn odd_tar(path: &str, kind: tar::EntryType, link: &str, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    if !records.is_empty() {
        builder.append_pax_extensions(records.iter().copied()).expect("pax records");
    }
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &[][..]).expect("a member");
    builder.into_inner().expect("an archive")
}

/// Some bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

/// An image before it is packed.
#[derive(Clone)]
pub struct Parts {
    pub config: Value,
    /// Blobs, lowest first; compressed or not.
    pub layers: Vec<Vec<u8>>,
    pub name: String,
}

/// An image called `name` of these uncompressed layers.
pub fn parts(name: &str, layers: &[Vec<u8>]) -> Parts {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09Z",
        "config": { "Cmd": ["true"], "Env": ["PATH=/bin"], "Labels": { "of": name } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    Parts { config, layers: layers.to_vec(), name: name.to_owned() }
}

/// A small image.
pub fn small(name: &str) -> Parts {
    parts(name, &[tar(&[("bin/true", b"#!"), ("etc/passwd", b"root")]), tar(&[("top", b"2")])])
}

impl Parts {
    pub fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    pub fn id(&self) -> String {
        digest(&self.config_bytes())
    }

    /// The same with its layers' blobs compressed.
    pub fn compressed(mut self, how: fn(&[u8]) -> Vec<u8>) -> Self {
        self.layers = self.layers.iter().map(|layer| how(layer)).collect();
        self
    }

    pub fn manifest(&self) -> Value {
        let layer = |layer: &Vec<u8>| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(layer), "size": layer.len(),
            })
        };
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.id(), "size": self.config_bytes().len(),
            },
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        })
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest().to_string().into_bytes()
    }

    /// The members of what `docker save` wrote for years.
    pub fn docker_members(&self) -> Vec<(String, Vec<u8>)> {
        let config = format!("{}.json", &self.id()[7..]);
        let name = |i: usize| format!("layer{i}/layer.tar");
        let names: Vec<String> = (0..self.layers.len()).map(name).collect();
        let manifest = json!([{ "Config": config, "RepoTags": [self.name], "Layers": names }]);
        let mut members = vec![(config, self.config_bytes())];
        members.extend(names.into_iter().zip(self.layers.iter().cloned()));
        members.push(("manifest.json".into(), manifest.to_string().into_bytes()));
        members
    }

    pub fn docker_archive(&self) -> Vec<u8> {
        pack(&self.docker_members())
    }

    /// The members of an OCI layout.
    pub fn oci_members(&self) -> Vec<(String, Vec<u8>)> {
        let mut members = self.blobs();
        let manifest = self.manifest_bytes();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&manifest), "size": manifest.len(),
                "annotations": { "org.opencontainers.image.ref.name": self.name },
            }],
        });
        members.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        members.push(("index.json".into(), index.to_string().into_bytes()));
        members
    }

    /// Manifest, configuration and layers by their paths.
    pub fn blobs(&self) -> Vec<(String, Vec<u8>)> {
        let all = [self.manifest_bytes(), self.config_bytes()].into_iter().chain(self.layers.iter().cloned());
        all.map(|bytes| (blob_path(&bytes), bytes)).collect()
    }
}

/// An archive of these members.
pub fn pack(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar(&members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
}

/// A folder of these members.
pub fn unpack(members: &[(String, Vec<u8>)], folder: &Path) {
    for (name, bytes) in members {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
}

/// How many files the store of a home has: blobs, layers, and what is being added.
pub fn stored(home: &Path) -> (usize, usize, usize) {
    let count = |folder: &str| {
        std::fs::read_dir(home.join("data/hull").join(folder)).map_or(0, |entries| entries.flatten().count())
    };
    (count("blobs/sha256"), count("layers"), count("temporary"))
}
