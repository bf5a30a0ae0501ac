use super::*;
use crate::container::{Config, HostConfig};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_at(folder.path().join("state")).unwrap();
    (folder, store)
}

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

/// A finished container; its lock is given back.
fn make(store: &Store, wanted: Option<&str>, status: Status, auto_remove: bool) -> (Folder, Lock) {
    let claim = store.claim(wanted.map(name).as_ref()).unwrap();
    let description = Description {
        more_networks: Vec::new(),
        networking: Default::default(),
        id: claim.folder.id.clone(),
        name: claim.name.clone(),
        created: crate::vm::timestamp::now(),
        image: serde_json::from_str(&format!("\"sha256:{}\"", "0".repeat(64))).unwrap(),
        config: Config::default(),
        host_config: HostConfig { auto_remove, ..HostConfig::default() },
        mounts: Vec::new(),
    };
    claim.finish(&description, &State { status, ..State::default() }).unwrap()
}

fn actions(store: &Store) -> Vec<String> {
    let text = fs::read_to_string(store.root.join("events")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<super::super::Event>(line).unwrap().action).collect()
}

#[test]
fn a_container_is_found_by_id_name_and_the_beginning_of_its_id() {
    let (_folder, store) = store();
    let (web, _) = make(&store, Some("web"), Status::Created, false);
    let found = |text: &str| store.find(text).map(|folder| folder.id);
    for text in [web.id.as_str(), web.id.short(), &web.id.as_str()[..3], "web", "/web"] {
        assert_eq!(found(text).unwrap(), web.id, "{text}");
    }
    for text in ["", "we", "xyz", "../web", &"0".repeat(64)] {
        let error = found(text).unwrap_err().to_string();
        assert_eq!(error, format!("No such container: {text}"));
    }
    // Of 17 ids two begin with the same digit.
    let ids: Vec<_> = (0..16).map(|_| make(&store, None, Status::Created, false).0.id).collect();
    let first = |id: &ContainerId| id.as_str()[..1].to_owned();
    let twice =
        ids.iter().find(|id| ids.iter().chain([&web.id]).filter(|o| first(o) == first(id)).count() > 1);
    let digit = first(twice.unwrap());
    assert_eq!(
        found(&digit).unwrap_err().to_string(),
        format!("multiple IDs found with provided prefix: {digit}")
    );
}

#[test]
fn a_name_belongs_to_one_container() {
    let (_folder, store) = store();
    let (web, _) = make(&store, Some("web"), Status::Created, false);
    let error = store.claim(Some(&name("web"))).unwrap_err().to_string();
    let expected = format!("The container name \"/web\" is already in use by container \"{}\"", web.id);
    assert!(error.starts_with("Conflict. ") && error.contains(&expected), "{error}");
    let description = web.description().unwrap().unwrap();
    store.remove(&web, &description).unwrap();
    assert!(store.claim(Some(&name("web"))).is_ok());
    assert_eq!(actions(&store), ["create", "destroy"]);
}

#[test]
fn a_container_that_is_given_up_leaves_nothing() {
    let (_folder, store) = store();
    drop(store.claim(Some(&name("web"))).unwrap());
    assert_eq!(fs::read_dir(store.containers()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.names()).unwrap().count(), 0);
    assert!(actions(&store).is_empty());
}

#[test]
fn what_a_killed_maker_left_is_swept_up() {
    let (_folder, store) = store();
    let claim = store.claim(Some(&name("web"))).unwrap();
    // Held by its maker it is left alone, and not a container yet.
    assert!(store.list().unwrap().is_empty());
    assert!(store.find("web").is_err());
    assert!(claim.folder.path().exists());
    let path = claim.folder.path().to_owned();
    let mut claim = claim;
    claim.finished = true;
    drop(claim);
    assert!(store.list().unwrap().is_empty());
    assert!(!path.exists());
    assert_eq!(fs::read_dir(store.names()).unwrap().count(), 0);
    assert!(store.claim(Some(&name("web"))).is_ok());
}

#[test]
fn a_container_without_its_keeper_is_over() {
    let (_folder, store) = store();
    let (running, keeper) = make(&store, Some("running"), Status::Running, false);
    assert_eq!(store.list().unwrap()[0].2.status, Status::Running);
    drop(keeper);
    let state = store.find("running").unwrap().state().unwrap();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
    assert!(state.error.contains("killed") && state.finished_at.starts_with("20"));
    assert_eq!(running.state().unwrap(), state);

    let (starting, keeper) = make(&store, None, Status::Starting, false);
    drop(keeper);
    assert_eq!(store.find(starting.id.as_str()).unwrap().state().unwrap().status, Status::Created);

    for status in [Status::Starting, Status::Running] {
        let (gone, keeper) = make(&store, Some("gone"), status, true);
        drop(keeper);
        assert!(store.find("gone").is_err());
        assert!(!gone.path().exists());
    }
    // What does not run stays as it is, with or without a lock.
    let (created, _) = make(&store, Some("created"), Status::Created, true);
    assert_eq!(store.find("created").unwrap().id, created.id);
}

#[test]
fn a_damaged_record_hides_nothing() {
    let (_folder, store) = store();
    let (web, lock) = make(&store, Some("web"), Status::Exited, false);
    drop(lock);
    fs::write(web.file("state.json"), b"").unwrap();
    let state = store.find("web").unwrap().state().unwrap();
    assert_eq!((state.status, state.exit_code), (Status::Created, 137));
    make(&store, Some("other"), Status::Created, false);
    fs::write(web.file("config.json"), b"{").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn removal_that_was_cut_short_is_completed() {
    let (_folder, store) = store();
    let (web, lock) = make(&store, Some("web"), Status::Exited, false);
    drop(lock);
    fs::remove_file(web.file("config.json")).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(!web.path().exists());
}

#[test]
fn a_keeper_is_reached_however_long_the_path_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_at(folder.path().join("x".repeat(200))).unwrap();
    let (web, _lock) = make(&store, None, Status::Created, false);
    assert!(web.connect().is_err());
    let _listener = web.listen().unwrap();
    web.connect().unwrap();
    // A socket that a killed keeper left is replaced.
    let _listener = web.listen().unwrap();
    web.connect().unwrap();
}

#[test]
fn many_at_once_all_get_names_of_their_own() {
    let (_folder, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| drop(make(&store, None, Status::Created, false))));
        }
    });
    let names: std::collections::HashSet<_> =
        store.list().unwrap().into_iter().map(|(_, description, _)| description.name).collect();
    assert_eq!(names.len(), 160);
}
