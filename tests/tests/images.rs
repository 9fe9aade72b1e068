//! Images as the docker command keeps and removes them: without a name, and while containers use them.

use tests::{Registry, Workdir};

fn busybox() -> (Registry, Workdir) {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox").ok();
    (registry, work)
}

#[test]
fn an_image_that_loses_its_name_to_another_stays_without_one() {
    let (_registry, work) = busybox();
    work.sh("docker run --network none --name c1 busybox touch /new").ok();
    let id = work.sh("docker commit c1 box:1").ok();
    work.sh("docker rm c1 && docker run --network none --name c2 box:1 touch /newer && docker tag busybox box:1").ok();
    for filter in ["dangling=true", "Dangling=true", " dangling = true ", "dangling=1"] {
        assert_eq!(work.sh(&format!("docker images -q --no-trunc -f '{filter}'")).ok(), id, "{filter}");
    }
    assert!(!work.sh("docker images -q --no-trunc -f dangling=false").ok().contains(id.trim()));
    let row = format!("<none> <none> {}", id);
    assert!(
        work.sh("docker images --no-trunc --format '{{.Repository}} {{.Tag}} {{.ID}}'").ok().contains(&row),
        "{row}"
    );
    // Containers are made from it, and into images.
    work.sh("docker image prune -f").ok();
    assert_eq!(work.sh(&format!("docker run --rm --network none {} ls /new", id.trim())).ok(), "/new\n");
    work.sh("docker commit c2 box:2 && docker run --rm --network none box:2 ls /new /newer").ok();
    work.sh("docker rm c2 && docker image prune -f").ok();
    assert_eq!(work.sh("docker images -q -f dangling=true").ok(), "");
    // An archive of an image by its ID does not name it, and a name changes nothing in what is told of it.
    let described = work.sh("docker inspect box:2").ok();
    let own = work.sh("docker inspect -f '{{.Id}}' box:2").ok();
    assert_eq!(work.sh(&format!("docker save {} | docker load", own.trim())).ok(), format!("Loaded image ID: {own}"));
    work.sh("docker save box:2 -o box.tar && docker rmi box:2 && docker load -q -i box.tar").ok();
    assert_eq!(work.sh("docker inspect box:2").ok(), described);
    // Builds, and archives.
    work.sh("docker save -o box.tar box:2 && printf 'FROM busybox\\nRUN echo 1 >/1\\n' | docker build -q -t box:2 -")
        .ok();
    work.sh("docker load -q -i box.tar").ok();
    assert_eq!(work.sh("docker images -q -f dangling=true | wc -l").ok(), "1\n");
    // With image-tool alone, nothing is kept that nobody can name.
    work.sh("image-tool tag :busybox :box:2 && docker image prune -f && image-tool tag :busybox :box:3").ok();
    assert_eq!(work.sh("docker images -q -f dangling=true").ok(), "");
}

#[test]
fn removing_an_image_goes_by_who_uses_it() {
    let (_registry, work) = busybox();
    work.sh("docker run --network none --name c1 busybox touch /new").ok();
    let id = work.sh("docker commit c1 box:1").ok().trim().to_owned();
    let short = &id["sha256:".len()..][..12];
    work.sh("docker rm c1 && docker run -d --network none --name c2 box:1 sleep 1000").ok();
    let user = work.sh("docker ps -q").ok().trim().to_owned();
    let running = format!(
        "Error response from daemon: conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
    );
    for options in ["", "-f"] {
        assert_eq!(work.sh(&format!("docker rmi {options} {id}")).fails(1).trim_end(), running, "{options}");
    }
    // Its only name can be taken away, and the image stays.
    assert!(work.sh("docker rmi box:1").fails(1).contains("box:1\" (must force) - container "));
    assert_eq!(work.sh("docker rmi -f box:1").ok(), "Untagged: box:1\n");
    work.sh(&format!("docker tag {short} box:1 && docker tag box:1 box:2 && docker stop -t 0 c2")).ok();
    let several = format!(
        "Error response from daemon: conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    assert_eq!(work.sh(&format!("docker rmi {short}")).fails(1).trim_end(), several);
    work.sh("docker rmi box:2").ok();
    let stopped = format!(
        "Error response from daemon: conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
    );
    assert_eq!(work.sh(&format!("docker rmi {short}")).fails(1).trim_end(), stopped);
    assert_eq!(work.sh(&format!("docker rmi -f {short}")).ok(), format!("Untagged: box:1\nDeleted: {id}\n"));
    // The container goes on without it.
    work.sh("docker start c2 && docker exec c2 ls /new && docker rm -f c2").ok();
    assert_eq!(work.sh("docker rmi ' '").fails(1).trim_end(), "Error response from daemon: image name cannot be blank");
}

#[test]
fn filters_that_there_are_not_are_told_in_dockers_words() {
    let (_registry, work) = busybox();
    for (command, filter) in [
        ("images -f FOO=1", "foo"),
        ("images -f dangling=odd", "dangling=[odd]"),
        ("ps -f foo=1", "foo"),
        ("ps -f status=odd", "status=odd"),
        ("volume ls -f foo=1", "foo"),
        ("volume ls -f dangling=odd", "dangling=[odd]"),
        ("events --until 0s -f foo=1", "foo"),
    ] {
        let said = work.sh(&format!("docker {command}")).fails(1);
        assert_eq!(said.trim_end(), format!("Error response from daemon: Invalid filter '{filter}'"), "{command}");
    }
}
