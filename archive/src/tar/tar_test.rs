use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::build::{Head, Tar};
use super::*;

fn members(archive: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, Error> {
    let mut archive = Archive::new(archive);
    let mut all = Vec::new();
    while let Some(member) = archive.next_member()? {
        let mut data = Vec::new();
        archive.read_to_end(&mut data)?;
        all.push((member, data));
    }
    Ok(all)
}

fn error(archive: &[u8]) -> String {
    members(archive).expect_err("a bad archive").to_string()
}

/// Packs a folder with the system's tar.
fn pack(folder: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").args(["-c", "-C"]).arg(folder).args(options).arg(".").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn what_gnu_tar_writes_is_read_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let long = "d".repeat(120);
    fs::create_dir_all(root.join(&long)).unwrap();
    fs::write(root.join(&long).join("f".repeat(200)), b"long").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"bytes").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), root.join("link")).unwrap();
    for format in ["gnu", "oldgnu", "pax", "posix"] {
        let owner = "--owner=someone:3000000";
        let archive = pack(root, &["--format", format, owner, "--mtime=@1234567890.5", "--sort=name"]);
        let all = members(&archive).unwrap();
        let find = |name: &[u8]| {
            all.iter().find(|(member, _)| member.path == name).unwrap_or_else(|| panic!("{format}"))
        };
        let (member, data) = find(format!("./{long}/{}", "f".repeat(200)).as_bytes());
        assert_eq!((member.kind, data.as_slice(), member.uid), (Kind::File, &b"long"[..], 3_000_000));
        assert_eq!(member.mtime.seconds, 1_234_567_890);
        assert_eq!(find(b"./\xff\xfe").1, b"bytes");
        assert_eq!(find(b"./link").0.link, "t".repeat(300).as_bytes());
        assert_eq!(find(b"./").0.kind, Kind::Directory);
    }
}

#[test]
fn sparse_files_are_read_in_all_four_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("sparse")).unwrap();
    // So many parts that GNU tar's old header needs blocks that continue it.
    let parts: Vec<u64> = (0..40).map(|i| i * 1_000_000).collect();
    for &part in &parts {
        file.write_all_at(format!("part at {part}").as_bytes(), part).unwrap();
    }
    file.set_len(50_000_000).unwrap();
    let expected = fs::read(folder.path().join("sparse")).unwrap();
    let encodings: [&[&str]; 4] = [
        &["--format=gnu", "-S"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
    ];
    for options in encodings {
        let archive = pack(folder.path(), options);
        assert!(archive.len() < 1_000_000, "tar left out the holes");
        let all = members(&archive).unwrap();
        let (member, data) =
            all.iter().find(|(member, _)| member.path.ends_with(b"sparse")).expect("its real name");
        assert_eq!(member.size, 50_000_000, "{options:?}");
        let (mut whole, mut at) = (vec![0; member.size as usize], 0);
        for Segment { offset, length } in &member.segments {
            whole[*offset as usize..][..*length as usize].copy_from_slice(&data[at..at + *length as usize]);
            at += *length as usize;
        }
        assert!(whole == expected && at == data.len(), "{options:?}");
    }
}

#[test]
fn a_sparse_map_that_lies_is_refused() {
    let sparse = |records: &[(&[u8], &[u8])], data: &[u8]| {
        let head = Head { path: b"hole", size: data.len() as u64, ..Head::default() };
        error(&Tar::default().pax(records).header(&head).data(data).finish())
    };
    let size: (&[u8], &[u8]) = (b"GNU.sparse.size", b"100");
    assert!(sparse(&[size, (b"GNU.sparse.map", b"0,10,5,10")], &[1; 20]).contains("out of order"));
    assert!(sparse(&[size, (b"GNU.sparse.map", b"95,10")], &[1; 10]).contains("leaves the file"));
    assert!(sparse(&[size, (b"GNU.sparse.map", b"0,10")], &[1; 20]).contains("holds 20"));
    assert!(sparse(&[size, (b"GNU.sparse.map", b"0,10,20")], &[1; 10]).contains("makes no sense"));
    assert!(
        sparse(&[(b"GNU.sparse.size", b"99999999999999999"), (b"GNU.sparse.map", b"")], b"")
            .contains("8 TiB")
    );
    let one: (&[u8], &[u8]) = (b"GNU.sparse.major", b"1");
    let block = |text: &[u8]| [text, &[0; 512][text.len()..]].concat();
    assert!(sparse(&[one, size], &block(b"999999999999\n")).contains("million"));
    assert!(sparse(&[one, size], &[b'\n'; 100]).contains("cut short"));
    assert!(sparse(&[one, size], &block(b"x\n")).contains("not made of numbers"));
    assert!(sparse(&[(b"GNU.sparse.major", b"7"), size], b"").contains("7.x"));
}

#[test]
fn pax_records_override_the_header() {
    let xattr: (&[u8], &[u8]) = (b"SCHILY.xattr.user.a", b"v\0\nw=");
    let records: &[(&[u8], &[u8])] = &[
        (b"path", b"other"),
        (b"uid", b"4000000000"),
        (b"mtime", b"-1.25"),
        xattr,
        (b"comment", b"ignored"),
    ];
    let archive = Tar::default().pax(records).file("name", b"x").file("next", b"y").finish();
    let all = members(&archive).unwrap();
    let member = &all[0].0;
    assert_eq!((member.path.as_slice(), member.uid), (&b"other"[..], 4_000_000_000));
    assert_eq!(member.mtime, Time { seconds: -2, nanoseconds: 750_000_000 });
    assert_eq!(member.xattrs, [(b"user.a".to_vec(), b"v\0\nw=".to_vec())]);
    assert_eq!(all[1].0.path, b"next", "records speak of one member only");
}

#[test]
fn a_size_beyond_8_gib_is_read_from_both_encodings() {
    for (archive, how) in [
        (Tar::default().header(&Head { size: 10 << 30, ..Head::default() }), "base 256"),
        (Tar::default().pax(&[(b"size", b"10737418240")]).header(&Head::default()), "pax"),
    ] {
        let archive = archive.unfinished();
        let mut archive = Archive::new(archive.as_slice());
        assert_eq!(archive.next_member().unwrap().unwrap().size, 10 << 30, "{how}");
        assert!(matches!(archive.next_member(), Err(Error::CutShort(_))), "{how}");
    }
}

#[test]
fn an_archive_cut_anywhere_but_between_members_is_an_error() {
    let whole = Tar::default().pax(&[(b"mtime", b"1")]).file("a", &[1; 600]).directory("d/").finish();
    // Header and data of the extension, header and data of the file, the directory.
    let ends = [0, 512 + 512 + 512 + 1024, 512 + 512 + 512 + 1024 + 512];
    for length in 0..whole.len() {
        let result = members(&whole[..length]);
        // The padding of a last member, and all but the first block of what ends the archive, may be missing.
        let in_padding = (512 * 3 + 600..=512 * 5).contains(&length);
        let complete = ends.contains(&length) || in_padding || length >= whole.len() - 512;
        assert_eq!(result.is_ok(), complete, "cut at {length}: {result:?}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(error(&[7; 1024]).contains("is no tar header"));
    assert!(error(&[0x80; 512]).contains("is no tar header"));
    let mut damaged = Tar::default().file("a", b"x").finish();
    damaged[0] = b'b';
    assert!(error(&damaged).contains("checksum"));
    let huge = Head { kind: b'L', size: 1 << 40, ..Head::default() };
    assert!(error(&Tar::default().header(&huge).unfinished()).contains("1 MiB"));
    // Each is short enough, and what they say only grows.
    let value = vec![b'v'; 700 << 10];
    let said = |tar: Tar, name: &str| tar.pax(&[(format!("SCHILY.xattr.user.{name}").as_bytes(), &value)]);
    let two = said(said(Tar::default(), "a"), "b").file("first", b"");
    let four = said(said(two, "c"), "d").file("second", b"");
    assert_eq!(members(&four.finish()).unwrap().len(), 2);
    let three = said(said(said(Tar::default(), "a"), "b"), "c").file("f", b"").finish();
    assert!(error(&three).contains("more than 2 MiB before one member"));
    let volume = Head { kind: b'M', ..Head::default() };
    assert!(error(&Tar::default().header(&volume).finish()).contains("multi-volume"));
    assert!(error(&Tar::default().header(&Head { kind: b'?', ..Head::default() }).finish()).contains("'?'"));
    assert!(
        error(&Tar::default().pax(&[(b"path", b"a\0b")]).file("a", b"").finish()).contains("makes no sense")
    );
    assert!(
        error(&Tar::default().pax(&[(b"uid", b"99999999999")]).file("a", b"").finish()).contains("32-bit")
    );
}

#[test]
fn numbers_are_octal_or_base_256() {
    assert_eq!(header::parse_number(b"0000644\0"), Some(0o644));
    assert_eq!(header::parse_number(b"  644 \0 "), Some(0o644));
    assert_eq!(header::parse_number(b"        "), Some(0));
    assert_eq!(header::parse_number(b"9\0"), None);
    assert_eq!(header::parse_number(&[0x80, 0, 1, 0]), Some(256));
    assert_eq!(header::parse_number(&[0xff; 12]), Some(-1));
    assert_eq!(header::parse_number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
        let _ = members(&bytes);
        // With a right checksum more of it is looked at.
        if bytes.len() >= 512 {
            bytes[148..156].fill(b' ');
            let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let _ = members(&bytes);
        }
    }

    #[test]
    fn damaged_archives_are_survived(at in 0usize..6000, byte: u8, kind: u8) {
        let sparse: &[(&[u8], &[u8])] = &[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"1000")];
        let map = b"2\n0\n10\n500\n10\n";
        let mut data = map.to_vec();
        data.resize(512 + 20, 0);
        let head = Head { kind, size: data.len() as u64, ..Head::default() };
        let mut bytes = Tar::default().pax(sparse).header(&head).data(&data).file("b", b"x").finish();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = members(&bytes);
    }
}
