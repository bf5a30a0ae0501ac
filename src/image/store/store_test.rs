use std::fs;
use std::io::Read;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::image::tar::build::Tar;

/// A store of its own, and what to put into it.
struct Fixture {
    store: Store,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Fixture { store: Store::open_at(folder.path()).unwrap(), folder }
    }

    /// Adds an image with these layers; `mark` makes it another one.
    fn add(&self, mark: &str, layers: &[&str], names: &[&str]) -> Image {
        let ingest = self.store.ingest().unwrap();
        let layers: Vec<Ingested> =
            layers.iter().map(|content| ingest.layer(&*layer(content), &any()).unwrap()).collect();
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "author": mark,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = ingest.blob(config.to_string().as_bytes()).unwrap();
        let describe = |layer: &Ingested| json!({ "mediaType": layer.compression.layer_type(), "digest": layer.blob, "size": layer.size });
        let manifest = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 1 },
            "layers": layers.iter().map(describe).collect::<Vec<_>>(),
        });
        let manifest = ingest.blob(manifest.to_string().as_bytes()).unwrap();
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        ingest.commit(manifest, &names).unwrap()
    }

    fn find(&self, name: &str) -> Option<Digest> {
        self.store.find(name).unwrap().map(|image| image.id)
    }

    fn remove(&self, name: &str) -> Vec<Removed> {
        self.store.remove(name, false, |_| None).unwrap()
    }

    fn files(&self, folder: &str) -> usize {
        fs::read_dir(self.folder.path().join(folder)).unwrap().count()
    }
}

fn layer(content: &str) -> Vec<u8> {
    Tar::default().file("content", content.as_bytes()).finish()
}

fn any() -> Expected {
    Expected { what: "layer".into(), blob: None, size: None, diff_id: None }
}

fn tags(image: &Image) -> Vec<String> {
    image.tags.iter().map(Reference::familiar).collect()
}

#[test]
fn images_are_found_by_name_and_id() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1"], &["busybox", "other/name:2"]);
    let digest = format!("busybox@{}", image.manifest);
    let id = image.id.to_string();
    for name in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        "other/name:2",
        &id,
        &id[7..],
        &id[7..19],
        &id[..15],
        &digest,
    ] {
        assert_eq!(fixture.find(name), Some(image.id), "{name}");
    }
    for name in ["busybox:2", "other/name", "0000000000000000", &format!("other/absent@{}", image.manifest)] {
        assert_eq!(fixture.find(name), None, "{name}");
    }
    assert!(matches!(fixture.store.find("NOT a name"), Err(Error::Reference(_))));
    assert_eq!(tags(&fixture.store.find(&id).unwrap().unwrap()), ["busybox:latest", "other/name:2"]);
}

#[test]
fn an_ambiguous_id_is_an_error() {
    let fixture = Fixture::new();
    let images: Vec<Image> = (0..17).map(|i| fixture.add(&i.to_string(), &["1"], &[])).collect();
    // Of 17 images two begin with the same digit.
    let first = |image: &Image| image.id.hex()[..1].to_owned();
    let shared = images.iter().find(|a| images.iter().filter(|b| first(a) == first(b)).count() > 1).unwrap();
    let error = fixture.store.find(&first(shared)).unwrap_err();
    assert!(error.to_string().contains("ambiguous"), "{error}");
}

#[test]
fn a_name_that_is_given_again_moves() {
    let fixture = Fixture::new();
    let old = fixture.add("old", &["1"], &["x"]);
    let new = fixture.add("new", &["1"], &["x"]);
    assert_eq!(fixture.find("x"), Some(new.id));
    assert!(fixture.store.find(&old.id.to_string()).unwrap().unwrap().tags.is_empty());
    fixture.store.tag(old.id, &"x".parse().unwrap()).unwrap();
    assert_eq!(fixture.find("x"), Some(old.id));
    assert!(matches!(
        fixture.store.tag(Digest::of(b"absent"), &"x".parse().unwrap()),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn shared_layers_are_stored_once_and_go_with_their_last_image() {
    let fixture = Fixture::new();
    let one = fixture.add("one", &["base", "one"], &["one"]);
    fixture.add("two", &["base", "two"], &["two"]);
    assert_eq!(fixture.files("layers"), 3);
    let removed = fixture.remove("one");
    assert_eq!(removed[..2], [Removed::Untagged("one".parse().unwrap()), Removed::Deleted(one.id)]);
    assert_eq!(removed.len(), 3, "its own layer went with it: {removed:?}");
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256")), (2, 4));
    fixture.remove("two");
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256")), (0, 0));
}

#[test]
fn removing_a_name_leaves_the_others() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1"], &["x:1", "x:2", "y"]);
    let by_id = image.id.short();
    assert_eq!(fixture.remove("x:1"), [Removed::Untagged("x:1".parse().unwrap())]);
    let error = fixture.store.remove(&by_id, false, |_| None).unwrap_err().to_string();
    assert!(error.contains("multiple repositories"), "{error}");
    fixture.remove("y");
    assert!(fixture.remove(&by_id).contains(&Removed::Deleted(image.id)));
    assert!(matches!(fixture.store.remove("x:2", false, |_| None), Err(Error::NotFound(_))));
}

#[test]
fn an_image_in_use_stays() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1"], &["x"]);
    let user = |running| move |_| Some(User { container: "0123456789ab".into(), running });
    for (force, running, goes) in
        [(false, false, false), (false, true, false), (true, true, false), (true, false, true)]
    {
        let result = fixture.store.remove("x", force, user(running));
        assert_eq!(result.is_ok(), goes, "force {force}, running {running}");
        if let Err(error) = result {
            assert!(error.to_string().contains("0123456789ab"), "{error}");
            assert_eq!(fixture.find("x"), Some(image.id));
        }
    }
}

#[test]
fn only_what_nobody_uses_or_has_named_is_pruned() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1"], &["x"]);
    for (tagged, used) in [(true, true), (false, false)] {
        let refused = fixture.store.remove_unused(image.id, tagged, |_| used);
        assert!(matches!(refused, Err(Error::Conflict(..))), "{refused:?}");
        assert_eq!(fixture.find("x"), Some(image.id));
    }
    let removed = fixture.store.remove_unused(image.id, true, |_| false).unwrap();
    assert_eq!(removed[..2], [Removed::Untagged("x".parse().unwrap()), Removed::Deleted(image.id)]);
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256")), (0, 0));
    let gone = fixture.store.remove_unused(image.id, true, |_| false);
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    let nameless = fixture.add("b", &["2"], &[]);
    assert!(
        fixture
            .store
            .remove_unused(nameless.id, false, |_| false)
            .unwrap()
            .contains(&Removed::Deleted(nameless.id))
    );
}

#[test]
fn open_layers_outlive_their_image() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1"], &["x"]);
    let mut files = image.open_layers().unwrap();
    fixture.remove("x");
    let mut bytes = Vec::new();
    files[0].read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, image.layers[0].size);
    assert!(matches!(image.open_layers(), Err(Error::NotFound(_))), "but no new ones are had");
}

#[test]
fn a_missing_layer_is_made_again() {
    let fixture = Fixture::new();
    let image = fixture.add("a", &["1", "2"], &["x"]);
    let before = fs::read(&image.layers[1].path).unwrap();
    fs::remove_file(&image.layers[1].path).unwrap();
    assert_eq!(image.open_layers().unwrap().len(), 2);
    assert_eq!(fs::read(&image.layers[1].path).unwrap(), before);
}

#[test]
fn a_layer_that_is_not_what_was_promised_leaves_nothing() {
    let fixture = Fixture::new();
    let ingest = fixture.store.ingest().unwrap();
    let (bytes, other) = (layer("1"), Digest::of(b"other"));
    let short = Expected { size: Some(bytes.len() as u64 + 1), ..any() };
    let long = Expected { size: Some(bytes.len() as u64 - 1), ..any() };
    let cases = [
        (Expected { blob: Some(other), ..any() }, "wrong digest"),
        (Expected { diff_id: Some(other), ..any() }, "content of layer has the wrong digest"),
        (short, "ends after"),
        (long, "longer than"),
    ];
    for (expected, words) in cases {
        let error = ingest.layer(&*bytes, &expected).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256"), fixture.files(TEMP)), (0, 0, 0));
}

#[test]
fn compressed_layers_are_kept_as_they_came() {
    use std::io::Write;
    let fixture = Fixture::new();
    let plain = layer("1");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&*plain, 3).unwrap();
    let ingest = fixture.store.ingest().unwrap();
    for blob in [&plain, &gzip, &zstd] {
        let ingested = ingest.layer(&**blob, &any()).unwrap();
        assert_eq!((ingested.blob, ingested.diff_id), (Digest::of(blob), Digest::of(&plain)));
        assert_eq!(&fs::read(fixture.store.blob_path(ingested.blob)).unwrap(), blob);
    }
    assert_eq!(fixture.files("layers"), 1);
    for cut in [&gzip[..gzip.len() - 1], &zstd[..zstd.len() - 1], &gzip[..20]] {
        assert!(ingest.layer(cut, &any()).is_err());
    }
    let garbage = [&gzip[..], b"rubbish"].concat();
    assert!(ingest.layer(&*garbage, &any()).is_err());
    let error =
        format!("{:#}", anyhow::Error::from(ingest.layer(&b"\xfd7zXZ\0..."[..], &any()).unwrap_err()));
    assert!(error.contains("xz"), "{error}");
    assert_eq!(fixture.files(TEMP), 0);
}

#[test]
fn nothing_is_collected_while_content_is_added() {
    let fixture = Fixture::new();
    let ingest = fixture.store.ingest().unwrap();
    ingest.layer(&*layer("not used yet"), &any()).unwrap();
    assert_eq!(fixture.store.collect().unwrap(), []);
    let image = fixture.add("a", &["1"], &["x"]);
    fixture.remove("x");
    assert_eq!(fixture.files("layers"), 2);
    drop(ingest);
    assert_eq!(fixture.store.collect().unwrap().len(), 2);
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256")), (0, 0));
    assert_eq!(fixture.find(&image.id.to_string()), None);
}

#[test]
fn what_the_dead_left_is_swept_but_not_what_the_living_write() {
    let fixture = Fixture::new();
    let open = || Store::open_at(fixture.folder.path()).unwrap();
    fs::write(fixture.folder.path().join(TEMP).join("left"), b"half").unwrap();
    let ingest = fixture.store.ingest().unwrap();
    let spooled = ingest.spool(&b"content"[..], "it").unwrap();
    open();
    assert_eq!(fixture.files(TEMP), 2);
    drop((spooled, ingest));
    open();
    assert_eq!(fixture.files(TEMP), 0);
}

#[test]
fn many_at_once_store_once() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let fixture = &fixture;
            scope.spawn(move || {
                fixture.add("same", &["base", "top"], &[&format!("name{i}"), "shared"]);
                fixture.store.collect().unwrap();
            });
        }
    });
    let images = fixture.store.images().unwrap();
    assert_eq!((images.len(), images[0].tags.len()), (1, 9));
    assert_eq!((fixture.files("layers"), fixture.files("blobs/sha256"), fixture.files(TEMP)), (2, 4, 0));
}

#[test]
fn a_list_that_is_none_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    for (text, words) in
        [("{", "not hull's list"), ("{\"version\":99}", "newer hull"), ("[]", "not hull's list")]
    {
        fs::write(fixture.folder.path().join("images.json"), text).unwrap();
        let error = fixture.store.images().unwrap_err().to_string();
        assert!(error.contains("images.json") && error.contains(words), "{error}");
    }
}
