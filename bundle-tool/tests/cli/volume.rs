//! Volumes and mounted folders.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::work::{Work, mount, strings};

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
    let config: Value = serde_json::from_str(work.run("inspect three").ok()).unwrap();
    assert!(strings(&mount(&config, "/data")["options"]).contains(&"ro") && !mount(&config, "/anonymous").is_null());
    work.run("delete two --volumes").ok();
    work.run("delete three").ok();
    assert_eq!(work.run("volume ls").ok(), "keep", "the one without a name went with its container");
    assert!(work.run("volume inspect keep").ok().contains("\"Driver\":\"local\""));
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
