use proptest::prelude::*;

use super::*;
use crate::tar::{Archive, Segment, Time};

fn member() -> impl Strategy<Value = Member> {
    let name = || proptest::collection::vec(1..=255u8, 1..300);
    let time = (-5_000_000_000i64..50_000_000_000, 0..1_000_000_000u32);
    let ids = (any::<u32>(), any::<u32>());
    let xattrs = proptest::collection::vec(("[a-z.]{1,300}".prop_map(String::into_bytes), name()), 0..3);
    let kinds = prop_oneof![
        Just(Kind::File),
        Just(Kind::HardLink),
        Just(Kind::Symlink),
        Just(Kind::CharDevice),
        Just(Kind::Directory),
        Just(Kind::Fifo)
    ];
    (kinds, name(), name(), 0..0o10000u16, ids, time, 0..2000u64, (0..4096u32, 0..100_000u32), xattrs)
        .prop_map(|(kind, path, link, mode, (uid, gid), (seconds, nanoseconds), size, device, xattrs)| {
            let size = if kind == Kind::File { size } else { 0 };
            let mtime = Time { seconds, nanoseconds };
            let segments = vec![Segment { offset: 0, length: size }];
            Member { path, kind, link, mode, uid, gid, mtime, size, device, xattrs, segments }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in proptest::collection::vec(member(), 0..8)) {
        let mut writer = Writer::new(Vec::new());
        for member in &members {
            writer.append(member, &mut io::repeat(7).take(member.size / 2)).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut archive = Archive::new(&bytes[..]);
        for member in &members {
            let read = archive.next_member().unwrap().unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{member:?}"));
            let mut data = Vec::new();
            archive.read_to_end(&mut data).unwrap();
            prop_assert_eq!(data.len() as u64, member.size);
            prop_assert_eq!(data.iter().filter(|byte| **byte == 7).count() as u64, member.size / 2);
        }
        prop_assert!(archive.next_member().unwrap().is_none());
    }
}

#[test]
fn other_programs_read_it() {
    let mut writer = Writer::new(Vec::new());
    let long = [b"directory/", &[b'n'; 200][..]].concat();
    let member = |path: &[u8], kind, size| Member {
        path: path.to_vec(),
        kind,
        link: b"../elsewhere".to_vec(),
        mode: 0o640,
        uid: 3_000_000,
        gid: 5,
        mtime: Time { seconds: 1_600_000_000, nanoseconds: 5 },
        size,
        device: (1, 3),
        xattrs: Vec::new(),
        segments: Vec::new(),
    };
    writer.append(&member(&long, Kind::File, 5), &mut &b"hello"[..]).unwrap();
    writer.append(&member(b"link", Kind::Symlink, 0), &mut io::empty()).unwrap();
    let bytes = writer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    let listed =
        std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&path).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success(), "{text}");
    assert!(text.contains("-rw-r----- 3000000/5") && text.contains("link -> ../elsewhere"), "{text}");
    assert!(text.contains(&"n".repeat(200)), "{text}");
}
