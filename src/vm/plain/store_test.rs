use super::*;
use crate::vm::timestamp;

fn description(name: &Name) -> Description {
    let text = format!("name = \"{name}\"");
    Description {
        created: timestamp::now(),
        vm: toml::from_str(&text).unwrap(),
        snapshot: None,
        below: Vec::new(),
        fault_handler: None,
        stamps: Default::default(),
        made: Vec::new(),
        keep: true,
    }
}

#[test]
fn a_name_is_taken_for_as_long_as_its_keeper_lives() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_at(folder.path().join("vms")).unwrap();
    let name: Name = "web".parse().unwrap();
    assert!(store.find(&name).is_err());

    // What is not finished leaves nothing.
    drop(store.claim(&name).unwrap());
    assert!(store.list().unwrap().is_empty() && !folder.path().join("vms/web").exists());

    let claim = store.claim(&name).unwrap();
    claim.folder.write_description(&description(&name)).unwrap();
    let lock = claim.finish().unwrap();
    let refusal = store.claim(&name).unwrap_err().to_string();
    assert!(refusal.contains("VM web runs") && refusal.contains("--name"), "{refusal}");
    assert!(store.remove(&name).unwrap_err().to_string().contains("VM web runs"));
    assert_eq!(store.find(&name).unwrap().state().status, Status::Starting);

    // A keeper that was killed has written nothing of it.
    drop(lock);
    let (listed, _, state) = store.list().unwrap().remove(0);
    assert_eq!((listed, state.status, state.reason), (name.clone(), Status::Exited, None));
    // One that has ended makes way.
    drop(store.claim(&name).unwrap());
    assert!(store.list().unwrap().is_empty());
    assert!(store.remove(&name).unwrap_err().to_string().contains("no VM web"));
}

#[test]
fn what_is_damaged_hides_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_at(folder.path().to_owned()).unwrap();
    for name in ["good", "bad"] {
        let name: Name = name.parse().unwrap();
        let claim = store.claim(&name).unwrap();
        claim.folder.write_description(&description(&name)).unwrap();
        drop(claim.finish().unwrap());
    }
    fs::write(folder.path().join("bad/vm.json"), "{").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    store.remove(&"bad".parse().unwrap()).unwrap();
    assert!(!folder.path().join("bad").exists());
}
