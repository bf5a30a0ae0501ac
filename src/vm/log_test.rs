use proptest::prelude::*;

use super::*;

fn file() -> (tempfile::NamedTempFile, Writer) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = Writer::new(File::options().append(true).open(file.path()).unwrap());
    (file, writer)
}

fn read(file: &tempfile::NamedTempFile, tail: Option<u64>) -> (Vec<u8>, Vec<u8>) {
    let mut reader = Reader::new(file.reopen().unwrap(), tail).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.next_entry().unwrap() {
        let stream = if entry.stream == Stream::Stderr { &mut stderr } else { &mut stdout };
        stream.extend_from_slice(entry.text);
        if entry.full {
            stream.push(b'\n');
        }
    }
    (stdout, stderr)
}

#[test]
fn a_line_reads_as_it_was_written() {
    let (file, mut writer) = file();
    writer.write(Stream::Stderr, b"one\ntwo").unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<_> = text.lines().map(|line| &line[TIME..]).collect();
    assert_eq!(lines, [" stderr F one", " stderr P two"]);
    assert_eq!(read(&file, None).1, b"one\ntwo");
}

#[test]
fn the_tail_counts_lines_of_output() {
    let (file, mut writer) = file();
    for line in 0..5000 {
        writer.write(Stream::Stdout, b"line ").unwrap();
        writer.write(Stream::Stdout, format!("{line}\n").as_bytes()).unwrap();
    }
    assert_eq!(read(&file, Some(2)).0, b"line 4998\nline 4999\n");
    assert_eq!(read(&file, Some(0)).0, b"");
    assert_eq!(read(&file, Some(5000)), read(&file, None));
    assert_eq!(read(&file, Some(9999)), read(&file, None));
    writer.write(Stream::Stdout, b"unfinished").unwrap();
    assert_eq!(read(&file, Some(2)).0, b"line 4999\nunfinished");
}

#[test]
fn a_reader_waits_for_the_rest_of_a_line() {
    let (file, mut writer) = file();
    writer.write(Stream::Stdout, b"whole\nnot whole\n").unwrap();
    let text = std::fs::read(file.path()).unwrap();
    let growing = tempfile::NamedTempFile::new().unwrap();
    let mut reader = Reader::new(growing.reopen().unwrap(), None).unwrap();
    let mut file = growing.reopen().unwrap();
    let mut seen = Vec::new();
    for byte in text {
        file.write_all(&[byte]).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            seen.push(entry.text.to_vec());
        }
    }
    assert_eq!(seen, [b"whole".to_vec(), b"not whole".to_vec()]);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_back(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(
            prop_oneof![Just(b'\n'), any::<u8>()], 1..40)), 0..20),
    ) {
        let (file, mut writer) = file();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for (is_stderr, bytes) in pieces {
            let (stream, all) =
                if is_stderr { (Stream::Stderr, &mut stderr) } else { (Stream::Stdout, &mut stdout) };
            writer.write(stream, &bytes).unwrap();
            all.extend_from_slice(&bytes);
        }
        prop_assert_eq!(read(&file, None), (stdout, stderr));
    }
}
