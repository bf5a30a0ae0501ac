use super::*;

#[test]
fn a_closed_socket_loses_output_and_nothing_else() {
    let (socket, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut output = Output::new(socket.into()).unwrap();
    drop(other);
    output.put(b"nobody");
    assert!(!output.has_pending());
    assert_eq!(output.tail(), b"nobody");
}

#[test]
fn a_full_pipe_takes_no_more_than_is_kept() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut output = Output::new(writer).unwrap();
    let poll = PollSet::new().unwrap();
    while output.room() > 0 {
        output.put(&[1; 1000]);
    }
    output.put(&[2; 1000]);
    assert_eq!(output.pending().len(), PENDING_SIZE);
    assert!(!output.pending().contains(&2));
    output.watch(&poll, 7);
    assert_eq!(poll.ready::<1>().count(), 0);
    let mut chunk = vec![0; 1 << 20];
    rustix::io::read(&reader, &mut chunk).unwrap();
    assert_eq!(poll.ready::<1>().map(|(token, _)| token).collect::<Vec<_>>(), [7]);
    output.flush_pending();
    output.watch(&poll, 7);
    assert!(!output.has_pending());
    assert_eq!(poll.ready::<1>().count(), 0, "a pipe with room is not watched");
    drop(reader);
    assert_eq!(poll.ready::<1>().count(), 0, "nor is a closed one");
    output.put(b"nobody");
    assert!(!output.has_pending());
}
