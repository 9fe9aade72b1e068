//! unit.

use crate::work::Work;

#[test]
fn a_unit_runs_the_bundle() {
    let work = Work::new();
    work.run("create --network none --name web --restart always images:python:3.8").ok();
    let unit = work.run("unit --runtime /usr/bin/run-tool web").ok().to_owned();
    assert!(
        unit.contains(&format!(
            "ExecStart=/usr/bin/run-tool run --bundle {} web",
            work.path("oci/bundles/web").display()
        )),
        "{unit}"
    );
    assert!(unit.contains("Restart=always") && unit.ends_with("WantedBy=multi-user.target"), "{unit}");
    work.run("delete web").ok();
}
