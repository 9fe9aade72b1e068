//! Volumes and mounted folders.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::work::{Work, mount, root, strings, tar};

#[test]
fn volumes_are_filled_from_the_image_once_and_keep_their_data() {
    let work = Work::new();
    let data = work.path("oci/volumes/keep/_data");
    work.run("create --network none --name one -v keep:/data images:python:3.8").ok();
    assert_eq!(fs::read_to_string(data.join("seed")).unwrap(), "from the image\n");
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    fs::write(data.join("seed"), "changed").unwrap();
    work.run("volume rm keep").fails(1, &["keep: volume in use by one"]);
    work.run("delete one").ok();
    work.run("create --network none --name two -v keep:/data:ro -v /anonymous images:python:3.8").ok();
    assert_eq!(fs::read_to_string(data.join("seed")).unwrap(), "changed");
    let listed = work.run("volume ls").ok().to_owned();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    work.run("create --network none --name three --volumes-from two images:python:3.8").ok();
    let config: Value = serde_json::from_slice(&fs::read(work.path("oci/bundles/three/config.json")).unwrap()).unwrap();
    assert!(strings(&mount(&config, "/data")["options"]).contains(&"ro") && !mount(&config, "/anonymous").is_null());
    work.run("delete two --volumes").ok();
    work.run("volume rm keep").fails(1, &["keep: volume in use by three"]);
    assert_eq!(work.run("volume prune --all").ok(), "", "the other container has both");
    assert_eq!(work.run("volume ls").ok(), listed);
    work.run("delete three --volumes").ok();
    assert_eq!(work.run("volume ls").ok(), "keep", "the one without a name went with its last container");
    assert!(work.run("volume inspect keep").ok().contains("\"Driver\": \"local\""));
    assert_eq!(work.run("volume create --label a=1 more").ok(), "more");
    assert_eq!(work.run("volume rm keep more").ok(), "keep\nmore");
    work.run("volume rm keep").fails(1, &["keep: no such volume"]);
    assert_eq!(work.run("volume ls").ok(), "");
    work.is_clean();
}

#[test]
fn a_folder_for_v_is_made_and_the_working_folder_too() {
    let work = Work::new();
    let source = work.path("new/folder");
    work.run(&format!(
        "create --network none --name box -v {}:/mnt/x -w /made/too images:python:3.8",
        source.display()
    ))
    .ok();
    assert!(
        source.is_dir()
            && work.path("oci/bundles/box/rootfs/made/too").is_dir()
            && work.path("oci/bundles/box/rootfs/mnt/x").is_dir()
    );
    work.run("delete box").ok();
    assert!(source.is_dir(), "what is mounted is not removed");
}

#[test]
fn an_anonymous_volume_outlives_the_first_of_two_containers() {
    let work = Work::new();
    work.run("create --network none --rm --name first -v /av images:python:3.8").ok();
    work.run("create --network none --name second --volumes-from first:ro images:python:3.8").ok();
    work.run("create --network none --name third --volumes-from second images:python:3.8").ok();
    let config: Value = serde_json::from_slice(&fs::read(work.path("oci/bundles/third/config.json")).unwrap()).unwrap();
    assert!(strings(&mount(&config, "/av")["options"]).contains(&"ro"));
    let volume = work.run("volume ls").ok().to_owned();
    for name in ["first", "second --volumes"] {
        work.run(&format!("delete {name}")).ok();
        assert_eq!(work.run("volume ls").ok(), volume);
    }
    work.run("delete third --volumes").ok();
    assert_eq!(work.run("volume ls").ok(), "");
    work.is_clean();
}

#[test]
fn two_first_users_at_once_both_find_all_files() {
    let work = Work::new();
    let files: Vec<String> = (0..200).map(|number| format!("many/{number}")).collect();
    let mut entries = vec![("many/", "", 0o755)];
    entries.extend(files.iter().map(|name| (name.as_str(), "x", 0o644)));
    work.image("many", &[&tar(&entries)], json!({"Cmd": ["true"]}));
    let names = ["one", "two", "three", "four"];
    std::thread::scope(|scope| {
        for name in names {
            let work = &work;
            scope.spawn(move || {
                work.run(&format!("create --network none --name {name} -v shared:/many images:many")).ok();
                // Whoever is done sees what another may still be doing.
                assert_eq!(fs::read_dir(work.path("oci/volumes/shared/_data")).unwrap().count(), 200);
            });
        }
    });
    for name in names {
        work.run(&format!("delete {name}")).ok();
    }
    assert_eq!(work.run("volume rm shared").ok(), "shared");
    work.is_clean();
}

#[test]
fn a_volume_with_options_is_mounted_while_a_bundle_has_it() {
    if !root() {
        return;
    }
    let work = Work::new();
    let data = work.path("oci/volumes/memory/_data");
    let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(data.to_str().unwrap());
    let option = "type=volume,src=memory,dst=/data,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m";
    work.run(&format!("create --network none --name one --mount {option} images:python:3.8")).ok();
    assert!(mounted() && data.join("seed").exists(), "it is filled from the image");
    assert!(work.run("volume inspect memory").ok().contains("size=1m"));
    work.run("create --network none --name two -v memory:/x images:python:3.8").ok();
    work.run("delete one").ok();
    assert!(mounted());
    work.run("delete two").ok();
    assert!(!mounted());
    work.run("create --network none --mount type=volume,src=bad,dst=/x,volume-opt=size=1 images:python:3.8")
        .fails(1, &["\"size\": not an option of local volumes"]);
    work.run("volume rm memory").ok();
    work.is_clean();
}
