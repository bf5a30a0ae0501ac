use super::*;

#[test]
fn input_ends_once() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut input = Input::new(reader).unwrap();
    let poll = PollSet::new().unwrap();
    let mut buffer = [0; 4];
    assert_eq!(input.read(&mut buffer), Read::Nothing);
    assert!(input.watch(&poll, 1, true));
    rustix::io::write(&writer, b"hello").unwrap();
    assert_eq!(poll.ready::<1>().count(), 1);
    assert_eq!(input.read(&mut buffer), Read::Data(4));
    assert_eq!(input.read(&mut buffer), Read::Data(1));
    drop(writer);
    assert_eq!(input.read(&mut buffer), Read::End);
    assert!(!input.watch(&poll, 1, false));
    assert_eq!(poll.ready::<1>().count(), 0);
}
