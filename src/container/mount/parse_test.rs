use super::*;

fn shared(text: &str) -> MountPoint {
    match mount(text).unwrap() {
        Asked::Shared(point) => *point,
        Asked::Tmpfs(..) => panic!("{text}"),
    }
}

#[test]
fn a_folder_has_a_path_and_a_volume_a_name() {
    let bind = volume("/host/a:/x/").unwrap();
    assert_eq!((bind.kind, bind.source, &*bind.destination), (MountKind::Bind, "/host/a".into(), "/x"));
    assert!(bind.writable && bind.create);
    let named = volume("data:/var/lib/./data/../x:ro,nocopy").unwrap();
    assert_eq!((named.kind, named.name.as_deref()), (MountKind::Volume, Some("data")));
    assert_eq!(named.destination, "/var/lib/x");
    assert!(!named.writable && !named.populate && !named.anonymous);
    let anonymous = volume("/x").unwrap();
    assert_eq!((anonymous.name, anonymous.anonymous), (None, true));
    assert!(!volume("/x:ro").unwrap().writable);
    let here = std::path::absolute("a").unwrap();
    assert_eq!(volume("./a:/x").unwrap().source, here);
}

#[test]
fn options_are_dockers() {
    for option in ["z", "Z", "rw", "rprivate", "z,rprivate"] {
        assert!(volume(&format!("/a:/x:{option}")).unwrap().writable, "{option}");
    }
    assert_eq!(volume("/a:/x:cached,ro").unwrap().freshness, Freshness::Cached);
    assert_eq!(volume("/a:/x:consistent").unwrap().freshness, Freshness::Strict);
    let error = |text: &str| volume(text).unwrap_err().to_string();
    assert_eq!(error("/a:/x:wrong"), "invalid mode: wrong");
    assert!(error("/a:/x:rshared").contains("rprivate"));
    assert_eq!(error("/a:/b:/c:ro"), "invalid volume specification: '/a:/b:/c:ro'");
    assert_eq!(error(":/x"), "invalid spec: :/x: empty section between colons");
    assert_eq!(
        error("/a:x"),
        "invalid volume specification: '/a:x': invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be \
         absolute"
    );
    assert!(error("/a:/").contains("destination can't be '/'"));
    assert!(error("/a:/x/..").contains("destination can't be '/'"));
    assert!(error("a/b:/x").contains("includes invalid characters for a local volume name"));
}

#[test]
fn mounts_have_fields() {
    let bind = shared("type=bind,source=/a,target=/x,readonly,consistency=cached,uid=1000,gid=50");
    assert_eq!((bind.kind, bind.writable, bind.create), (MountKind::Bind, false, false));
    assert_eq!((bind.freshness, bind.owner), (Freshness::Cached, Some((1000, 50))));
    let volume = shared("src=data,dst=/x,volume-nocopy=true,ro=false");
    assert_eq!((volume.kind, volume.populate, volume.writable), (MountKind::Volume, false, true));
    assert!(shared("target=/x").anonymous);
    assert_eq!(shared("type=bind,\"source=/a,b\",target=/x").source, std::path::Path::new("/a,b"));
    assert_eq!(
        mount("type=tmpfs,target=/t,tmpfs-size=1m,ro").unwrap(),
        Asked::Tmpfs("/t".to_owned(), "size=1m,ro".to_owned())
    );
}

#[test]
fn mounts_that_cannot_be_are_refused_by_name() {
    let error = |text: &str| mount(text).unwrap_err().to_string();
    for (text, part) in [
        ("type=bind,source=/a", "target is required"),
        ("type=bind,target=/x", "field Source must not be empty"),
        ("type=bind,source=a,target=/x", "mount path must be absolute"),
        ("type=npipe,source=/a,target=/x", "mount type \"npipe\" is not supported"),
        ("type=bind,source=/a,target=/x,bind-propagation=rshared", "use rprivate"),
        ("type=bind,source=/a,target=/x,colour=red", "unexpected key 'colour'"),
        ("type=bind,source=/a,target=/x,colour", "must be a key=value pair"),
        ("type=bind,source=/a,target=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=bind,source=/a,target=/x,uid=me", "invalid value for uid: me"),
        ("type=volume,source=a/b,target=/x", "includes invalid characters"),
        ("type=volume,source=ab,target=/x,volume-driver=nfs", "volume-driver=nfs is not supported"),
        ("type=tmpfs,source=a,target=/x", "Source must not be specified"),
    ] {
        assert!(error(text).contains(part), "{text}: {}", error(text));
    }
}

#[test]
fn an_image_has_no_say_in_what_is_mounted() {
    for path in ["/:/host", "/home:/h", "/data:ro"] {
        let declared = declared(path).unwrap();
        assert_eq!(
            (declared.kind, declared.source.as_os_str().len(), declared.name),
            (MountKind::Volume, 0, None)
        );
        assert_eq!(declared.destination, path);
    }
    for wrong in [".:/cwd", "db:/x", "relative", ""] {
        assert!(declared(wrong).is_err(), "{wrong}");
    }
}
