use super::*;

#[test]
fn a_pipe_becomes_nonblocking_and_a_socket_does_not() {
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    Output::new(writer.try_clone().unwrap()).unwrap();
    assert!(rustix::fs::fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = OwnedFd::from(socket);
    Output::new(socket.try_clone().unwrap()).unwrap();
    assert!(!rustix::fs::fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
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
