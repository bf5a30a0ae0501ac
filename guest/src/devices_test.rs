use super::*;

/// What a program answers.
fn ask(program: &[Instruction], what: u32, kind: u32, major: u32, minor: u32) -> u64 {
    let told = [what << 16 | kind, major, minor];
    let mut registers = [0u64; 6];
    let mut at = 0usize;
    loop {
        let Instruction { code, registers: pair, offset, value } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let (mut over, constant) = (0, value as u64);
        match code {
            0x61 => registers[to] = told[offset as usize / 4].into(),
            0xb7 => registers[to] = constant,
            0xbf => registers[to] = registers[from],
            0x57 => registers[to] &= constant,
            0x77 => registers[to] >>= constant,
            0x6f => registers[to] <<= registers[from] & 63,
            0x05 => over = offset,
            0x15 if registers[to] == constant => over = offset,
            0x55 if registers[to] != constant => over = offset,
            0x25 if registers[to] > constant => over = offset,
            0x15 | 0x55 | 0x25 => {}
            0x95 => return registers[0],
            other => panic!("{other:#x}"),
        }
        at += 1 + over as usize;
    }
}

#[test]
fn docker_s_devices_are_reached_and_no_others() {
    const BLOCK: u32 = 1;
    const READ: u32 = 2;
    let character = CHARACTER as u32;
    let open = |kind, major, minor| ask(&DOCKERS, READ, kind, major, minor) == 1;
    for (major, minor) in
        [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 0), (136, 500), (143, 1)]
    {
        assert!(open(character, major, minor), "{major}:{minor}");
        assert!(!open(BLOCK, major, minor), "{major}:{minor}");
    }
    for (major, minor) in [
        (0, 0),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 4),
        (1, 11),
        (1, 35),
        (1, 67),
        (4, 64),
        (5, 3),
        (10, 200),
        (135, 0),
        (144, 0),
        (229, 0),
        (254, 32),
    ] {
        assert!(!open(character, major, minor), "{major}:{minor}");
    }
    // Nodes may be made of any.
    assert_eq!(ask(&DOCKERS, MAKE as u32, BLOCK, 254, 32), 1);
    // But whoever makes one to read it reads.
    assert_eq!(ask(&DOCKERS, MAKE as u32 | READ, BLOCK, 254, 32), 0);
    assert_eq!(ask(&ALL, READ, BLOCK, 254, 32), 1);
}
