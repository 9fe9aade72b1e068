//! The step cache: what is taken from it, and `cache`.

use super::*;

#[test]
fn the_same_again_is_cached_and_is_the_same_image() {
    let work = Work::with_base();
    work.file("context/a", "1");
    let dockerfile = "FROM base AS one\nRUN echo x >/x\nFROM base\nCOPY a /a\nCOPY --from=one /x /y\nRUN cat /y /a\n";
    let first = work.build(dockerfile).ok();
    let second = work.build(dockerfile).ok();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(second.stderr.matches("CACHED").count(), 4, "{}", second.stderr);
    work.file("context/a", "2");
    let third = work.build(dockerfile).ok();
    assert_ne!(first.stdout, third.stdout);
    assert_eq!(third.stderr.matches("CACHED").count(), 1, "what does not read the file: {}", third.stderr);
    work.build_with(dockerfile, &["--no-cache"]).ok();
    work.is_clean();
}

#[test]
fn the_cache_is_listed_and_emptied() {
    let work = Work::with_base();
    work.build("FROM base\nRUN echo x >/x\nRUN --mount=type=cache,target=/c touch /c/y\n").ok();
    let listed = work.run(&["cache", "ls"]).ok().stdout;
    assert!(listed.contains("RUN /bin/sh -c echo x >/x") && listed.contains("COPY rootfs /"), "{listed}");
    // What a build that was killed had not finished writing is no step.
    let step = fs::read_dir(work.path("home/builds/steps")).unwrap().next().unwrap().unwrap().path();
    fs::copy(step, work.path("home/builds/steps/.tmpAbCdEf")).unwrap();
    work.run(&["cache", "prune", "--keep-hours", "1"]).ok();
    assert_eq!(work.run(&["cache", "ls"]).ok().stdout, listed);
    assert!(work.run(&["cache", "prune", "--mounts"]).ok().shows("removed"));
    assert_eq!(work.run(&["cache", "ls"]).ok().stdout, "");
    for folder in ["mounts", "steps"] {
        assert_eq!(fs::read_dir(work.path("home/builds").join(folder)).unwrap().count(), 0, "{folder}");
    }
    assert_eq!(work.layers().len(), 3, "the image is whole");
    work.build("FROM base\nRUN echo x >/x\n").ok();
}
